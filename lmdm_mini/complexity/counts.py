"""Counts that follow from a configuration: passes, operations, bytes.

Two terms are used throughout the book, and `timing.py` computes both:

- **RTF**, the real-time factor: seconds of computing per second of audio. Below 1 is faster than real time;
  "times real time" is its inverse.
- **TTFF**, the time to the first block: from the request to the first block of audio samples in hand,
  decoded.

Models are measured in `bench.py`.

Notebook: 08_complexity_lab.
"""

from dataclasses import dataclass, replace

import torch

from lmdm_mini.codec.codec import HOPS, LATENT_CHANNELS, TILE, CodecConfig
from lmdm_mini.codec.spectrum import BINS, DELAY_BANDS, EAR_BANDS, FEATURES
from lmdm_mini.complexity.operations import codec_operations, diffusion_operations, discrete_operations
from lmdm_mini.conditioning.clock import CLOCK_PERIODS, TEMPO_CHANNELS
from lmdm_mini.conditioning.text import TEXT_CHANNELS
from lmdm_mini.diffusion.dit import VARIANTS, DiT, DiTConfig
from lmdm_mini.diffusion.kv_cache import SLACK
from lmdm_mini.discrete.lmm import LMM, LMMConfig
from lmdm_mini.transformer import hidden_width

CLOCK_CHANNELS, TIME_CHANNELS = 2 * len(CLOCK_PERIODS), 256


# -- counts ------------------------------------------------------------------------------------------
#
# A block of a stream whose context is full is a list of passes; all that can be counted follows from that
# list.


@dataclass(frozen=True)
class Product:
    """Matrix products of one shape: (rows, inner) times (inner, outer). Sizes that grow from pass to pass are
    given as their mean."""

    rows: float
    inner: float
    outer: float
    times: int = 1  # of this shape in one pass, one after another
    batch: int = 1  # side by side: heads of all branches; channels of a depthwise convolution
    weights: bool = True  # whether the right side is weights; else keys, values or other activations

    @property
    def flops(self) -> float:
        """Floating-point operations, two a multiplication with its addition."""
        return 2 * self.rows * self.right

    @property
    def right(self) -> float:
        """Numbers of the right side, which are read once a product."""
        return self.inner * self.outer * self.times * self.batch


@dataclass(frozen=True)
class Pass:
    """Something that is computed `times` times for a block, and never two of them side by side."""

    part: str  # "text", "context", "codec", and "denoising" or "temporal" and "depth"
    times: int
    frames: int  # latent frames (of "depth": codes) that go through it together, in each branch
    branches: int  # 2 with guidance
    products: tuple[Product, ...]
    operations: int  # that PyTorch is asked for in one pass; views, which compute nothing, are not counted
    moved: float  # numbers that the operations between the products read and write


def attention(
    frames: float, keys: float, width: int, heads: int, branches: int, times: int
) -> tuple[Product, Product]:
    """Returns the two products of attention: queries with keys, and attention weights with values."""
    head = width // heads
    return (
        Product(frames, head, keys, times, branches * heads, False),
        Product(frames, keys, head, times, branches * heads, False),
    )


def layer_products(
    width: int,
    hidden: int,
    heads: int,
    *,
    layers: int,
    frames: int,
    keys: float,
    branches: int,
    tokens: int = 0,
):
    """Returns the products of `layers` transformer layers for `frames` frames, each of which attends to
    `keys` frames and `tokens` words. With tokens 0 there is no cross-attention."""
    rows = frames * branches
    cross = (
        (Product(rows, width, width, 2 * layers), *attention(frames, tokens, width, heads, branches, layers))
        if tokens
        else ()
    )
    return (
        Product(rows, width, 3 * width, layers),
        *attention(frames, keys, width, heads, branches, layers),
        Product(rows, width, width, layers),
        *cross,
        Product(rows, width, 2 * hidden, layers),
        Product(rows, hidden, width, layers),
    )


