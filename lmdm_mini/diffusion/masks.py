"""Masks that say which frames attend to which.

A mask is True where a query may attend to a key. Frames are cut into granules, always at the same places, so
that the keys and values kept of clean frames do not depend on how blocks were cut.

Notebooks: 04_reparameterization (`enc_dec_mask`), 06_block_causal (`block_causal_mask`). Paper: section 3.2.
"""

import torch
from torch import Tensor

from lmdm_mini.transformer import GRANULE, WINDOW


def enc_dec_mask(context_mask: Tensor) -> Tensor:
    """Of windows whose context is marked 1, (B, T): context looks at context, target at everything: (B, 1, T,
    T)."""
    context = context_mask.bool()
    return context[:, None, None, :] | ~context[:, None, :, None]


def block_causal_mask(frames: int, block: int, window: int = WINDOW, granule: int = GRANULE) -> Tensor:
    """Of the copies [clean | noisy] of `frames` frames: (2 T, 2 T).

    A clean frame looks at its own granule and the `window` frames before that. A noisy one looks at its own
    block (noisy) and at the `window` clean frames before the block. Nothing clean looks at anything noisy.
    """
    place = torch.arange(frames)
    granules, blocks = place // granule * granule, place // block * block  # where one's own begins
    clean = (place < granules[:, None] + granule) & (place >= granules[:, None] - window)
    before = (place < blocks[:, None]) & (place >= blocks[:, None] - window)
    own = blocks == blocks[:, None]
    return torch.cat([torch.cat([clean, torch.zeros_like(own)], 1), torch.cat([before, own], 1)])
