"""What the codec is trained to keep: distances between spectra.

Losses weigh a bin by its magnitude to the power 0.3 and by the ear's resolution there (ERB): without,
three quarters of the loss would sit above 5 kHz, where little music is.

Notebook: 01_sound_to_latents.
"""

import random

import torch
import torchaudio.functional as AF
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.spectrum import BINS, FLOOR

def ear_weight() -> Tensor:
    """(BINS,), mean 1: how many ERB (bands of the ear) a bin of the STFT spans."""
    frequency = torch.linspace(0, SAMPLE_RATE / 2, BINS)
    weight = 1 / (24.7 * (4.37 * frequency / 1000 + 1))
    return weight / weight.mean()


def mel_filters(bands: int = 128, bins: int = BINS) -> Tensor:
    """(bins, bands) triangular mel filters, each summing to one."""
    fb = AF.melscale_fbanks(bins, 20.0, SAMPLE_RATE / 2, bands, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return fb / fb.sum(0, keepdim=True).clamp_min(1e-8)


def mid_and_side(left: Tensor, right: Tensor, cos: Tensor) -> tuple[Tensor, Tensor]:
    """Log-magnitudes of mid and side from those of left and right and the cosine of their phase difference."""
    power = torch.exp(2 * left) + torch.exp(2 * right)
    cross = 2 * torch.exp(left + right) * cos
    mid = 0.5 * torch.log(((power + cross) / 4).clamp_min(0) + FLOOR**2)
    side = 0.5 * torch.log(((power - cross) / 4).clamp_min(0) + FLOOR**2)
    return mid, side


def four_views(left: Tensor, right: Tensor, cos: Tensor) -> Tensor:
    """Log-magnitudes of left, right, mid, side: (B, 4, F, BINS)."""
    return torch.stack([left, right, *mid_and_side(left, right, cos)], 1)


def magnitude_loss(left, right, cos, sin, target: Tensor, target_cos, target_sin, ear: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted distance of log-magnitudes of left, right, mid and side, and of the phase difference.

    Returns (bins, stereo, log-magnitudes of the four views).
    """
    cos = cos.clamp(-1, 1)
    views = four_views(left, right, cos)
    weight = ear * (torch.exp(0.3 * target) + 0.02)
    bins = (weight * (views - target).abs()).mean((1, 2, 3)) / weight.mean((1, 2, 3))
    loud_bins = torch.exp(0.3 * target)
    peaks = (ear * (torch.exp(0.3 * views) - loud_bins).abs()).mean((1, 2, 3)) / (ear * loud_bins).mean((1, 2, 3))
    bins = bins + 2 * peaks
    loud = ear * torch.exp(0.15 * (target[:, 0] + target[:, 1]))
    stereo = (loud * ((cos - target_cos).square() + (sin - target_sin).square())).mean((1, 2)) / loud.mean((1, 2)).clamp_min(1e-5)
    return bins.mean(), stereo.mean(), views


def band_loss(views: Tensor, target: Tensor, filters: Tensor) -> Tensor:
    """Distance of log-energies in 128 mel bands: what single noisy bins cannot tell, their band can."""
    def energy(log: Tensor) -> Tensor:
        return 0.5 * torch.log(torch.exp(2 * log) @ filters + FLOOR**2)

    made, real = energy(views), energy(target)
    weight = torch.exp(0.3 * real) + 0.1
    return ((weight * (made - real).abs()).mean((1, 2, 3)) / weight.mean((1, 2, 3))).mean()


def phase_loss(made: Tensor, real: Tensor, ear: Tensor) -> Tensor:
    """Group delay and instantaneous frequency, by the cosine of their errors, weighted by magnitude.

    made, real: STFT (B, 2, F, BINS) complex.
    """
    size = real.abs().clamp_min(FLOOR)
    weight = (size.sqrt() * ear.sqrt()).detach()
    u, v = made / made.abs().clamp_min(FLOOR), real / size

    def term(a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return (w * (1 - (a * b.conj()).real)).sum((1, 2, 3)) / w.sum((1, 2, 3))

    across = term(u[..., 1:] * u[..., :-1].conj(), v[..., 1:] * v[..., :-1].conj(), weight[..., 1:] * weight[..., :-1])
    along = term(u[..., 1:, :] * u[..., :-1, :].conj(), v[..., 1:, :] * v[..., :-1, :].conj(), weight[..., 1:, :] * weight[..., :-1, :])
    return (across + along + 0.3 * term(u, v, weight.square())).mean()


def multi_resolution_loss(made: Tensor, real: Tensor, rng: random.Random) -> Tensor:
    """Two STFT sizes drawn anew each step: spectral convergence and log-magnitude of the four views.

    made, real: audio (B, 2, N).
    """
    def views(x: Tensor) -> Tensor:
        return torch.cat([x, x.mean(1, keepdim=True), (x[:, :1] - x[:, 1:]) / 2], 1).flatten(0, 1)

    made, real = views(made), views(real)
    total = made.new_zeros(())
    for size in rng.sample([256, 512, 1024, 2048, 4096], 2):
        window = torch.hann_window(size) / (size / 4)
        a, b = (torch.stft(x, size, size // 4, window=window, return_complex=True).abs() for x in (made, real))
        ear = 1 / (228.8 + torch.linspace(0, SAMPLE_RATE / 2, size // 2 + 1))[:, None]
        weight = ear / ear.mean() * ((b + FLOOR) ** 0.3 + 0.02)
        log = (weight * ((a + 1e-5).log() - (b + 1e-5).log()).abs()).mean() / weight.mean()
        converge = ((a - b).norm(dim=(1, 2)) / (b.norm(dim=(1, 2)) + 0.02 * b.shape[1] ** 0.5)).mean()
        total = total + log + 0.5 * converge
    return total / 2
