"""Conditions reach every path, and mean the same on each: forward, cached, outpainting, roll-outs of many
streams."""

from dataclasses import replace

import pytest
import torch
from small import make_model, words
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lmdm_mini.codec import load_codec
from lmdm_mini.conditioning import Conditions, Sketch, Stem, no_text, stack_conditions
from lmdm_mini.conditioning.sketch import sketch
from lmdm_mini.conditioning.stem import STEM_LOOK_BACK, visible_stem
from lmdm_mini.diffusion.dit import CONTROLS, DiT, DiTConfig
from lmdm_mini.diffusion.guidance import Sampling, branches_of
from lmdm_mini.diffusion.kv_cache import CachedTarget, KVCache, prefill, prefill_stem
from lmdm_mini.diffusion.masks import copies_mask, enc_dec_mask
from lmdm_mini.diffusion.rollout import draw_levels_of_steps, parallel_pass, roll_out
from lmdm_mini.diffusion.stream import denoise_cached, outpaint, stream_dit
from lmdm_mini.models import stream


@pytest.fixture
def model():
    """A block-causal model in which every control has an effect."""
    return make_model("block_causal", granule=4, blocks=(4, 12, 24), look_back=48, controls=CONTROLS)


def everything(batch, frames, seed=0, stem_frames=96, begin=48):
    """Conditions with all that there is, for frames from position `begin` on."""
    generator = torch.Generator().manual_seed(seed)
    sketch = Sketch(
        torch.randn(batch, 88, frames, generator=generator),
        (torch.rand(batch, 2, frames, generator=generator) > 0.3).float(),
    )
    stem = Stem(
        torch.randn(batch, 64, stem_frames, generator=generator),
        torch.rand(batch, stem_frames, generator=generator) > 0.1,
        torch.arange(stem_frames),
        visible_stem(torch.full((1,), begin), torch.linspace(-10, 20, batch).round().long(), 4),
    )
    return Conditions(
        words(batch, seed),
        torch.rand(batch, 1, generator=generator) * 4 + torch.arange(frames) / 10,
        stem,
        sketch,
        1 + 2 * torch.rand(batch, 2, generator=generator),
    )


def uncached(model, history, x, t, conditions):
    """The forward pass over the whole history (B, 64, n) and the target x (B, 64, o)."""
    size, count = history.shape[-1], x.shape[-1]
    clean, noisy = torch.arange(size), size + torch.arange(count)
    context_mask = torch.cat([torch.ones(len(x), size), torch.zeros(len(x), count)], 1)
    if model.variant.across_blocks:
        mask = copies_mask(
            clean,
            noisy,
            torch.full_like(noisy, size),
            window=model.config.look_back,
            granule=model.config.granule,
        )
    else:
        mask = enc_dec_mask(context_mask)
    given = conditions.take(torch.cat([clean * 0, torch.arange(count)]))
    return model(torch.cat([history, x], -1), t, given, context_mask, attention_mask=mask)[..., size:]


