"""What it costs: measured times, and the words for them.

Two words are used all through the book, and both are computed here and nowhere else:

- **RTF**, the real-time factor: seconds of computing per second of audio. Below 1 is faster than real time;
  "times real time" is its inverse.
- **TTFF**, the time to the first block: from the request to the first block of audio samples in hand, decoded.

Notebook: 01_sound_to_latents uses `bench_codec`; 08_complexity_lab builds the rest.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lmdm_mini.audio import SAMPLE_RATE

SAMPLES_PER_LATENT = 2048


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


def _stream_timing(make: Callable, pieces: list[torch.Tensor], repeats: int) -> tuple[Timing, Timing]:
    """(first piece, later pieces) for a streaming object fed piece after piece; its making counts as first."""
    make()(pieces[0])  # warm-up
    first, later = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        stream = make()
        stream(pieces[0])
        first.append(time.perf_counter() - start)
        for piece in pieces[1:]:
            start = time.perf_counter()
            stream(piece)
            later.append(time.perf_counter() - start)
    return Timing.of(first), Timing.of(later)


def bench_codec(
    codec, seconds: float = 30.0, block_latents: int = 12, repeats: int = 5, show: bool = True
) -> dict[str, dict]:
    """Speed of a codec: `seconds` at once on 2 threads, and in blocks of `block_latents` frames on one thread.

    codec: has encode, decode, stream_encoder and stream_decoder (`lmdm_mini.codec.Codec`).
    Returns ``{row name: {"seconds", "low", "high", "audio_seconds", "rtf", "times_real_time", "threads"}}``
    with times as medians; `show` prints it as a table. The first block of a stream is apart from later ones.
    """
    blocks = max(4, math.ceil(seconds * SAMPLE_RATE / SAMPLES_PER_LATENT / block_latents))
    frames = blocks * block_latents
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(1, 2, frames * SAMPLES_PER_LATENT, generator=generator)  # any sound costs the same
    latents = codec.encode(audio)
    whole, block = (n * SAMPLES_PER_LATENT / SAMPLE_RATE for n in (frames, block_latents))

    measured: list[tuple[str, Timing, float, int]] = []
    with threads(2):
        measured.append(("encode, all at once", timed(lambda: codec.encode(audio), 1, repeats), whole, 2))
        measured.append(("decode, all at once", timed(lambda: codec.decode(latents), 1, repeats), whole, 2))
    with threads(1):
        for name, make, pieces in (
            ("encode", codec.stream_encoder, audio.split(block_latents * SAMPLES_PER_LATENT, -1)),
            ("decode", codec.stream_decoder, latents.split(block_latents, -1)),
        ):
            first, later = _stream_timing(make, list(pieces), repeats)
            measured.append((f"{name}, first block", first, block, 1))
            measured.append((f"{name}, later blocks", later, block, 1))

    table = {}
    for name, timing, duration, count in measured:
        factor = rtf(timing.median, duration)
        table[name] = {"seconds": timing.median, "low": timing.low, "high": timing.high,
                       "audio_seconds": duration, "rtf": factor, "times_real_time": 1 / factor, "threads": count}
    if show:
        print(f"Codec, {whole:.0f} s of audio at once and in blocks of {block_latents} frames "
              f"({block * 1000:.0f} ms); median of {repeats} runs, 10 % to 90 % in brackets")
        print(f"{'':24}{'threads':>8}{'ms':>10}{'':20}{'RTF':>9}{'times real time':>18}")
        for name, row in table.items():
            spread = f"({row['low'] * 1000:.1f} .. {row['high'] * 1000:.1f})"
            print(f"{name:24}{row['threads']:>8}{row['seconds'] * 1000:>10.1f}{spread:>20}"
                  f"{row['rtf']:>9.4f}{row['times_real_time']:>17.1f}x")
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m lmdm_mini bench codec``."""
    parser.add_argument("what", choices=["codec"], help="what to time")
    parser.add_argument("--checkpoint", default=None, help="codec checkpoint (default: the shipped one)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the audio coded at once")
    parser.add_argument("--repeats", type=int, default=5, help="runs measured; the median is shown")


def run(args: argparse.Namespace) -> dict:
    """Runs ``bench codec`` with parsed arguments; raises ValueError for a length or count out of range."""
    from lmdm_mini.codec import load_codec

    if not 0 < args.seconds <= 600:
        raise ValueError(f"--seconds is {args.seconds}; choose more than 0 and at most 600.")
    if args.repeats < 1:
        raise ValueError(f"--repeats is {args.repeats}; at least one run has to be measured.")
    return bench_codec(load_codec(args.checkpoint), args.seconds, repeats=args.repeats)
