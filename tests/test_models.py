"""The door to all models: names, numbers of any type, and what is refused with a sentence."""

import warnings

import numpy as np
import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.checkpoints import CHECKPOINTS

FAST = {"steps": 1, "cfg_scale": 1.0, "seconds": 0.5}


@pytest.fixture(scope="module")
def model():
    return lm.load("block_causal")


@pytest.fixture(scope="module")
def rival():
    return lm.load("lmm")


@pytest.mark.parametrize(
    "name, message",
    [
        ("codec", r"not a model but a codec: load it with lmdm_mini.load_codec\(\)"),
        ("clap", r"not a model but a judge for evaluations"),
        ("rvq", r"not a model but the quantiser"),
        ("reference", r"not a model but what real music scores"),
        ("nonsense", r"there is no model 'nonsense'. There are: bidirectional, block_causal"),
        ("n" * 300, r"there is no model 'nnn.*There are: bidirectional"),
        ("runs/block_causal.safetensors", r"load\(name, path=...\)"),
        ("", r"there is no model ''"),
    ],
)
def test_a_name_that_is_no_model_is_told_what_it_is(name, message):
    with pytest.raises(ValueError, match=message):
        lm.load(name)


def test_what_is_no_name_is_refused(model):
    for thing in (model, None, 3, CHECKPOINTS / "lmm.safetensors"):
        with pytest.raises(TypeError, match=r"load\(\) takes the name of a model"):
            lm.load(thing)
        if thing is not model:
            with pytest.raises(TypeError, match="a model is needed, as load"):
                lm.generate(thing)


def test_weights_of_another_variant_or_kind_are_refused():
    with pytest.raises(ValueError, match="is a model of variant block_causal, not enc_dec"):
        lm.load("enc_dec", path=CHECKPOINTS / "block_causal.safetensors")
    with pytest.raises(ValueError, match="not a model but a codec"):
        lm.load("bidirectional", path=CHECKPOINTS / "codec.safetensors")
    for name in ("bidirectional", "lmm"):
        with pytest.raises(FileNotFoundError, match="none.safetensors is not there"):
            lm.load(name, path="none.safetensors")


def test_whole_numbers_of_any_type_make_the_same_music(model):
    plain = lm.generate(model, block_latents=24, seed=3, context_latents=96, **FAST)
    other = lm.generate(
        model, block_latents=24.0, seed=np.int64(3), context_latents=np.float32(96), **FAST | {"steps": 1.0}
    )
    assert torch.equal(plain, other)


def test_whole_numbers_of_any_type_for_the_rival(rival):
    lm.stream(rival, "", np.int32(12), seed=torch.tensor(3), top_k=40.0, temperature=np.float32(1))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"steps": None}, "steps is None; a whole number from 1 on"),
        ({"steps": 8.5}, "steps is 8.5"),
        ({"steps": "8"}, "steps is '8'"),
        ({"block_latents": None}, "block_latents is None"),
        ({"seed": None}, "seed is None"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"context_latents": -12}, "context_latents is -12"),
        ({"cfg_scale": 100}, "cfg_scale is 100; it must be from 0 to 20"),
        ({"cfg_scale": 1e6}, "cfg_scale is 1e.06"),
        ({"cfg_scale": None}, "cfg_scale is None"),
        ({"cfg_scale": float("nan")}, "cfg_scale is nan"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"seconds": None}, "seconds is None"),
        ({"seconds": -1}, "seconds is -1"),
        ({"keep": True}, "keep=True keeps the context"),
        ({"context": torch.full((2, 44100), 300.0)}, "far too loud"),
        ({"context": np.zeros(44100, np.int64)}, "type int64"),
        ({"prompt": "a\udcffb"}, "holds a byte that is no text"),
        ({"prompt": "funk:0 + choir:0"}, "all weights .* are 0"),
    ],
)
def test_what_cannot_be_played_is_refused_with_a_sentence(model, settings, message):
    with pytest.raises(ValueError, match=message):
        lm.generate(model, **FAST | settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"top_k": None}, "top_k is None"),
        ({"top_k": 0}, "top_k is 0"),
        ({"temperature": 1e-45}, "temperature is 1e-45; it must be at least 0.01"),
        ({"temperature": None}, "temperature is None"),
    ],
)
def test_what_the_rival_cannot_play_is_refused_with_a_sentence(rival, settings, message):
    with pytest.raises(ValueError, match=message):
        lm.stream(rival, "", **settings)


def test_a_context_that_is_too_short_to_be_heard_is_said(model):
    with pytest.warns(UserWarning, match="lasts 0.30 s, but block_causal hears from 0.5. s on"):
        lm.stream(model, context=0.1 * torch.randn(2, int(0.3 * 44100)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        playing = lm.stream(model, context=0.1 * torch.randn(2, int(0.6 * 44100)))
    assert playing.context.shape[-1] == 12