def frames_of(batch, count, seed):
    return torch.randn(batch, 64, count, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", ["enc_dec", "block_causal"])
def test_every_control_means_the_same_with_a_cache(variant):
    model = make_model(variant, granule=4, blocks=(4, 12), look_back=48, controls=CONTROLS)
    cache, history = KVCache(model, branches=1, streams=3), frames_of(3, 48, 1)
    given = everything(3, 12)
    prefill_stem(model, cache, given.stem.latents, present=given.stem.present)
    prefill(model, cache, history)
    x, t = frames_of(3, 12, 2), torch.tensor([0.2, 0.5, 0.9])
    v = CachedTarget(model, cache, 12, conditions=given)(x, t)
    assert (v - uncached(model, history, x, t, given)).abs().max() < 1e-4
    for name in CONTROLS:  # each has an effect, and can be absent
        other = replace(given, **{name: None})
        changed = CachedTarget(model, cache, 12, conditions=other)(x, t)
        assert (changed - v).abs().max() > 1e-3
        assert (changed - uncached(model, history, x, t, other)).abs().max() < 1e-4


def test_many_streams_in_one_cache_equal_one_cache_each(model):
    """Three streams with other prompts and contexts, one of them without its older half, two branches of
    guidance."""
    context, x, t = frames_of(3, 96, 1), frames_of(3, 12, 2), torch.tensor([0.3])
    present = torch.ones(3, 96, dtype=torch.bool)
    present[1, :48] = False
    given, none = Conditions(words(3)), Conditions(no_text(3))
    cache = KVCache(model, streams=3)
    for part in (0, 48):  # in two goes, as when a stream plays on
        prefill(model, cache, context[..., part : part + 48], present=present[:, part : part + 48])
    both = CachedTarget(model, cache, 12, conditions=stack_conditions([given, none]))(
        x.repeat(2, 1, 1), t.expand(6)
    )
    for row in range(3):
        own = KVCache(model)
        prefill(model, own, context[row : row + 1], present=present[row : row + 1])
        alone = stack_conditions([given[row : row + 1], none[row : row + 1]])
        v = CachedTarget(model, own, 12, conditions=alone)(x[row : row + 1].repeat(2, 1, 1), t.expand(2))
        assert (v - both[[row, 3 + row]]).abs().max() < 1e-5
    with pytest.raises(ValueError, match="streams"):
        prefill(model, cache, context[:2])


def test_stem_beyond_its_visibility_has_no_gradient():
    """In the base and in a live model: frames at or after the target's beginning plus the visibility change
    nothing."""
    for variant in ("bidirectional", "block_causal"):
        model = make_model(variant, granule=4, controls=("stem",))
        given = replace(everything(1, 60, begin=48), strengths=None, sketch=None)
        for v in (-43, 0, 20):
            stem = replace(given.stem, visible=visible_stem(torch.tensor([48]), torch.tensor([v]), 4))
            stem.present[:] = True
            stem.latents = stem.latents.detach().requires_grad_(True)
            mask = torch.cat([torch.ones(1, 48), torch.zeros(1, 12)], 1)
            attention = None if variant == "bidirectional" else enc_dec_mask(mask)
            out = model(
                frames_of(1, 60, 3),
                torch.tensor([0.5]),
                replace(given, stem=stem),
                mask,
                attention_mask=attention,
            )
            gradient = torch.autograd.grad(out[..., 48:].square().sum(), stem.latents)[0].abs().amax((0, 1))
            assert gradient[max(0, 48 + v) :].max() == 0 and (v < -40 or gradient[: 48 + v].max() > 0)
    assert visible_stem(torch.tensor([48]), torch.tensor([2]), 4).flatten().tolist() == [
        48 - STEM_LOOK_BACK,
        48,
    ]


def test_guidance_has_as_many_branches_as_it_needs(model):
    given = replace(everything(2, 12), strengths=None)
    some = make_model("block_causal", granule=4, controls=("stem", "sketch"))
    for how, branches in (
        (Sampling(cfg_scale=1.0), 1),
        (Sampling(cfg_scale=2.0), 2),
        (Sampling(cfg_scale=1.0, sketch_scale=2.0), 2),
        (Sampling(cfg_scale=2.0, sketch_scale=2.0), 3),
    ):
        stacked, combine = branches_of(some, given, how)
        assert len(stacked) == 2 * branches
        same = torch.randn(2, 64, 12)
        assert torch.allclose(
            combine(same.repeat(branches, 1, 1)), same, atol=1e-5
        )  # equal branches: nothing to guide
    stacked, _ = branches_of(model, given, Sampling(cfg_scale=3.0, sketch_scale=1.5))
    assert len(stacked) == 2 and stacked.strengths.tolist() == [[3.0, 1.5]] * 2


def test_a_base_outpaints_with_every_control():
    base = make_model("bidirectional", controls=CONTROLS)
    given, generator = everything(2, 60), torch.Generator()
    how = Sampling(steps=2)
    whole = outpaint(
        base, frames_of(2, 48, 1), given, block_latents=12, how=how, generator=generator.manual_seed(1)
    )
    for name in ("stem", "sketch"):
        without = outpaint(
            base,
            frames_of(2, 48, 1),
            replace(given, **{name: None}),
            block_latents=12,
            how=how,
            generator=generator.manual_seed(1),
        )
        assert without.shape == (2, 64, 12) and not torch.allclose(without, whole, atol=1e-3)


# -- roll-outs ---------------------------------------------------------------------------------------


def rolled(model, given, blocks, seed=5):
    generator = torch.Generator().manual_seed(seed)
    present = torch.ones(2, 48, dtype=torch.bool)
    present[1] = False  # this stream starts from nothing
    levels = draw_levels_of_steps(len(blocks), 3, generator, from_nothing=True)
    with torch.no_grad():
        return roll_out(
            model,
            frames_of(2, 48, 4),
            given,
            blocks=blocks,
            levels=levels,
            generator=generator,
            present=present,
        )


def test_a_roll_out_equals_its_parallel_pass(model):
    """Blocks of mixed sizes, longer than the look-back, with sketch, beats and strengths."""
    blocks = (24, 4, 12, 4, 24, 12)
    given = replace(everything(2, sum(blocks)), stem=None)
    rollout = rolled(model, given, blocks)
    again = parallel_pass(model, rollout, given)
    assert again.requires_grad and (again - rollout.made).abs().max() < 1e-4


def test_gradients_of_the_parallel_pass_equal_those_of_a_loop_over_blocks(model):
    blocks = (12, 24, 4)
    given = replace(everything(2, sum(blocks)), stem=None)
    rollout = rolled(model, given, blocks)
    parallel_pass(model, rollout, given).square().mean().backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    outputs, at = [], 0
    for count in blocks:  # each block alone, after the outputs of those before it, detached
        frames = torch.arange(at, at + count)
        history = torch.cat([rollout.context, rollout.made[..., :at].detach()], -1)
        size = history.shape[-1]
        mask = copies_mask(
            torch.arange(size), size + torch.arange(count), torch.full((count,), size), window=48, granule=4
        )
        present = torch.cat([rollout.present, torch.ones(2, size - 48 + count, dtype=torch.bool)], 1)
        mask = mask & present[:, None, None] | torch.eye(size + count, dtype=torch.bool)
        context_mask = torch.cat([torch.ones(2, size), torch.zeros(2, count)], 1)
        own = given.take(torch.cat([torch.zeros(size, dtype=torch.long), frames]))
        x, t = rollout.noisy[..., frames], rollout.t[at]
        v = model(torch.cat([history, x], -1), t.expand(2), own, context_mask, attention_mask=mask)[
            ..., size:
        ]
        outputs.append(x - t * v)
        at += count
    torch.cat(outputs, -1).square().mean().backward()
    for name, p in model.named_parameters():
        if name in wanted:
            assert (p.grad - wanted[name]).abs().max() <= 1e-5 + 1e-3 * wanted[name].abs().max(), name


def test_levels_of_a_roll_out_include_all_steps():
    generator = torch.Generator().manual_seed(0)
    counts = [len(steps) for steps in draw_levels_of_steps(300, 4, generator)]
    assert set(counts) == {1, 2, 3, 4} and min(counts.count(k) for k in range(1, 5)) > 50
    assert len(draw_levels_of_steps(2, 4, generator, from_nothing=True)[0]) == 4
    with pytest.raises(ValueError, match="block_causal"):
        roll_out(
            DiT(DiTConfig(width=32, depth=1, heads=1)),
            frames_of(1, 12, 0),
            Conditions(no_text(1)),
            blocks=[12],
            levels=[[1.0]],
            generator=generator,
        )


class Devices(TorchDispatchMode):
    """Notes the devices of all tensors that operations make, but for numbers that are read out."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for x in tree_leaves(made):
            if isinstance(x, torch.Tensor) and x.ndim:
                self.seen.add((x.device.type, str(function)))
        return made


def test_no_tensor_is_made_off_the_weights_device(model, monkeypatch):
    """On the meta device, where nothing is computed: whatever a path makes there by itself would be on the
    processor."""
    model = model.to("meta")
    given = everything(2, 12).to("meta")
    randn = torch.randn
    monkeypatch.setattr(
        torch, "randn", lambda *shape, generator=None, **how: randn(*shape, **how)
    )  # meta has none
    with Devices() as devices, torch.no_grad():
        cache = KVCache(model, streams=2)
        prefill_stem(model, cache, given.stem.latents, present=given.stem.present)
        prefill(
            model,
            cache,
            torch.empty(2, 64, 48, device="meta"),
            present=torch.ones(2, 48, dtype=torch.bool, device="meta"),
        )
        CachedTarget(model, cache, 12, conditions=given)(
            torch.empty(2, 64, 12, device="meta"), torch.empty(2, device="meta")
        )
        model(torch.empty(2, 64, 12, device="meta"), torch.empty(2, device="meta"), given)
        rollout = roll_out(
            model,
            torch.empty(2, 64, 48, device="meta"),
            replace(given, stem=None),
            blocks=[4, 8],
            levels=[[1.0, 0.5]] * 2,
            generator=None,
        )
        parallel_pass(model, rollout, replace(given, stem=None))
        denoise_cached(
            model,
            cache,
            replace(given, strengths=None),
            block_latents=12,
            how=Sampling(steps=2, sampler="pingpong"),
            generator=None,
        )
    stray = {name for device, name in devices.seen if device != "meta"}
    # a schedule's levels; constants
    allowed = "linspace", "sigmoid", "neg", "select", "slice", "_to_copy", "detach", "lift_fresh"
    assert not {name for name in stray if not any(word in name for word in allowed)}, stray


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card here")
def test_a_roll_out_on_a_graphics_card(model):
    given = replace(everything(2, 24), stem=None)
    rollout = rolled(model, given, (12, 12))
    there = model.to("cuda")
    made = parallel_pass(
        there,
        replace(
            rollout,
            **{
                name: getattr(rollout, name).to("cuda")
                for name in ("context", "present", "noisy", "t", "made")
            },
        ),
        given.to("cuda"),
    )
    assert (made.cpu() - rollout.made).abs().max() < 1e-3


# -- streams -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["bidirectional", "enc_dec", "block_causal"])
def test_a_stream_follows_stem_and_sketch_as_far_as_they_are_visible(variant):
    """What a block is conditioned on is the stem up to its beginning plus the visibility, and its own part of
    the sketch: frames after that change later blocks only."""
    model = make_model(variant, granule=4, blocks=(4, 12), look_back=48, controls=CONTROLS)
    object.__setattr__(model, "codec", load_codec())
    stem, values = frames_of(1, 40, 5), torch.rand(1, 88, 40, generator=torch.Generator().manual_seed(6))

    def play(stem, values, visibility=0):
        playing = stream_dit(model, "", 12, seed=1, context_latents=48, steps=2)
        playing.set_context(frames_of(1, 48, 7))
        playing.stem, playing.visible = stem, visibility
        playing.sketch = Sketch(values, torch.ones(1, 2, values.shape[-1]))
        return [next(playing).latents for _ in range(4)]

    plain = play(stem, values)
    assert all(torch.isfinite(block).all() for block in plain)  # the fourth is beyond the end of both
    later = torch.cat([stem[..., :24], stem[..., 24:] + 1], -1)
    assert changed(plain, play(later, values)) == [
        3
    ]  # at visibility 0 the block at frame 24 sees nothing of it
    assert changed(plain, play(later, values, visibility=8))[0] <= 2  # 8 frames ahead: the third block does
    other = torch.cat([values[..., :12], 1 - values[..., 12:]], -1)
    assert changed(plain, play(stem, other)) == [1, 2, 3]
    with pytest.raises(ValueError, match="not trained with stem"):
        plainer = make_model(variant)
        object.__setattr__(plainer, "codec", load_codec())
        playing = stream_dit(plainer, "", 12, seed=1, context_latents=48, steps=1)
        playing.stem = stem
        next(playing)


def test_what_is_played_along_to_and_followed_is_sound():
    """`stream` takes recordings: they are encoded, and counted from the stream's first frame on."""
    model = make_model("block_causal", granule=4, blocks=(4, 12), look_back=48, controls=("stem", "sketch"))
    object.__setattr__(model, "codec", load_codec())
    sound = 0.1 * torch.randn(2, 2048 * 30)
    given = {"stem": sound, "visibility": -0.5, "sketch": sound, "sketch_scale": 2.0}
    playing = stream(model, "", 12, 1.0, 1, steps=1, **given)
    assert torch.equal(playing.stem, model.codec.encode(sound[None]))
    assert playing.visible == -11 and playing.visibility == pytest.approx(-0.5, abs=0.03)
    assert torch.equal(playing.sketch.values, sketch(sound).values) and playing.how.sketch_scale == 2
    next(playing)
    playing.play_along(sound)  # another one, from here on
    playing.follow(sketch(sound))
    playing.set(visibility=1, sketch_scale=1)
    assert playing.stem.shape[-1] == playing.sketch.values.shape[-1] == 42
    assert not playing.stem[..., :12].any() and not playing.sketch.present[..., :12].any()
    assert playing.visible == 22 and torch.isfinite(next(playing).latents).all()
    for wrong, complaint in (
        ({"visibility": 3}, "visibility is 3 s"),
        ({"sketch_scale": -1}, "sketch_scale is -1"),
    ):
        with pytest.raises(ValueError, match=complaint):
            playing.set(**wrong)
    plain = make_model("block_causal")
    object.__setattr__(plain, "codec", load_codec())
    for name in ("stem", "sketch"):
        with pytest.raises(ValueError, match=f"not trained with {name}; it has no controls"):
            stream(plain, "", 12, steps=1, **{name: sound})


def changed(one: list[torch.Tensor], other: list[torch.Tensor]) -> list[int]:
    """The first block that differs, and all after it."""
    return [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if (a - b).abs().max() > 1e-4]
