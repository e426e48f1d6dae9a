"""Block after block: the model goes on from what it has just played. One interface for every variant.

The newest latent frames are the context, the next `block_latents` frames are denoised, decoded, and the
window slides.

- `bidirectional` outpaints: context and target run through the network together, in every step. There are two
  ways to tell it what is known: `mask` (context frames stand there clean and marked, which the base has
  learnt) and `replace` (they are noised to the level of the step, so they change in every step, which any
  diffusion model can do).
- `enc_dec` and `block_causal` keep what they thought of the context (`kv_cache.py`) and run only the target.

Notebook: 03_outpainting, 05_kv_caching. Paper: section 3.2.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.conditioning.clock import frames_to_beats
from lmdm_mini.conditioning.text import Text, no_text, stack_texts


@dataclass
class Block:
    """One block of a stream."""

    audio: Tensor  # (2, n) float32, ready to play; blocks join without a cross-fade
    latents: Tensor  # (64, block_latents)
    seconds_to_make: float  # wall time in all
    seconds_of: dict[str, float] = field(
        default_factory=dict
    )  # of that: "context" (what is kept of it), "network" (denoising), "codec"


def is_guided(text: Text, cfg_scale: float) -> bool:
    """Whether guidance changes anything: else one branch is enough."""
    return cfg_scale != 1.0 and not text.empty


def with_no_text(text: Text) -> Text:
    """The batch of both branches: with the prompts, and without."""
    return stack_texts([text, no_text(len(text.bpm))])


def guide(velocities: Tensor, cfg_scale: float) -> Tensor:
    """Classifier-free guidance: velocities of both branches (2 B, 64, T) -> (B, 64, T)."""
    with_text, without = velocities.chunk(2)
    return without + cfg_scale * (with_text - without)


def guided(
    model: Callable[[Tensor, Tensor, Text], Tensor], text: Text, cfg_scale: float, x: Tensor, t: Tensor
) -> Tensor:
    """Velocity of a model with guidance: x (B, 64, T), t (B,); one pass with both branches in the batch."""
    if not is_guided(text, cfg_scale):
        return model(x, t, text)
    return guide(model(x.repeat(2, 1, 1), t.repeat(2), with_no_text(text)), cfg_scale)


def beats_from(beat: float, bpm: Tensor, count: int, before: int = 0) -> Tensor:
    """Where `before` frames and the `count` after them are in beats, at tempi bpm (B,), if the latter begin
    at `beat`: (B, T). Only the place within the clock's longest period, four beats, matters."""
    return beat % 4 + frames_to_beats(torch.arange(-before, count), bpm[:, None])


class Stopwatch:
    """Adds up the seconds that a function takes which was wrapped in it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self.clock, self.seconds = clock, 0.0

    def __call__(self, function: Callable) -> Callable:
        def timed(*args, **kwargs):
            start = self.clock()
            result = function(*args, **kwargs)
            self.seconds += self.clock() - start
            return result

        return timed


def take(playing, seconds: float, keep: bool = False) -> Tensor:
    """The next `seconds` of a stream, (2, N); with `keep`, the context as the codec renders it comes first.
    Raises ValueError for a length that is none."""
    if not 1 / SAMPLE_RATE <= seconds < 24 * 3600:
        raise ValueError(f"seconds is {seconds}; it must be positive, and less than a day.")
    samples, pieces = int(seconds * SAMPLE_RATE), []
    while sum(piece.shape[-1] for piece in pieces) < samples:
        pieces.append(next(playing).audio)
    made = torch.cat(pieces, -1)[:, :samples]
    return torch.cat([playing.heard, made], -1) if keep else made
