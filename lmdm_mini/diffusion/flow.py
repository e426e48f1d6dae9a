"""Rectified flow: straight paths from music (t = 0) to noise (t = 1), and the samplers that walk back.

``x_t = (1 - t) * x0 + t * noise``; the model learns the velocity ``v = noise - x0``, which points *to the
noise*. (Some libraries count t the other way round.) `logsnr` is log((1 - t) / t), half of the usual
definition, as in the paper's code.

Notebook: 02_rectified_flow. Paper: section 3.1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class NoisedSample:
    """A point on the straight path between a latent sequence and noise. Shapes as `x0`: (B, D, T)."""

    x_t: Tensor
    v: Tensor  # noise - x0: the target of the model
    t: Tensor  # (B,) or (B, T), in [0, 1], 1 = noise
    noise: Tensor


def expand_t(t: Tensor, x: Tensor) -> Tensor:
    """`t` of shape (B,) or (B, T), made to multiply x (B, D, T). Raises ValueError for any other shape."""
    batch, _, frames = x.shape
    if t.shape == (batch,):
        return t[:, None, None]
    if t.shape == (batch, frames):
        return t[:, None, :]
    raise ValueError(
        f"t has shape {tuple(t.shape)}; for x of {tuple(x.shape)} it must be ({batch},) or ({batch}, "
        f"{frames})."
    )


def noised_sample(x0: Tensor, t: Tensor, noise: Tensor | None = None) -> NoisedSample:
    """Adds noise to x0 (B, D, T) at level t, one value per item (B,) or per frame (B, T)."""
    noise = torch.randn_like(x0) if noise is None else noise
    level = expand_t(t, x0)
    return NoisedSample((1 - level) * x0 + level * noise, noise - x0, t, noise)


def schedule(steps: int, first: float = -6.0, last: float = 2.0) -> Tensor:
    """Returns the noise levels of a sampler, (steps + 1,), from exactly 1 to exactly 0, with logsnr linear
    from `first` to `last` between them."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; a sampler needs at least 1.")
    t = torch.sigmoid(-torch.linspace(first, last, steps + 1, dtype=torch.float64))
    t[0], t[-1] = 1.0, 0.0
    return t.float()


def euler(velocity: Callable[[Tensor, float], Tensor], x: Tensor, levels: Tensor, generator=None) -> Tensor:
    """Follows the velocity from noise x (B, D, T) at levels[0] down to levels[-1] in straight steps."""
    for t, t_next in zip(levels[:-1].tolist(), levels[1:].tolist()):
        x = x + (t_next - t) * velocity(x, t)
    return x


def pingpong(
    velocity: Callable[[Tensor, float], Tensor], x: Tensor, levels: Tensor, generator=None
) -> Tensor:
    """Jumps to the estimated music and back to a lower level with fresh noise, step by step (section 3.3)."""
    for t, t_next in zip(levels[:-1].tolist(), levels[1:].tolist()):
        x0_hat = x - t * velocity(x, t)
        fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = (1 - t_next) * x0_hat + t_next * fresh
    return x


SAMPLERS = {"euler": euler, "pingpong": pingpong}


def find_sampler(name: str) -> Callable:
    """Returns the sampler called `name`. Raises ValueError that lists the names."""
    if name not in SAMPLERS:
        raise ValueError(f"no sampler {name!r}; there are: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]
