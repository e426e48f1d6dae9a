"""Numbers of PyTorch operations: counted while small models run, and extrapolated to any depth.

The number of operations does not depend on a model's width, and it grows by the same number with every layer.
So the parts of a block are counted once for models of one and of two layers, on the code that plays. What the
numbers are good for: a processor or a graphics card needs some microseconds for each operation, however
little it computes (dispatch overhead).

Notebook: 08_complexity_lab.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_CHANNELS, TILE, load_codec
from lmdm_mini.conditioning.text import TEXT_CHANNELS, Text
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.diffusion.guidance import Sampling
from lmdm_mini.diffusion.stream import DiTStream
from lmdm_mini.discrete.lmm import LMM, LMMConfig
from lmdm_mini.discrete.rvq import RVQ, RVQConfig
from lmdm_mini.discrete.stream import CodeSampling, LMMStream, sample_code
from lmdm_mini.lazy import loaded_once
from lmdm_mini.streaming import PartTimes, Stream

S = TypeVar("S", bound=Stream)
TABLES = {"embedding", "index_select", "index"}  # take some rows of a table, not all of it
PRODUCTS = {"linear", "matmul", "scaled_dot_product_attention", "conv1d"}


class OperationCounter(TorchDispatchMode):
    """Inside the block, counts operations that compute something, and the numbers that those between products
    read and write (`moved`). Views compute nothing and do not count."""

    def __init__(self):
        super().__init__()
        self.operations, self.moved = 0, 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(out)
        changes, kept = func._schema.is_mutable, {x.untyped_storage().data_ptr() for x in given}
        if made and not changes and all(x.untyped_storage().data_ptr() in kept for x in made):
            return out  # a view
        name, written = func.overloadpacket.__name__, sum(x.numel() for x in made)
        self.operations += 1
        if name in TABLES:
            self.moved += 2 * written
        elif name not in PRODUCTS:
            self.moved += sum(x.numel() for x in given) + (0 if changes else written)
        return out


def _tensors(tree) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def count(run: Callable[[], object]) -> OperationCounter:
    """What one call asks for."""
    with OperationCounter() as counter:
        run()
    return counter


@dataclass(frozen=True)
class Linear:
    """A count that grows with the number of layers: `once + each * layers`."""

    once: int
    each: int

    def __call__(self, layers: int) -> int:
        return self.once + self.each * layers


def _fit(one: int, two: int) -> Linear:
    return Linear(2 * one - two, two - one)


# -- small streams ---------------------------------------------------------------------------------------


def _begun(playing: S, guided: bool, block_latents: int) -> S:
    """A small stream with a prompt, a tempo and a full context, one block after its start."""
    tokens = torch.ones(1, 2, TEXT_CHANNELS)
    playing.text = Text(tokens, torch.zeros(1, 2), torch.tensor([120.0]), tokens[:, 0])
    playing.set(block_latents=block_latents, cfg_scale=2.0 if guided else 1.0)
    playing.set_context(torch.randn(1, LATENT_CHANNELS, 2 * TILE))
    next(playing)
    return playing


class _Silence(torch.nn.Module):
    """Stands in for the codec, whose operations are counted apart: its decoder gives silence, at one
    operation a block."""

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))

    def stream_decoder(self) -> "_Silence":
        return self

    def reset(self) -> None:
        pass

    def forward(self, latents: Tensor) -> Tensor:
        return latents.new_zeros(1, 2, FRAME_SAMPLES * latents.shape[-1])


def _with_codec(model):
    object.__setattr__(model, "codec", _Silence())
    return model.eval().requires_grad_(False)


def _diffusion(variant: str, layers: int, guided: bool, *, steps: int) -> DiTStream:
    config = DiTConfig(width=32, depth=layers, heads=2, variant=variant)
    how = Sampling(steps=steps)
    return _begun(DiTStream(_with_codec(DiT(config)), how, seed=0, context_latents=2 * TILE), guided, TILE)


def _parts_of(playing: Stream) -> dict[str, int]:
    """Operations of the next block by part; "rest" is all but context and codec."""
    whole = count(lambda: next(playing)).operations
    codec, context = 1, 0
    if isinstance(playing, DiTStream) and playing.cache is not None:
        fresh = playing.fresh if playing.model.variant.across_blocks else playing.context[..., -2 * TILE :]
        context = count(lambda: playing._fill(PartTimes(), fresh)).operations
    return {"context": context, "codec": codec, "rest": whole - context - codec}


@loaded_once
def diffusion_operations(variant: str, guided: bool) -> dict[str, Linear]:
    """Operations of the passes of a block, by layers: "text" (prompt, clock and what else is once a block),
    "context", and "denoising", one step."""
    counts = []
    for layers in (1, 2):
        one, two = (_parts_of(_diffusion(variant, layers, guided, steps=steps)) for steps in (1, 2))
        step = two["rest"] - one["rest"]
        counts.append({"text": one["rest"] - step, "context": one["context"], "denoising": step})
    return {part: _fit(counts[0][part], counts[1][part]) for part in counts[0]}


def _discrete(layers: tuple[int, int, int], guided: bool, n_q: int = 2) -> LMMStream:
    encoder, temporal, depth = layers
    shape = {"width": 32, "heads": 1, "depth_width": 32, "depth_heads": 1, "codebook_size": 64}
    config = LMMConfig(n_q, 1, encoder_layers=encoder, temporal_layers=temporal, depth_layers=depth, **shape)
    model = _with_codec(LMM(config))
    object.__setattr__(model, "rvq", RVQ(RVQConfig(n_q, 64)).eval())
    return _begun(LMMStream(model, CodeSampling(), seed=0, context_latents=2 * TILE), guided, 1)


@loaded_once
def discrete_operations(guided: bool) -> dict[str, dict[str, int]]:
    """Operations of the passes of a block of the discrete model. Each is "once" plus a number for each layer
    of a kind: "text", "context", "temporal" (one frame) and "depth" (one code); "codec" is what codes cost
    beside the decoder, for each code of a frame."""

    def parts(layers: tuple[int, int, int], n_q: int = 2) -> dict[str, int]:
        playing = _discrete(layers, guided, n_q)
        model = playing.model
        whole = count(lambda: next(playing)).operations
        codes = count(lambda: model.rvq.decode(playing.codes[..., -1:])).operations
        made = playing.begin_block()
        pick = partial(sample_code, cfg_scale=2.0, temperature=1.0, top_k=4, generator=torch.Generator())
        frame = count(lambda: made(pick)).operations
        context = playing.codes[..., -2 * TILE :]

        def read() -> None:
            encoded, table = model.encode(context), model.rope(torch.arange(2 * TILE))
            for keys in model.context_keys:
                keys(encoded, table)

        return {
            "context": count(read).operations,
            "frame": frame,
            "codes": codes,
            "whole": whole,
        }

    one, deeper = parts((1, 1, 1)), parts((1, 1, 1), 3)
    by_layer = {"encoder": parts((2, 1, 1)), "temporal": parts((1, 2, 1)), "depth": parts((1, 1, 2))}
    code = deeper["frame"] - one["frame"]  # one more code a frame
    codes = deeper["codes"] - one["codes"]

    def text(found: dict[str, int]) -> int:
        return found["whole"] - found["frame"] - found["context"] - found["codes"] - 1

    def each(part: Callable[[dict[str, int]], int], *kinds: str) -> dict[str, int]:
        grown = {kind: part(by_layer[kind]) - part(one) for kind in kinds}
        return grown | {"once": part(one) - sum(grown.values())}

    depth = (by_layer["depth"]["frame"] - one["frame"]) // 2  # of each layer, for each of two codes
    temporal = by_layer["temporal"]["frame"] - one["frame"]
    return {
        "text": each(text, "temporal"),
        "context": each(lambda found: found["context"], "encoder", "temporal"),
        "temporal": {"temporal": temporal, "once": one["frame"] - 2 * code - temporal},
        "depth": {"depth": depth, "once": code - depth},
        "codec": {"code": codes, "once": one["codes"] - 2 * codes},
    }


# -- the codec -------------------------------------------------------------------------------------------


@loaded_once
def codec_operations() -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Of the shipped codec's decoder, operations and numbers moved: each a tile, a latent frame, and once a
    block."""
    decoder = load_codec().stream_decoder()
    decoder(torch.randn(1, LATENT_CHANNELS, TILE))  # the first block is another
    sizes = (TILE, TILE + 1, 2 * TILE)
    found = [count(partial(decoder, torch.randn(1, LATENT_CHANNELS, size))) for size in sizes]
    fits = []
    for a, b, c in zip(*((x.operations, x.moved) for x in found)):
        frame = (c - b) / (TILE - 1)  # as many tiles
        tile = b - a - frame
        fits.append((tile, frame, a - tile - TILE * frame))
    return fits[0], fits[1]
