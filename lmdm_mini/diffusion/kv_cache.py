"""Keys and values of clean frames, kept: what makes block diffusion live.

Context frames hear clean sound alone: no noise level, no prompt, no target. So their keys and values are
computed once and serve every denoising step, both branches of guidance, and every prompt that comes.

- `enc_dec`: the context is computed anew for every block (its frames look at each other in both directions),
  then kept for the K steps of that block: s + K o frame-forwards a block.
- `block_causal`: it is kept across blocks, too; only the newest frames are computed: o + K o.

`KVCache` is a ring of slots, written in place, plus a fixed tail of slots for the frames in work. Attention
does not care about order, and keys carry their absolute positions (RoPE), so nothing is ever moved, joined or
grown.

Notebook: 05_kv_caching. Paper: section 3.2.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.conditioning.text import Text
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.transformer import GRANULE, WINDOW

SLACK = 48  # frames that can be taken back without missing any of the window


class KVCache:
    """Memory of one stream of a model, for up to `branches` targets at a time (two with guidance).

    `next_frame` is the position of the next frame to come. Missing context is absent: empty slots are masked.
    """

    def __init__(self, model: DiT, branches: int = 2, window: int = WINDOW):
        c = model.config
        if c.variant == "bidirectional":
            raise ValueError(
                "a bidirectional model cannot be cached: what it thinks of the context depends on the target."
            )
        self.ring, self.window = window + SLACK, window
        shape = (c.depth, branches, c.heads, self.ring + WINDOW, c.width // c.heads)  # the ring, and the tail
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        self.clear()

    def clear(self, next_frame: int = 0) -> None:
        """Forgets everything; goes on at position `next_frame`."""
        self.positions = torch.full((self.ring,), -1)  # of the frame in each slot; -1: none
        self.next_frame = self.farthest = next_frame  # the latter: where it has been, rollbacks aside

    @torch.inference_mode()
    def rollback(self, frame: int) -> None:
        """Forgets the frames from position `frame` on, because they will come again (a microphone was late).

        Raises ValueError if more is taken back than the slack, for then older frames are gone already.
        """
        if not max(0, self.farthest - SLACK) <= frame <= self.next_frame:
            raise ValueError(
                f"cannot go back to frame {frame}: it was at {self.farthest}, and at most {SLACK} frames can be taken back."
            )
        if frame % GRANULE:
            raise ValueError(f"frame {frame} is not at the beginning of a granule of {GRANULE}.")
        self.positions[self.positions >= frame] = -1
        self.next_frame = frame

    def mask(self, begins: Tensor, tail: Tensor) -> Tensor:
        """What is added to attention logits, 0 or minus infinity: (rows, ring + count). A row sees the ring
        from the window before `begins` (rows,) up to there, and of the frames in work what `tail` (rows,
        count) says."""
        begins = begins[:, None]
        seen = (self.positions >= (begins - self.window).clamp_min(0)) & (self.positions < begins)
        return torch.where(torch.cat([seen, tail], 1), 0.0, -torch.inf)

    def attend(self, layer: int, mask: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Puts keys and values of the frames in work, (B, H, n, head_width), in the tail, and lets their
        queries look at what the mask (rows, ring + n) shows: (B, H, n, head_width)."""
        keys, values = (
            kept[layer, : len(k), :, : self.ring + k.shape[2]] for kept in (self.keys, self.values)
        )
        keys[:, :, self.ring :], values[:, :, self.ring :] = k, v
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

    def keep(self, layer: int, slots: Tensor) -> None:
        """Copies the first keys and values of the tail, of the first branch, into `slots` (n,) of the ring,
        for all branches."""
        for kept in (self.keys, self.values):
            kept[layer, :, :, slots] = kept[layer, :1, :, self.ring : self.ring + len(slots)]


@torch.inference_mode()
def prefill(model: DiT, cache: KVCache, x: Tensor) -> None:
    """Takes clean frames x (1, 64, n) into the cache, behind what is there; n is a multiple of 12.

    `block_causal` computes these frames only, each looking at its own granule and the window before it.
    `enc_dec` looks at its context as a whole: there x is all of it (at most the window), and what was there
    before is forgotten.
    """
    count, whole = x.shape[-1], model.config.variant == "enc_dec"
    if count % GRANULE:
        raise ValueError(f"{count} frames are no multiple of the granule of {GRANULE}.")
    if whole and count > cache.window:
        raise ValueError(f"the context has {count} frames; this cache holds {cache.window}.")
    if whole:
        cache.clear()
    if count:
        for part in x.split(count if whole else SLACK, -1):
            _prefill_together(model, cache, part, count if whole else GRANULE)


def _prefill_together(model: DiT, cache: KVCache, x: Tensor, granule: int) -> None:
    """Several granules in one pass: in each layer, a frame looks at what the earlier ones have just put
    there."""
    positions = cache.next_frame + torch.arange(x.shape[-1])
    begins = cache.next_frame + torch.arange(x.shape[-1]) // granule * granule  # of each frame's granule
    tail = (positions < begins[:, None] + granule) & (positions >= begins[:, None] - cache.window)
    slots = positions % cache.ring
    cache.positions[slots] = -1  # they are written layer by layer
    mask = cache.mask(begins, tail)
    h, table = model.clean_in(x.transpose(1, 2)), model.rope(positions)
    modulation = model.context_modulation()
    for i, layer in enumerate(model.layers):
        h = layer(h, modulation, table, partial(cache.attend, i, mask), None)
        cache.keep(i, slots)
    cache.positions[slots] = positions
    cache.next_frame += x.shape[-1]
    cache.farthest = max(cache.farthest, cache.next_frame)


class CachedTarget:
    """Velocities of the `count` frames that come next, for the prompts `text` (B), B at most the cache's
    branches.

    What is the same in all denoising steps is computed once, when it is made: keys and values of the prompts,
    positions, the clock (beats as :meth:`DiT.clock` takes them), and what the cache shows. Nothing in the
    ring changes. A call equals the forward pass over everything, see `tests/test_kv_cache.py`.
    """

    @torch.inference_mode()
    def __init__(self, model: DiT, cache: KVCache, count: int, text: Text, beats: Tensor | None = None):
        batch = len(text.tokens)
        if count > WINDOW or batch > cache.keys.shape[1]:
            raise ValueError(
                f"a target of {batch} x {count} frames; this cache takes at most {cache.keys.shape[1]} x {WINDOW}."
            )
        self.model, self.cache, self.words = model, cache, model.read(text)
        self.mask = cache.mask(torch.tensor([cache.next_frame]), torch.ones(1, count, dtype=torch.bool))
        positions = cache.next_frame + torch.arange(count)
        self.table, self.clock = model.rope(positions), model.clock(beats, positions, text.bpm)

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Noisy frames x (B, 64, count) at noise level t (B,) to velocities (B, 64, count)."""
        h, modulation = (
            self.model.frames_in(x.transpose(1, 2)) + self.clock,
            self.model.modulation(t[:, None], self.words.global_cond),
        )
        for i, (layer, words) in enumerate(zip(self.model.layers, self.words.layers)):
            h = layer(
                h,
                modulation,
                self.table,
                partial(self.cache.attend, i, self.mask),
                lambda y: layer.cross.look(y, *words),
            )
        return self.model.velocity(h)
