"""The codec: 44.1 kHz stereo audio <-> 64 latent channels at 21.5 frames a second.

One latent frame stands for 2,048 samples: four frames of a short-time Fourier transform (STFT). Codec and
loss work on the *features* of `spectrum.py`, which describe an STFT frame without absolute phases. The
encoder turns the features of four frames into 64 numbers and the decoder turns those back; both are a linear
projection, started from principal components, plus a causal network. Then `spectrum.synthesise` finds phases
and an inverse transform with overlap-add makes sound. Every layer keeps its past as state, so **streaming
equals offline**: both run the same code, once on everything and once on each piece with the state carried
over.

Look-ahead: a latent frame depends on at most 1,280 samples after its own 2,048. The decoder holds back the
last 256 samples of its output.

Latents are a sigma-VAE's: unit variance a channel by a normalisation frozen into the checkpoint, and a
posterior of fixed width instead of a learned one, so they stay smooth enough to be generated.

Notebook: 01_sound_to_latents. Paper: section 3.1 (the autoencoder whose shape this one copies).
"""

import json
from dataclasses import asdict, dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.audio import SAMPLE_RATE, check_finite
from lmdm_mini.checkpoints import explained, fingerprint, read, write
from lmdm_mini.codec.blocks import Stack
from lmdm_mini.codec.spectrum import (
    FEATURES,
    HOP,
    N_FFT,
    overlap_add,
    spectral_features,
    stft,
    synthesise,
)
from lmdm_mini.forked import warn_if_forked
from lmdm_mini.modes import in_float32, quickly

LATENT_CHANNELS = 64
FRAME_SAMPLES = 2048  # audio samples of one latent frame
LATENT_RATE = SAMPLE_RATE / FRAME_SAMPLES  # 21.53 frames a second

TILE = 12  # latent frames that are computed together
SHORT_TILE = 4  # likewise, where a stream asks for no more
HOPS = FRAME_SAMPLES // HOP  # STFT frames of one latent frame
# STFT frame i starts at sample HOP*i - DECODER_LEAD: the samples that the decoder holds back ...
DECODER_LEAD = 256
ENCODER_LEAD = DECODER_LEAD + HOP  # ... and the encoder looks back one STFT frame more
ENCODER_AHEAD = N_FFT - HOP - DECODER_LEAD  # samples after a latent frame that the encoder needs


@dataclass
class CodecConfig:
    width: int = 256  # at the STFT rate (86 Hz)
    deep_width: int = 512  # at the latent rate (21.5 Hz)
    encoder_blocks: int = 2
    encoder_deep_blocks: int = 2
    decoder_blocks: int = 2
    decoder_deep_blocks: int = 2
    head_width: int = 512
    kernel: int = 7


# `Codec.short_tile` of the decoders that were asked, by their first layer: to find it out takes as long as
# three tiles, and a decoder in bfloat16 (`lmdm_mini/precision.py`) has a first layer of its own
_short_tiles: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


