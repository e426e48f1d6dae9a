"""Sketch control: a melody and a loudness to follow, frame by frame, taken from any sound.

**Pitch** is the salience of 84 semitones from C1 to B7 in each latent frame: a constant-Q transform, whose
windows hold the same number of periods for every pitch, then the few strongest of them, relative to the
loudest. There is no high-pass, so low notes count. **Loudness** is the level in four parts of each latent
frame. Both are between 0 and 1.

The longest window, for C1, reaches 5.03 latent frames beyond its own, so a sketch of a live sound is that
late (.23 s).

A sketch acts on targets only. Pitch and loudness have a flag of their own in every frame, so either can be
missing anywhere: absent values are zero, and the flag says that the zero means nothing.

Notebook: 10_sketch_control (planned). Paper: section 3.4. Source of the constant-Q transform: Brown 1991.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, check_finite
from lmdm_mini.codec.codec import FRAME_SAMPLES
from lmdm_mini.lazy import loaded_once
from lmdm_mini.modes import in_float32

SEMITONES = 84  # from C1 up
LOUDNESSES = 4  # a latent frame: one of each STFT frame
SKETCH_CHANNELS = SEMITONES + LOUDNESSES
LOWEST_HZ = 32.70319566257483  # C1
STRONGEST = 4  # semitones of a frame that are kept
SALIENCE_DB = 30.0  # a semitone this much softer than the loudest of its frame counts as nothing
SILENCE_DB = -60.0  # levels below this, of a full-scale sine's, count as silence
FFT = 32768  # samples of the transform that all windows fit into
AHEAD = 10_311  # samples beyond its latent frame that a frame of a sketch depends on


@dataclass
class Sketch:
    """Sketches of a batch.

    values: (B, 88, T), salience of 84 semitones from C1 up, then four loudnesses. present: (B, 2, T), 1 where
    there is a pitch, and where there is a loudness.
    """

    values: Tensor
    present: Tensor

    def __getitem__(self, rows) -> "Sketch":
        return Sketch(self.values[rows], self.present[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Sketch":
        """The same with `function` applied to every tensor."""
        return Sketch(function(self.values), function(self.present))

    def absent(self) -> "Sketch":
        """The same shape, with nothing in it: the branch of guidance that has no sketch."""
        return self.map(torch.zeros_like)

    def features(self) -> Tensor:
        """As the model's door takes it, (B, T, 90): values where they are present, then the flags."""
        pitch, loudness = self.values.split((SEMITONES, LOUDNESSES), 1)
        kept = [pitch * self.present[:, :1], loudness * self.present[:, 1:], self.present]
        return torch.cat(kept, 1).transpose(1, 2)


# -- pitch and loudness of a sound -----------------------------------------------------------------------


@loaded_once
@in_float32()
def _kernels() -> Tensor:
    """Spectra of the windows, (84, bins) complex: a Hann window of Q periods around the middle of the
    transform, times the tone, so that a full-scale sine of that pitch has magnitude 1."""
    quality = 1 / (2 ** (1 / 12) - 1)
    middle, time = FFT // 2, torch.arange(FFT, dtype=torch.float64) - FFT // 2
    rows = []
    for semitone in range(SEMITONES):
        hz = LOWEST_HZ * 2 ** (semitone / 12)
        half = quality * SAMPLE_RATE / hz / 2
        window = torch.where(time.abs() < half, 0.5 + 0.5 * torch.cos(math.pi * time / half), 0.0)
        tone = torch.polar(2 * window / window.sum(), 2 * math.pi * hz / SAMPLE_RATE * time)
        rows.append(torch.fft.fft(tone)[: middle + 1])
    spectra = torch.stack(rows)
    top = int(LOWEST_HZ * 2 ** (SEMITONES / 12) * 1.1 / SAMPLE_RATE * FFT)  # above it there is nothing
    return (spectra[:, :top].conj() / FFT).to(torch.complex64)


def constant_q(windows: Tensor) -> Tensor:
    """Magnitudes of 84 semitones in windows (..., FFT) of a mono sound, around their middle: (..., 84). A
    full-scale sine has magnitude 1."""
    kernels = _kernels().to(windows.device)
    spectrum = torch.fft.rfft(windows)[..., : kernels.shape[1]]
    return (spectrum @ kernels.T).abs()


def strongest(magnitude: Tensor, count: int = STRONGEST) -> Tensor:
    """Salience from magnitudes (..., 84): the `count` strongest, 1 for the loudest down to 0 for SALIENCE_DB
    below it. Silence has none."""
    level = 20 * torch.log10(magnitude.clamp_min(1e-6))
    loudest = level.amax(-1, keepdim=True)
    salience = (1 + (level - loudest) / SALIENCE_DB).clamp(0, 1) * (loudest > SILENCE_DB)
    least = salience.topk(count, -1).values[..., -1:]
    return torch.where(salience >= least, salience, 0.0)


