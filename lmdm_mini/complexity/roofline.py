"""Predicted times: a machine described by a few numbers, and the seconds that follow for the passes of a
block.

A matrix product takes as long as its arithmetic or as reading its right side, whichever is longer (the
*roofline* of Williams et al. 2009). Two things are added, because at the size of these models they are most
of the time: numbers that are only passed through (norms, activations, residuals), and a fixed cost for each
PyTorch operation, however small it is.

Notebook: 08_complexity_lab. Sources: Williams, Waterman and Patterson 2009, "Roofline: an insightful visual
performance model for multicore architectures".
"""

import math
import statistics
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F

from lmdm_mini.codec.codec import LATENT_CHANNELS
from lmdm_mini.complexity.counts import (
    FEED_FORWARD,
    LAYER,
    MODULATION,
    Pass,
    Product,
    block_passes,
    layer_products,
)
from lmdm_mini.conditioning.text import no_text
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.diffusion.kv_cache import CachedTarget, KVCache
from lmdm_mini.discrete.cache import LONGEST, CachedBlock, LMMCache
from lmdm_mini.discrete.lmm import LMM, LMMConfig
from lmdm_mini.discrete.stream import sample_code
from lmdm_mini.transformer import GRANULE, Layer, hidden_width

Rates = tuple[tuple[float, float], ...]  # (rows, operations a second) by rows


@dataclass(frozen=True)
class Machine:
    """The numbers of a machine that :func:`predict` needs."""

    name: str
    products: Rates  # of products with weights
    attention: Rates  # of products with keys or values; rows are queries of one head
    bandwidth: float  # bytes a second, of weights and caches
    moving: float  # bytes a second, read and written by operations between the products
    overhead: float  # seconds an operation
    bytes_a_number: int = 4
    source: str = ""


def rate(rates: Rates, rows: float) -> float:
    """Returns operations per second at `rows`, interpolated linearly over the logarithm of rows."""
    place = bisect_left(rates, (rows,))
    if place == 0 or place == len(rates):
        return rates[min(place, len(rates) - 1)][1]
    (left, low), (right, high) = rates[place - 1], rates[place]
    return low + (high - low) * math.log(rows / left) / math.log(right / left)


def saturating(peak: float, half: float) -> Rates:
    """Returns the rates of a machine of which only the peak is published. Half of it is reached at `half`
    rows."""
    return tuple((2.0**n, peak * 2.0**n / (2.0**n + half)) for n in range(15))


def product_seconds(product: Product, machine: Machine) -> float:
    """Returns the seconds of all products of this shape in one pass."""
    rates = machine.products if product.weights else machine.attention
    return max(
        product.times
        * product.batch
        * 2
        * product.rows
        * product.inner
        * product.outer
        / rate(rates, product.rows),
        machine.bytes_a_number * product.right / machine.bandwidth,
    )


def predict(passes: list[Pass], machine: Machine) -> dict[str, float]:
    """Returns the predicted seconds of each part of a block."""
    return {
        p.part: p.times
        * (
            sum(product_seconds(product, machine) for product in p.products)
            + p.operations * machine.overhead
            + machine.bytes_a_number * p.moved / machine.moving
        )
        for p in passes
    }


# -- this machine --------------------------------------------------------------------------------------

ROWS = (1, 2, 4, 12, 24, 48, 96, 192, 480)
CACHE_BYTES = (
    24e6  # weights of one of our models in float32: they stay where as much stays, in memory or in a cache
)
LAYER_OPERATIONS = 25  # of a layer without prompt and cache


@torch.inference_mode()
def measure_machine(name: str = "this machine", seconds: float = 4.0) -> Machine:
    """Measures the processor with the threads that PyTorch has now, in about `seconds`.

    Products that are timed alone, one right after the other, are up to twice as fast as between other
    operations. So their rate is taken from whole layers of the default
    :class:`lmdm_mini.diffusion.dit.DiTConfig`: from what they take beyond the rest.
    """
    share = seconds / (3 * len(ROWS))
    overhead, moving = _overhead(4 * share), _moving(4 * share)
    c = DiTConfig()
    head, keys = c.width // c.heads, 288  # 192 + 48 frames, and what a cache keeps in reserve
    attention = []
    for rows in ROWS:
        q, k, v = (torch.randn(1, c.heads, n, head) for n in (rows, keys, keys))
        took = usual(lambda: F.scaled_dot_product_attention(q, k, v), share)
        attention.append((rows, 4 * c.heads * rows * keys * head / max(0.1 * took, took - overhead)))
    table = torch.randn(int(CACHE_BYTES / 4))
    bare = Machine(
        name,
        ((1, math.inf),),
        tuple(attention),
        CACHE_BYTES / usual(table.sum, share),
        moving,
        overhead,
        source=f"measured, {torch.get_num_threads()} threads",
    )
    layers = [Layer(c, cross=False).eval() for _ in range(c.depth)]
    return replace(
        bare,
        products=tuple((rows, _product_rate(layers, c, rows, bare=bare, seconds=share)) for rows in ROWS),
    )


