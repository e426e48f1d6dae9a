"""The cache of keys and values of clean frames, which makes block diffusion fast enough to play live.

Context frames depend on clean latents alone: on no noise level, no prompt and no target. So their keys and
values are computed once. All denoising steps, both branches of guidance and every later prompt share them.

- `enc_dec`: the context is computed again for every block, since its frames attend to each other in both
  directions. It is cached for the K steps of that block: s + K o frame-forwards per block.
- `block_causal`: it is cached across blocks. Only the newest frames are computed: o + K o.

`KVCache` is a ring of slots, written in place, plus a fixed tail of slots for the frames being computed.
Attention does not depend on the order of keys, and keys carry their absolute positions (RoPE). So nothing is
ever moved, concatenated or grown. The input stem (what another musician plays) has a ring of its own in
front:

    [tail of the stem | ring of the stem | ring | tail]

A cache holds any number of independent streams that advance together, each with its own conditions. Nothing
here turns gradients off; the callers that play do.

Notebook: 05_kv_caching. Paper: section 3.2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.conditioning.conditions import Conditions, as_conditions
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, STEM_LOOK_BACK, sees_stem
from lmdm_mini.conditioning.text import Text
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.transformer import WINDOW, run_layers

# frames that can be rolled back while the window stays complete; at most so many are computed together
SLACK = 48
LONGEST = WINDOW  # latent frames of a target, at most


class KVCache:
    """Keys and values of `streams` streams of a model, for up to `branches` targets of each at a time (two
    with guidance).

    window: frames before its granule that a frame attends to. None: the model's look-back, or for `enc_dec`
    the whole context. `next_frame`: the position of the next frame, the same in all streams. Empty slots are
    masked, so missing context is simply absent.
    """

    def __init__(self, model: DiT, branches: int = 2, window: int | None = None, streams: int = 1):
        c = model.config
        if not model.variant.caches:
            raise ValueError("a bidirectional model cannot be cached: its context attends to the target.")
        usual = c.look_back if model.variant.across_blocks else WINDOW
        self.window = usual if window is None else window
        self.granule, self.streams, self.ring = c.granule, streams, self.window + SLACK
        # a target of up to LONGEST frames attends to the stem from the look-back before its beginning to the
        # visibility after its end
        reach = STEM_LOOK_BACK + 2 * MAX_VISIBILITY + LONGEST + SLACK
        self.stem_tail, self.stem_ring = (SLACK, reach) if "stem" in c.controls else (0, 0)
        slots = self.stem_tail + self.stem_ring + self.ring + LONGEST
        like, shape = model.any_tempo, (c.depth, branches * streams, c.heads, slots, c.width // c.heads)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        self.clear()

    def clear(self, next_frame: int = 0) -> None:
        """Empties the cache, the stem included. The next frame has position `next_frame`."""
        device = self.keys.device  # of the frame in each slot; -1: none
        self.positions = torch.full((self.streams, self.ring), -1, device=device)
        self.stem_positions = torch.full((self.streams, self.stem_ring), -1, device=device)
        self.next_frame = self.farthest = next_frame  # the latter: where it has been, rollbacks aside
        self.next_stem = next_frame

    def rollback(self, frame: int) -> None:
        """Drops the frames from position `frame` on, so that corrected ones can be added (a microphone was
        late).

        Raises ValueError if that is more than the slack, because older frames are overwritten by then.
        """
        if not max(0, self.farthest - SLACK) <= frame <= self.next_frame:
            raise ValueError(
                f"cannot go back to frame {frame}: it was at {self.farthest}, and at most {SLACK} frames "
                "can be taken back."
            )
        if frame % self.granule:
            raise ValueError(f"frame {frame} is not at the beginning of a granule of {self.granule}.")
        self.positions = self.positions.masked_fill(self.positions >= frame, -1)
        self.next_frame = frame

    # -- who attends to what -------------------------------------------------------------------------

    def mask(self, begins: Tensor, tail: Tensor) -> Tensor:
        """Returns a bias for attention logits, 0 or minus infinity: (rows, ring + n), or (streams, 1, rows,
        ring + n) for several streams.

        begins: (rows,); each row attends to the `window` cached frames before this position. tail: (rows, n)
        or (streams, rows, n), True where a row attends to one of the n frames being computed.
        """
        begins, at = begins[:, None], self.positions[:, None]  # (streams, 1, ring)
        seen = (at >= (begins - self.window).clamp_min(0)) & (at < begins)  # (streams, rows, ring)
        seen = torch.cat([seen, tail.expand(self.streams, *tail.shape[-2:])], -1)
        return _as_bias(seen if self.streams > 1 else seen[0], self.keys.dtype)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor, stem: bool = False
    ) -> Tensor:
        """Writes keys and values of the frames being computed, (B, H, n, head_width), into the tail and
        returns the attention of their queries: (B, H, n, head_width).

        mask: (rows, slots), a bias of :meth:`mask`. stem: whether the ring of the stem is included.
        """
        start = self.stem_tail if stem else self.stem_tail + self.stem_ring
        tail = self.stem_tail + self.stem_ring + self.ring
        keys, values = (
            kept[layer, : len(k), :, start : tail + k.shape[2]] for kept in (self.keys, self.values)
        )
        keys[:, :, tail - start :], values[:, :, tail - start :] = k, v
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

    def attend_in_stem(self, layer: int, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor) -> Tensor:
        """Does what :meth:`attend` does for frames of the stem, which attend to the stem alone."""
        start, stop = self.stem_tail - k.shape[2], self.stem_tail + self.stem_ring
        keys, values = (kept[layer, : len(k), :, start:stop] for kept in (self.keys, self.values))
        keys[:, :, : k.shape[2]], values[:, :, : k.shape[2]] = k, v
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)

    def keep(self, layer: int, slots: Tensor, source: int) -> None:
        """Copies the keys and values of one branch from slot `source` on into `slots` (n,), for all
        branches."""
        for kept in (self.keys, self.values):
            new = kept[layer, : self.streams, :, source : source + len(slots)]
            # one stream is broadcast to its branches; with one head, torch takes source and destination for
            # overlapping
            if self.streams > 1 or kept.shape[2] == 1:
                new = new.repeat(kept.shape[1] // self.streams, 1, 1, 1)
            kept[layer, :, :, slots] = new


def _as_bias(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """Returns the bias of a mask, 0 where True and minus infinity where False: (rows, n) stays, (B, rows, n)
    becomes (B, 1, rows, n)."""
    bias = torch.where(seen, 0.0, -torch.inf).to(dtype)
    return bias if bias.ndim == 2 else bias[:, None]


def _alone(present: Tensor, near: Tensor) -> Tensor:
    """Returns the mask (B, n, n) in which each frame attends to itself and to the frames that are `near`
    (n, n) and `present` (B, n)."""
    return near & present[:, None] | torch.eye(len(near), dtype=torch.bool, device=near.device)


# -- filling it ------------------------------------------------------------------------------------------


def prefill(model: DiT, cache: KVCache, x: Tensor, *, present: Tensor | None = None, start: int = 0) -> None:
    """Adds clean frames x (streams, 64, n) to the cache; n is a multiple of the granule.

    For `block_causal`, each new frame attends to its own granule and the window before it. For `enc_dec`, x
    is the whole context (at most the window) and replaces the cached one. present: (streams, n), False where
    a stream has no such frame; None: all frames are present. start: position of the first frame of an
    `enc_dec` context. Only differences of positions count, so it matters only with a stem.
    """
    count, whole = x.shape[-1], not model.variant.across_blocks
    if count % cache.granule:
        raise ValueError(f"{count} frames are no multiple of the granule of {cache.granule}.")
    if whole and count > cache.window:
        raise ValueError(f"the context has {count} frames; this cache holds {cache.window}.")
    if len(x) != cache.streams:
        raise ValueError(f"there are {len(x)} streams of frames; this cache holds {cache.streams}.")
    if whole:
        at = cache.next_stem, cache.stem_positions
        cache.clear(start)
        cache.next_stem, cache.stem_positions = at
    size = count if whole else SLACK
    for start in range(0, count, max(1, size)):
        part = x[..., start : start + size]
        some = None if present is None else present[:, start : start + size]
        _prefill_together(model, cache, part, present=some, granule=count if whole else cache.granule)


def _prefill_together(model: DiT, cache: KVCache, x: Tensor, *, present: Tensor | None, granule: int) -> None:
    """Adds several granules in one pass. In each layer, a frame attends to the keys that earlier frames of
    the same pass have just written."""
    positions = cache.next_frame + torch.arange(x.shape[-1], device=x.device)
    # of a frame's granule
    begins = cache.next_frame + torch.arange(x.shape[-1], device=x.device) // granule * granule
    tail = (positions < begins[:, None] + granule) & (positions >= begins[:, None] - cache.window)
    if present is not None:
        tail = _alone(present, tail)
    slots = positions % cache.ring
    cache.positions = cache.positions.index_fill(1, slots, -1)  # they are written layer by layer
    mask = cache.mask(begins, tail)
    ring = cache.stem_tail + cache.stem_ring
    destination = slots + ring if ring else slots

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = cache.attend(layer, q, k, v, mask=mask)
        cache.keep(layer, destination, ring + cache.ring)
        return found

    h = model.clean_in(x.transpose(1, 2))
    run_layers(model.layers, h, model.context_modulation(), table=model.rope(positions), attend=attend)
    kept = positions if present is None else torch.where(present, positions, -1)
    cache.positions = cache.positions.index_copy(1, slots, kept.expand(cache.streams, -1))
    cache.next_frame += x.shape[-1]
    cache.farthest = max(cache.farthest, cache.next_frame)


def prefill_stem(model: DiT, cache: KVCache, x: Tensor, *, present: Tensor | None = None) -> None:
    """Adds clean frames of the input stem, (streams, 64, n), to the ring of the stem; n is a multiple of the
    granule.

    present: (streams, n), False where a stream has no such frame; None: all frames are present. Raises
    ValueError for a model without a stem.
    """
    if not cache.stem_ring:
        raise ValueError("this model was not trained with stem: it has no place for one.")
    if x.shape[-1] % cache.granule or len(x) != cache.streams:
        raise ValueError(
            f"the stem is {tuple(x.shape)}: {cache.streams} streams, a multiple of {cache.granule} frames."
        )
    for start in range(0, x.shape[-1], SLACK):
        part = x[..., start : start + SLACK]
        some = (
            part.new_ones(len(part), part.shape[-1]) > 0
            if present is None
            else present[:, start : start + SLACK]
        )
        _prefill_stem_together(model, cache, part, present=some)


def _prefill_stem_together(model: DiT, cache: KVCache, x: Tensor, *, present: Tensor) -> None:
    count = x.shape[-1]
    positions = cache.next_stem + torch.arange(count, device=x.device)
    begins = (positions // cache.granule * cache.granule)[:, None]
    near = (positions < begins + cache.granule) & (positions >= begins - STEM_LOOK_BACK)
    at = cache.stem_positions[:, None]
    seen = (at >= (begins - STEM_LOOK_BACK).clamp_min(0)) & (at < begins)
    slots = positions % cache.stem_ring
    seen[..., slots] = (
        False  # these slots are overwritten layer by layer, and their old frames are out of reach
    )
    mask = _as_bias(torch.cat([_alone(present, near), seen], -1), cache.keys.dtype)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        found = cache.attend_in_stem(layer, q, k, v, mask=mask)
        cache.keep(layer, cache.stem_tail + slots, cache.stem_tail - count)
        return found

    h = model.stem_in(x.transpose(1, 2))
    run_layers(model.layers, h, model.context_modulation(), table=model.rope(positions), attend=attend)
    cache.stem_positions = cache.stem_positions.index_copy(1, slots, torch.where(present, positions, -1))
    cache.next_stem += count


# -- reading it ------------------------------------------------------------------------------------------


class CachedTarget:
    """Computes velocities of the next `count` frames, which attend to the cache.

    conditions: of B rows, which are the streams of the cache, once for each branch of guidance. All that is
    the same in every denoising step is computed in the constructor: keys and values of the prompts, rotary
    table, clock, sketch and mask. Of `conditions.stem` only `visible` and `present` are used; its frames are
    those in the cache, and a row without present frames attends to none. Calls do not change the rings. The
    result equals the forward pass over context and target, see `tests/test_kv_cache.py`.
    """

    def __init__(self, model: DiT, cache: KVCache, count: int, *, conditions: Conditions | Text):
        conditions = as_conditions(conditions)
        rows = len(conditions)
        if count > LONGEST or rows > cache.keys.shape[1] or rows % cache.streams:
            raise ValueError(
                f"a target of {rows} x {count} frames; this cache takes up to {cache.keys.shape[1]} x "
                f"{LONGEST}, "
                f"a multiple of {cache.streams} rows."
            )
        self.model, self.cache = model, cache
        device = cache.keys.device
        positions = cache.next_frame + torch.arange(count, device=device)
        self.given = model.prepare(conditions, positions)
        self.table = model.rope(positions)
        begin = torch.tensor([cache.next_frame], device=device)
        mask = cache.mask(begin, torch.ones(1, count, dtype=torch.bool, device=device))
        if cache.streams > 1:
            mask = mask.repeat(rows // cache.streams, 1, 1, 1)
        if conditions.stem is not None:
            stem, branches = conditions.stem, rows // cache.streams
            at = cache.stem_positions.repeat(branches, 1)
            seen = sees_stem(
                stem.visible, at, (at >= 0) & stem.present.any(1, keepdim=True)
            )  # (B, 1 or T, ring)
            own = mask.expand(rows, 1, *mask.shape[-2:]) if mask.ndim == 4 else mask.expand(rows, 1, -1, -1)
            own = own.expand(-1, -1, seen.shape[1], -1)
            mask = torch.cat([_as_bias(seen, mask.dtype), own], -1)
        self.mask, self.with_stem = mask, conditions.stem is not None

    def _attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.cache.attend(layer, q, k, v, mask=self.mask, stem=self.with_stem)

    def _from_prompt(self, layer: int, y: Tensor) -> Tensor:
        return self.model.layers[layer].cross(y, *self.given.prompts[layer])

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns the velocities (B, 64, count) of noisy frames x (B, 64, count) at noise level t (B,)."""
        model = self.model
        h = model.frames_in(x.transpose(1, 2)) + self.given.added
        modulation = model.modulation(t[:, None], self.given.global_cond)
        h = run_layers(
            model.layers, h, modulation, table=self.table, attend=self._attend, from_prompt=self._from_prompt
        )
        return model.velocity(h)
