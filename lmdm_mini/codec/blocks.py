"""Causal convolution blocks that can stop after any frame and continue later. Both halves of the codec
consist of them.

Nothing here looks ahead, and each layer returns its past as explicit state. So a stream cut into pieces and
the whole at once run the same code.

Notebook: 01_sound_to_latents.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CausalConv(nn.Module):
    """Depthwise causal convolution over time, (B, T, W) -> (B, T, W), with its past as explicit state.

    With `keep`, only that many of the T frames are real, and the state is the past of the frame after them.
    """

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, 1, kernel) / kernel**0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, past: Tensor | None, keep: int | None) -> tuple[Tensor, Tensor]:
        span = self.weight.shape[-1] - 1
        with torch.autocast("cpu", enabled=False):  # oneDNN's bfloat16 depthwise kernel is ten times slower
            x = x.float()
            past = x.new_zeros(x.shape[0], span, x.shape[2]) if past is None else past
            x = torch.cat([past, x], dim=1)  # (B, span + T, W)
            y = F.conv1d(x.transpose(1, 2), self.weight, self.bias, groups=x.shape[2]).transpose(1, 2)
        keep = y.shape[1] if keep is None else keep
        return y, x[:, keep : keep + span]


class ConvNeXtBlock(nn.Module):
    """Depthwise causal convolution, norm, two linear layers, residual: (B, T, W) -> (B, T, W)."""

    def __init__(self, width: int, kernel: int, expansion: int):
        super().__init__()
        self.conv = CausalConv(width, kernel)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor, past: Tensor | None, keep: int | None) -> tuple[Tensor, Tensor]:
        y, past = self.conv(x, past, keep)
        return x + self.scale * self.down(F.gelu(self.up(self.norm(y)))), past


class Stack(nn.Module):
    """Blocks one after another; the state is the list of their pasts."""

    def __init__(self, blocks: int, width: int, kernel: int, *, expansion: int):
        super().__init__()
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, kernel, expansion) for _ in range(blocks))

    def forward(self, x: Tensor, state: list | None, keep: int | None = None) -> tuple[Tensor, list]:
        pasts = []
        for i, block in enumerate(self.blocks):
            x, past = block(x, None if state is None else state[i], keep)
            pasts.append(past)
        return x, pasts
