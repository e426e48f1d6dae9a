"""Attention with rotary positions (RoPE), and the masks that say who hears whom.

Masks are True where a query may look. Frames are cut into granules of 12, always at the same places, so that what is
remembered of clean frames does not depend on how blocks were cut.

Notebooks: 02_rectified_flow, 04_reparameterization (`enc_dec_mask`), 06_block_causal (`block_causal_mask`). Paper: section 3.2.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GRANULE = 12  # latent frames
BLOCKS = (12, 24, 48)  # latent frames of a block: one live model plays them all
WINDOW = 192  # latent frames of context that a frame hears in a layer
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def enc_dec_mask(context_mask: Tensor) -> Tensor:
    """Of windows whose context is marked 1, (B, T): context looks at context, target at everything: (B, 1, T, T)."""
    context = context_mask.bool()
    return context[:, None, None, :] | ~context[:, None, :, None]


def block_causal_mask(frames: int, block: int, window: int = WINDOW, granule: int = GRANULE) -> Tensor:
    """Of the copies [clean | noisy] of `frames` frames: (2 T, 2 T).

    A clean frame looks at its own granule and the `window` frames before that. A noisy one looks at its own block (noisy)
    and at the `window` clean frames before the block. Nothing clean looks at anything noisy.
    """
    place = torch.arange(frames)
    granules, blocks = place // granule * granule, place // block * block  # where one's own begins
    clean = (place < granules[:, None] + granule) & (place >= granules[:, None] - window)
    before = (place < blocks[:, None]) & (place >= blocks[:, None] - window)
    own = blocks == blocks[:, None]
    return torch.cat([torch.cat([clean, torch.zeros_like(own)], 1), torch.cat([before, own], 1)])


def rope_table(positions: Tensor, head_width: int, base: float = 10000.0) -> Tensor:
    """Cosines and signed sines for `positions` (T,), as :func:`rotate` needs them: (2, T, head_width).

    The angles are computed in float64: in float32 they are off by 2.5e-3 after an hour of frames.
    """
    rates = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64, device=positions.device) / head_width)
    angles = positions.double()[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)]).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turns x (B, T, ..., head_width) by the angles of :func:`rope_table`: channel i and the one half a head further are a pair."""
    cos, sin = table.to(x.dtype).view(*table.shape[:2], *(1,) * (x.ndim - 3), table.shape[-1])
    # as few operations as possible: for a block of 12 frames it is their number that costs time
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def norm(x: Tensor, weight: Tensor) -> Tensor:
    """Root mean square norm. torch.nn.RMSNorm takes twice as long on a processor, where it is four operations."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-6)
    return x / length * (weight * x.shape[-1] ** 0.5)


class SelfAttention(nn.Module):
    """Multi-head self-attention with RoPE and normalised queries and keys: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, table: Tensor, attend: Attend = F.scaled_dot_product_attention) -> Tensor:
        """attend: takes queries, keys, values (B, H, T, head_width) and gives what the queries found, of the same shape."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, T, 3, H, head_width)
        # queries and keys in one go: for a block of 12 frames, the number of operations is what costs time
        scale = torch.stack([self.query_norm.weight, self.key_norm.weight])[:, None]
        q, k = rotate(norm(qkv[:, :, :2], scale), table).transpose(1, 3).unbind(2)
        v = qkv[:, :, 2].transpose(1, 2)
        return self.project(attend(q.to(v.dtype), k.to(v.dtype), v).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention from frames (B, T, W) to text tokens (B, S, C), whose weights (B, S) are added to the logits. A learned
    token is always there, so that a prompt without tokens has something to attend to."""

    def __init__(self, width: int, heads: int, channels: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(channels, 2 * width, bias=False)
        self.nothing = nn.Parameter(torch.randn(channels) * 0.02)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, width)

    def read(self, tokens: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values of a prompt (B, H, 1 + S, head_width), and its weights (B, 1, 1, 1 + S): what :meth:`look` needs,
        the same in every denoising step."""
        tokens = torch.cat([self.nothing.expand(len(tokens), 1, -1), tokens], 1)  # (B, 1 + S, C)
        k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.key_value(tokens).chunk(2, -1))
        return norm(k, self.key_norm.weight).to(v.dtype), v, F.pad(log_weight, (1, 0))[:, None, None].to(v.dtype)

    def look(self, x: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        """Frames (B, T, W) take from what :meth:`read` gave: (B, T, W)."""
        q = norm(self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2), self.query_norm.weight).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.project(y.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, tokens: Tensor, log_weight: Tensor) -> Tensor:
        return self.look(x, *self.read(tokens, log_weight))
