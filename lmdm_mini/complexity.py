"""What it costs: measured times, and the words for them.

Two words are used all through the book, and both are computed here and nowhere else:

- **RTF**, the real-time factor: seconds of computing per second of audio. Below 1 is faster than real time;
  "times real time" is its inverse.
- **TTFF**, the time to the first block: from the request to the first block of audio samples in hand, decoded.

Notebook: 01_sound_to_latents uses `bench_codec`, 03_outpainting `bench_stream`, 05_kv_caching `compare_streams`; 08_complexity_lab builds the rest.
"""

import argparse
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psutil
import torch

from lmdm_mini.attention import GRANULE
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec import FRAME_SAMPLES, LATENT_CHANNELS


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
    blocks = max(4, math.ceil(seconds * SAMPLE_RATE / FRAME_SAMPLES / block_latents))
    frames = blocks * block_latents
    generator = torch.Generator().manual_seed(0)
    audio = 0.1 * torch.randn(1, 2, frames * FRAME_SAMPLES, generator=generator)  # any sound costs the same
    latents = codec.encode(audio)
    whole, block = (n * FRAME_SAMPLES / SAMPLE_RATE for n in (frames, block_latents))

    measured: list[tuple[str, Timing, float, int]] = []
    with threads(2):
        measured.append(("encode, all at once", timed(lambda: codec.encode(audio), 1, repeats), whole, 2))
        measured.append(("decode, all at once", timed(lambda: codec.decode(latents), 1, repeats), whole, 2))
    with threads(1):
        for name, make, pieces in (
            ("encode", codec.stream_encoder, audio.split(block_latents * FRAME_SAMPLES, -1)),
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


# -- streams -----------------------------------------------------------------------------------------


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


def peak_memory() -> float:
    """The most memory that this process has had so far, in MB."""
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return info.peak_wset / 1e6
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, else kB


@contextmanager
def counted_frames(model):
    """Counts what goes through the layers of `model`: gives a list with one number, frames times items of all calls so far."""
    count = [0]

    def add(module, args, out):
        count[0] += args[0].shape[0] * args[0].shape[1]

    handle = model.layers[0].register_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()


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


@torch.inference_mode()
def product_floor(model, rows: int, repeats: int = 20) -> float:
    """Seconds that the matrix products of one pass over `rows` frames take alone, at the speed this machine has for these shapes:
    what no denoising step can be faster than. The fastest of some runs."""
    layers = [module for name, module in model.layers.named_modules()
              if isinstance(module, torch.nn.Linear) and not name.endswith("key_value")]  # those are of the prompt, not of frames
    inputs = [torch.randn(rows, layer.in_features) for layer in layers]

    def run() -> None:
        for layer, x in zip(layers, inputs):
            layer(x)

    return min(timed(run, 2, repeats).runs)


def bench_stream(model, blocks=(12, 24, 48), contexts=(192,), steps=(8,), cfg_scale: float = 2.0, prompt: str = "funk, 110 bpm",
                 repeats: int = 3, show: bool = True, **settings) -> list[dict]:
    """A stream of `model` timed for every combination of block, context and steps, codec decode included.

    Each row: the settings, "frame_forwards" a block by formula and "counted", "flops" by formula, medians of "context",
    "network", "codec" and "rest" in seconds a block once the context is full, "limit" (the share of "network" that its matrix
    products alone would take), "rtf", "ttff" (from an empty context). settings: more arguments of `stream`.
    """
    from lmdm_mini.streaming import is_guided, stream

    rows = []
    for context, block, count in itertools.product(contexts, blocks, steps):
        make = partial(stream, model, prompt, block, count, cfg_scale, context_latents=context, **settings)
        next(make())  # warm-up
        first = time_to_first_audio(make)
        playing = make()
        playing.set_context(torch.randn(1, LATENT_CHANNELS, context))
        next(playing)  # the first takes in all of the context
        with counted_frames(model) as frames:
            made = [next(playing) for _ in range(repeats)]
        parts = {name: statistics.median(b.seconds_of[name] for b in made) for name in ("context", "network", "codec")}
        whole = statistics.median(b.seconds_to_make for b in made)
        guided, tokens = is_guided(playing.text, cfg_scale), playing.text.tokens.shape[1] + 1
        in_work = (block + (context if model.config.variant == "bidirectional" else 0)) * (2 if guided else 1)
        rows.append({"model": model.name, "context_latents": context, "block_latents": block, "steps": count,
                     "frame_forwards": frame_forwards(model.config.variant, context, block, count, guided),
                     "counted": frames[0] / repeats, "flops": block_flops(model.config, context, block, count, tokens, guided),
                     **parts, "rest": whole - sum(parts.values()), "seconds": whole,
                     "limit": count * product_floor(model, in_work) / parts["network"],
                     "rtf": rtf(whole, block * FRAME_SAMPLES / SAMPLE_RATE), "ttff": first})
    if show:
        print(f"guidance {cfg_scale:g}, {torch.get_num_threads()} threads; median of {repeats} blocks")
        print(*stream_lines(rows), sep="\n")
    return rows


def stream_lines(rows: list[dict]) -> list[str]:
    """The rows of :func:`bench_stream` as text. `limit`: how much of the network's time matrix products alone would take."""
    lines = [f"{'model':>14}{'context':>8}{'block':>7}{'steps':>7}{'frame-forwards':>16}{'counted':>9}{'GFLOP':>8}{'context ms':>12}"
             f"{'network ms':>12}{'codec ms':>10}{'rest ms':>9}{'limit':>7}{'RTF':>8}{'TTFF s':>8}"]
    for r in rows:
        lines.append(f"{r['model']:>14}{r['context_latents']:>8}{r['block_latents']:>7}{r['steps']:>7}{r['frame_forwards']:>16}"
                     f"{r['counted']:>9.0f}{r['flops'] / 1e9:>8.2f}{1000 * r['context']:>12.1f}{1000 * r['network']:>12.1f}"
                     f"{1000 * r['codec']:>10.1f}{1000 * r['rest']:>9.1f}{r['limit']:>7.0%}{r['rtf']:>8.3f}{r['ttff']:>8.2f}")
    return lines


def compare_streams(models: list, blocks, contexts, steps, show: bool = True, **settings) -> list[dict]:
    """Several models setting by setting, one right after the other, so that a noisy machine is noisy for all. The rows have
    "speedup", of context and network together, and "speedup_all", codec included, over the first model."""
    rows = []
    for context, block, count in itertools.product(contexts, blocks, steps):
        some = [bench_stream(model, (block,), (context,), (count,), show=False, **settings)[0] for model in models]
        for row in some:
            row["speedup"] = (some[0]["context"] + some[0]["network"]) / (row["context"] + row["network"])
            row["speedup_all"] = some[0]["seconds"] / row["seconds"]
        rows += some
    if show:
        head, *lines = stream_lines(rows)
        print(f"{head}{'speed-up':>10}{'with codec':>12}")
        print(*(f"{line}{row['speedup']:>10.2f}{row['speedup_all']:>12.2f}" for line, row in zip(lines, rows)), sep="\n")
    return rows


# -- the shell ---------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser):
    """Arguments of ``python -m lmdm_mini bench codec|stream``; returns the sub-parsers, for more."""
    kinds = parser.add_subparsers(dest="what", required=True)
    codec = kinds.add_parser("codec", help="encode and decode, at once and in blocks")
    codec.add_argument("--checkpoint", default=None, help="codec checkpoint (default: the shipped one)")
    codec.add_argument("--seconds", type=float, default=30.0, help="length of the audio coded at once")
    stream = kinds.add_parser("stream", help="a model block after block")
    stream.add_argument("--model", nargs="+", default=["bidirectional"], help="one, or several to compare with the first")
    stream.add_argument("--blocks", type=int, nargs="+", default=[12, 24, 48], help="latent frames a block")
    stream.add_argument("--contexts", type=int, nargs="+", default=[48, 96, 192], help="latent frames of context")
    stream.add_argument("--steps", type=int, nargs="+", default=[2, 4, 8, 50], help="denoising steps a block")
    stream.add_argument("--cfg-scale", type=float, default=2.0, help="guidance; 1 = none")
    stream.add_argument("--outpainting", default="mask", choices=("mask", "replace"))
    for kind, repeats in ((codec, 5), (stream, 3)):
        kind.add_argument("--repeats", type=int, default=repeats, help="runs measured; the median is shown")
    return kinds


def run(args: argparse.Namespace) -> dict | list[dict]:
    """Runs ``bench`` with parsed arguments; raises ValueError for a length or count out of range."""
    if args.repeats < 1:
        raise ValueError(f"--repeats is {args.repeats}; at least one run has to be measured.")
    if args.what == "stream":
        from lmdm_mini.dit import load

        settings = {"cfg_scale": args.cfg_scale, "repeats": args.repeats, "outpainting": args.outpainting}
        models = [load(name) for name in args.model]
        rows = compare_streams(models, args.blocks, args.contexts, args.steps, **settings) if len(models) > 1 else bench_stream(
            models[0], args.blocks, args.contexts, args.steps, **settings)
        print(f"peak memory of this process, all models and settings: {peak_memory():.0f} MB")
        return rows
    from lmdm_mini.codec import load_codec

    if not 0 < args.seconds <= 600:
        raise ValueError(f"--seconds is {args.seconds}; choose more than 0 and at most 600.")
    return bench_codec(load_codec(args.checkpoint), args.seconds, repeats=args.repeats)
