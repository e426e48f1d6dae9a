"""What a live model learns from the base: its velocities, block by block, in windows of their own.

Notebook: 06_block_causal.
"""

import torch
from torch import Tensor

from lmdm_mini.diffusion.batches import FlowBatch
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import noised_sample
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.transformer import WINDOW

# of a stretch of `block_causal`: the base needs a window for each, which costs as much as the live model's
# own step
DISTIL_BLOCKS = 8


@torch.no_grad()
def base_velocity(base: DiT, batch: FlowBatch) -> Tensor:
    """What the base says of a batch for a live variant: (B, 64, S), 0 on context.

    Each block is asked about in a window of its own, with the context that the live model hears, and as the
    base hears it: in both directions, and together with the target. Of a context from another piece it hears
    nothing, for there it never learnt to leave it for the prompt.
    """
    size, channels, total = batch.x0.shape
    known = int(batch.context_mask[0].sum())
    blocks = torch.arange(known, total, device=batch.x0.device).unflatten(
        0, (-1, batch.block)
    )  # (n, o), n blocks
    first = blocks[:, 0]
    before = batch.positions[first][:, None] + torch.arange(-WINDOW, 0, device=batch.x0.device)  # (n, s)
    window = torch.cat([before.clamp_min(0), blocks], 1)  # (n, s + o) which frames of the batch
    heard = batch.attention_mask[:, 0, first].gather(2, window.expand(size, -1, -1))  # (B, n, s + o)
    heard[..., :WINDOW] &= before >= batch.own[:, None, None]
    x = noised_sample(batch.x0, batch.levels, batch.noise).x_t[..., window]  # (B, 64, n, s + o)
    text = batch.text.map(lambda y: y.repeat_interleave(len(blocks), 0))
    with fast_autocast(x.device.type):
        v = base(
            x.transpose(1, 2).flatten(0, 1),
            batch.levels[:, first].flatten(),
            text,
            batch.context_mask[:, window].flatten(0, 1),
            attention_mask=heard.flatten(0, 1)[:, None, None],
            beats=batch.beats[:, window].flatten(0, 1),
        )
    v = v[..., WINDOW:].unflatten(0, (size, -1)).transpose(1, 2).flatten(2)  # (B, 64, n o)
    return torch.cat([v.new_zeros(size, channels, known), v], -1)
