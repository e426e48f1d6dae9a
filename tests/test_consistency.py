"""Consistency distillation: the goal by hand, strengths of guidance, and a run from a file to a file."""

import signal
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from small import make_model, save_small, set_with_controls

import lmdm_mini as lm
from lmdm_mini.conditioning.text import no_text
from lmdm_mini.diffusion import consistency
from lmdm_mini.diffusion.consistency import (
    HUBER,
    LEVELS,
    PLAY,
    Draws,
    consistency_loss,
    draw_strengths,
    draw_walk,
    guided_velocity,
    teachers_end,
    train_consistency,
    with_strengths,
)
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import schedule
from lmdm_mini.diffusion.kv_cache import CachedTarget
from lmdm_mini.latents import windows
from lmdm_mini.training import TrainSettings

SHAPE = {"granule": 4, "blocks": (4, 12, 24, 48), "look_back": 48, "controls": ("stem", "sketch")}


@pytest.fixture(scope="module")
def data():
    return set_with_controls()


@pytest.fixture
def in_full_precision(monkeypatch):
    monkeypatch.setattr(consistency, "fast_autocast", lambda device: nullcontext())


def opened(model: DiT, seed: int) -> DiT:
    """A model with strengths as an input, away from where it started."""
    torch.manual_seed(seed)
    made = with_strengths(model)
    for p in made.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return made


def walk_of(data, model, wanted) -> consistency.Walk:
    """A walk whose batch has what is wanted: a stem and a sketch, or neither."""
    for step in range(40):
        walk = draw_walk(data, 16, model.config, *Draws(0, data).at(step))
        if (walk.batch.conditions.stem is not None) == wanted:
            return walk
    raise AssertionError("never drawn")


def test_a_closed_input_changes_nothing(data):
    model = make_model("block_causal", **SHAPE)
    made = with_strengths(model)
    assert made.config.controls == ("stem", "sketch", "strengths") and not made.training
    batch = walk_of(data, model, True).batch
    given = batch.x0, batch.levels
    how = {"positions": batch.positions, "attention_mask": batch.attention_mask}
    strong = replace(batch.conditions, strengths=torch.full((len(batch.x0), 2), 4.0))
    with torch.no_grad():
        before = model(*given, batch.conditions, batch.context_mask, **how)
        after = made(*given, strong, batch.context_mask, **how)
    assert torch.equal(before, after)
    again = with_strengths(made)
    assert again.config == made.config
    without = with_strengths(make_model("block_causal"))
    assert without.config.controls == ("strengths",)


def test_strengths_are_drawn_evenly_over_two_octaves():
    drawn = draw_strengths(3000, ("stem", "sketch"), torch.Generator().manual_seed(0))
    assert drawn.min() >= 1 and drawn.max() <= 4 and drawn.shape == (3000, 2)
    for edge, share in ((2**0.5, 0.75), (2.0, 0.5), (2**1.5, 0.25)):
        assert ((drawn > edge).float().mean(0) - share).abs().max() < 0.03
    assert torch.corrcoef(drawn.T)[0, 1].abs() < 0.1  # each is drawn alone
    assert (draw_strengths(50, (), torch.Generator())[:, 1] == 1).all()


@pytest.mark.parametrize("controls", [True, False])
def test_the_goal_is_one_step_of_the_teacher_and_a_jump_of_the_average(data, in_full_precision, controls):
    """By hand: each branch alone, Euler's step, then the average's x0 from there."""
    teacher = make_model("block_causal", **SHAPE)
    student, average = opened(teacher, 1), opened(teacher, 2)
    walk = walk_of(data, teacher, controls)
    walk.places[0, 0], batch = LEVELS - 1, walk.batch  # one block is a step from music
    context, block = int(batch.context_mask[0].sum()), batch.block
    levels = schedule(LEVELS)
    t, t_next = torch.zeros(batch.x0[:, 0].shape), torch.zeros(batch.x0[:, 0].shape)
    for item in range(len(t)):
        for n, place in enumerate(walk.places[item]):
            frames = slice(context + n * block, context + (n + 1) * block)
            t[item, frames], t_next[item, frames] = levels[place], levels[place + 1]
    x = (1 - t[:, None]) * batch.x0 + t[:, None] * batch.noise
    how = {"positions": batch.positions, "attention_mask": batch.attention_mask}
    own = batch.conditions
    strengths = walk.strengths[:, :, None, None].unbind(1)
    with torch.no_grad():
        v, plain = (
            teacher(x, t, given, batch.context_mask, **how)
            for given in (own, replace(own, text=no_text(len(x))))
        )
        nothing = teacher(x, t, replace(own, text=no_text(len(x)), sketch=None), batch.context_mask, **how)
        guided = nothing + strengths[1] * (plain - nothing) + strengths[0] * (v - plain)
        x_next = x + (t_next - t)[:, None] * guided
        given = replace(own, strengths=walk.strengths)
        goal = x_next - t_next[:, None] * average(x_next, t_next, given, batch.context_mask, **how)
        made = x - t[:, None] * student(x, t, given, batch.context_mask, **how)
    last = slice(context, context + block)
    ends = x[0, :, last] - t[0, last] * guided[0, :, last]
    assert torch.allclose(goal[0, :, last], ends, atol=1e-5)  # no average there: what the teacher says
    error = (((made - goal) ** 2 + HUBER**2).sqrt() - HUBER).mean(1) * batch.weight
    wanted = error.sum(1) / batch.weight.sum(1)
    loss = consistency_loss(student, average, teacher, walk)
    assert loss.shape == (len(x),) and torch.allclose(loss, wanted, rtol=1e-3, atol=1e-5)
    loss.mean().backward()
    assert all(p.grad is None for model in (teacher, average) for p in model.parameters())
    assert student.strengths_in.weight.grad.abs().max() > 0


