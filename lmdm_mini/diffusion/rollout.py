"""Roll-outs for training: a model plays on from its own output, and one parallel pass gives the same numbers
with gradient.

A cached roll-out of many streams yields, block after block, the noisy input of its last step and its output.
All blocks then go through the network once, as copies [clean = context + own outputs, detached | noisy
inputs] with the block-causal mask: the same numbers, but with gradient, in one pass instead of one for every
block and step. Gradient reaches keys and values of the clean path and of the conditions, too.

Notebook: 09_arc_forcing (planned). Paper: section 3.3 (ARC-Forcing).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from lmdm_mini.codec.codec import LATENT_CHANNELS
from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.conditioning.stem import Stem
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import schedule
from lmdm_mini.diffusion.kv_cache import CachedTarget, KVCache, prefill, prefill_stem
from lmdm_mini.diffusion.masks import copies_mask


@dataclass
class Rollout:
    """The record of a roll-out: what B streams played after their context.

    context: (B, 64, C), clean. present: (B, C), False where a stream has no such frame. blocks: latent frames
    of each block, N in all. noisy: (B, 64, N), the input of the last step of each block. t: (N,), its noise
    level. made: (B, 64, N), the output of that step, `noisy - t * v`. look_back: frames before its granule
    that a frame attended to.
    """

    context: Tensor
    present: Tensor
    blocks: tuple[int, ...]
    noisy: Tensor
    t: Tensor
    made: Tensor
    look_back: int


def roll_out(
    model: DiT,
    context: Tensor,
    conditions: Conditions,
    *,
    blocks: Sequence[int],
    levels: Sequence[Sequence[float]],
    generator: torch.Generator,
    present: Tensor | None = None,
    look_back: int | None = None,
) -> Rollout:
    """Continues B streams from `context` (B, 64, C), block after block.

    Each block is sampled by ping-pong: at every level the model estimates the music, and fresh noise takes
    the estimate back to the next lower level. The last estimate is played and becomes context.

    conditions: of all frames after the context. A stem's positions count from the context's first frame and
    may begin before it, with a whole granule; beats are given beside it. levels: the noise levels of each
    block, from 1 down; a block may stop early, and then its last estimate is that of a higher level. present:
    (B, C), False where context is missing. look_back: see :class:`KVCache`. Call it under `torch.no_grad()`;
    gradients come from :func:`parallel_pass`.
    """
    if not model.variant.across_blocks:
        raise ValueError(f"roll-outs are for block_causal models; this is {model.config.variant}.")
    batch, _, size = context.shape
    cache = KVCache(model, branches=1, window=look_back, streams=batch)
    if conditions.stem is not None:
        conditions = replace(conditions, stem=_placed(cache, conditions.stem))
    prefill(model, cache, context, present=present)
    noisy, made, last = [], [], []
    at = 0
    for count, steps in zip(blocks, levels, strict=True):
        frames = torch.arange(at, at + count, device=context.device)
        given = conditions.take(frames)
        if given.stem is not None:
            _fill_stem(model, cache, given.stem)
        target = CachedTarget(model, cache, count, conditions=given)
        x = estimate = _fresh(context, count, generator)
        for i, t in enumerate(steps):
            if i:
                x = (1 - t) * estimate + t * _fresh(context, count, generator)
            estimate = x - t * target(x, x.new_full((batch,), t))
        prefill(model, cache, estimate)
        noisy.append(x)
        made.append(estimate)
        last += [steps[-1]] * count
        at += count
    present = context.new_ones(batch, size) > 0 if present is None else present
    t = context.new_tensor(last)
    return Rollout(
        context, present, tuple(blocks), torch.cat(noisy, -1), t, torch.cat(made, -1), cache.window
    )


def _placed(cache: KVCache, stem: Stem) -> Stem:
    """Begins the cache where the stem begins, and returns the stem at positions of the cache, which are never
    below 0. Only differences of positions count."""
    first = int(stem.positions[0])
    if first % cache.granule:
        raise ValueError(f"the stem begins at frame {first}, inside a granule of {cache.granule}.")
    later = max(0, -first)
    cache.clear(later)
    cache.next_stem = first + later
    return replace(stem, positions=stem.positions + later, visible=stem.visible + later)


def _fill_stem(model: DiT, cache: KVCache, stem: Stem) -> None:
    """Adds the stem to the cache as far as the next block may attend to it, in whole granules."""
    first = int(stem.positions[0])
    here, until = cache.next_stem - first, min(int(stem.visible[..., 1].max()) - first, len(stem.positions))
    count = max(0, until - here) // cache.granule * cache.granule
    if count:
        rows = slice(here, here + count)
        prefill_stem(model, cache, stem.latents[..., rows], present=stem.present[:, rows])


def _fresh(like: Tensor, count: int, generator: torch.Generator) -> Tensor:
    shape = (len(like), LATENT_CHANNELS, count)
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def draw_levels_of_steps(
    blocks: int, steps: int, generator: torch.Generator, *, from_nothing: bool = False
) -> list[list[float]]:
    """Draws noise levels for the blocks of a roll-out. Each block stops after k of the `steps` steps, with k
    drawn from 1 to `steps`, both ends included. from_nothing: the first block has no context and gets all
    steps."""
    levels = schedule(steps)[:-1].tolist()
    counts = (1 + torch.randint(steps, (blocks,), generator=generator)).tolist()
    if from_nothing:
        counts[0] = steps
    return [levels[:count] for count in counts]


def parallel_pass(model: DiT, rollout: Rollout, conditions: Conditions) -> Tensor:
    """Computes the outputs of a roll-out again, (B, 64, N), in one pass with gradient.

    conditions: of all frames after the context, the same as for :func:`roll_out`.
    """
    device = rollout.context.device
    size, count = rollout.context.shape[-1], rollout.noisy.shape[-1]
    clean = torch.arange(size + count, device=device)
    noisy = size + torch.arange(count, device=device)
    starts = [0, *accumulate(rollout.blocks)]
    begins = [start for start, length in zip(starts, rollout.blocks) for _ in range(length)]
    begins = size + torch.tensor(begins, device=device)  # of each noisy frame's block
    mask = copies_mask(clean, noisy, begins, window=rollout.look_back, granule=model.config.granule)
    batch = len(rollout.context)
    present = torch.cat([rollout.present, rollout.present.new_ones(batch, 2 * count)], 1)
    mask = mask & present[:, None, None, :] | torch.eye(len(mask), dtype=torch.bool, device=device)
    x = torch.cat([rollout.context, rollout.made.detach(), rollout.noisy], -1)
    # clean frames ignore conditions, so the first frame's stand in for theirs
    places = torch.cat([clean.new_zeros(size + count), torch.arange(count, device=device)])
    t = torch.cat([x.new_zeros(size + count), rollout.t]).expand(batch, -1)
    context_mask = torch.cat([x.new_ones(batch, size + count), x.new_zeros(batch, count)], 1)
    v = model(
        x,
        t,
        conditions.take(places),
        context_mask,
        positions=torch.cat([clean, noisy]),
        attention_mask=mask,
    )[..., size + count :]
    return rollout.noisy - rollout.t * v
