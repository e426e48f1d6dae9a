"""Masks that say which frames attend to which.

A mask is True where a query (a row) may attend to a key (a column). Clean frames are cut into granules,
always at the same positions, so that their cached keys and values do not depend on how blocks were cut.

Notebooks: 04_reparameterization (`enc_dec_mask`), 06_block_causal (`block_causal_mask`). Paper: section 3.2.
"""

import torch
from torch import Tensor

from lmdm_mini.transformer import GRANULE, WINDOW


def enc_dec_mask(context_mask: Tensor) -> Tensor:
    """Returns the mask (B, 1, T, T) in which context attends to context, and target to everything.

    context_mask: (B, T), 1 = context.
    """
    context = context_mask.bool()
    return context[:, None, None, :] | ~context[:, None, :, None]


def copies_mask(clean: Tensor, noisy: Tensor, begins: Tensor, *, window: int, granule: int) -> Tensor:
    """Returns the mask (C + N, C + N) of the copies [clean | noisy].

    A clean frame attends to its own granule and the `window` frames before that. A noisy one attends to its
    own block (noisy) and to the `window` clean frames before the block. Nothing clean attends to anything
    noisy.

    clean, noisy: (C,) and (N,), positions in time of the frames. begins: (N,), where the block of each noisy
    frame begins.
    """
    granules, blocks = (clean // granule * granule)[:, None], begins[:, None]
    among_clean = (clean < granules + granule) & (clean >= granules - window)
    before = (clean < blocks) & (clean >= blocks - window)
    own = begins == blocks
    nothing = torch.zeros(len(clean), len(noisy), dtype=torch.bool, device=clean.device)
    return torch.cat([torch.cat([among_clean, nothing], 1), torch.cat([before, own], 1)])


def block_causal_mask(frames: int, block: int, window: int = WINDOW, *, granule: int = GRANULE) -> Tensor:
    """Returns the mask (2 T, 2 T) of the copies [clean | noisy] of T = `frames` frames, cut into blocks of
    equal length. See :func:`copies_mask`."""
    place = torch.arange(frames)
    return copies_mask(place, place, place // block * block, window=window, granule=granule)


def joined_masks(stem: Tensor, visible: Tensor, own: Tensor | None) -> Tensor:
    """Returns the mask of [stem | window], (B, 1, S + T, S + T). No stem frame attends to the window.

    stem: (B, S, S). visible: (B, 1 or T, S), which stem frames the window attends to. own: the window's mask,
    (T, T) or (B, 1, T, T), or None where every frame attends to all T of them; then `visible` has T rows.
    """
    batch, size = stem.shape[:2]
    count = visible.shape[1] if own is None else own.shape[-1]
    own = visible.new_ones(count, count) if own is None else own
    own = own.expand(batch, 1, count, count)
    above = torch.cat([stem, stem.new_zeros(batch, size, count)], -1)[:, None]
    return torch.cat([above, torch.cat([visible.expand(batch, count, size)[:, None], own], -1)], 2)