# Numbers that a layer reads and writes between its products, in widths a row: norms 4, shifts and gates 10,
# queries and keys 24 (norm 10, RoPE 14); 10 more with cross-attention, 4 where keys and values are put
# into a cache. A feed-forward: 5 hidden widths.
LAYER, CROSS, CACHED, FEED_FORWARD = 38, 10, 4, 5
MODULATION = 22  # likewise, once a branch, or once a row where rows are modulated differently


def block_passes(
    config: DiTConfig | LMMConfig,
    context_latents: int,
    block_latents: int,
    *,
    steps: int,
    tokens: int,
    guided: bool = False,
) -> list[Pass]:
    """Returns the passes that a stream computes for one block once its context is full.

    steps: denoising steps; the discrete model has none, and ignores it. tokens: words that cross-attention
    attends to, the learnt one included (`text.tokens.shape[1] + 1`). guided: both branches run as a batch of
    two.
    """
    branches = 2 if guided else 1
    how = (context_latents, block_latents, steps, tokens, branches)
    if isinstance(config, LMMConfig):
        return [*_discrete_passes(config, *how), codec_pass(block_latents, config)]
    return [*_diffusion_passes(config, *how), codec_pass(block_latents, None)]


def _text_products(config, layers: int, tokens: int, *, branches: int) -> tuple[Product, ...]:
    """Keys and values of the prompt for every layer; tempo and sentence."""
    w = config.width
    return (
        Product(branches * tokens, TEXT_CHANNELS, 2 * w, layers),
        Product(branches, TEMPO_CHANNELS, w),
        Product(branches, TEXT_CHANNELS, w),
    )


def _modulation_products(width: int, rows: int) -> tuple[Product, ...]:
    return Product(rows, TIME_CHANNELS, width), Product(rows, width, width), Product(rows, width, 6 * width)


def _diffusion_passes(
    config: DiTConfig, s: int, o: int, steps: int, tokens: int, branches: int
) -> list[Pass]:
    w, depth, variant = config.width, config.depth, VARIANTS[config.variant]
    hidden, asked = hidden_width(w, config.expansion), diffusion_operations(variant.name, branches == 2)
    clock = Product(branches * (o if variant.caches else s + o), CLOCK_CHANNELS, w)
    text = _text_products(config, depth, tokens, branches=branches)
    read = 8 * depth * tokens * w * branches

    def layers(frames: int, keys: int, batch: int, words: int) -> tuple[Product, ...]:
        return layer_products(
            w, hidden, config.heads, layers=depth, frames=frames, keys=keys, branches=batch, tokens=words
        )

    def moved(rows: int, widths: int, modulated: int) -> float:
        return depth * (rows * (widths * w + FEED_FORWARD * hidden) + modulated * MODULATION * w)

    if (
        not variant.caches
    ):  # context and target together, in every step; context frames have a modulation of their own
        frames, rows = s + o, branches * (s + o)
        products = (
            Product(rows, LATENT_CHANNELS, w),
            *_modulation_products(w, branches),
            *_modulation_products(w, 1),
            *layers(frames, frames, branches, tokens),
            Product(rows, w, LATENT_CHANNELS),
        )
        step = moved(rows, LAYER + CROSS + 2, rows) + 10 * rows * w
        return [
            Pass("text", 1, tokens, branches, (*text, clock), asked["text"](depth), read + 5 * rows * w),
            Pass("denoising", steps, frames, branches, products, asked["denoising"](depth), step),
        ]
    slots = s + SLACK  # attention reads the keys of the whole ring, though some are masked
    read += 5 * branches * o * w
    passes = [Pass("text", 1, tokens, branches, (*text, clock), asked["text"](depth), read)]
    # context frames whose keys and values are computed for this block
    again = o if variant.across_blocks else s
    if again:
        products = (
            Product(again, LATENT_CHANNELS, w),
            *_modulation_products(w, 1),
            *layers(again, slots + again, 1, 0),
        )
        read = moved(again, LAYER + 2 * CACHED, 1) + 3 * again * (slots + again)  # the last is the mask
        passes.append(Pass("context", 1, again, 1, products, asked["context"](depth), read))
    rows = branches * o
    products = (
        Product(rows, LATENT_CHANNELS, w),
        *_modulation_products(w, branches),
        *layers(o, slots + o, branches, tokens),
        Product(rows, w, LATENT_CHANNELS),
    )
    step = moved(rows, LAYER + CROSS + CACHED, branches) + 5 * rows * w
    return [*passes, Pass("denoising", steps, o, branches, products, asked["denoising"](depth), step)]


