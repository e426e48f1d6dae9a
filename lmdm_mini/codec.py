"""The codec: 44.1 kHz stereo audio <-> 64 latent channels at 21.5 frames a second.

One latent frame stands for 2,048 samples. The encoder looks at a short-time Fourier transform (STFT),
four STFT frames a latent frame; the decoder draws the STFT of both channels (magnitudes, phase, phase
difference between the channels) and an inverse transform with overlap-add turns it into sound. Every
layer is causal and keeps its state, so **streaming equals offline**: both run the same code, once on
everything and once on each piece with the state carried over.

Look-ahead: a latent frame hears at most 1,280 samples beyond its own 2,048; decoding it to the last
sample needs the next latent frame (1,792 samples). Nothing looks further.

Latents are a sigma-VAE's: unit variance a channel by a normalisation frozen into the checkpoint, and a
posterior of fixed width instead of a learned one, so they stay smooth enough to be generated.

Notebook: 01_sound_to_latents. Paper: section 3.1 (the autoencoder whose shape this one copies).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lmdm_mini.audio import SAMPLE_RATE, check_finite
from lmdm_mini.spectrum import BINS, HOP, N_FFT, overlap_add, spectral_features, stft

LATENT_CHANNELS = 64
FRAME_SAMPLES = 2048  # audio samples of one latent frame
LATENT_RATE = SAMPLE_RATE / FRAME_SAMPLES  # 21.53 frames a second
CHECKPOINTS = Path(__file__).resolve().parent.parent / "data" / "checkpoints"

LEVEL_BANDS = 64  # coarse bands whose log-level the encoder is shown
HOPS = FRAME_SAMPLES // HOP  # STFT frames of one latent frame
ENCODER_LEAD = 256  # STFT frame i of the encoder starts at sample HOP*i - ENCODER_LEAD ...
DECODER_LEAD = 1792  # ... and of the decoder at HOP*i - DECODER_LEAD: that is the decoder's look-ahead
ENCODER_AHEAD = N_FFT - HOP - ENCODER_LEAD  # samples the encoder hears beyond a latent frame


@dataclass
class CodecConfig:
    width: int = 256  # at the STFT rate (86 Hz)
    deep_width: int = 512  # at the latent rate (21.5 Hz)
    encoder_blocks: int = 4
    encoder_deep_blocks: int = 1
    decoder_blocks: int = 4
    decoder_deep_blocks: int = 2
    phase_blocks: int = 2
    head_width: int = 384
    phase_bins: int = 128  # lowest bins whose phase the encoder is shown
    kernel: int = 7


class CausalConv(nn.Module):
    """Depthwise causal convolution over time, (B, T, W) -> (B, T, W), with its past as explicit state."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, 1, kernel) / kernel**0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        span = self.weight.shape[-1] - 1
        with torch.autocast("cpu", enabled=False):  # oneDNN's bfloat16 depthwise kernel is ten times slower
            x = x.float()
            past = x.new_zeros(x.shape[0], span, x.shape[2]) if past is None else past
            x = torch.cat([past, x], dim=1)  # (B, span + T, W)
            y = F.conv1d(x.transpose(1, 2), self.weight, self.bias, groups=x.shape[2]).transpose(1, 2)
        return y, x[:, -span:]


class Block(nn.Module):
    """ConvNeXt block: depthwise causal convolution, norm, two linear layers, residual."""

    def __init__(self, width: int, kernel: int, expansion: int):
        super().__init__()
        self.conv = CausalConv(width, kernel)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        y, past = self.conv(x, past)
        return x + self.scale * self.down(F.gelu(self.up(self.norm(y)))), past


