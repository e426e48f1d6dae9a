"""What a notebook builds is what the package has: definitions are taken out of its cells and held against the
package's."""

import ast
from functools import partial
from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from small import codes_of, latents_of, make_lmm, played, words
from torch import nn

from lmdm_mini.discrete.cache import LMMCache
from lmdm_mini.discrete.lmm import DepthLayer
from lmdm_mini.discrete.rvq import RVQConfig
from lmdm_mini.discrete.stream import sample_code
from lmdm_mini.discrete.train_rvq import RVQLearner
from lmdm_mini.streaming import beats_from


@pytest.fixture(scope="module")
def model():
    return make_lmm()


NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"


def definitions(chapter: str, *names: str, **given) -> dict:
    """Functions and classes of these names from the code cells of a chapter, with the usual imports and what
    is given around them."""
    cells = nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4).cells
    nodes = {
        node.name: node
        for cell in cells
        if cell.cell_type == "code"
        for node in ast.parse(cell.source).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    missing = [name for name in names if name not in nodes]
    assert not missing, f"chapter {chapter} does not define {missing}"
    space = {"torch": torch, "nn": nn, "F": F, "partial": partial, **given}
    exec(compile(ast.Module([nodes[name] for name in names], []), chapter, "exec"), space)
    return space


in_chapter_07 = partial(definitions, "07_discrete_live_music_models")


def test_residual_quantisation(quantiser):
    built, frames = in_chapter_07("nearest", "encode", "decode"), latents_of(80, seed=5)[0].T
    codes = built["encode"](frames, quantiser.codebooks)
    assert torch.equal(codes.T, quantiser.encode(frames.T))
    for n in range(1, 5):
        assert torch.allclose(
            built["decode"](codes[:, :n], quantiser.codebooks).T, quantiser.decode(codes[:, :n].T), atol=1e-6
        )


def test_k_means_comes_as_near_as_the_quantisers():
    frames = latents_of(2000)[0].T
    built = in_chapter_07("nearest", "k_means", "seeded")
    mine = built["k_means"](frames, 32)
    torch.manual_seed(0)
    one = RVQLearner(RVQConfig(1, 32))
    one.init_from(frames)
    errors = [
        (frames - book[built["nearest"](frames, book)]).square().mean().item()
        for book in (mine, one.rvq().codebooks[0])
    ]
    assert errors[0] == pytest.approx(errors[1], rel=0.1)


def test_depth_layer():
    built, theirs = in_chapter_07("CausalLayer"), DepthLayer(32, 2, 8 / 3)
    mine, x = built["CausalLayer"](32, 2), torch.randn(3, 7, 32)
    mine.load_state_dict(theirs.state_dict())
    assert torch.allclose(
        mine(x), theirs(x, partial(F.scaled_dot_product_attention, is_causal=True)), atol=1e-5
    )


def test_depth_transformer_said_code_by_code(model):
    built = in_chapter_07("CausalLayer", "say_frame", model=model, c=model.config)
    built["by_hand_layers"] = [
        built["CausalLayer"](model.config.depth_width, model.config.depth_heads) for _ in model.depth
    ]
    for mine, theirs in zip(built["by_hand_layers"], model.depth):
        mine.load_state_dict(theirs.state_dict())
    h = torch.randn(model.config.width, generator=torch.Generator().manual_seed(0))
    codes, logits = built["say_frame"](h, torch.argmax)
    at_once = model._depth(h[None, None], model.embed_codes(codes[None, :, None]))[0, 0]
    assert (logits - at_once).abs().max() < 1e-4 and torch.equal(at_once.argmax(-1), codes)


def test_regenerating_all_equals_the_cache(model):
    text, context, count = words(2), codes_of(20, 3), 3
    built = in_chapter_07(
        "naive",
        "picker",
        "seeded",
        model=model,
        c=model.config,
        text=text,
        context=context,
        s=20,
        beats_from=beats_from,
        sample_code=sample_code,
    )
    codes, logits = built["naive"](count, built["picker"](seed=1, top_k=10))
    cached, theirs = played(
        model, LMMCache(model), context, count, text, 0.0, built["picker"](seed=1, top_k=10)
    )
    assert torch.equal(codes, cached[0]) and (logits - theirs).abs().max() < 1e-4


def test_temporal_and_depth_hear_what_the_package_hears():
    """A code that changes is heard by all codes after it and none before it; all at once, by all later
    frames."""
    built = in_chapter_07("CausalLayer", "AllAtOnce", "TemporalAndDepth")
    torch.manual_seed(0)
    codes = torch.randint(16, (1, 4, 5))
    for kind, later in (
        ("TemporalAndDepth", lambda place: place + 1),
        ("AllAtOnce", lambda place: 4 * (place // 4 + 1)),
    ):
        net = built[kind](4, 16)
        for frame, q in ((1, 0), (2, 3), (0, 1)):
            changed = codes.clone()
            changed[0, q, frame] = (codes[0, q, frame] + 1) % 16
            moved = (net(changed) - net(codes))[0].abs().amax(-1).flatten() > 1e-6
            first = later(4 * frame + q)
            assert not moved[:first].any() and moved[first:].all()