def _discrete_passes(config: LMMConfig, s: int, o: int, steps: int, tokens: int, branches: int) -> list[Pass]:
    c, w, narrow, n = config, config.width, config.depth_width, config.n_q
    asked = discrete_operations(branches == 2)
    layers = {"encoder": c.encoder_layers, "temporal": c.temporal_layers, "depth": c.depth_layers, "once": 1}

    def operations(part: str) -> int:
        return sum(number * layers[kind] for kind, number in asked[part].items())

    hidden, small = hidden_width(w, c.expansion), hidden_width(narrow, c.expansion)
    text = (
        *_text_products(c, c.temporal_layers, tokens, branches=branches),
        Product(branches, w, 6 * w),
        Product(branches * o, CLOCK_CHANNELS, w),
    )
    read = 8 * c.temporal_layers * tokens * w * branches
    passes = [Pass("text", 1, tokens, branches, text, operations("text"), read)]
    if s:
        products = (
            Product(s, LATENT_CHANNELS, w),
            *layer_products(w, hidden, c.heads, layers=c.encoder_layers, frames=s, keys=s, branches=1),
            Product(s, w, 2 * w, c.temporal_layers),
        )
        moved = s * (
            c.encoder_layers * (LAYER * w + FEED_FORWARD * hidden)
            + c.temporal_layers * (12 + 2 * CACHED) * w
            + 12 * w
        )
        passes.append(Pass("context", 1, s, 1, products, operations("context"), moved))
    # the i-th frame attends to the context and i frames of its block, the j-th code to j codes: on average to
    # half of them
    frame = (
        Product(1, LATENT_CHANNELS, w),
        *layer_products(
            w,
            hidden,
            c.heads,
            layers=c.temporal_layers,
            frames=1,
            keys=s + (o + 1) / 2,
            branches=branches,
            tokens=tokens,
        ),
        Product(branches, w, narrow),
    )
    moved = branches * c.temporal_layers * ((LAYER + CROSS + CACHED + MODULATION) * w + FEED_FORWARD * hidden)
    passes.append(Pass("temporal", o, 1, branches, frame, operations("temporal"), moved))
    code = (
        *layer_products(
            narrow, small, c.depth_heads, layers=c.depth_layers, frames=1, keys=(n + 1) / 2, branches=branches
        ),
        Product(branches, narrow, c.codebook_size),
    )
    moved = (
        branches * c.depth_layers * (16 * narrow + FEED_FORWARD * small)
        + (12 if branches == 2 else 3) * c.codebook_size
    )
    return [*passes, Pass("depth", o * n, 1, branches, code, operations("depth"), moved)]


