"""The transformer that diffusion and discrete models share: attention with rotary positions (RoPE), a layer,
and the loop over layers.

Every path of every model goes through :func:`run_layers`: training on whole windows, filling a cache, and
denoising with one. The paths pass in different functions for attention and cross-attention.

Notebook: 02_rectified_flow. Paper: section 3.1.
"""

from collections.abc import Callable, Iterable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.conditioning.text import TEXT_CHANNELS

GRANULE = 12  # latent frames
BLOCKS = (12, 24, 48)  # latent frames of a block; one live model plays all three
WINDOW = 192  # latent frames of context that a frame attends to in a layer
Attend = Callable[
    [Tensor, Tensor, Tensor], Tensor
]  # queries, keys, values (B, H, T, head_width) to (B, H, T, head_width)


def rope_table(positions: Tensor, head_width: int, base: float = 10000.0) -> Tensor:
    """Returns cosines and signed sines of `positions` (T,) for :func:`rotate`: (2, T, head_width).

    The angles are computed in float64: in float32 they are off by 2.5e-3 after an hour of frames.
    """
    rates = base ** (
        -torch.arange(0, head_width, 2, dtype=torch.float64, device=positions.device) / head_width
    )
    angles = positions.double()[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)]).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotates x (B, T, ..., head_width) by the angles of :func:`rope_table`. Channel i and the channel half a
    head further form a pair."""
    cos, sin = table.to(x.dtype).view(*table.shape[:2], *(1,) * (x.ndim - 3), table.shape[-1])
    # as few operations as possible: for a block of 12 frames, their number decides the time
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def norm(x: Tensor, weight: Tensor) -> Tensor:
    """Returns the root mean square norm of x. torch.nn.RMSNorm takes twice as long on a processor, where it
    is four operations."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
    return x / length * (weight * x.shape[-1] ** 0.5)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention, (B, H, T, C), where `mask` is True, or with a bias of the logits.

    Training in bfloat16 on a processor writes it out as two products and a softmax: torch's fused kernel
    takes twice as long there, most of it in the backward pass.
    """
    if not (q.requires_grad and q.dtype == torch.bfloat16 and q.device.type == "cpu"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1) @ v


class SelfAttention(nn.Module):
    """Multi-head self-attention with RoPE and normalised queries and keys: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, table: Tensor, attend: Attend = F.scaled_dot_product_attention) -> Tensor:
        """x: (B, T, W). table: of :func:`rope_table`. attend: the attention function, see `Attend`."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, H, head_width)
        # queries and keys together: for a block of 12 frames, the number of operations decides the time
        scale = torch.stack([self.query_norm.weight, self.key_norm.weight])[:, None]
        q, k = rotate(norm(qkv[:, :, :2], scale), table).transpose(1, 3).unbind(2)
        v = qkv[:, :, 2].transpose(1, 2)
        return self.project(attend(q.to(v.dtype), k.to(v.dtype), v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention from frames (B, T, W) to text tokens (B, S, C), whose log weights (B, S) are added to the
    logits. A learned token is always present, so a prompt without tokens has one to attend to."""

    def __init__(self, width: int, heads: int, channels: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(channels, 2 * width, bias=False)
        self.nothing = nn.Parameter(torch.randn(channels) * 0.02)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, width)

    def keys_and_values(self, tokens: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns keys and values of a prompt, (B, H, 1 + S, head_width), and the bias of the logits, (B, 1,
        1, 1 + S). They are the same in every denoising step, so they are computed once."""
        tokens = torch.cat([self.nothing.expand(len(tokens), 1, -1), tokens], 1)  # (B, 1 + S, C)
        k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.key_value(tokens).chunk(2, -1)
        )
        return (
            norm(k, self.key_norm.weight).to(v.dtype),
            v,
            F.pad(log_weight, (1, 0))[:, None, None].to(v.dtype),
        )

    def forward(self, x: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Returns the cross-attention (B, T, W) of frames x (B, T, W) to keys, values and bias of a
        prompt."""
        q = norm(self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2), self.query_norm.weight).to(
            v.dtype
        )
        y = attention(q, k, v, bias)
        return self.project(y.transpose(1, 2).flatten(2))


def hidden_width(width: int, expansion: float) -> int:
    """Returns the width inside a feed-forward: `expansion` times `width`, rounded down to a multiple of
    32."""
    return int(expansion * width) // 32 * 32


class Layer(nn.Module):
    """Self-attention, cross-attention to the prompt, and a SwiGLU feed-forward; first and last are modulated.

    config: has width, heads and expansion. cross: whether there is a cross-attention.
    """

    def __init__(self, config, cross: bool = True):
        super().__init__()
        width, hidden = config.width, hidden_width(config.width, config.expansion)
        self.attention = SelfAttention(width, config.heads)
        if cross:
            self.cross = CrossAttention(width, config.heads, TEXT_CHANNELS)
            self.cross_norm = nn.LayerNorm(width)
        self.gate_up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)
        # all layers share one modulation, and each adds a learned offset
        self.shift = nn.Parameter(torch.zeros(6 * width))

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        table: Tensor,
        attend: Attend,
        from_prompt: Callable[[Tensor], Tensor] | None,
    ) -> Tensor:
        """x: (B, T, W). modulation: (B, 1 or T, 6 W). table: of :func:`rope_table`. from_prompt: the
        cross-attention of normalised frames (B, T, W), of the same shape; None: there is none."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (modulation + self.shift).chunk(6, -1)
        y = torch.addcmul(shift_a, F.layer_norm(x, x.shape[-1:]), 1 + scale_a)
        x = torch.addcmul(x, gate_a, self.attention(y, table, attend))
        if from_prompt is not None:
            x = x + from_prompt(self.cross_norm(x))
        y = torch.addcmul(shift_f, F.layer_norm(x, x.shape[-1:]), 1 + scale_f)
        gate, up = self.gate_up(y).chunk(2, -1)
        return torch.addcmul(x, gate_f, self.down(F.silu(gate) * up))


def run_layers(
    layers: Iterable[nn.Module],
    x: Tensor,
    modulation: Tensor,
    *,
    table: Tensor,
    attend: Callable[[int, Tensor, Tensor, Tensor], Tensor],
    from_prompt: Callable[[int, Tensor], Tensor] | None = None,
    stop: int | None = None,
) -> Tensor:
    """Runs frames x (B, T, W) through the layers: (B, T, W). All paths of all models share this loop.

    layers: modules of class :class:`Layer`. modulation, table: as :meth:`Layer.forward`. attend, from_prompt:
    likewise, with the index of the layer as first argument. stop: number of layers to run; None: all.
    """
    for i, layer in enumerate(layers):
        if i == stop:
            break
        prompt = None if from_prompt is None else partial(from_prompt, i)
        x = layer(x, modulation, table, partial(attend, i), prompt)
    return x


def attend_with(mask: Tensor | None) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
    """Returns an attention function for :func:`run_layers`, in which queries attend where `mask`, (T, T) or
    (B, 1, T, T), is True. None: everywhere."""
    return lambda layer, q, k, v: attention(q, k, v, mask)
