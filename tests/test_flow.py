"""Signs, shapes and samplers of the flow; the model's doors."""

import math
from dataclasses import replace

import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.checkpoints import save_model
from lmdm_mini.conditioning import Conditions, Sketch, Text, no_text
from lmdm_mini.diffusion.dit import DiT, DiTConfig, load_dit
from lmdm_mini.diffusion.flow import euler, find_sampler, noised_sample, pingpong, schedule

SMALL = DiTConfig(width=48, depth=2, heads=2, window=48)
CONTROLLED = replace(SMALL, controls=("stem", "sketch", "strengths"))


def test_a_noised_sample_lies_on_the_straight_path():
    x0 = torch.randn(2, 64, 5)
    for t in (torch.tensor([0.0, 1.0]), torch.rand(2, 5)):
        sample = noised_sample(x0, t)
        level = t[:, None, None] if t.ndim == 1 else t[:, None]
        assert torch.allclose(sample.x_t - level * sample.v, x0, atol=1e-5)  # x0_hat = x_t - t v
        assert torch.allclose(sample.x_t + (1 - level) * sample.v, sample.noise, atol=1e-5)
    assert torch.equal(noised_sample(x0, torch.zeros(2)).x_t, x0)


@pytest.mark.parametrize("shape", [(), (3,), (2, 4), (2, 5, 1)])
def test_the_shape_of_t_is_checked(shape):
    with pytest.raises(ValueError, match="t has shape"):
        noised_sample(torch.zeros(2, 64, 5), torch.zeros(shape))


def test_schedule_runs_from_noise_to_music():
    levels = schedule(8)
    assert levels[0] == 1 and levels[-1] == 0 and (levels[1:] < levels[:-1]).all() and len(levels) == 9
    with pytest.raises(ValueError, match="at least 1"):
        schedule(0)


@pytest.mark.parametrize("sampler", [euler, pingpong])
def test_samplers_find_the_data_of_an_exact_model(sampler):
    """With one data point the exact velocity is (x - x0) / t: every sampler must end there."""
    torch.manual_seed(0)
    x0 = torch.randn(1, 64, 6)
    made = sampler(
        lambda x, t: (x - x0) / t, torch.randn(1, 64, 6), schedule(8), torch.Generator().manual_seed(0)
    )
    assert (made - x0).abs().max() < 1e-4


def test_unknown_sampler_names_those_there_are():
    with pytest.raises(ValueError, match="euler, pingpong"):
        find_sampler("heun")


def model_and_text(seed=0, config=SMALL):
    torch.manual_seed(seed)
    model = DiT(config).eval()
    for p in model.parameters():  # nothing stays at its zero initialisation
        p.data += 0.05 * torch.randn_like(p)
    log_weight = torch.tensor([[0.0, 0.0, -math.inf], [0.0, 0.0, 0.0]])
    return model, Text(torch.randn(2, 3, 384), log_weight, torch.tensor([0.0, 120.0]), torch.randn(2, 384))


def test_model_shapes_and_masked_tokens():
    model, text = model_and_text()
    x = torch.randn(2, 64, 20)
    v = model(x, torch.tensor([0.5, 0.9]), text)
    assert v.shape == x.shape and model(x, torch.zeros(2), text, return_hidden=1).shape == model(
        x, torch.zeros(2), text, return_hidden=2
    ).shape == (2, 20, 48)
    assert torch.allclose(v, model(x, torch.tensor([[0.5], [0.9]]).expand(2, 20), text), atol=1e-5)
    hidden = Text(text.tokens.clone(), text.log_weight, text.bpm, text.sentence)
    hidden.tokens[0, 2] = 100.0  # a token that is not there
    assert torch.allclose(v, model(x, torch.tensor([0.5, 0.9]), hidden), atol=1e-5)
    assert not torch.allclose(v, model(x, torch.tensor([0.5, 0.9]), no_text(2)), atol=1e-3)


def test_weights_and_tempo_change_what_is_played():
    model, text = model_and_text()
    x, t = torch.randn(2, 64, 20), torch.tensor([0.5, 0.9])
    v = model(x, t, text)
    doubled = Text(
        text.tokens.repeat(1, 2, 1), text.log_weight.repeat(1, 2) + math.log(0.5), text.bpm, text.sentence
    )
    assert torch.allclose(v, model(x, t, doubled), atol=1e-4)  # half of everything, twice
    other = model(x, t, Text(text.tokens, text.log_weight, torch.tensor([0.0, 90.0]), text.sentence))
    assert torch.allclose(v[0], other[0], atol=1e-5) and not torch.allclose(v[1], other[1], atol=1e-4)
    other = model(
        x, t, Text(text.tokens, text.log_weight, text.bpm, text.sentence * torch.tensor([[1.0], [0.5]]))
    )
    assert torch.allclose(v[0], other[0], atol=1e-5) and not torch.allclose(v[1], other[1], atol=1e-4)


