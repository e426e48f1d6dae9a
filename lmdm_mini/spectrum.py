"""What the codec hears and draws: a short-time Fourier transform (STFT), told in features that do not depend on phase.

Absolute phases carry next to nothing for the ear, but cost any model dearly. So a frame is described by what
*changes* them, and the decoder integrates:

- `size` (1025): magnitudes of mid, the mean of left and right, to the power 0.2: between linear and decibel.
- `turn` (384 x 2): how far the phase of each low bin turned since the last frame, beyond what the middle of its
  bin would turn: the instantaneous frequency, so the exact pitch. A vector as long as `size`.
- `lean` (32 x 2): the slope of phase over frequency in 32 bands, the group delay: where in the frame a hit sits.
- `place` (40 x 3): in 40 bands the panning, the quadrature and the energy of side, so left and right.
- `level` (40): the energy of mid in 40 bands of the ear's scale, as a magnitude to the power 0.2. `size` would do in
  theory; but bins hold much that nobody hears, and a model of few numbers must know what comes first.

`synthesise` turns features back into left and right: each bin's phase goes on from its own and its neighbours'
last phases by `turn`, the way of a phase vocoder with (soft) phase locking, and where the sound rises
steeply it is set by `lean`. Everything is smooth and runs frame after frame with a small state.

Frames of 2,048 samples every 512; nothing is padded or centred, so that offline and streaming see the same.

Notebook: 01_sound_to_latents.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

N_FFT = 2048
HOP = 512
BINS = N_FFT // 2 + 1
AMPLITUDE = N_FFT / 4  # a full-scale sine under a Hann window has this STFT magnitude: scaled to 1
FLOOR = 1e-6  # magnitudes below -120 dB count as silence
POWER = 0.2  # `size` is magnitude to this power
TURN_BINS, LEAN_BANDS, PLACE_BANDS, LEVEL_BANDS = 384, 32, 40, 40
FEATURE_SIZES = (BINS, 2 * TURN_BINS, 2 * LEAN_BANDS, 3 * PLACE_BANDS, LEVEL_BANDS)
FEATURES = sum(FEATURE_SIZES)


def stft(audio: Tensor) -> Tensor:
    """STFT without padding: (..., N) -> (..., frames, BINS) complex; a full-scale sine peaks at 1."""
    window = torch.hann_window(N_FFT, device=audio.device) / AMPLITUDE
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(flat, N_FFT, HOP, window=window, center=False, return_complex=True)
    return spectrum.transpose(1, 2).reshape(*audio.shape[:-1], -1, BINS)


def overlap_add(spectrum: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`stft`, piece by piece: (B, C, frames, BINS) -> the finished samples
    (B, C, frames*HOP) and the unfinished tail that the next piece is added to."""
    window = torch.hann_window(N_FFT, device=spectrum.device) * (AMPLITUDE / 1.5)  # Hann squared sums to 1.5
    frames = torch.fft.irfft(spectrum, n=N_FFT) * window
    parts = frames.unflatten(-1, (-1, HOP))  # (B, C, F, 4, HOP)
    count = parts.shape[2]
    out = parts.new_zeros(*parts.shape[:2], count + N_FFT // HOP - 1, HOP)
    for i in range(N_FFT // HOP):
        out[:, :, i : i + count] += parts[:, :, :, i]
    if tail is not None:
        out[:, :, : N_FFT // HOP - 1] += tail
    return out[:, :, :count].flatten(2), out[:, :, count:]


# -- bands and constants ---------------------------------------------------------------------------
# They are kept, so they must not be made as inference tensors, which training could not use afterwards.


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def bands(count: int) -> Tensor:
    """(count, BINS) of 0 and 1: bands of equal width in ERB rate (the ear's scale), at least a bin each."""
    def hertz(rate: float) -> float:
        return (10 ** (rate / 21.4) - 1) / 0.00437

    top = 21.4 * math.log10(1 + 0.00437 * 22050)
    edges = [0]
    for i in range(1, count + 1):
        edges.append(max(edges[-1] + 1, round(hertz(top * i / count) / 22050 * (BINS - 1))))
    edges[-1] = BINS
    bank = torch.zeros(count, BINS)
    for i in range(count):
        bank[i, edges[i] : edges[i + 1]] = 1
    return bank


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def ear_weight() -> Tensor:
    """(BINS,): how much of the ear's ERB scale a bin covers, with mean 1."""
    weight = 1 / (228.8 + torch.linspace(0, 22050, BINS))  # derivative of the ERB rate, up to a factor
    return weight / weight.mean()


@lru_cache(maxsize=2)
@torch.inference_mode(False)
def slow_to_fast(frames: int) -> Tensor:
    """(frames, frames) orthonormal cosine transform over time (DCT-II): row 0 is what stays, the last what alternates."""
    k = torch.arange(frames)
    matrix = torch.cos(math.pi / frames * (k + 0.5) * k[:, None]) * (2 / frames) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _signs() -> Tensor:
    """Moves the phase reference to the middle of the frame, where all bins of a steady tone agree."""
    return 1.0 - 2.0 * (torch.arange(BINS) % 2)


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _quarter_turns() -> Tensor:
    """(BINS, 2) cosine and sine of what the middle of bin k turns in a hop: k quarter turns."""
    quarter = torch.arange(BINS) % 4
    return torch.stack([torch.tensor([1.0, 0, -1, 0])[quarter], torch.tensor([0.0, 1, 0, -1])[quarter]], -1)


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _dice(rows: int = 997) -> Tensor:
    """(rows, BINS) complex: fixed random phases, for what has no phase of its own."""
    angle = torch.rand(rows, BINS, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    return torch.polar(torch.ones_like(angle), angle)


# -- analysis --------------------------------------------------------------------------------------


def describe(real: Tensor, imag: Tensor) -> Tensor:
    """STFT of left and right, real and imaginary parts (B, 2, F+1, BINS) -> features (B, F, FEATURES).

    The first frame is only looked back at. Features in the order of the module's docstring.
    """
    sign = _signs().to(real.device)
    mr, mi = (real[:, 0] + real[:, 1]) / 2 * sign, (imag[:, 0] + imag[:, 1]) / 2 * sign
    sr, si = (real[:, 0] - real[:, 1]) / 2 * sign, (imag[:, 0] - imag[:, 1]) / 2 * sign
    power = mr.square() + mi.square()
    # real and imaginary part, turned against the quarter turns of the bin's middle
    k = TURN_BINS
    ar, ai, br, bi = mr[:, 1:, :k], mi[:, 1:, :k], mr[:, :-1, :k], mi[:, :-1, :k]
    xr, xi = ar * br + ai * bi, ai * br - ar * bi
    c, s = _quarter_turns()[:k].to(real.device).unbind(-1)
    xr, xi = xr * c + xi * s, xi * c - xr * s
    power, mr, mi, sr, si = power[:, 1:], mr[:, 1:], mi[:, 1:], sr[:, 1:], si[:, 1:]
    size = (power + FLOOR**2) ** (POWER / 2) - FLOOR**POWER
    shrink = size[..., :k] * torch.rsqrt(xr.square() + xi.square() + FLOOR**4)
    turn = torch.cat([xr * shrink, xi * shrink], -1)
    gr, gi = mr[..., 1:] * mr[..., :-1] + mi[..., 1:] * mi[..., :-1], mi[..., 1:] * mr[..., :-1] - mr[..., 1:] * mi[..., :-1]
    length = gr.square() + gi.square() + FLOOR**4
    flat, count = length**-0.375, length**0.125  # vectors of length (product of magnitudes)^(1/4)
    lean_bank = bands(LEAN_BANDS)[:, 1:].T.contiguous().to(real.device)
    total = (count @ lean_bank).clamp_min(1e-4)
    loud = (size[..., 1:] @ lean_bank) / lean_bank.sum(0)
    lean = torch.cat([(gr * flat) @ lean_bank / total * loud, (gi * flat) @ lean_bank / total * loud], -1)
    place_bank = bands(PLACE_BANDS).T.contiguous().to(real.device)
    side = (sr.square() + si.square()) @ place_bank
    total = power @ place_bank + side + FLOOR**2
    loud = (total / place_bank.sum(0)) ** (POWER / 2)
    pan, quadrature = (mr * sr + mi * si) @ place_bank, (mr * si - mi * sr) @ place_bank
    place = torch.cat([2 * pan / total * loud, 2 * quadrature / total * loud, side / total * loud], -1)
    level = (power @ bands(LEVEL_BANDS).T.contiguous().to(real.device) + FLOOR**2) ** (POWER / 2) - FLOOR**POWER
    return torch.cat([size, turn, lean, place, level], -1)


@dataclass
class Features:
    """The parts of a frame's description, each (B, F, ...); see the module's docstring."""

    size: Tensor  # (B, F, BINS), at least 0
    turn: Tensor  # (B, F, 2, TURN_BINS)
    lean: Tensor  # (B, F, 2, LEAN_BANDS)
    place: Tensor  # (B, F, 3, PLACE_BANDS)
    level: Tensor  # (B, F, LEVEL_BANDS), at least 0


def split_features(x: Tensor) -> Features:
    """(B, F, FEATURES) -> its parts; `size` and `level` are cut at 0."""
    size, turn, lean, place, level = x.split(FEATURE_SIZES, -1)
    return Features(size.clamp_min(0), turn.unflatten(-1, (2, -1)), lean.unflatten(-1, (2, -1)),
                    place.unflatten(-1, (3, -1)), level.clamp_min(0))


def magnitude(size: Tensor) -> Tensor:
    """`size` back to magnitude, 1 for a full-scale sine."""
    root = size + FLOOR**POWER
    return (root.square().square() * root - FLOOR).clamp_min(0)  # to the fifth, 1 / POWER


def levelled(size: Tensor, level: Tensor) -> Tensor:
    """Magnitudes of mid (B, F, BINS): those of `size`, with each band's energy as `level` says."""
    mag, bank = magnitude(size), bands(LEVEL_BANDS).to(size.device)
    gain = (magnitude(level) + FLOOR) * torch.rsqrt(mag.square() @ bank.T + FLOOR**2)
    return mag * (gain.clamp(0.01, 100) @ bank)


# -- synthesis -------------------------------------------------------------------------------------

LOCK = 1  # a bin takes its phase from itself and this many neighbours on each side
JITTER = 0.02  # a little of a fixed random phase: it makes the recursion forget, also rounding errors


def _unit(x: Tensor) -> Tensor:
    return x * (1 / (x.abs() + 1e-4))  # complex division is ten times slower


def mid_phase(f: Features, mag: Tensor, state: dict, count: int) -> tuple[Tensor, dict]:
    """Features and magnitudes of F frames -> unit phasors of mid (B, count, BINS) of the first `count` of them, referred
    to the frame's middle, and the state after those."""
    clock = state.get("clock", 0)
    dice = _dice().to(mag.device)
    rows = dice[(clock + torch.arange(mag.shape[1])) % len(dice)]  # (F, BINS)
    last_mag = state["mag"] if "mag" in state else torch.zeros_like(mag[:, :1])
    before = torch.cat([last_mag, mag[:, :-1]], 1)

    # steady sounds: where bin k and its neighbours come from, weighted by loudness
    turn = torch.zeros_like(mag, dtype=torch.complex64)
    turn[..., :TURN_BINS] = torch.complex(f.turn[:, :, 0], f.turn[:, :, 1])
    turn[..., TURN_BINS:] = f.size[..., TURN_BINS:]
    step = _unit(turn * (1 / (f.size + 0.02))) * torch.complex(*_quarter_turns().to(mag.device).unbind(-1))
    weight = mag * mag.sqrt()  # to the power 1.5
    span = 2 * LOCK + 1
    weights = F.pad(weight, (LOCK, LOCK)).unfold(-1, BINS, 1)  # (B, F, span, BINS)
    share = weights / (weights.sum(2, keepdim=True) + 1e-12)
    pull = F.pad(step, (LOCK, LOCK)).unfold(-1, BINS, 1) * share

    # sudden ones: phases run straight over frequency, as steep as the hit is late in the frame
    lean_bank = bands(LEAN_BANDS).to(mag.device)
    loud = (f.size @ lean_bank.T) / lean_bank.sum(1) + 0.02
    lean = f.lean / loud[:, :, None]  # (B, F, 2, LEAN_BANDS)
    sure = lean.square().sum(2).clamp(max=1) @ lean_bank
    slope = (torch.atan2(lean[:, :, 1], lean[:, :, 0]) @ lean_bank).cumsum(-1)
    steep = ((mag - before) / (mag + 1e-5)).clamp(0, 1).square().square()
    push = 4 * sure * steep
    push = torch.complex(push * slope.cos(), push * slope.sin()) + JITTER * rows

    u = state["phase"] if "phase" in state else dice[-1].expand(len(mag), -1)
    phases = []
    for i in range(count):
        near = F.pad(u, (LOCK, LOCK)).unfold(-1, BINS, 1)  # (B, span, BINS)
        u = _unit((pull[:, i] * near).sum(1) + push[:, i])
        phases.append(u)
    return torch.stack(phases, 1), {"phase": u, "mag": mag[:, count - 1 : count], "clock": (clock + count) % len(dice)}


def synthesise(f: Features, state: dict, count: int | None = None) -> tuple[Tensor, dict]:
    """Features (B, F, ...) -> complex STFT of left and right (B, 2, F, BINS), and the state to go on from.

    count: only the first `count` frames are real (None: all); the result and the state are theirs alone.
    """
    count = f.size.shape[1] if count is None else count
    mag = levelled(f.size, f.level)
    phase, state = mid_phase(f, mag, state, count)
    mid = mag[:, :count] * phase
    bank = bands(PLACE_BANDS).to(mid.device)
    total = (mag.square() @ bank.T) / bank.sum(1)
    loud = (total + FLOOR**2) ** (POWER / 2) + 0.02  # of mid; `place` was scaled by mid and side together:
    loud = loud / (1 - (f.place[:, :, 2] / loud).clamp(0, 0.98)) ** (POWER / 2)
    pan, quadrature, share = (f.place / loud[:, :, None]).unbind(2)
    share, pan, quadrature = share.clamp(0, 0.98), pan / 2, quadrature / 2
    keep = 1 / (1 - share)
    coherent = torch.complex(pan * keep, quadrature * keep)
    wide = (share * keep - coherent.abs().square()).clamp_min(0).sqrt()
    # what is wide but not panned is mid turned by a quarter, left or right from band to band: it changes no colour
    coherent = coherent + 1j * wide * (1 - 2 * (torch.arange(PLACE_BANDS, device=mid.device) % 2))
    side = mid * (coherent @ bank.to(coherent))[:, :count]
    sign = _signs().to(mid.device)
    return torch.stack([mid + side, mid - side], 1) * sign, state
