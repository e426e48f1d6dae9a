"""The codec's features: a short-time Fourier transform (STFT), described so that absolute phase does not
matter.

Absolute phases carry next to nothing for the ear, but cost any model dearly. So a frame is described by what
*changes* them, and the decoder integrates:

- `magnitude` (1025): of mid, the mean of left and right, compressed by the power 0.2: between linear and
  decibel.
- `inst_freq` (384 x 2): instantaneous frequency of the low bins, as how far their phase turned since the last
  frame beyond what the middle of the bin would turn: the exact pitch. A vector as long as `magnitude`.
- `group_delay` (32 x 2): the slope of phase over frequency in 32 bands: where in the frame an onset sits.
- `stereo` (40 x 3): in 40 bands the panning, the quadrature and the energy of side, so left and right.
- `level` (40): the energy of mid in the same bands, compressed alike. `magnitude` would do in theory; but
  bins hold much that nobody hears, and a model of few numbers must know what comes first.

`synthesise` turns features back into left and right: each bin's phase goes on from its own and its
neighbours' last phases by `inst_freq`, the way of a phase vocoder with (soft) phase locking, and at onsets it
is set by `group_delay`. Everything is smooth and runs frame after frame with a small state.

Frames of 2,048 samples every 512; nothing is padded or centred, so that offline and streaming see the same.

Notebook: 01_sound_to_latents.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE

N_FFT = 2048
HOP = 512
BINS = N_FFT // 2 + 1
AMPLITUDE = N_FFT / 4  # a full-scale sine under a Hann window has this STFT magnitude: scaled to 1
FLOOR = 1e-6  # magnitudes below -120 dB count as silence
POWER = 0.2  # magnitudes are compressed by this power
FREQ_BINS, DELAY_BANDS, EAR_BANDS = 384, 32, 40
FEATURE_SIZES = (BINS, 2 * FREQ_BINS, 2 * DELAY_BANDS, 3 * EAR_BANDS, EAR_BANDS)
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


def erb_bands(count: int) -> Tensor:
    """(count, BINS) of 0 and 1: bands of equal width in ERB rate (the ear's scale), at least a bin each."""

    def hertz(rate: float) -> float:
        return (10 ** (rate / 21.4) - 1) / 0.00437

    nyquist = SAMPLE_RATE / 2
    top = 21.4 * math.log10(1 + 0.00437 * nyquist)
    edges = [0]
    for i in range(1, count + 1):
        edges.append(max(edges[-1] + 1, round(hertz(top * i / count) / nyquist * (BINS - 1))))
    edges[-1] = BINS
    bank = torch.zeros(count, BINS)
    for i in range(count):
        bank[i, edges[i] : edges[i + 1]] = 1
    return bank


def erb_weight() -> Tensor:
    """(BINS,): how much of the ear's ERB scale a bin covers, with mean 1."""
    weight = 1 / (
        228.8 + torch.linspace(0, SAMPLE_RATE / 2, BINS)
    )  # derivative of the ERB rate, up to a factor
    return weight / weight.mean()


def dct_matrix(frames: int) -> Tensor:
    """(frames, frames) orthonormal cosine transform (DCT-II): row 0 is what stays, the last what
    alternates."""
    return AF.create_dct(frames, frames, "ortho").T


def _random_phases(rows: int = 997) -> Tensor:
    angle = torch.rand(rows, BINS, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    return torch.stack([angle.cos(), angle.sin()], 1)


BANK, DELAY_BANK = erb_bands(EAR_BANDS), erb_bands(DELAY_BANDS)
CENTRE = 1.0 - 2.0 * (
    torch.arange(BINS) % 2
)  # signs that refer phases to the frame's middle, where a tone's bins agree
# what the middle of bin k turns in a hop: k quarter turns, as (BINS,) cosines and sines
QUARTER_TURNS = torch.tensor([[1.0, 0, -1, 0], [0.0, 1, 0, -1]])[:, torch.arange(BINS) % 4]
RANDOM_PHASES = _random_phases()  # (997, 2, BINS): cosines and sines, for what has no phase of its own


# -- analysis --------------------------------------------------------------------------------------


def compress(power: Tensor) -> Tensor:
    """Energies (squared magnitudes) to compressed magnitudes; silence is 0."""
    return (power + FLOOR**2) ** (POWER / 2) - FLOOR**POWER


def decompress(compressed: Tensor) -> Tensor:
    """Compressed magnitudes back to magnitudes, 1 for a full-scale sine."""
    root = compressed + FLOOR**POWER
    return (root.square().square() * root - FLOOR).clamp_min(0)  # to the fifth, 1 / POWER


def spectral_features(real: Tensor, imag: Tensor) -> Tensor:
    """STFT of left and right, real and imaginary parts (B, 2, F+1, BINS) -> features (B, F, FEATURES).

    The first frame only serves as the previous frame of the second. Features are in the order of the module's
    docstring. (Two real
    tensors, not a complex one, because torch.compile has no complex arithmetic.)
    """
    centre = CENTRE.to(real.device)
    mr, mi = (real[:, 0] + real[:, 1]) / 2 * centre, (imag[:, 0] + imag[:, 1]) / 2 * centre  # mid
    sr, si = (real[:, 0] - real[:, 1]) / 2 * centre, (imag[:, 0] - imag[:, 1]) / 2 * centre  # side

    k = FREQ_BINS  # a frame times the conjugate of the one before, turned back by the quarter turns
    ar, ai, br, bi = mr[:, 1:, :k], mi[:, 1:, :k], mr[:, :-1, :k], mi[:, :-1, :k]
    xr, xi = ar * br + ai * bi, ai * br - ar * bi
    c, s = QUARTER_TURNS[:, :k].to(real.device)
    xr, xi = xr * c + xi * s, xi * c - xr * s
    mr, mi, sr, si = mr[:, 1:], mi[:, 1:], sr[:, 1:], si[:, 1:]
    power = mr.square() + mi.square()
    magnitude = compress(power)
    length = magnitude[..., :k] * torch.rsqrt(xr.square() + xi.square() + FLOOR**4)
    inst_freq = torch.cat([xr * length, xi * length], -1)

    # a bin times the conjugate of the one below it, as vectors as long as the fourth root of that product's
    # size
    gr, gi = (
        mr[..., 1:] * mr[..., :-1] + mi[..., 1:] * mi[..., :-1],
        mi[..., 1:] * mr[..., :-1] - mr[..., 1:] * mi[..., :-1],
    )
    length = gr.square() + gi.square() + FLOOR**4
    bank = DELAY_BANK[:, 1:].T.contiguous().to(real.device)
    total = (length**0.125 @ bank).clamp_min(1e-4)
    loud = (magnitude[..., 1:] @ bank) / bank.sum(0)
    shrink = length**-0.375
    group_delay = torch.cat([(gr * shrink) @ bank / total * loud, (gi * shrink) @ bank / total * loud], -1)

    bank = BANK.T.contiguous().to(real.device)
    mid, side = power @ bank, (sr.square() + si.square()) @ bank
    total = mid + side + FLOOR**2
    loud = (total / bank.sum(0)) ** (POWER / 2)
    pan, quadrature = (mr * sr + mi * si) @ bank, (mr * si - mi * sr) @ bank
    stereo = torch.cat([2 * pan / total * loud, 2 * quadrature / total * loud, side / total * loud], -1)
    return torch.cat([magnitude, inst_freq, group_delay, stereo, compress(mid)], -1)


@dataclass
class Features:
    """The parts of a frame's features, each (B, F, ...); see the module's docstring."""

    magnitude: Tensor  # (B, F, BINS), at least 0
    inst_freq: Tensor  # (B, F, 2, FREQ_BINS)
    group_delay: Tensor  # (B, F, 2, DELAY_BANDS)
    stereo: Tensor  # (B, F, 3, EAR_BANDS)
    level: Tensor  # (B, F, EAR_BANDS), at least 0


def split_features(x: Tensor) -> Features:
    """(B, F, FEATURES) -> its parts; `magnitude` and `level` are cut at 0."""
    magnitude, inst_freq, group_delay, stereo, level = x.split(FEATURE_SIZES, -1)
    return Features(
        magnitude.clamp_min(0),
        inst_freq.unflatten(-1, (2, -1)),
        group_delay.unflatten(-1, (2, -1)),
        stereo.unflatten(-1, (3, -1)),
        level.clamp_min(0),
    )


def match_level(magnitude: Tensor, level: Tensor) -> Tensor:
    """Magnitudes of mid (B, F, BINS), no longer compressed, with the energy of each band set to `level`."""
    mag, bank = decompress(magnitude), BANK.to(magnitude.device)
    gain = (decompress(level) + FLOOR) * torch.rsqrt(mag.square() @ bank.T + FLOOR**2)
    return mag * (gain.clamp(0.01, 100) @ bank)


# -- synthesis -------------------------------------------------------------------------------------

LOCK = 1  # a bin takes its phase from itself and this many neighbours on each side
JITTER = 0.02  # a little of a fixed random phase: it makes the recursion forget, also rounding errors


def _with_neighbours(x: Tensor) -> Tensor:
    """(..., BINS) -> (..., 2 * LOCK + 1, BINS): every bin's neighbourhood."""
    return F.pad(x, (LOCK, LOCK)).unfold(-1, BINS, 1)


@torch.no_grad()
def mid_phase(f: Features, mag: Tensor, state: dict, *, count: int) -> tuple[Tensor, dict]:
    """Features and magnitudes of F frames -> unit phasors of mid (B, count, 2, BINS), real and imaginary, of
    the first `count` of them, referred to the frame's middle, and the state after those. Gradients take
    phases for given.

    Complex numbers are pairs of planes, real and imaginary: several times faster here than complex tensors.
    """
    clock = state.get("clock", 0)
    random_phases = RANDOM_PHASES.to(mag.device)
    last_mag = state["mag"] if "mag" in state else torch.zeros_like(mag[:, :1])
    before = torch.cat([last_mag, mag[:, :-1]], 1)

    # steady sounds go on turning: each bin from itself and its neighbours, weighted by loudness
    turn = torch.zeros(2, *mag.shape, device=mag.device)
    turn[0] = 1
    length = f.inst_freq.square().sum(2) + (1e-4 * (f.magnitude[..., :FREQ_BINS] + 0.02)).square()
    turn[..., :FREQ_BINS] = (f.inst_freq * torch.rsqrt(length)[:, :, None]).movedim(2, 0)
    c, s = QUARTER_TURNS.to(mag.device)
    turn = torch.stack([turn[0] * c - turn[1] * s, turn[0] * s + turn[1] * c])
    weight = mag * mag.sqrt()
    turn *= weight
    total = _with_neighbours(weight).sum(2, keepdim=True) + 1e-12  # (B, F, 1, BINS)

    # at onsets phases run straight over frequency, as steep as the onset is late in the frame
    bank = DELAY_BANK.to(mag.device)
    loud = (f.magnitude @ bank.T) / bank.sum(1) + 0.02
    delay = f.group_delay / loud[:, :, None]  # (B, F, 2, DELAY_BANDS)
    confidence = delay.square().sum(2).clamp(max=1) @ bank
    phase = (torch.atan2(delay[:, :, 1], delay[:, :, 0]) @ bank).cumsum(-1)
    rise = ((mag - before) / (mag + 1e-5)).clamp(0, 1).square().square()
    onset = 4 * confidence * rise
    onset = torch.stack([onset * phase.cos(), onset * phase.sin()], 2)
    onset.add_(
        random_phases[(clock + torch.arange(mag.shape[1])) % len(random_phases)], alpha=JITTER
    )  # (B, F, 2, BINS)
    onset *= total  # instead of a division of what is carried: lengths do not matter in the end

    u = state["phase"] if "phase" in state else random_phases[-1].expand(len(mag), -1, -1)
    now = F.pad(torch.cat([-u[:, 1:], u], 1), (LOCK, LOCK))  # minus imaginary, real, imaginary
    # u and i times u
    plain, turned = now[:, 1:].unfold(-1, BINS, 1).unbind(2), now[:, :2].unfold(-1, BINS, 1).unbind(2)
    carried = _with_neighbours(turn)[:, :, :count, :, None]  # (2, B, count, 3, 1, BINS), a view
    phases = onset[
        :, :count
    ]  # the sums are made in place, and what does not change is cut outside of the loop
    parts = zip(
        phases.unbind(1),
        *(part.unbind(1) for part in phases.split(1, 2)),
        *(part.unbind(1) for part in carried),
    )
    inner, negative = now[:, 1:, LOCK:-LOCK], now[:, 0, LOCK:-LOCK]
    for u, real, imag, along, across in parts:
        for a, b, x, ix in zip(along.unbind(1), across.unbind(1), plain, turned):
            u.addcmul_(a, x).addcmul_(b, ix)
        u /= torch.hypot(real, imag)
        inner.copy_(u)
        torch.neg(u[:, 1], out=negative)
    clock = (clock + count) % len(random_phases)
    return phases, {"phase": u.clone(), "mag": mag[:, count - 1 : count], "clock": clock}


def synthesise(features: Tensor, state: dict, count: int | None = None) -> tuple[Tensor, dict]:
    """Features (B, F, FEATURES) -> complex STFT of left and right (B, 2, F, BINS), and the state to go on
    from.

    count: only the first `count` frames are real (None: all); the result and the state are theirs alone.
    """
    f = split_features(features)
    count = features.shape[1] if count is None else count
    mag = match_level(f.magnitude, f.level)
    phase, state = mid_phase(f, mag, state, count=count)
    mid = mag[:, :count, None] * phase  # (B, count, 2, BINS)
    bank = BANK.to(mid.device)
    total = (mag.square() @ bank.T) / bank.sum(1)
    loud = (total + FLOOR**2) ** (POWER / 2) + 0.02  # of mid; `stereo` was scaled by mid and side together:
    loud = loud / (1 - (f.stereo[:, :, 2] / loud).clamp(0, 0.98)) ** (POWER / 2)
    pan, quadrature, share = (f.stereo / loud[:, :, None]).unbind(2)
    share, pan, quadrature = share.clamp(0, 0.98), pan / 2, quadrature / 2
    keep = 1 / (1 - share)
    pan, quadrature = pan * keep, quadrature * keep
    wide = (share * keep - pan.square() - quadrature.square()).clamp_min(0).sqrt()
    # what is wide but not panned is mid turned by a quarter, left or right from band to band: it changes no
    # colour
    quadrature = quadrature + wide * (1 - 2 * (torch.arange(EAR_BANDS, device=mid.device) % 2))
    a, b = (torch.stack([pan, quadrature], 2) @ bank)[:, :count].unbind(2)  # side = mid times a + ib
    side = torch.stack([mid[:, :, 0] * a - mid[:, :, 1] * b, mid[:, :, 0] * b + mid[:, :, 1] * a], 2)
    both = torch.stack([mid + side, mid - side], 1) * CENTRE.to(mid.device)  # (B, 2, count, 2, BINS)
    return torch.complex(both[:, :, :, 0], both[:, :, :, 1]), state