class Stack(nn.Module):
    """Blocks one after another; the state is the list of their pasts."""

    def __init__(self, blocks: int, width: int, kernel: int, expansion: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, kernel, expansion) for _ in range(blocks))

    def forward(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        pasts = []
        for i, block in enumerate(self.blocks):
            x, past = block(x, None if state is None else state[i])
            pasts.append(past)
        return x, pasts


@dataclass
class SpectralFrames:
    """What the decoder draws, one row an STFT frame: each (B, T, BINS)."""

    log_left: Tensor  # natural log of the magnitude, full-scale sine = 0
    log_right: Tensor
    cos_difference: Tensor  # phase of right minus phase of left, not yet of unit length
    sin_difference: Tensor


class Codec(nn.Module):
    """Audio (B, 2, N) -> latents (B, 64, T) -> audio (B, 2, T*2048)."""

    def __init__(self, config: CodecConfig | None = None):
        super().__init__()
        self.config = c = config or CodecConfig()
        self.fingerprint = ""  # hash of the encoder's weights; set when a checkpoint is loaded
        # encoder
        self.enc_in = nn.Linear(4 * BINS + 4 * c.phase_bins + 2 * LEVEL_BANDS, c.width)
        self.enc_norm = nn.LayerNorm(c.width)
        self.enc_stack = Stack(c.encoder_blocks, c.width, c.kernel, 3)
        self.enc_down = nn.Linear(HOPS * c.width, c.deep_width)
        self.enc_deep = Stack(c.encoder_deep_blocks, c.deep_width, c.kernel, 2)
        # without a norm here the latents' scale, which the normalisation hides, grows until learning stalls
        self.enc_out = nn.Sequential(nn.LayerNorm(c.deep_width), nn.Linear(c.deep_width, LATENT_CHANNELS))
        self.latent_norm = nn.BatchNorm1d(LATENT_CHANNELS, affine=False, momentum=0.01)
        # decoder: magnitudes and phase difference
        self.dec_in = nn.Linear(LATENT_CHANNELS, c.deep_width)
        self.dec_deep = Stack(c.decoder_deep_blocks, c.deep_width, c.kernel, 2)
        self.dec_up = nn.Linear(c.deep_width, HOPS * c.width)
        self.dec_stack = Stack(c.decoder_blocks, c.width, c.kernel, 3)
        self.head = nn.Sequential(
            nn.LayerNorm(c.width), nn.Linear(c.width, c.head_width), nn.GELU(), nn.Linear(c.head_width, 4 * BINS)
        )
        # decoder: phase
        self.phase_stack = Stack(c.phase_blocks, c.width, c.kernel, 3)
        self.phase_head = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, 2 * BINS))

    # -- the two halves, on STFT frames, with state ------------------------------------------------

    def encode_frames(self, spectrum: Tensor, state: dict | None = None) -> tuple[Tensor, dict]:
        """STFT (B, 2, 4*T, BINS) -> latents before normalisation (B, T, 64), and the state to go on from."""
        state = state or {}
        real, imag = spectrum.real, spectrum.imag
        left, right, cos, sin = spectral_features(real, imag)
        loud = torch.exp(0.15 * (left + right))  # phase differences of silence mean nothing
        k = self.config.phase_bins
        both = left[..., :k].maximum(right[..., :k])[:, None]
        low = torch.stack([real[..., :k], imag[..., :k]], 1).flatten(1, 2)  # (B, 4, F, k)
        low = low * torch.exp(-0.7 * both)
        # compressed magnitudes make partials stand out; in log-magnitudes the overall level drowns them
        peaks = [torch.exp(0.3 * left), torch.exp(0.3 * right)]
        levels = [0.1 * (x[..., : BINS - 1].unflatten(-1, (LEVEL_BANDS, -1)).mean(-1) + 8) for x in (left, right)]
        x = torch.cat([*peaks, cos * loud, sin * loud, *low.unbind(1), *levels], -1)
        x = self.enc_norm(self.enc_in(x))
        x, stack = self.enc_stack(x, state.get("stack"))
        x = self.enc_down(x.unflatten(1, (-1, HOPS)).flatten(2))  # (B, T, deep_width)
        x, deep = self.enc_deep(x, state.get("deep"))
        return self.enc_out(x), {"stack": stack, "deep": deep}

    def decode_frames(self, z: Tensor, state: dict | None = None) -> tuple[SpectralFrames, Tensor, dict]:
        """Normalised latents (B, T, 64) -> magnitudes of 4*T STFT frames, hidden frames (B, 4*T, width), state."""
        state = state or {}
        x, deep = self.dec_deep(self.dec_in(z), state.get("deep"))
        x = self.dec_up(x).unflatten(2, (HOPS, -1)).flatten(1, 2)  # (B, 4*T, width)
        x, stack = self.dec_stack(x, state.get("stack"))
        left, right, cos, sin = self.head(x).float().unflatten(-1, (4, BINS)).unbind(-2)
        return SpectralFrames(3 * left - 8, 3 * right - 8, cos, sin), x, {"deep": deep, "stack": stack}

    def decode_phase(self, hidden: Tensor, state: list | None = None) -> tuple[Tensor, Tensor, list]:
        """Hidden frames -> cosine and sine of the left channel's phase, each (B, 4*T, BINS), and the state."""
        x, state = self.phase_stack(hidden, state)
        cos, sin = self.phase_head(x).float().unflatten(-1, (2, BINS)).unbind(-2)
        norm = torch.rsqrt(cos.square() + sin.square() + 1e-8)
        return cos * norm, sin * norm, state

    def spectrum(self, frames: SpectralFrames, cos: Tensor, sin: Tensor) -> Tensor:
        """Magnitudes and phases -> complex STFT of both channels, (B, 2, F, BINS)."""
        left = torch.complex(cos, sin)
        difference = torch.complex(frames.cos_difference, frames.sin_difference)
        right = left * difference / difference.abs().clamp_min(1e-4)
        magnitude = torch.stack([frames.log_left, frames.log_right], 1).clamp(max=2.0).exp()
        return torch.stack([left, right], 1) * magnitude

    def normalise(self, z: Tensor) -> Tensor:
        """(B, T, 64) to mean 0 and standard deviation 1 a channel."""
        return self.latent_norm(z.float().transpose(1, 2)).transpose(1, 2)

    # -- audio <-> latents -------------------------------------------------------------------------

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        """Audio (B, 2, N) or (2, N) at 44.1 kHz -> latents (B, 64, T) or (64, T), T = ceil(N / 2048).

        Raises ValueError for other shapes, no samples, NaN or infinite samples.
        """
        single = audio.ndim == 2
        audio = audio[None] if single else audio
        check_audio(audio)
        samples = audio.shape[-1]
        frames = -(-samples // FRAME_SAMPLES)
        padded = F.pad(audio, (ENCODER_LEAD, ENCODER_AHEAD + frames * FRAME_SAMPLES - samples))
        z = self.normalise(self.encode_frames(stft(padded))[0]).transpose(1, 2).contiguous()
        return z[0] if single else z

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 64, T) or (64, T) -> audio (B, 2, T*2048) or (2, T*2048).

        The last frame's look-ahead is filled by repeating it. Raises ValueError for other shapes or NaN.
        """
        single = latents.ndim == 2
        z = latents[None] if single else latents
        check_latents(z)
        z = torch.cat([z, z[..., -1:]], -1)
        audio = self._draw(z, {})[0][..., DECODER_LEAD:][..., : latents.shape[-1] * FRAME_SAMPLES]
        return audio[0] if single else audio

    def _draw(self, latents: Tensor, state: dict) -> tuple[Tensor, dict]:
        """Latents (B, 64, T) -> the next T*2048 samples on the decoder's delayed clock, and the state."""
        frames, hidden, frame_state = self.decode_frames(latents.transpose(1, 2), state.get("frames"))
        cos, sin, phase_state = self.decode_phase(hidden, state.get("phase"))
        audio, tail = overlap_add(self.spectrum(frames, cos, sin), state.get("tail"))
        return audio, {"frames": frame_state, "phase": phase_state, "tail": tail}

    def stream_encoder(self) -> "StreamEncoder":
        return StreamEncoder(self)

    def stream_decoder(self) -> "StreamDecoder":
        return StreamDecoder(self)