def loudnesses(mono: Tensor) -> Tensor:
    """Level of each quarter of a latent frame, mono (..., n FRAME_SAMPLES) to (..., n, 4): 0 at SILENCE_DB, 1
    at the level of a full-scale sine."""
    power = mono.unflatten(-1, (-1, LOUDNESSES, FRAME_SAMPLES // LOUDNESSES)).square().mean(-1)
    return (1 - 10 * torch.log10((2 * power).clamp_min(1e-9)) / SILENCE_DB).clamp(0, 1)


def _frames(padded: Tensor, count: int) -> Tensor:
    """Values (88, count) of the frames of a mono sound that has FFT / 2 - FRAME_SAMPLES / 2 samples before
    the first frame."""
    before = FFT // 2 - FRAME_SAMPLES // 2
    windows = padded.unfold(0, FFT, FRAME_SAMPLES)[:count]
    level = loudnesses(padded[before : before + count * FRAME_SAMPLES])
    pitch = torch.cat([strongest(constant_q(some)) for some in windows.split(64)])  # memory stays flat
    return torch.cat([pitch, level], -1).T.contiguous()


@in_float32()
def sketch(audio: Tensor) -> Sketch:
    """The sketch of a sound (2, N) at 44.1 kHz, a batch of one: all of its T = ceil(N / 2048) frames, pitch
    and loudness.

    Raises ValueError for other shapes, no samples, NaN or infinite samples.
    """
    if audio.ndim != 2 or audio.shape[0] != 2 or not audio.shape[1]:
        raise ValueError(
            f"a sound is (2, samples), not {tuple(audio.shape)}: see lmdm_mini.audio.to_stereo()."
        )
    check_finite(audio)
    stream = StreamSketch()
    parts = [stream(audio), stream.flush()]
    values = torch.cat([part.values for part in parts], -1)
    return Sketch(values, torch.ones(1, 2, values.shape[-1]))


class StreamSketch:
    """The sketch of a sound as it comes. Call with the next samples (2, n), n >= 0; returns the frames that
    are ready. `flush()` returns the rest, as if silence followed. Cut in whatever way, a sound has one
    sketch."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.buffer = torch.zeros(FFT // 2 - FRAME_SAMPLES // 2, dtype=torch.float32)  # mono
        self.samples = self.given = 0

    def __call__(self, audio: Tensor) -> Sketch:
        self.samples += audio.shape[-1]
        return self._feed(audio.float().mean(0))

    def _feed(self, mono: Tensor) -> Sketch:
        self.buffer = torch.cat([self.buffer, mono])
        before = FFT // 2 - FRAME_SAMPLES // 2
        ready = max(0, (len(self.buffer) - before - AHEAD) // FRAME_SAMPLES)
        if not ready:
            return Sketch(torch.zeros(1, SKETCH_CHANNELS, 0), torch.ones(1, 2, 0))
        missing = before + ready * FRAME_SAMPLES + FFT // 2 - FRAME_SAMPLES // 2 - len(self.buffer)
        values = _frames(F.pad(self.buffer, (0, max(0, missing))), ready)
        self.buffer = self.buffer[ready * FRAME_SAMPLES :]
        self.given += ready
        return Sketch(values[None], torch.ones(1, 2, ready))

    def flush(self) -> Sketch:
        """The frames still owed; then forgets everything."""
        missing = -(-self.samples // FRAME_SAMPLES) - self.given
        rest = self._feed(torch.zeros(missing * FRAME_SAMPLES + AHEAD))
        self.reset()
        return rest.map(lambda x: x[..., :missing])


# -- kept in few bytes -----------------------------------------------------------------------------------


def pack_sketch(given: Sketch) -> dict[str, Tensor]:
    """A batch of one as bytes, twelve a frame: "semitones" and "salience", (4, T) uint8, and "loudness", (4,
    T) uint8."""
    pitch, loudness = given.values[0].split((SEMITONES, LOUDNESSES))
    salience, semitones = pitch.topk(STRONGEST, 0)
    levels = {"salience": salience, "loudness": loudness}
    packed = {name: (255 * x).round().to(torch.uint8).contiguous() for name, x in levels.items()}
    return packed | {"semitones": semitones.to(torch.uint8).contiguous()}


def unpack_sketch(packed: dict[str, Tensor]) -> Sketch:
    """The inverse of :func:`pack_sketch`, up to a 510th."""
    loudness = packed["loudness"].float() / 255
    pitch = torch.zeros(SEMITONES, loudness.shape[-1])
    pitch.scatter_(0, packed["semitones"].long(), packed["salience"].float() / 255)
    return Sketch(torch.cat([pitch, loudness])[None], torch.ones(1, 2, loudness.shape[-1]))
