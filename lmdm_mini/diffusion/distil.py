"""Distillation targets of the live models: the base's velocities, computed block by block.

This is not in the paper. The velocity of the data is a noisy target, because many pieces of music fit the
same noisy input. The base has learnt the mean over all of them. A live model that learns the base's velocity
only has to learn the difference that its masks make.

Notebook: 06_block_causal.
"""

from dataclasses import replace

import torch
from torch import Tensor

from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, STEM_LOOK_BACK, Stem
from lmdm_mini.diffusion.batches import FlowBatch
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import noised_sample
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.transformer import WINDOW

# noisy blocks of a stretch of `block_causal`: the base needs a window for each, which costs as much as the
# live model's own step
DISTIL_BLOCKS = 8


@torch.no_grad()
def base_velocity(base: DiT, batch: FlowBatch) -> Tensor:
    """Returns the base's velocities for a batch of a live variant: (B, 64, S), 0 on context.

    Each block gets a window of its own with WINDOW frames of context before it, however far back the live
    model attends in one layer: over its layers it learns of frames further back. In it the base attends in
    both directions, to context and target together. What is missing from the context is masked, and so is a
    context from another piece, because the base was never trained to follow the prompt against its context.
    """
    size, channels, total = batch.x0.shape
    context = int(batch.context_mask[0].sum())
    device = batch.x0.device
    blocks = torch.arange(context, total, device=device).unflatten(0, (-1, batch.block))  # (n, o), n blocks
    first = blocks[:, 0]
    before = batch.positions[first][:, None] + torch.arange(-WINDOW, 0, device=device)  # (n, s)
    window = torch.cat([before.clamp_min(0), blocks], 1)  # (n, s + o) numbers of frames in the batch
    assert batch.missing is not None and batch.splice_end is not None, "a batch of a live variant has both"
    seen = (before >= torch.maximum(batch.missing, batch.splice_end)[:, None, None]) & (before >= 0)
    seen = torch.cat([seen, seen.new_ones(size, len(blocks), batch.block)], 2)  # (B, n, s + o)
    x = noised_sample(batch.x0, batch.levels, batch.noise).x_t[..., window]  # (B, 64, n, s + o)
    with fast_autocast(x.device.type):
        v = base(
            x.transpose(1, 2).flatten(0, 1),
            batch.levels[:, first].flatten(),
            in_windows(batch.conditions, window, batch.positions[first], block=batch.block),
            batch.context_mask[:, window].flatten(0, 1),
            attention_mask=seen.flatten(0, 1)[:, None, None],
        )
    v = v[..., WINDOW:].unflatten(0, (size, -1)).transpose(1, 2).flatten(2)  # (B, 64, n o)
    return torch.cat([v.new_zeros(size, channels, context), v], -1)


def in_windows(conditions: Conditions, window: Tensor, begins: Tensor, *, block: int) -> Conditions:
    """Returns the conditions of B stretches as those of B n windows of WINDOW context frames and a block.

    window: (n, s + o), indices of frames. begins: (n,), where blocks begin, counted as `stem.positions` are.
    """
    count = len(window)
    every = replace(conditions, beats=None, sketch=None, stem=None).map(
        lambda x: x.repeat_interleave(count, 0)
    )
    if conditions.beats is not None:
        every.beats = conditions.beats[:, window].flatten(0, 1)
    if conditions.sketch is not None:
        every.sketch = conditions.sketch.map(lambda x: x[..., window].transpose(1, 2).flatten(0, 1))
    if (stem := conditions.stem) is not None:
        reach = torch.arange(
            -2 * STEM_LOOK_BACK - MAX_VISIBILITY, block + MAX_VISIBILITY, device=window.device
        )
        rows = begins[:, None] + reach - stem.positions[0]  # (n, r) numbers of stem frames
        inside, rows = (rows >= 0) & (rows < len(stem.positions)), rows.clamp(0, len(stem.positions) - 1)
        visible = stem.visible[:, window[:, -1]] - (begins - WINDOW)[:, None]  # (B, n, 2)
        every.stem = Stem(
            stem.latents[..., rows].transpose(1, 2).flatten(0, 1),
            (stem.present[:, rows] & inside).flatten(0, 1),
            WINDOW + reach,
            visible.flatten(0, 1)[:, None],
        )
    return every