class StreamEncoder:
    """Encodes audio as it comes. Call with the next samples (B, 2, n), n >= 0; returns the latents that
    are ready, (B, 64, t), t >= 0. `flush()` returns the rest; `reset()` forgets everything."""

    def __init__(self, codec: Codec):
        self.codec = codec
        self.reset()

    def reset(self) -> None:
        self.buffer: Tensor | None = None
        self.state: dict | None = None
        self.samples = self.frames = 0

    @torch.inference_mode()
    def __call__(self, audio: Tensor) -> Tensor:
        if audio.shape[-1]:
            check_audio(audio)
        self.samples += audio.shape[-1]
        return self._feed(audio)

    def _feed(self, audio: Tensor) -> Tensor:
        if self.buffer is None:
            self.buffer = audio.new_zeros(*audio.shape[:-1], ENCODER_LEAD)
        self.buffer = torch.cat([self.buffer, audio], -1)
        ready = max(0, (self.buffer.shape[-1] - ENCODER_LEAD - ENCODER_AHEAD) // FRAME_SAMPLES)
        if not ready:
            return audio.new_zeros(audio.shape[0], LATENT_CHANNELS, 0)
        used = ready * FRAME_SAMPLES
        z, self.state = self.codec.encode_frames(stft(self.buffer[..., : used + N_FFT - HOP]), self.state)
        self.buffer = self.buffer[..., used:]
        self.frames += ready
        return self.codec.normalise(z).transpose(1, 2).contiguous()

    @torch.inference_mode()
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
    are final, (B, 2, n): 1,792 fewer than given in the first call. `flush()` returns the rest."""

    def __init__(self, codec: Codec):
        self.codec = codec
        self.reset()

    def reset(self) -> None:
        self.state: dict = {}
        self.last: Tensor | None = None
        self.skip = DECODER_LEAD

    @torch.inference_mode()
    def __call__(self, latents: Tensor) -> Tensor:
        if latents.shape[-1] == 0:
            return latents.new_zeros(latents.shape[0], 2, 0)
        check_latents(latents)
        audio, self.state = self.codec._draw(latents, self.state)
        self.last = latents[..., -1:]
        skip, self.skip = min(self.skip, audio.shape[-1]), max(0, self.skip - audio.shape[-1])
        return audio[..., skip:]

    @torch.inference_mode()
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


def check_latents(latents: Tensor) -> None:
    if latents.ndim != 3 or latents.shape[1] != LATENT_CHANNELS or latents.shape[-1] == 0:
        raise ValueError(f"latents are {tuple(latents.shape)}; the decoder takes (B, {LATENT_CHANNELS}, T) with T >= 1.")
    if not torch.isfinite(latents).all():
        raise ValueError("latents hold NaN or infinite values; the model that made them has diverged.")


# -- checkpoints -----------------------------------------------------------------------------------


def encoder_fingerprint(codec: Codec) -> str:
    """Hash of all that decides the latents: the encoder's weights, in half precision, and its normalisation."""
    digest = hashlib.sha256()
    for name, value in sorted(codec.state_dict().items()):
        if name.startswith("enc_") or name.startswith("latent_norm.running"):
            same = value.detach().half().contiguous() + 0.0  # -0 and 0 are one number but two bit patterns
            digest.update(name.encode() + same.numpy().tobytes())
    return digest.hexdigest()[:16]


def save_codec(codec: Codec, path, **facts) -> str:
    """Writes weights in half precision with the configuration inside; returns the encoder's fingerprint."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fingerprint = encoder_fingerprint(codec)
    state = {name: value.detach().half().contiguous() for name, value in codec.state_dict().items() if "num_batches" not in name}
    for name in ("latent_norm.running_mean", "latent_norm.running_var"):  # the scale of every latent set: kept exact
        state[name] = codec.state_dict()[name].detach().float().contiguous()
    about = {"config": json.dumps(asdict(codec.config)), "fingerprint": fingerprint, "facts": json.dumps(facts)}
    part = path.with_suffix(".part")
    save_file(state, str(part), metadata=about)
    part.replace(path)
    return fingerprint


def load_codec(path=None) -> Codec:
    """The trained codec, in evaluation mode, float32.

    path: a checkpoint; None loads the shipped ``data/checkpoints/codec.safetensors``.
    Raises FileNotFoundError or ValueError (damaged, or of another shape), saying what to do.
    """
    path = Path(path) if path is not None else CHECKPOINTS / "codec.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"no codec checkpoint at {path}. It is part of the repository: run `git checkout -- data/checkpoints`, "
            "or train one with `python -m lmdm_mini train codec`."
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}
        codec = Codec(CodecConfig(**json.loads(about["config"])))
        codec.load_state_dict(state, strict=False)
        missing = set(codec.state_dict()) - set(state) - {"latent_norm.num_batches_tracked"}
        if missing or set(state) - set(codec.state_dict()):
            raise ValueError(f"weights do not fit, e.g. {sorted(missing ^ set(state))[:2]}")
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged or not a codec of this version ({error}). "
            "Restore it with `git checkout -- data/checkpoints`."
        ) from error
    codec.fingerprint = about["fingerprint"]
    return codec.eval().requires_grad_(False)
