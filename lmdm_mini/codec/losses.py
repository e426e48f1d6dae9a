"""Losses of the codec, on the features of `spectrum.py`, without an inverse transform. Only when the decoder
is trained alone, its sound is compared, too (`sound_losses`).

Every loss is relative to the size of its target in the item, so quiet items count as much as loud ones.

Notebook: 01_sound_to_latents.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torchaudio.functional as AF
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec.spectrum import (
    BINS,
    CENTRE,
    DELAY_BANDS,
    EAR_BANDS,
    FEATURE_SIZES,
    FLOOR,
    FREQ_BINS,
    HOP,
    N_FFT,
    dct_matrix,
    erb_weight,
    match_level,
    mid_phase,
    overlap_add,
    split_features,
)

# of magnitude, inst_freq, group_delay, stereo and level in the principal components that training starts from
PCA_WEIGHTS = (1.0, 0.03, 0.02, 0.1, 40.0)
# Changes from frame to frame (12 ms) are less audible than what stays. Weights of squared errors, slow to
# fast:
TIME_MAGNITUDE, TIME_LEVEL = torch.tensor([1.0, 0.5, 0.2, 0.1]), torch.tensor([1.0, 0.6, 0.25, 0.1])
ERB_WEIGHT = erb_weight()
LOW_WEIGHT = ERB_WEIGHT[:FREQ_BINS].repeat(2)  # of inst_freq
SOUND_SIZES = (512, 1024, 2048)  # window lengths of the STFTs in `sound_losses`, in samples


def mel_bands(n_fft: int, n_mels: int) -> Tensor:
    """Slaney mel filters ``(n_mels, n_fft // 2 + 1)``, the ones auraloss takes from librosa."""
    bank = AF.melscale_fbanks(n_fft // 2 + 1, 0.0, SAMPLE_RATE / 2, n_mels, SAMPLE_RATE, "slaney", "slaney")
    return bank.T.contiguous()


@lru_cache(maxsize=8)
def mel_filters(n_fft: int, bands: int) -> Tensor:
    """(n_fft // 2 + 1, bands): averages over bands of the ear's scale, those of the mel distance that the
    codec is judged by."""
    filters = mel_bands(n_fft, bands).T.contiguous()
    return filters / filters.sum(0)


MEL_FILTERS = mel_filters(N_FFT, 128)


def pca_weight() -> Tensor:
    """(4, FEATURES): how much a squared error counts for the principal components, see
    `start_from_pca`."""
    parts = [ERB_WEIGHT / BINS, LOW_WEIGHT / BINS]
    parts += [
        torch.full((n * bands,), 1 / bands) for n, bands in ((2, DELAY_BANDS), (3, EAR_BANDS), (1, EAR_BANDS))
    ]
    weight = BINS * torch.cat([share * part for share, part in zip(PCA_WEIGHTS, parts)]).repeat(4, 1)
    weight[:, :BINS] *= TIME_MAGNITUDE[:, None]
    weight[:, -EAR_BANDS:] *= TIME_LEVEL[:, None]
    return weight


def codec_losses(made: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Losses between features made and real, (B, F, FEATURES), F a multiple of 4: by name, each a scalar.

    magnitude, level, stereo: absolute error, of magnitude weighted by the ear's scale. mel: log-energies of
    128 mel bands in what magnitude and level give together. inst_freq, group_delay: squared error, so that
    the length of what is drawn becomes how sure it is.
    """
    magnitude, inst_freq, group_delay, stereo, level = made.split(FEATURE_SIZES, -1)
    magnitude_, inst_freq_, group_delay_, stereo_, level_ = real.split(FEATURE_SIZES, -1)
    ear, low, filters = (x.to(made.device) for x in (ERB_WEIGHT, LOW_WEIGHT, MEL_FILTERS))

    def relative(error: Tensor, amount: Tensor) -> Tensor:
        amount = amount.mean((1, 2))  # nearly silent items count less: half the batch's mean is the least
        return (error.mean((1, 2)) / (amount + 0.5 * amount.mean() + 1e-6)).mean() * 1.5

    def slow_first(error: Tensor, weight: Tensor) -> Tensor:
        time = (weight.sqrt()[:, None] * dct_matrix(4)).to(error.device)
        return torch.einsum("kh,bthf->btkf", time, error.unflatten(1, (-1, 4))).flatten(1, 2)

    losses = {
        "magnitude": 1.5
        * relative(ear * slow_first(magnitude - magnitude_, TIME_MAGNITUDE).abs(), ear * magnitude_),
        "level": 20 * relative(slow_first(level - level_, TIME_LEVEL).abs(), level_),
        "inst_freq": 0.08 * relative(low * (inst_freq - inst_freq_).square(), low * inst_freq_.square()),
        "group_delay": 0.03 * relative((group_delay - group_delay_).square(), group_delay_.square()),
        "stereo": 0.25 * relative((stereo - stereo_).abs(), stereo_.abs()),
    }
    pair = ((magnitude.clamp_min(0), level.clamp_min(0)), (magnitude_, level_))
    energy, energy_ = (torch.log(match_level(*one).square() @ filters + 1e-11) / 2 for one in pair)
    weight = torch.exp(0.2 * energy_) + 0.1
    off = (weight * (energy - energy_).abs()).mean((1, 2)) / weight.mean((1, 2))
    return losses | {"mel": 0.5 * off.mean()}


def mel_magnitudes(sound: Tensor, n_fft: int) -> Tensor:
    """Mono sound (B, N) -> mean magnitudes of n_fft / 8 mel bands in STFTs of that length (B, frames,
    bands)."""
    window = torch.hann_window(n_fft, device=sound.device) * (4 / n_fft)  # a full-scale sine peaks at 1
    spectrum = torch.stft(sound, n_fft, n_fft // 4, window=window, center=False, return_complex=True)
    magnitude = (spectrum.real.square() + spectrum.imag.square() + FLOOR**2).sqrt()
    return magnitude.transpose(1, 2) @ mel_filters(n_fft, n_fft // 8).to(sound.device)


def sound_losses(made: Tensor, audio: Tensor, sizes: Sequence[int] = SOUND_SIZES) -> dict[str, Tensor]:
    """How far the sound of `made` is from what was encoded: by name, each a scalar.

    Features drawn well do not yet sound well: where phases do not quite fit, neighbouring frames cancel each
    other or add up to too much. So this loss compares sound after the inverse transform. Gradients reach
    magnitudes and levels, while phases are constants. Only mid is synthesised: it is the most audible part
    and half the work.

    made: (B, F, FEATURES); audio: (B, 2, N), the F + 1 STFT frames of which the last F have those features.
    sizes: each gives the two parts of the mel distance, convergence and logarithms.
    """
    f = split_features(made)
    magnitude = match_level(f.magnitude, f.level)
    phase, _ = mid_phase(f, magnitude, {}, count=made.shape[1])
    mid = magnitude[:, :, None] * phase * CENTRE.to(made.device)
    sound, _ = overlap_add(torch.complex(mid[:, :, 0], mid[:, :, 1])[:, None], None)
    lead = N_FFT // HOP - 1  # frames at the start over which windows do not add up yet
    sound, real = sound[:, 0, lead * HOP :], audio.mean(1)[:, (1 + lead) * HOP : (1 + made.shape[1]) * HOP]
    off = []
    for size in sizes:
        ours, target = (mel_magnitudes(x, size) for x in (sound, real))
        convergence = torch.linalg.vector_norm(ours - target, dim=(1, 2)) / (
            torch.linalg.vector_norm(target, dim=(1, 2)) + 1e-3
        )
        off.append((convergence + (ours.log() - target.log()).abs().mean((1, 2))).mean())
    return {"sound": torch.stack(off).mean()}