def test_the_branch_without_a_prompt_keeps_the_stem(data):
    """And strength 1 is no guidance at all."""
    teacher = make_model("block_causal", **SHAPE)
    walk, seen = walk_of(data, teacher, True), []
    count = len(walk.places)

    def spy(x, t, conditions, *args, **how):
        seen.append(conditions)
        return teacher(x, t, conditions, *args, **how)

    walk.strengths = torch.ones(count, 2)
    guided = guided_velocity(spy, walk.here(), walk.levels(), walk)
    (stacked,), branches = seen, 2 + (walk.batch.conditions.sketch is not None)
    assert len(stacked) == branches * count and stacked.strengths is None
    for branch in range(branches):
        rows = slice(branch * count, (branch + 1) * count)
        assert torch.equal(stacked.stem.present[rows], walk.batch.conditions.stem.present)
        assert torch.isinf(stacked.text.log_weight[rows]).all() == (branch > 0)
    with torch.no_grad():
        plain = consistency.estimate(teacher, walk.here(), walk.levels(), replace(walk, strengths=None))
    made = walk.here() - walk.levels()[:, None] * guided
    assert torch.allclose(made, plain, atol=0.05)


def test_the_whole_walk_ends_at_music(data):
    teacher = make_model("block_causal", **SHAPE)
    walk = walk_of(data, teacher, False)
    end = teachers_end(teacher, walk)
    context = int(walk.batch.context_mask[0].sum())
    assert torch.equal(end[..., :context], walk.batch.x0[..., :context])
    assert torch.isfinite(end).all() and walk.levels(LEVELS - int(walk.places.max())).min() == 0


def test_two_steps_are_two_passes_of_one_branch(monkeypatch):
    """A model that takes strengths plays as its file says, and cfg_scale goes into it."""
    model = opened(make_model("block_causal"), 3).eval()
    object.__setattr__(model, "codec", lm.load_codec())
    model.facts = {"play": PLAY}
    calls, call = [], CachedTarget.__call__

    def spy(self, x, t):
        calls.append(len(x))
        return call(self, x, t)

    monkeypatch.setattr(CachedTarget, "__call__", spy)
    playing = lm.stream(model, "funk", block_latents=12, seed=1)
    assert (playing.steps, playing.how.sampler, playing.cfg_scale) == (2, "pingpong", 2.0)
    usual = next(playing).latents
    assert calls == [1, 1]
    stronger = lm.stream(model, "funk", block_latents=12, cfg_scale=4.0, seed=1)
    assert not torch.allclose(next(stronger).latents, usual, atol=1e-4) and calls == [1] * 4
    asked = lm.stream(model, "funk", block_latents=12, steps=3, sampler="euler", seed=1)
    next(asked)
    assert calls == [1] * 7 and asked.how.sampler == "euler"
    plain = lm.load("block_causal")
    assert lm.stream(plain, "funk").how.sampler == "euler" and lm.stream(plain, "funk").steps == 16


# -- the run -----------------------------------------------------------------------------------------


def settings(out, steps=3):
    return TrainSettings(out, out, steps, 4, 1e-3, accelerator="cpu", compiled=False)


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """A folder with a small live model, and little music to train on."""
    monkeypatch.setattr(windows, "PARAPHRASES", {})
    monkeypatch.setattr(consistency, "find_latents", lambda *args: set_with_controls().pieces)
    monkeypatch.setattr(consistency, "LEVELS", 4)
    save_small(tmp_path / "block_causal.safetensors", make_model("block_causal", **SHAPE))
    return tmp_path


def test_a_run_makes_a_model_that_knows_how_it_plays(small_run):
    path = train_consistency(settings(small_run))
    model = lm.load("block_causal", path=path)
    assert path == small_run / "consistency.safetensors" and model.config.controls[-1] == "strengths"
    assert model.facts["play"] == PLAY and model.facts["steps"] == 3
    rows = (small_run / "consistency" / "log.csv").read_text().splitlines()
    assert rows[0] == "step,minutes,consistency,valid_teacher" and len(rows) == 4


def test_an_interrupted_run_goes_on_with_the_same_numbers(small_run, monkeypatch):
    whole = lm.load("block_causal", path=train_consistency(settings(small_run, 4)))
    other = small_run / "other"
    other.mkdir()
    (small_run / "block_causal.safetensors").rename(other / "block_causal.safetensors")
    draw = consistency.draw_walk

    def stop(*args):
        stops.append(1)
        if len(stops) == 3:  # one for the check, then the second step
            signal.raise_signal(signal.SIGINT)
        return draw(*args)

    stops = []
    monkeypatch.setattr(consistency, "draw_walk", stop)
    with pytest.raises(KeyboardInterrupt, match="at step 2 of 4: the same command goes on"):
        train_consistency(settings(other, 4))
    halfway = lm.load("block_causal", path=other / "consistency.safetensors")  # to be judged on the way
    assert halfway.facts["steps"] == 2 and halfway.facts["play"] == PLAY
    again = lm.load("block_causal", path=train_consistency(settings(other, 4)))
    for a, b in zip(whole.parameters(), again.parameters()):
        assert torch.allclose(a, b, atol=1e-6)


def test_what_cannot_be_distilled_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"enc_dec\+arc comes later: its context states change"):
        train_consistency(settings(tmp_path), "enc_dec")
    with pytest.raises(ValueError, match=r"block_causal so far; funk\+arc is none"):
        train_consistency(settings(tmp_path), "funk")
