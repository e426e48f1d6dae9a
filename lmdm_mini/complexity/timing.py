"""Times, and the words for them: RTF and TTFF.

Notebook: 08_complexity_lab.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch


def rtf(seconds_of_compute: float, seconds_of_audio: float) -> float:
    """Real-time factor: computing time divided by the duration of the audio made. Below 1 keeps up with
    playing.

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
        blocks are audio tensors, or objects with an `audio` tensor; blocks without samples are waited
        through.
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
