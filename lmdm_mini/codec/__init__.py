"""The codec: audio to latents and back, at once or as a stream, and how it is trained.

Other packages import from here what a codec is used for; spectra, layers and losses are its own affair.
"""

from lmdm_mini.codec.codec import (
    DECODER_LEAD,
    ENCODER_AHEAD,
    ENCODER_LEAD,
    FRAME_SAMPLES,
    LATENT_CHANNELS,
    LATENT_RATE,
    Codec,
    CodecConfig,
    encoder_fingerprint,
    load_codec,
    save_codec,
)
