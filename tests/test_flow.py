"""Signs, shapes and samplers of the flow; the model's doors; a training step that can fail."""

import random

import pytest
import torch

from lmdm_mini.conditioning import Text, clean_prompt, encode_text, no_text
from lmdm_mini.dit import DiT, DiTConfig, load, save_model
from lmdm_mini.flow import euler, find_sampler, noised_sample, pingpong, schedule
from lmdm_mini.training import Run, flow_loss, known_frames

SMALL = DiTConfig(width=48, depth=2, heads=2, window=48)


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
    made = sampler(lambda x, t: (x - x0) / t, torch.randn(1, 64, 6), schedule(8), torch.Generator().manual_seed(0))
    assert (made - x0).abs().max() < 1e-4


def test_unknown_sampler_names_those_there_are():
    with pytest.raises(ValueError, match="euler, pingpong"):
        find_sampler("heun")


def test_prompts_become_tokens():
    text = encode_text(["funk with slap bass", ""])
    assert text.tokens.shape[0] == 2 and text.tokens.shape[2] == 384
    assert text.mask[0].sum() > 4 and text.mask[1].sum() == 0
    with pytest.warns(UserWarning, match="only the first"):
        assert len(clean_prompt("la " * 5000)) <= 1000
    with pytest.raises(TypeError, match="string"):
        encode_text([3])


def model_and_text(seed=0):
    torch.manual_seed(seed)
    model = DiT(SMALL).eval()
    for p in model.parameters():  # nothing stays at its zero initialisation
        p.data += 0.05 * torch.randn_like(p)
    return model, Text(torch.randn(2, 3, 384), torch.tensor([[True, True, False], [True, True, True]]))


def test_model_shapes_and_masked_tokens():
    model, text = model_and_text()
    x = torch.randn(2, 64, 20)
    v = model(x, torch.tensor([0.5, 0.9]), text)
    assert v.shape == x.shape and model(x, torch.zeros(2), text, return_hidden=1).shape == (2, 20, 48)
    assert torch.allclose(v, model(x, torch.tensor([[0.5], [0.9]]).expand(2, 20), text), atol=1e-5)
    hidden = Text(text.tokens.clone(), text.mask)
    hidden.tokens[0, 2] = 100.0  # a token that is not there
    assert torch.allclose(v, model(x, torch.tensor([0.5, 0.9]), hidden), atol=1e-5)
    assert not torch.allclose(v, model(x, torch.tensor([0.5, 0.9]), no_text(2)), atol=1e-3)


def test_size_of_the_base():
    assert sum(p.numel() for p in DiT().parameters()) <= 10e6


def test_known_frames_leave_something_to_do():
    mask = known_frames(500, 48, random.Random(0))
    assert ((1 - mask).sum(1) > 0).all()
    assert 0.3 < (mask.sum(1) == 0).float().mean() < 0.7


def test_training_learns_resumes_and_repeats(tmp_path):
    """Twenty steps lower the loss; a run stopped half-way goes on to the very same weights."""
    torch.manual_seed(0)
    x0, text = torch.randn(8, 64, 1).expand(8, 64, 24).contiguous(), no_text(8)

    def train(folder, stops):
        torch.manual_seed(1)
        for stop in stops:
            torch.manual_seed(1)
            model = DiT(SMALL)
            run = Run(tmp_path / folder, model, steps=20, lr=3e-3, warmup=2)
            for step in run.loop():
                if step == stop:
                    run.save()
                    break
                torch.manual_seed(step)
                run.update(flow_loss(model, x0, text, random.Random(step)))
        return model, run

    model, run = train("whole", [20])
    torch.manual_seed(5)
    start = flow_loss(DiT(SMALL), x0, text, random.Random(5))["flow"]
    torch.manual_seed(5)
    assert flow_loss(model, x0, text, random.Random(5))["flow"] < 0.9 * start
    again, _ = train("halves", [10, 20])
    for a, b in zip(model.parameters(), again.parameters()):
        assert torch.allclose(a, b, atol=1e-6)


def test_diverged_training_stops_with_a_reason(tmp_path):
    run = Run(tmp_path, DiT(SMALL), steps=5, lr=1e-3)
    with pytest.raises(RuntimeError, match="not finite"):
        run.update({"flow": torch.tensor(float("nan"), requires_grad=True)})


def test_checkpoints_of_another_codec_or_damaged_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(DiT(SMALL), path, "bidirectional", "another codec")
    with pytest.raises(ValueError, match="latents mean different things"):
        load("bidirectional", path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged"):
        load("bidirectional", path)
    with pytest.raises(ValueError, match="no model 'nonsense'"):
        load("nonsense")
