"""What the codec is trained to get right, all of it in features of `spectrum.py`: no inverse transform in the loop.

Every loss is relative to how much there is to get right in its item, so quiet items teach as much as loud ones.

Notebook: 01_sound_to_latents.
"""

import torch
import torchaudio.functional as AF
from torch import Tensor

from lmdm_mini.spectrum import BINS, FEATURE_SIZES, LEAN_BANDS, LEVEL_BANDS, PLACE_BANDS, TURN_BINS, ear_weight, levelled, slow_to_fast

SHARES = (1.0, 0.03, 0.02, 0.1, 40.0)  # of size, turn, lean, place and level in the principal components training starts from
# What changes from frame to frame (12 ms) is heard less than what stays. Weights of squared errors, slow to fast:
SLOW_SIZE, SLOW_LEVEL = (1.0, 0.5, 0.2, 0.1), (1.0, 0.6, 0.25, 0.1)


def mel_filters(mels: int = 128) -> Tensor:
    """(BINS, mels): Slaney's filters, the bands of the mel distance that the codec is judged by."""
    filters = AF.melscale_fbanks(BINS, 0.0, 22050.0, mels, 44100, norm="slaney", mel_scale="slaney")
    return filters / filters.sum(0, keepdim=True).clamp_min(1e-8)


def feature_weight() -> Tensor:
    """(4, FEATURES): how much a squared error counts for the principal components, see `Codec.start_linear`."""
    ear = ear_weight() / BINS
    parts = [ear, torch.cat([ear[:TURN_BINS]] * 2), torch.full((2 * LEAN_BANDS,), 1 / LEAN_BANDS),
             torch.full((3 * PLACE_BANDS,), 1 / PLACE_BANDS), torch.full((LEVEL_BANDS,), 1 / LEVEL_BANDS)]
    weight = BINS * torch.cat([share * part for share, part in zip(SHARES, parts)]).repeat(4, 1)
    weight[:, :BINS] *= torch.tensor(SLOW_SIZE)[:, None]
    weight[:, -LEVEL_BANDS:] *= torch.tensor(SLOW_LEVEL)[:, None]
    return weight


def codec_losses(made: Tensor, real: Tensor, ear: Tensor, filters: Tensor) -> dict[str, Tensor]:
    """Losses between features made and real, (B, F, FEATURES), F a multiple of 4: by name, each a scalar.

    size, level, place: absolute error, of size weighted by the ear's scale. bands: log-energies of 128 mel bands in what
    size and level give together. turn, lean: squared error, so that the length of what is drawn becomes how sure it is.
    """
    size, turn, lean, place, level = made.split(FEATURE_SIZES, -1)
    size_, turn_, lean_, place_, level_ = real.split(FEATURE_SIZES, -1)

    def relative(error: Tensor, amount: Tensor) -> Tensor:
        amount = amount.mean((1, 2))  # nearly silent items count less: half the batch's mean is the least
        return (error.mean((1, 2)) / (amount + 0.5 * amount.mean() + 1e-6)).mean() * 1.5

    def slow(error: Tensor, weights: tuple) -> Tensor:
        time = torch.tensor(weights).sqrt()[:, None] * slow_to_fast(4)
        return torch.einsum("kh,bthf->btkf", time, error.unflatten(1, (-1, 4))).flatten(1, 2)

    low = torch.cat([ear[:TURN_BINS]] * 2)
    losses = {
        "size": 1.5 * relative(ear * slow(size - size_, SLOW_SIZE).abs(), ear * size_),
        "level": 10 * relative(slow(level - level_, SLOW_LEVEL).abs(), level_),
        "turn": 0.08 * relative(low * (turn - turn_).square(), low * turn_.square()),
        "lean": 0.03 * relative((lean - lean_).square(), lean_.square()),
        "place": 0.15 * relative((place - place_).abs(), place_.abs()),
    }
    pair = ((size.clamp_min(0), level.clamp_min(0)), (size_, level_))
    energy, energy_ = (torch.log(levelled(*one).square() @ filters + 1e-11) / 2 for one in pair)
    weight = torch.exp(0.2 * energy_) + 0.1
    off = (weight * (energy - energy_).abs()).mean((1, 2)) / weight.mean((1, 2))
    return losses | {"bands": 0.5 * off.mean()}
