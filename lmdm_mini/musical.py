"""Is it music? Plain signal processing that a musician can check: tempo, key, loudness, silence, and copies.

Notebook: 02_rectified_flow.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE

HOP = 512
# Krumhansl and Kessler (1982): how well each semitone above the tonic fits a major and a minor key
MAJOR = torch.tensor([6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88])
MINOR = torch.tensor([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17])
SLOWEST, FASTEST = 55.0, 200.0


def spectrogram(audio: Tensor, n_fft: int) -> Tensor:
    """Magnitudes of mid (bins, F) of audio (2, N), a frame every 512 samples."""
    return torch.stft(audio.mean(0), n_fft, HOP, window=torch.hann_window(n_fft), return_complex=True).abs()


def onset_strength(audio: Tensor) -> Tensor:
    """How much rises from frame to frame, over log-spaced bands: (F,), 86 a second."""
    power = spectrogram(audio, 1024).square()
    edges = torch.logspace(math.log10(1), math.log10(len(power)), 33).round().long().unique()
    bands = torch.stack([power[a:b].sum(0) for a, b in zip(edges[:-1], edges[1:])])
    level = torch.log10(bands + 1e-5 * bands.mean() + 1e-9)
    rise = F.relu(level[:, 1:] - level[:, :-1]).mean(0)
    smooth = F.avg_pool1d(rise[None, None], 87, stride=1, padding=43, count_include_pad=False)[0, 0]
    return F.relu(rise - smooth)


def tempo(audio: Tensor) -> tuple[float, float]:
    """Beats a minute of audio (2, N), and how regular it is, 0 to 1. From the autocorrelation of onset
    strength at one, two and four beats, weighted towards 110 bpm. Silence is (0, 0)."""
    onsets = onset_strength(audio)
    if onsets.sum() < 1e-6 or len(onsets) < 400:
        return 0.0, 0.0
    onsets = onsets - onsets.mean()
    size = 2 * len(onsets)
    correlation = torch.fft.irfft(torch.fft.rfft(onsets, size).abs().square(), size)[: len(onsets)]
    correlation = (
        correlation / correlation[0] * len(onsets) / (len(onsets) - torch.arange(len(onsets))).clamp_min(100)
    )
    bpm = torch.linspace(SLOWEST, FASTEST, 1451)
    lag = 60 * SAMPLE_RATE / HOP / bpm

    def at(lags: Tensor) -> Tensor:
        low = lags.floor().long().clamp(max=len(correlation) - 2)
        return torch.lerp(correlation[low], correlation[low + 1], lags - low)

    strength = (at(lag) + at(2 * lag) + at(4 * lag)) / 3
    best = int((strength * torch.exp(-0.5 * (torch.log2(bpm / 110) / 0.9).square())).argmax())
    return float(bpm[best]), float(strength[best].clamp(0, 1))


def beat_phase(audio: Tensor, bpm: float) -> float:
    """Where in a beat, from 0 to 1, audio (2, N) ends if its tempo is `bpm`: by the phase of its onsets."""
    onsets = onset_strength(audio)
    beats = (torch.arange(len(onsets)) + 1) * HOP / SAMPLE_RATE * bpm / 60
    first = torch.atan2(
        (onsets * (2 * math.pi * beats).sin()).sum(), (onsets * (2 * math.pi * beats).cos()).sum()
    ) / (2 * math.pi)
    return float((audio.shape[-1] / SAMPLE_RATE * bpm / 60 - first) % 1)


def same_tempo(found: float, wanted: float, tolerance: float = 0.04) -> bool:
    """Whether two tempi agree, an octave (half or double) aside."""
    return found > 0 and any(abs(found / (wanted * factor) - 1) <= tolerance for factor in (0.5, 1.0, 2.0))


def nearest_octave(bpm: float, wanted: float) -> float:
    """`bpm`, its double or its half: the one nearest to `wanted`."""
    return min((bpm / 2, bpm, bpm * 2), key=lambda one: abs(math.log2(one / wanted)))


def chroma(audio: Tensor) -> Tensor:
    """How much each of the twelve notes sounds in audio (2, N), whatever the octave: (12,), the first is
    A."""
    magnitude = spectrogram(audio, 8192)
    hertz = torch.arange(len(magnitude)) * SAMPLE_RATE / 8192
    inside = (hertz > 60) & (hertz < 4000)
    pitch = (12 * torch.log2(hertz[inside] / 440)).round().long() % 12
    weight = magnitude[inside].sqrt().mean(1)  # mean over frames
    return torch.zeros(12).index_add(0, pitch, weight) / torch.bincount(pitch, minlength=12)


def key_clarity(audio: Tensor) -> float:
    """Largest correlation of the chroma of audio (2, N) with the 24 key profiles: about .9 for tonal music,
    .3 for noise."""
    profiles = torch.stack([torch.roll(profile, k) for profile in (MAJOR, MINOR) for k in range(12)])
    return float(torch.corrcoef(torch.cat([chroma(audio)[None], profiles]))[0, 1:].nan_to_num().max())


def loudness_db(audio: Tensor) -> float:
    """Root mean square level in dB, 0 for a full-scale square wave."""
    return float(10 * torch.log10(audio.square().mean() + 1e-10))


def silence_ratio(audio: Tensor, below_db: float = -50.0) -> float:
    """Share of tenths of a second whose level is below `below_db`."""
    parts = audio[:, : audio.shape[1] // 4410 * 4410].unflatten(1, (-1, 4410))
    return float((10 * torch.log10(parts.square().mean((0, 2)) + 1e-10) < below_db).float().mean())


def nearest_distance(windows: Tensor, bank: Tensor) -> Tensor:
    """Root mean square distance of each latent window (B, 64, T) to the nearest of a bank (M, 64, T), (B,): 0
    = a copy."""
    a, b = windows.flatten(1), bank.flatten(1)
    return torch.cdist(a, b).amin(1) / a.shape[1] ** 0.5