def sketch_of(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Sketch(torch.randn(2, 88, frames, generator=generator), torch.ones(2, 2, frames))


def test_context_depends_on_sound_alone():
    """In the first layer (deeper ones attend to the target) no context frame depends on t, prompt, tempo or sketch."""
    model, text = model_and_text(config=CONTROLLED)
    x, mask = torch.randn(2, 64, 20), torch.zeros(2, 20)
    mask[:, :12] = 1

    def modulated(t, text, sketch):
        seen = []

        def note(module, given, made):
            seen.append((given[0][:, :12], given[1][:, :12], made[:, 12:]))

        handle = model.layers[0].register_forward_hook(note)
        model(x, t, Conditions(text, sketch=sketch), mask)
        handle.remove()
        return seen[0]  # input and modulation of the context, output of the target

    first = modulated(torch.tensor([0.5, 0.9]), text, sketch_of(20))
    second = modulated(torch.tensor([0.1, 0.2]), no_text(2), sketch_of(20, seed=1))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.allclose(first[2], second[2], atol=1e-3)
    target, kept = (1 - mask)[..., None], model.layers[0].cross.keys_and_values(text.tokens, text.log_weight)
    added = target * model.layers[0].cross(first[2].new_ones(2, 20, 48), *kept)
    assert added[:, :12].abs().max() == 0 and added[:, 12:].abs().max() > 0


def test_a_clock_runs_where_a_tempo_is_given():
    """It moves with the beats of target frames, four beats later it is the same, and without a tempo it is
    silent."""
    model, text = model_and_text()  # the second item has a tempo
    x, t, mask, beats = (
        torch.randn(2, 64, 20),
        torch.tensor([0.3, 0.8]),
        torch.zeros(2, 20),
        torch.linspace(0, 2, 20)[None],
    )
    plain, later, bar = (model(x, t, Conditions(text, b)) for b in (beats, beats + 0.3, beats + 4))
    assert torch.equal(plain[0], later[0]) and not torch.allclose(plain[1], later[1], atol=1e-3)
    assert torch.allclose(plain, bar, atol=1e-3)
    own = (torch.arange(20) + 0.5) / (44100 / 2048) * 120 / 60
    assert torch.allclose(model(x, t, text)[1], model(x, t, Conditions(text, own[None]))[1], atol=1e-5)
    mask[:, :12] = 1
    states = [model(x, t, Conditions(text, b), mask, return_hidden=0)[:, :12] for b in (beats, beats + 0.3)]
    assert torch.equal(*states)


def test_prepared_conditions_give_the_same():
    model, text = model_and_text()
    x, t, mask = torch.randn(2, 64, 20), torch.tensor([0.3, 0.8]), torch.zeros(2, 20)
    mask[:, :12] = 1
    for given in (None, mask):
        assert torch.allclose(
            model(x, t, text, given), model(x, t, model.prepare(text, torch.arange(20)), given), atol=1e-6
        )
    with pytest.raises(ValueError, match="layers"):
        model(x, t, text, return_hidden=9)


def test_doors_start_closed_and_open():
    torch.manual_seed(0)
    model, x, t = DiT(CONTROLLED).eval(), torch.randn(2, 64, 20), torch.tensor([0.5, 0.8])
    torch.nn.init.normal_(model.frames_out.weight)
    torch.nn.init.normal_(model.modulation_head.weight, std=0.1)
    plain = Conditions(no_text(2))
    sketched, stronger = (
        replace(plain, sketch=sketch_of(20)),
        replace(plain, strengths=torch.tensor([[2.0, 1.0]] * 2)),
    )
    v = model(x, t, plain)
    for given in (sketched, stronger):
        assert torch.equal(v, model(x, t, given))
    for door in (model.sketch_in, model.strengths_in):
        torch.nn.init.normal_(door.weight)
    for given in (sketched, stronger):
        assert not torch.allclose(v, model(x, t, given), atol=1e-3)
    absent = replace(plain, sketch=sketch_of(20).absent())
    assert torch.equal(v, model(x, t, absent))


def test_a_model_refuses_what_it_was_not_trained_with():
    model, text = model_and_text()
    with pytest.raises(ValueError, match="not trained with sketch"):
        model(torch.randn(2, 64, 20), torch.rand(2), Conditions(text, sketch=sketch_of(20)))
    with pytest.raises(ValueError, match="no control 'drums'"):
        DiTConfig(controls=("drums",))


def test_size_of_the_base():
    assert sum(p.numel() for p in DiT().parameters()) <= 10e6


def test_checkpoints_of_another_codec_or_damaged_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(DiT(SMALL), path, "bidirectional", "another codec")
    with pytest.raises(ValueError, match="mean other sounds"):
        lm.load("bidirectional", path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        lm.load("bidirectional", path)
    with pytest.raises(ValueError, match="no model 'nonsense'"):
        lm.load("nonsense")
    with pytest.raises(ValueError, match="does not play here"):
        load_dit("lmm")
