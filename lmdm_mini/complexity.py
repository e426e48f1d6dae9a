"""What it costs: counts that follow from a configuration, times, and the words for them.

Two words are used all through the book, and both are computed here and nowhere else:

- **RTF**, the real-time factor: seconds of computing per second of audio. Below 1 is faster than real time;
  "times real time" is its inverse.
- **TTFF**, the time to the first block: from the request to the first block of audio samples in hand, decoded.

What measures models with them is `bench.py`.

Notebook: 08_complexity_lab.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lmdm_mini.attention import GRANULE


def rtf(seconds_of_compute: float, seconds_of_audio: float) -> float:
    """Real-time factor: computing time divided by the duration of the audio made. Below 1 keeps up with playing.

    Raises ValueError if there is no audio, or a time is negative or not finite.
    """
    if not (math.isfinite(seconds_of_compute) and seconds_of_compute >= 0):
        raise ValueError(f"seconds_of_compute is {seconds_of_compute}; expected a time of 0 s or more.")
    if not (math.isfinite(seconds_of_audio) and seconds_of_audio > 0):
        raise ValueError(f"seconds_of_audio is {seconds_of_audio}; RTF needs more than 0 s of audio.")
    return seconds_of_compute / seconds_of_audio


def time_to_first_audio(stream: Callable[[], Iterable] | Iterable) -> float:
    """TTFF in seconds: from the request to the first block with audio samples in hand.

    stream: a function that starts a stream (its set-up is part of the wait), or a stream not yet started. Its
        blocks are audio tensors, or objects with an `audio` tensor; blocks without samples are waited through.
    Raises ValueError if the stream ends without any audio.
    """
    start = time.perf_counter()
    for block in stream() if callable(stream) else stream:
        audio = getattr(block, "audio", block)
        if audio.shape[-1] > 0:
            return time.perf_counter() - start
    raise ValueError("the stream ended before it gave any audio; there is no first block to time.")


@dataclass
class Timing:
    """Repeated measurements of one thing, in seconds."""

    median: float
    low: float  # 10 % of the runs were faster
    high: float  # 90 % of the runs were faster
    runs: list[float]

    @classmethod
    def of(cls, runs: list[float]) -> "Timing":
        """Raises ValueError if `runs` is empty."""
        if not runs:
            raise ValueError("nothing was timed: repeats must be at least 1.")
        ends = torch.tensor(runs, dtype=torch.float64).quantile(torch.tensor([0.1, 0.9], dtype=torch.float64))
        return cls(statistics.median(runs), float(ends[0]), float(ends[1]), list(runs))


def timed(fn: Callable[[], object], warmup: int = 1, repeats: int = 5) -> Timing:
    """Calls `fn` `warmup` times unmeasured (allocations, code paths), then `repeats` times with a clock."""
    for _ in range(warmup):
        fn()
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        fn()
        runs.append(time.perf_counter() - start)
    return Timing.of(runs)


@contextmanager
def threads(count: int):
    """PyTorch on `count` threads inside the block, then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# -- counts -------------------------------------------------------------------------------------------


def frame_forwards(variant: str, context_latents: int, block_latents: int, steps: int, guided: bool = False) -> int:
    """Latent frames that go through the network for one block: context s, block o, K steps, twice with guidance.

    bidirectional: K (s + o). enc_dec: s + K o. block_causal: o + K o. Only what runs in the steps is doubled.
    """
    branches = 2 if guided else 1
    if variant == "bidirectional":
        return branches * steps * (context_latents + block_latents)
    return (context_latents if variant == "enc_dec" else block_latents) + branches * steps * block_latents


def lmm_forwards(context_latents: int, block_latents: int, n_q: int, guided: bool = False) -> tuple[int, int]:
    """The same for one block of the discrete model: frames through its encoder or temporal transformer, s + o, and codes through its
    depth transformer, o n_q. What comes after the context is doubled by guidance, and nothing of it can run side by side."""
    branches = 2 if guided else 1
    return context_latents + branches * block_latents, branches * block_latents * n_q


def flops(config, frames: int, keys: int, tokens: int = 0) -> float:
    """Floating-point operations of the layers for `frames` frames that look at `keys` frames and `tokens` words each (two a
    multiplication with its addition). Of context frames, tokens are 0: they hear no prompt."""
    width, hidden = config.width, int(config.expansion * config.width) // 32 * 32
    matrices = 4 * width**2 + 3 * width * hidden + (2 * width**2 if tokens else 0)
    return 2.0 * config.depth * frames * (matrices + 2 * width * (keys + tokens))


def block_flops(config, context_latents: int, block_latents: int, steps: int, tokens: int, guided: bool = False) -> float:
    """The same for one block of a stream: see :func:`frame_forwards`."""
    s, o, runs = context_latents, block_latents, steps * (2 if guided else 1)
    target = runs * flops(config, o, s + o, tokens)
    if config.variant == "bidirectional":  # context frames go through cross-attention, too, though it is masked for them
        return target + runs * flops(config, s, s + o, tokens)
    return target + (flops(config, s, s) if config.variant == "enc_dec" else flops(config, o, s + GRANULE))