class Codec(nn.Module):
    """Audio (B, 2, N) -> latents (B, 64, T) -> audio (B, 2, T*2048)."""

    def __init__(self, config: CodecConfig | None = None):
        super().__init__()
        self.config = c = config or CodecConfig()
        self.fingerprint = ""  # hash of the encoder's weights; set when a checkpoint is loaded
        patch = HOPS * FEATURES
        # encoder: a linear projection of the patch plus the output of a network
        self.register_buffer("enc_scale", torch.ones(FEATURES))
        self.enc_linear = nn.Linear(patch, LATENT_CHANNELS)
        self.enc_in = nn.Linear(FEATURES, c.width)
        self.enc_norm = nn.LayerNorm(c.width)
        self.enc_stack = Stack(c.encoder_blocks, c.width, c.kernel, expansion=3)
        self.enc_down = nn.Linear(HOPS * c.width, c.deep_width)
        self.enc_deep = Stack(c.encoder_deep_blocks, c.deep_width, c.kernel, expansion=3)
        self.enc_out = nn.Sequential(nn.LayerNorm(c.deep_width), nn.Linear(c.deep_width, LATENT_CHANNELS))
        self.register_buffer("latent_mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("latent_var", torch.ones(LATENT_CHANNELS))
        # decoder: the same two parts in reverse
        self.dec_linear = nn.Linear(LATENT_CHANNELS, patch)
        self.dec_in = nn.Linear(LATENT_CHANNELS, c.deep_width)
        self.dec_deep = Stack(c.decoder_deep_blocks, c.deep_width, c.kernel, expansion=3)
        self.dec_up = nn.Linear(c.deep_width, HOPS * c.width)
        self.dec_stack = Stack(c.decoder_blocks, c.width, c.kernel, expansion=3)
        self.dec_head = nn.Sequential(
            nn.LayerNorm(c.width),
            nn.Linear(c.width, c.head_width),
            nn.GELU(),
            nn.Linear(c.head_width, FEATURES),
        )
        for layer in (self.enc_out[1], self.dec_head[3]):  # at first the networks add nothing
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    # -- the two halves, on features, with state -----------------------------------------------------

    def encode_features(
        self, features: Tensor, state: dict | None = None, keep: int | None = None
    ) -> tuple[Tensor, dict]:
        """Features (B, 4*T, FEATURES) -> latents before normalisation (B, T, 64), and the state to go on
        from.

        keep: how many of the T latent frames are real; the state is the one after those (None: all).
        """
        state = state or {}
        patch = features.unflatten(1, (-1, HOPS)).flatten(2)
        x = self.enc_norm(self.enc_in(features * self.enc_scale))
        x, stack = self.enc_stack(x, state.get("stack"), None if keep is None else HOPS * keep)
        x = self.enc_down(x.unflatten(1, (-1, HOPS)).flatten(2))  # (B, T, deep_width)
        x, deep = self.enc_deep(x, state.get("deep"), keep)
        return self.enc_linear(patch) + self.enc_out(x), {"stack": stack, "deep": deep}

    def decode_features(
        self, z: Tensor, state: dict | None = None, keep: int | None = None
    ) -> tuple[Tensor, dict]:
        """Normalised latents (B, T, 64) -> features of 4*T STFT frames (B, 4*T, FEATURES), and the state;
        keep as above."""
        state = state or {}
        x, deep = self.dec_deep(self.dec_in(z), state.get("deep"), keep)
        x = self.dec_up(x).unflatten(2, (HOPS, -1)).flatten(1, 2)  # (B, 4*T, width)
        x, stack = self.dec_stack(x, state.get("stack"), None if keep is None else HOPS * keep)
        linear = self.dec_linear(z).unflatten(2, (HOPS, -1)).flatten(1, 2)
        return linear + self.dec_head(x), {"deep": deep, "stack": stack}

    def normalise(self, z: Tensor) -> Tensor:
        """(B, T, 64) to mean 0 and standard deviation 1 a channel, by the statistics that were tracked in
        training."""
        return (z.float() - self.latent_mean) * torch.rsqrt(self.latent_var + 1e-5)

    @torch.no_grad()
    def update_statistics(self, z: Tensor, share: float = 0.03) -> None:
        """Moves the statistics a little to those of z (B, T, 64). (Those of one batch would not do for
        `normalise`: a batch of few pieces has a mean of its own, and taking that away would hide how loud
        they are.)"""
        self.latent_mean.lerp_(z.mean((0, 1)).float(), share)
        self.latent_var.lerp_((z.float() - self.latent_mean).square().mean((0, 1)), share)

    # -- audio <-> latents -------------------------------------------------------------------------

    @quickly
    def encode(self, audio: Tensor) -> Tensor:
        """Audio (B, 2, N) or (2, N) at 44.1 kHz -> latents (B, 64, T) or (64, T), T = ceil(N / 2048).

        Raises ValueError for other shapes, no samples, NaN or infinite samples.
        """
        warn_if_forked()
        single = audio.ndim == 2
        audio = audio[None] if single else audio
        check_audio(audio)
        samples = audio.shape[-1]
        frames = -(-samples // FRAME_SAMPLES)
        padded = F.pad(audio, (ENCODER_LEAD, ENCODER_AHEAD + frames * FRAME_SAMPLES - samples))
        z, _ = self._encode_tiles(padded, {})
        return z[0] if single else z

    @quickly
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 64, T) or (64, T) -> audio (B, 2, T*2048) or (2, T*2048).

        For the last 256 samples the last frame is repeated. Raises ValueError for other shapes or NaN.
        """
        warn_if_forked()
        single = latents.ndim == 2
        z = latents[None] if single else latents
        check_latents(z)
        z = torch.cat([z, z[..., -1:]], -1)
        audio = self._decode_tiles(z, {})[0][..., DECODER_LEAD:][..., : latents.shape[-1] * FRAME_SAMPLES]
        return audio[0] if single else audio

    # Both halves work through tiles of 12 latent frames, the last one padded. However the input is cut, each
    # frame then takes part in products of the same shape, so that even rounding errors are the same: the
    # phases that `synthesise` adds up would slowly drift apart otherwise. A short call of a stream may take a
    # smaller tile, which costs less, where this processor rounds that one alike.

    def _encode_tiles(self, audio: Tensor, state: dict) -> tuple[Tensor, dict]:
        """Audio of 4*T + 1 STFT frames (B, 2, N) -> latents (B, 64, T), and the state."""
        count, latents = (audio.shape[-1] - N_FFT) // FRAME_SAMPLES, []
        for start in range(0, count, TILE):
            keep = min(TILE, count - start)
            piece = audio[..., start * FRAME_SAMPLES : (start + keep) * FRAME_SAMPLES + N_FFT]
            spectrum = stft(F.pad(piece, (0, (TILE - keep) * FRAME_SAMPLES)))
            z, state = self.encode_features(spectral_features(spectrum.real, spectrum.imag), state, keep)
            latents.append(self.normalise(z)[:, :keep])
        return torch.cat(latents, 1).transpose(1, 2).contiguous(), state

    def _decode_tiles(self, latents: Tensor, state: dict, tile: int = TILE) -> tuple[Tensor, dict]:
        """Latents (B, 64, T) -> the next T*2048 samples on the decoder's delayed clock, and the state. tile:
        latent frames that are computed together."""
        audio = []
        for piece in latents.transpose(1, 2).split(tile, 1):
            keep = piece.shape[1]
            features, frames = self.decode_features(
                F.pad(piece, (0, 0, 0, tile - keep)), state.get("frames"), keep
            )
            spectrum, phase = synthesise(features, state.get("phase", {}), HOPS * keep)
            sound, tail = overlap_add(spectrum, state.get("tail"))
            state = {"frames": frames, "phase": phase, "tail": tail}
            audio.append(sound)
        return torch.cat(audio, -1), state

    @torch.no_grad()
    def rounds_short_tiles_alike(self) -> bool:
        """Whether the decoder gives exactly the same numbers in tiles of 4 frames as in tiles of 12, on this
        processor: products of few rows may add up in another order."""
        z = torch.randn(1, TILE, LATENT_CHANNELS, generator=torch.Generator().manual_seed(0))
        z = z.to(self.latent_mean.device)
        past, count = self.decode_features(z)[1], HOPS * SHORT_TILE
        short, long = (
            synthesise(self.decode_features(z[:, :tile], past)[0], {}, count)[0]
            for tile in (SHORT_TILE, TILE)
        )
        return torch.equal(short, long)

    def short_tile(self) -> int:
        """The tile for calls with up to 4 frames: 4, where that changes nothing."""
        if self.dec_in not in _short_tiles:
            _short_tiles[self.dec_in] = SHORT_TILE if self.rounds_short_tiles_alike() else TILE
        return _short_tiles[self.dec_in]

    def stream_encoder(self) -> "StreamEncoder":
        warn_if_forked()
        return StreamEncoder(self)

    def stream_decoder(self) -> "StreamDecoder":
        warn_if_forked()
        return StreamDecoder(self)


class StreamEncoder:
    """Encodes audio as it comes. Call with the next samples (B, 2, n), n >= 0; returns the latents that
    are ready, (B, 64, t), t >= 0. `flush()` returns the rest; `reset()` forgets everything."""

    def __init__(self, codec: Codec):
        self.codec = codec
        self.reset()

    def reset(self) -> None:
        self.buffer: Tensor | None = None
        self.state: dict = {}
        self.samples = self.frames = self.given = 0

    @quickly
    def __call__(self, audio: Tensor) -> Tensor:
        if audio.shape[-1]:
            check_audio(audio)
        self.samples += audio.shape[-1]
        return self._feed(audio)

    def _feed(self, audio: Tensor) -> Tensor:
        if self.buffer is None:
            self.buffer = audio.new_zeros(*audio.shape[:-1], ENCODER_LEAD)
        self.buffer = torch.cat([self.buffer, audio], -1)  # from the start of the tile that is not full yet
        ready = max(0, (self.buffer.shape[-1] - ENCODER_LEAD - ENCODER_AHEAD) // FRAME_SAMPLES)
        if ready == self.given:
            return audio.new_zeros(audio.shape[0], LATENT_CHANNELS, 0)
        full, latents = ready // TILE * TILE, []
        if full:
            z, self.state = self.codec._encode_tiles(
                self.buffer[..., : full * FRAME_SAMPLES + N_FFT], self.state
            )
            latents.append(z)
        self.buffer = self.buffer[..., full * FRAME_SAMPLES :]
        if (
            ready > full
        ):  # a frame keeps its place in its tile, so the tile is computed again when it has more frames
            rest = (ready - full) * FRAME_SAMPLES + N_FFT
            latents.append(self.codec._encode_tiles(self.buffer[..., :rest], self.state)[0])
        z = torch.cat(latents, -1)[..., self.given :]
        self.given = ready - full
        self.frames += z.shape[-1]
        return z

    @quickly
    def flush(self) -> Tensor:
        """The latents still owed for the samples given so far, as if silence followed; then resets."""
        if self.buffer is None:
            return torch.zeros(1, LATENT_CHANNELS, 0)
        missing = -(-self.samples // FRAME_SAMPLES) - self.frames
        silence = self.buffer.new_zeros(*self.buffer.shape[:-1], missing * FRAME_SAMPLES + ENCODER_AHEAD)
        z = self._feed(silence)[..., :missing]
        self.reset()
        return z


class StreamDecoder:
    """Decodes latents as they come. Call with the next latents (B, 64, t), t >= 0; returns the samples that
    are final, (B, 2, n): 256 fewer than given in the first call. `flush()` returns the rest."""

    def __init__(self, codec: Codec):
        self.codec = codec
        self.reset()

    def reset(self) -> None:
        self.state: dict = {}
        self.last: Tensor | None = None
        self.skip = DECODER_LEAD

    @quickly
    def __call__(self, latents: Tensor) -> Tensor:
        if latents.shape[-1] == 0:
            return latents.new_zeros(latents.shape[0], 2, 0)
        check_latents(latents)
        tile = self.codec.short_tile() if latents.shape[-1] <= SHORT_TILE else TILE
        audio, self.state = self.codec._decode_tiles(latents, self.state, tile)
        self.last = latents[..., -1:]
        skip, self.skip = min(self.skip, audio.shape[-1]), max(0, self.skip - audio.shape[-1])
        return audio[..., skip:]

    @quickly
    def flush(self) -> Tensor:
        """The samples still owed for the latents given so far; then resets."""
        if self.last is None:
            return torch.zeros(1, 2, 0)
        audio = self(self.last)[..., :DECODER_LEAD]
        self.reset()
        return audio


def check_audio(audio: Tensor) -> None:
    if audio.ndim != 3 or audio.shape[1] != 2 or not audio.is_floating_point():
        raise ValueError(
            f"audio is {tuple(audio.shape)} {audio.dtype}; the codec takes float (B, 2, N) at 44.1 kHz. "
            "lmdm_mini.audio.to_stereo() makes that of mono, integer or other-rate audio."
        )
    if audio.shape[-1] == 0:
        raise ValueError("audio is empty: it has no samples to encode.")
    check_finite(audio)


def check_latents(latents: Tensor, least: int = 1) -> None:
    if latents.ndim != 3 or latents.shape[1] != LATENT_CHANNELS or latents.shape[-1] < least:
        raise ValueError(
            f"latents are {tuple(latents.shape)}; expected (B, {LATENT_CHANNELS}, T) with T >= {least}."
        )
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinite values; the model that made them has diverged.")


# -- checkpoints -----------------------------------------------------------------------------------


def encoder_fingerprint(codec: Codec) -> str:
    """Hash of all that decides the latents: the encoder's weights, in half precision, and its
    normalisation."""
    state = sorted(codec.state_dict().items())
    return fingerprint(
        part for name, value in state if name.startswith(("enc_", "latent_")) for part in (name, value)
    )


def save_codec(codec: Codec, path, **facts) -> str:
    """Writes weights in half precision with the configuration inside; returns the encoder's fingerprint."""
    own = encoder_fingerprint(codec)
    exact = ("latent_mean", "latent_var")  # the scale of every latent set: kept in float32
    state = {
        name: value.float() if name in exact else value.half() for name, value in codec.state_dict().items()
    }
    write(path, state, "codec", config=asdict(codec.config), fingerprint=own, facts=facts)
    return own


@in_float32()
def load_codec(path=None) -> Codec:
    """The trained codec, in evaluation mode, float32.

    path: a checkpoint; None loads the shipped ``data/checkpoints/codec.safetensors``.
    Raises FileNotFoundError or ValueError (damaged, of another shape, or another kind of file), saying what
    to do.
    """
    path, tensors, about = read(path, "codec", "codec")
    with explained(path, "codec"):
        codec = Codec(CodecConfig(**json.loads(about["config"])))
        codec.load_state_dict({name: value.float() for name, value in tensors.items()})
        codec.fingerprint = about["fingerprint"]
    return codec.eval().requires_grad_(False)
