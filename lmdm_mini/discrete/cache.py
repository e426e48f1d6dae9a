"""The cached Live Music Model: it makes one frame after another, and in each frame one code after another.

For a block the context is encoded once, and its keys and values are computed for every temporal layer. Then,
`o` times, one frame goes through the temporal transformer, and `n_q` times one code through the depth
transformer: `s + o` temporal and `o * n_q` depth forwards. They run in sequence, because each needs the code
that was drawn before. Guidance runs both branches as a batch of two; they share the context.

All memory is allocated once and written in place.

Notebook: 07_discrete_live_music_models. Paper: table 1 (the discrete rival).
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.conditioning.text import Text
from lmdm_mini.discrete.lmm import LMM
from lmdm_mini.transformer import BLOCKS, WINDOW, run_layers

LONGEST = BLOCKS[-1]  # latent frames of a block
Pick = Callable[[Tensor], Tensor]


class LMMCache:
    """Keys and values of one stream of a model, for up to `branches` prompts at a time (two with guidance).

    Temporal layers keep those of the context and one block, depth layers those of the codes of one frame. The
    cache also holds tensors that depend on weights alone, which keeps the inner loop short: it is made of
    many small operations, and their number decides its time. After a training step a model needs a new cache.
    """

    def __init__(self, model: LMM, branches: int = 2, window: int = WINDOW):
        c, like = model.config, model.start
        self.window, self.branches = window, branches
        shape = (c.temporal_layers, branches, c.heads, window + LONGEST, c.width // c.heads)
        self.keys, self.values = like.new_zeros(shape), like.new_zeros(shape)
        shape = (c.depth_layers, branches, c.depth_heads, c.n_q, c.depth_width // c.depth_heads)
        self.depth_keys, self.depth_values = like.new_zeros(shape), like.new_zeros(shape)
        # n_q of (codebook_size, depth_width): what a code adds to the input of the codes after it
        self.added = model.code_in(model.code_embeddings).unbind()
        self.heads = list(zip(model.code_heads.unbind(), model.head_bias.unbind()))


def _attend(keys: Tensor, values: Tensor, place: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Writes the newest key and value (B, H, 1, head_width) to slot `place` and returns the attention of the
    query to all slots up to this one."""
    keys.narrow(2, place, 1).copy_(k)
    values.narrow(2, place, 1).copy_(v)
    return F.scaled_dot_product_attention(q, keys.narrow(2, 0, place + 1), values.narrow(2, 0, place + 1))


class CachedBlock:
    """Makes the next `count` frames after `context`, codes (1, n_q, s).

    Each call returns the codes of the next frame, (n_q,). Its argument is a function that picks a code (1,)
    from logits (B, codebook_size). text: B prompts, at most the cache's branches. beats: (B, count),
    positions of the frames in beats. The result equals the forward pass of the model, see
    `tests/test_lmm.py`.
    """

    def __init__(
        self, model: LMM, cache: LMMCache, context: Tensor, count: int, *, text: Text, beats: Tensor
    ):
        c, size, batch = model.config, context.shape[-1], len(text.tokens)
        if size > cache.window or count > LONGEST or batch > cache.branches:
            raise ValueError(
                f"{batch} x {count} frames after {size}; this cache takes at most {cache.branches} x "
                f"{LONGEST} "
                f"after {cache.window}."
            )
        if context.shape[1] != c.n_q:
            raise ValueError(
                f"the context is {tuple(context.shape)}; this model needs codes (1, {c.n_q}, s)."
            )
        self.model, self.cache, self.size, self.count, self.made = model, cache, size, count, 0
        encoded, before = model.encode(context), model.rope(torch.arange(size, device=context.device))
        # keys and values of the layers
        self.kept: list[tuple[Tensor, Tensor]] = []
        self.depth_kept: list[tuple[Tensor, Tensor]] = []
        for i, keys in enumerate(model.context_keys):
            self.kept.append((cache.keys[i, :batch], cache.values[i, :batch]))
            for kept, new in zip(self.kept[i], keys(encoded, before)):
                kept[:, :, :size] = new
        for i in range(c.depth_layers):
            self.depth_kept.append((cache.depth_keys[i, :batch], cache.depth_values[i, :batch]))
        self.prompts = [layer.cross.keys_and_values(text.tokens, text.log_weight) for layer in model.temporal]
        self.modulation, self.clock = model.modulation(text), model.clock(beats, text.bpm)
        self.table = model.rope(size + torch.arange(count, device=context.device))
        self.codes = context.new_zeros(c.n_q, count, dtype=torch.long)
        # (1, 64), the previous frame as latents
        self.last = model.embed_codes(context[..., -1:]).sum(2)[0] if size else None

    def __call__(self, pick: Pick) -> Tensor:
        if self.made == self.count:
            raise ValueError(f"this block has its {self.count} frames.")
        codes = self.codes[:, self.made]
        self._depth_step(self._temporal_step(), pick, codes)
        self.last = self.model.embed_codes(codes[None, :, None]).sum(2)[0]
        self.made += 1
        return codes

    def _temporal_step(self) -> Tensor:
        """Runs the previous frame through the temporal transformer: (B, 1, W)."""
        model, i = self.model, self.made
        h = model.start if self.last is None else model.frames_in(self.last)
        h = h + self.clock[:, i : i + 1]  # (B, 1, W)
        h = run_layers(
            model.temporal,
            h,
            self.modulation,
            table=self.table[:, i : i + 1],
            attend=lambda layer, q, k, v: _attend(*self.kept[layer], self.size + i, q, k, v),
            from_prompt=lambda layer, y: model.temporal[layer].cross(y, *self.prompts[layer]),
        )
        return model.temporal_norm(h)

    def _depth_step(self, h: Tensor, pick: Pick, codes: Tensor) -> None:
        """Draws the codes of a frame with the depth transformer and writes them to `codes` (n_q,).

        h: (B, 1, W), the output of the temporal transformer for this frame.
        """
        starts = (self.model.frame_to_depth(h) + self.model.place).split(1, 1)  # n_q of (B, 1, depth_width)
        previous: Tensor | float = 0.0  # sum of the vectors of the codes drawn so far
        for j, (x, (head, bias)) in enumerate(zip(starts, self.cache.heads)):
            x = x + previous
            for layer, kept in zip(self.model.depth, self.depth_kept):
                x = layer(x, partial(_attend, *kept, j))
            code = pick(F.linear(self.model.depth_norm(x[:, 0]), head, bias))
            codes[j : j + 1] = code
            previous = previous + self.cache.added[j].index_select(0, code)