def usual(run: Callable[[], object], seconds: float) -> float:
    """Seconds of one call, the median of as many as `seconds` allow, and at least three."""
    run()
    runs, end = [], time.perf_counter() + seconds
    while len(runs) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        runs.append(time.perf_counter() - start)
    return statistics.median(runs)


def _product_rate(layers: list[Layer], c: DiTConfig, rows: int, *, bare: Machine, seconds: float) -> float:
    """Operations a second of products at `rows`. bare: the machine without them."""
    hidden = hidden_width(c.width, c.expansion)
    products = layer_products(c.width, hidden, c.heads, layers=c.depth, frames=rows, keys=rows, branches=1)
    moved = c.depth * (rows * (LAYER * c.width + FEED_FORWARD * hidden) + MODULATION * c.width)
    stack = Pass("layers", 1, rows, 1, products, LAYER_OPERATIONS * c.depth, moved)
    x, modulation, table = (
        torch.randn(1, rows, c.width),
        torch.zeros(1, 1, 6 * c.width),
        torch.zeros(2, rows, c.width // c.heads),
    )

    def run() -> None:
        y = x
        for layer in layers:
            y = layer(y, modulation, table, F.scaled_dot_product_attention, None)

    took = usual(run, seconds)
    weights = [product for product in products if product.weights]
    rest = predict(
        [replace(stack, products=tuple(product for product in products if not product.weights))], bare
    )["layers"]
    return sum(product.flops for product in weights) / max(0.1 * took, took - rest)


def _overhead(seconds: float) -> float:
    """Seconds an operation: of networks so small that they do nothing else, run as streams run them."""
    text, tokens = no_text(1), 2
    diffusion = DiT(DiTConfig(width=32, heads=2, depth=6, variant="block_causal")).eval()
    target = CachedTarget(diffusion, KVCache(diffusion, 1, GRANULE), GRANULE, conditions=text)
    x, t = torch.randn(1, LATENT_CHANNELS, GRANULE), torch.ones(1)
    step = block_passes(diffusion.config, 0, GRANULE, steps=1, tokens=tokens)[-2].operations
    discrete = LMM(LMMConfig(width=32, heads=2, depth_width=32, depth_heads=2, codebook_size=64)).eval()
    cache, codes = (
        LMMCache(discrete, 1, GRANULE),
        torch.zeros(1, discrete.config.n_q, GRANULE, dtype=torch.long),
    )
    temporal, depth, _ = block_passes(discrete.config, GRANULE, LONGEST, steps=1, tokens=tokens)[-3:]
    frame = temporal.operations + discrete.config.n_q * depth.operations
    pick = partial(sample_code, cfg_scale=1.0, temperature=1.0, top_k=40, generator=torch.Generator())
    block = CachedBlock(discrete, cache, codes, LONGEST, text=text, beats=torch.zeros(1, LONGEST))

    def draw_frame() -> None:
        block.made = 0  # the first frame, again and again
        block(pick)

    return (usual(lambda: target(x, t), seconds) / step + usual(draw_frame, seconds) / frame) / 2


def _moving(seconds: float) -> float:
    """Bytes a second through operations between products, on as many numbers as a block of 24 or 48 frames
    has."""
    x, shift = torch.randn(48, 576), torch.randn(1, 576)

    def run() -> None:
        y = x
        for _ in range(8):
            y = torch.addcmul(shift, y, shift)  # reads and writes x twice
            y = F.silu(y) * x  # 5 times

    small, large = torch.randn(1, 1), x
    took = usual(run, seconds)
    x, shift = small, small
    return 8 * 7 * 4 * large.numel() / max(0.1 * took, took - usual(run, seconds))
