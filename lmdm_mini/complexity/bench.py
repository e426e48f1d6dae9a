"""Benchmarks: models measured on this machine, in seconds and megabytes. Terms are those of `counts.py`.

All systems side by side are in `compare.py`.

Notebooks: 01_sound_to_latents uses `bench_codec`, 03_outpainting `bench_stream`, 05_kv_caching
`compare_streams`.
"""

import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import psutil
import torch

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_CHANNELS
from lmdm_mini.complexity.counts import block_flops, frame_forwards
from lmdm_mini.complexity.timing import Timing, rtf, threads, time_to_first_audio, timed
from lmdm_mini.models import guides_in_one_pass, stream
from lmdm_mini.precision import Bfloat16Linear
from lmdm_mini.streaming import is_guided


def _stream_timing(make: Callable, pieces: list[torch.Tensor], repeats: int) -> tuple[Timing, Timing]:
    """Times a streaming object that is fed piece after piece. Returns the times of the first piece, which
    include making the object, and of later ones."""
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
    codec, seconds: float = 30.0, block_latents: int = 12, *, repeats: int = 5, show: bool = True
) -> dict[str, dict]:
    """Speed of a codec: `seconds` at once on 2 threads, and in blocks of `block_latents` frames on one
    thread.

    codec: has encode, decode, stream_encoder and stream_decoder (`lmdm_mini.codec.codec.Codec`).
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
        table[name] = {
            "seconds": timing.median,
            "low": timing.low,
            "high": timing.high,
            "audio_seconds": duration,
            "rtf": factor,
            "times_real_time": 1 / factor,
            "threads": count,
        }
    if show:
        print(
            f"Codec, {whole:.0f} s of audio at once and in blocks of {block_latents} frames "
            f"({block * 1000:.0f} ms); median of {repeats} runs, 10 % to 90 % in brackets"
        )
        print(f"{'':24}{'threads':>8}{'ms':>10}{'':20}{'RTF':>9}{'times real time':>18}")
        for name, row in table.items():
            spread = f"({row['low'] * 1000:.1f} .. {row['high'] * 1000:.1f})"
            print(
                f"{name:24}{row['threads']:>8}{row['seconds'] * 1000:>10.1f}{spread:>20}"
                f"{row['rtf']:>9.4f}{row['times_real_time']:>17.1f}x"
            )
    return table


# -- streams -----------------------------------------------------------------------------------------


def peak_memory() -> float:
    """Returns the largest memory of this process so far, in MB."""
    info = psutil.Process().memory_info()
    if hasattr(info, "peak_wset"):  # Windows
        return info.peak_wset / 1e6
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1e6 if sys.platform == "darwin" else 1e3
    )  # bytes on macOS, else kB


@contextmanager
def counted_frames(model):
    """Counts the frames that go through the layers of `model`. Yields a list with one number: frames times
    items of all calls so far."""
    count = [0]

    def add(module, args, out):
        count[0] += args[0].shape[0] * args[0].shape[1]

    handle = model.layers[0].register_forward_hook(add)
    try:
        yield count
    finally:
        handle.remove()


@torch.inference_mode()
def product_floor(model, rows: int, repeats: int = 20) -> float:
    """Returns the seconds that the matrix products of one pass over `rows` frames take alone, the fastest of
    some runs. No denoising step can be faster on this machine."""
    layers = [
        module
        for name, module in model.layers.named_modules()
        if isinstance(module, torch.nn.Linear | Bfloat16Linear) and not name.endswith("key_value")
    ]  # key_value layers run on the prompt, not on frames
    inputs = [torch.randn(rows, layer.in_features) for layer in layers]

    def run() -> None:
        for layer, x in zip(layers, inputs):
            layer(x)

    return min(timed(run, 2, repeats).runs)


def in_steady_state(playing, context_latents: int):
    """Returns the stream with a full context, after its first block, which fills the cache."""
    playing.set_context(torch.randn(1, LATENT_CHANNELS, context_latents))
    next(playing)
    return playing


def median_parts(made: list) -> dict[str, float]:
    """Returns the median seconds of a stream's blocks by part: "context", "network", "codec", and "rest" for
    all else."""
    parts = {
        name: statistics.median(b.seconds_of[name] for b in made) for name in ("context", "network", "codec")
    }
    return parts | {"rest": statistics.median(b.seconds_to_make for b in made) - sum(parts.values())}


def bench_stream(
    model,
    blocks=(12, 24, 48),
    contexts=(192,),
    steps=(8,),
    *,
    cfg_scale: float = 2.0,
    prompt: str = "funk, 110 bpm",
    repeats: int = 3,
    show: bool = True,
    **settings,
) -> list[dict]:
    """Times streams of `model` for every combination of block, context and steps, decoding included.

    Each row: the settings, "frame_forwards" a block by formula and "counted", "flops" by formula, medians of
    "context", "network", "codec" and "rest" in seconds a block once the context is full, "limit" (the share
    of "network" that its matrix products alone would take), "rtf", "ttff" (from an empty context). settings:
    more arguments of `stream`.
    """
    rows = []
    for context, block, count in itertools.product(contexts, blocks, steps):
        make = partial(
            stream, model, prompt, block, cfg_scale, context_latents=context, steps=count, **settings
        )
        next(make())  # warm-up
        first = time_to_first_audio(make)
        playing = in_steady_state(make(), context)
        with counted_frames(model) as frames:
            made = [next(playing) for _ in range(repeats)]
        parts = median_parts(made)
        whole = sum(parts.values())
        guided = is_guided(playing.text, cfg_scale) and not guides_in_one_pass(model)
        tokens = playing.text.tokens.shape[1] + 1
        in_work = (block + (0 if model.variant.caches else context)) * (2 if guided else 1)
        rows.append(
            {
                "model": model.name,
                "context_latents": context,
                "block_latents": block,
                "steps": count,
                "frame_forwards": frame_forwards(
                    model.config.variant, context, block, steps=count, guided=guided
                ),
                "counted": frames[0] / repeats,
                "flops": block_flops(model.config, context, block, steps=count, tokens=tokens, guided=guided),
                **parts,
                "seconds": whole,
                "limit": count * product_floor(playing.model, in_work) / parts["network"],
                "rtf": rtf(whole, block * FRAME_SAMPLES / SAMPLE_RATE),
                "ttff": first,
            }
        )
    if show:
        print(f"guidance {cfg_scale:g}, {torch.get_num_threads()} threads; median of {repeats} blocks")
        print(*stream_lines(rows), sep="\n")
    return rows


def stream_lines(rows: list[dict]) -> list[str]:
    """Returns the rows of :func:`bench_stream` as text. `limit`: the share of the network's time that matrix
    products alone would take."""
    lines = [
        f"{'model':>14}{'context':>8}{'block':>7}{'steps':>7}"
        f"{'frame-forwards':>16}{'counted':>9}{'GFLOP':>8}{'context ms':>12}"
        f"{'network ms':>12}{'codec ms':>10}{'rest ms':>9}{'limit':>7}{'RTF':>8}{'TTFF s':>8}"
    ]
    for r in rows:
        context, network, codec, rest = (1000 * r[part] for part in ("context", "network", "codec", "rest"))
        lines.append(
            f"{r['model']:>14}{r['context_latents']:>8}{r['block_latents']:>7}{r['steps']:>7}"
            f"{r['frame_forwards']:>16}{r['counted']:>9.0f}{r['flops'] / 1e9:>8.2f}{context:>12.1f}"
            f"{network:>12.1f}{codec:>10.1f}{rest:>9.1f}{r['limit']:>7.0%}{r['rtf']:>8.3f}{r['ttff']:>8.2f}"
        )
    return lines


def compare_streams(models: list, blocks, contexts, steps, *, show: bool = True, **settings) -> list[dict]:
    """Times several models setting by setting, one right after the other, so that noise of the machine
    affects all of them.

    Rows have two more fields relative to the first model: "speedup" of context and network together, and
    "speedup_all" with the codec included.
    """
    rows = []
    for context, block, count in itertools.product(contexts, blocks, steps):
        some = [
            bench_stream(model, (block,), (context,), steps=(count,), show=False, **settings)[0]
            for model in models
        ]
        for row in some:
            row["speedup"] = (some[0]["context"] + some[0]["network"]) / (row["context"] + row["network"])
            row["speedup_all"] = some[0]["seconds"] / row["seconds"]
        rows += some
    if show:
        head, *lines = stream_lines(rows)
        print(f"{head}{'speed-up':>10}{'with codec':>12}")
        print(
            *(f"{line}{row['speedup']:>10.2f}{row['speedup_all']:>12.2f}" for line, row in zip(lines, rows)),
            sep="\n",
        )
    return rows
