"""Attention with rotary positions (RoPE).

Notebook: 02_rectified_flow.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rope_table(positions: Tensor, head_width: int, base: float = 10000.0) -> Tensor:
    """Cosines and sines for `positions` (T,): (2, T, head_width / 2).

    The angles are computed in float64: in float32 they are off by 2.5e-3 after an hour of frames.
    """
    rates = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = positions.double()[:, None] * rates
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turns x (B, H, T, head_width) by the angles of :func:`rope_table`."""
    cos, sin = table.to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class SelfAttention(nn.Module):
    """Multi-head self-attention with RoPE and normalised queries and keys: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        q, k = rotate(self.query_norm(q), table), rotate(self.key_norm(k), table)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.project(y.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention from frames (B, T, W) to text tokens (B, S, C). A learned token is always there, so that
    a prompt without tokens has something to attend to."""

    def __init__(self, width: int, heads: int, channels: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(channels, 2 * width, bias=False)
        self.nothing = nn.Parameter(torch.randn(channels) * 0.02)
        self.query_norm, self.key_norm = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        batch = x.shape[0]
        tokens = torch.cat([self.nothing.expand(batch, 1, -1), tokens], 1)  # (B, 1 + S, C)
        mask = torch.cat([mask.new_ones(batch, 1), mask], 1)[:, None, None]  # (B, 1, 1, 1 + S)
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in self.key_value(tokens).chunk(2, -1))
        q, k = self.query_norm(q).to(v.dtype), self.key_norm(k).to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.project(y.transpose(1, 2).flatten(2))