def codec_pass(block_latents: int, discrete: LMMConfig | None = None) -> Pass:
    """Returns the pass of the shipped codec's decoder: whole tiles of 12 frames (a call of up
    to 4 frames may cost less), then phases STFT frame by STFT frame. discrete: the model whose codes are
    looked up before."""
    c, tiles = CodecConfig(), -(-block_latents // TILE)
    rows, hops = TILE, TILE * HOPS
    products = [
        Product(rows, LATENT_CHANNELS, c.deep_width),
        Product(rows, LATENT_CHANNELS, HOPS * FEATURES),
        Product(rows, c.deep_width, HOPS * c.width),
        Product(hops, c.width, c.head_width),
        Product(hops, c.head_width, FEATURES),
    ]
    for blocks, width, count in (
        (c.decoder_deep_blocks, c.deep_width, rows),
        (c.decoder_blocks, c.width, hops),
    ):
        products += [
            Product(count, c.kernel, 1, blocks, width),
            Product(count, width, 3 * width, blocks),
            Product(count, 3 * width, width, blocks),
        ]
    # bands to bins and back: energies, gains, onsets, stereo
    products += [
        Product(hops, BINS, EAR_BANDS, 2),
        Product(hops, EAR_BANDS, BINS),
        Product(hops, BINS, DELAY_BANDS),
        Product(hops, DELAY_BANDS, BINS, 2),
        Product(2 * hops, EAR_BANDS, BINS),
    ]
    asked, read = codec_operations()
    operations = asked[0] * tiles + asked[1] * block_latents + asked[2]
    moved = read[0] * tiles + read[1] * block_latents + read[2]
    if discrete:
        of_codes = discrete_operations(False)["codec"]
        operations += of_codes["code"] * discrete.n_q + of_codes["once"]
        moved += 5 * discrete.n_q * block_latents * LATENT_CHANNELS
    products = tuple(replace(p, times=p.times * tiles) for p in products)
    return Pass("codec", 1, block_latents, 1, products, round(operations), moved)


# -- what follows from the passes --------------------------------------------------------------------


def flops(passes: list[Pass]) -> float:
    """Counts the floating-point operations of all matrix products."""
    return sum(p.times * sum(product.flops for product in p.products) for p in passes)


def bytes_read(passes: list[Pass], weights: bool, bytes_a_number: int = 4) -> float:
    """Counts the bytes that products read of weights, or of keys, values and other activations. Each product
    reads its right side once."""
    return bytes_a_number * sum(
        p.times * sum(product.right for product in p.products if product.weights == weights) for p in passes
    )


def forwards(passes: list[Pass]) -> dict[str, int]:
    """Counts the latent frames of all branches that go through each part (of "depth": codes)."""
    return {p.part: p.times * p.branches * p.frames for p in passes}


def sequential_steps(passes: list[Pass]) -> int:
    """Counts the passes through a network that depend on the one before."""
    return sum(p.times for p in passes if p.part not in ("text", "codec"))


def network_evaluations(passes: list[Pass]) -> int:
    """Returns the number of function evaluations (NFE): denoising steps, or codes, of all branches."""
    return sum(p.times * p.branches for p in passes if p.part in ("denoising", "depth"))


def frame_forwards(
    variant: str, context_latents: int, block_latents: int, *, steps: int, guided: bool = False
) -> int:
    """Latent frames that go through a diffusion model for one block: context s, block o, K steps, twice with
    guidance.

    bidirectional: K (s + o). enc_dec: s + K o. block_causal: o + K o. Only what runs in the steps is doubled.
    """
    through = forwards(
        block_passes(
            DiTConfig(variant=variant), context_latents, block_latents, steps=steps, tokens=1, guided=guided
        )
    )
    return through.get("context", 0) + through["denoising"]


def block_flops(
    config, context_latents: int, block_latents: int, *, steps: int, tokens: int, guided: bool = False
) -> float:
    """Floating-point operations of one block, without the codec, which is the same for all: see
    :func:`block_passes`."""
    passes = block_passes(config, context_latents, block_latents, steps=steps, tokens=tokens, guided=guided)
    return flops([p for p in passes if p.part != "codec"])


def parameter_count(config: DiTConfig | LMMConfig) -> int:
    """Parameters of a model of this configuration. Nothing is allocated."""
    with torch.device("meta"):
        model = LMM(config) if isinstance(config, LMMConfig) else DiT(config)
    return sum(p.numel() for p in model.parameters())
