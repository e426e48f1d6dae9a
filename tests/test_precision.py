"""Playing in bfloat16: close to float32, repeatable, and without a trace in the model."""

import copy

import pytest
import torch
from small import make_model, small, words

import lmdm_mini as lm
from lmdm_mini import precision
from lmdm_mini.codec import load_codec
from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.diffusion.dit import VARIANTS
from lmdm_mini.diffusion.kv_cache import CachedTarget, KVCache, prefill
from lmdm_mini.live.engine import Engine
from lmdm_mini.precision import Bfloat16Linear, chosen_precision, for_playing

FAST = {"steps": 2, "block_latents": 12, "seed": 3}


@pytest.fixture(scope="module", params=list(VARIANTS))
def model(request):
    made = make_model(request.param).requires_grad_(False)
    object.__setattr__(made, "codec", load_codec())
    return made


def play(model, blocks: int = 2, **settings) -> torch.Tensor:
    playing = lm.stream(model, "jazz", **FAST | settings)
    return torch.cat([next(playing).latents for _ in range(blocks)], -1)


def velocities(model) -> torch.Tensor:
    """Velocities of a block after 24 frames of context, from the cache where there is one."""
    generator = torch.Generator().manual_seed(0)
    context, x = (torch.randn(2, 64, count, generator=generator) for count in (24, 12))
    text, t = words(2), torch.full((2,), 0.5)
    with torch.inference_mode():
        if not model.variant.caches:
            mask = (torch.arange(36) < 24).float().expand(2, -1)
            return model(torch.cat([context, x], -1), t, text, mask)[..., 24:]
        cache = KVCache(model, streams=2)
        prefill(model, cache, context)
        return CachedTarget(model, cache, 12, conditions=Conditions(text, torch.zeros(2, 12)))(x, t)


def test_velocities_differ_by_little_but_differ(model):
    exact, rounded = velocities(model), velocities(for_playing(model, "bfloat16"))
    error = (rounded - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 1e-5 < error < 0.02  # bfloat16 rounds to 1/256; the residual stream keeps errors from adding up
    assert rounded.dtype == torch.float32


def test_float32_is_the_model_itself(model):
    assert for_playing(model, "float32") is model and for_playing(model) is model
    assert torch.equal(play(model), play(model, precision="float32"))


def test_same_seed_and_precision_same_music(model):
    before = play(model)
    rounded = play(model, precision="bfloat16")
    assert rounded.dtype == torch.float32 and torch.equal(rounded, play(model, precision="bfloat16"))
    assert not torch.equal(rounded, before) and torch.equal(play(model), before)  # and float32 is as it was


def test_all_but_the_products_is_shared_and_float32(model):
    state = copy.deepcopy(model.state_dict())
    ready = for_playing(model, "bfloat16")
    mine = {id(p) for p in model.parameters()}
    assert {p.dtype for p in ready.parameters() if id(p) not in mine} == {torch.bfloat16}
    copies = [module for module in ready.modules() if isinstance(module, Bfloat16Linear)]
    linears = [module for module in model.layers.modules() if isinstance(module, torch.nn.Linear)]
    assert len(copies) == len(linears) > 0
    assert not any(isinstance(module, Bfloat16Linear) for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_copies_are_kept_and_follow_the_weights():
    model = make_model("block_causal").requires_grad_(False)
    first = for_playing(model, "bfloat16").layers[0].down
    with torch.inference_mode():  # whoever made the copies, they can be written to later
        assert for_playing(model, "bfloat16").layers[0].down is first
    model.layers[0].down.weight *= 2
    for_playing(model, "bfloat16")
    assert torch.equal(first.weight, model.layers[0].down.weight.bfloat16())


def test_auto_is_what_is_fast(monkeypatch):
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(precision, "fast_dtype", lambda dtype=dtype: dtype)
        assert f"torch.{chosen_precision('auto')}" == str(dtype)
    assert [chosen_precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]


@pytest.mark.parametrize("wrong", ["float16", "BFLOAT16", "", None, torch.bfloat16, 16])
def test_an_unknown_precision_is_refused_with_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"precision is .*; there are: auto, float32, bfloat16\.$"):
        lm.stream(small("block_causal"), precision=wrong)


def test_the_decoder_rounds_and_still_streams_what_it_decodes():
    model = small("block_causal")
    codec = for_playing(model, "bfloat16").codec
    latents = torch.randn(1, 64, 40, generator=torch.Generator().manual_seed(0))
    whole = codec.decode(latents)
    for size in (1, 4, 12, 16):
        stream = codec.stream_decoder()
        parts = [stream(piece) for piece in latents.split(size, -1)] + [stream.flush()]
        assert (torch.cat(parts, -1) - whole).abs().max() < 1e-5
    exact, rounded = (c.decode_features(latents.mT)[0] for c in (model.codec, codec))
    error = (rounded - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 1e-5 < error < 0.02
    sound = 0.1 * torch.randn(1, 2, 30_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(codec.encode(sound), model.codec.encode(sound))  # the encoder is exact


def test_the_rival_reads_its_context_in_bfloat16():
    model = small("lmm")
    ready = for_playing(model, "bfloat16")
    assert any(isinstance(module, Bfloat16Linear) for module in ready.encoder.modules())
    assert not any(isinstance(module, Bfloat16Linear) for module in ready.temporal.modules())
    assert next(lm.stream(model, precision="bfloat16", block_latents=12)).latents.isfinite().all()


def test_a_live_session_plays_in_bfloat16():
    model = small("block_causal")
    for p in model.parameters():
        p += 0.05 * torch.randn_like(p)
    made = [
        Engine(model, precision=name, steps=2).next_block().audio
        for name in ("float32", "bfloat16", "bfloat16")
    ]
    assert torch.equal(made[1], made[2]) and not torch.equal(made[0], made[1])
    with pytest.raises(ValueError, match="precision is 'half'"):
        Engine(model, precision="half")
