"""The stream: gapless, repeatable, steerable, and clear about what it cannot play."""

from pathlib import Path

import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.streaming import SETTINGS

RECORDINGS = sorted((Path(__file__).parent.parent / "data" / "recordings").glob("*.flac"))
FAST = {"steps": 2, "block_latents": 12, "context_latents": 36}


@pytest.fixture(scope="module")
def model():
    return lm.load("bidirectional")


def test_the_model_is_listed(model):
    row = next(row for row in lm.list_models() if row["name"] == "bidirectional")
    assert row["parameters"] <= 10e6 and row["megabytes"] < 45


def test_generate_gives_the_length_asked_for(model):
    audio = lm.generate(model, "house", seconds=1.3, **FAST)
    assert audio.shape == (2, int(1.3 * 44100)) and audio.dtype == torch.float32
    assert torch.isfinite(audio).all() and audio.abs().max() > 1e-3


def test_same_seed_same_music_other_seed_other_music(model):
    first, again, other = (lm.generate(model, "folk fiddle", seconds=1, seed=s, **FAST) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-3)


def test_blocks_join_without_a_gap(model):
    """The blocks of a stream, one after another, are the offline decoding of their latents."""
    stream = lm.stream(model, "lo-fi", **FAST)
    blocks = [next(stream) for _ in range(4)]
    latents = torch.cat([b.latents for b in blocks], -1)
    audio = torch.cat([b.audio for b in blocks], -1)
    assert latents.shape == (64, 48)
    assert (audio - model.codec.decode(latents)[:, : audio.shape[-1]]).abs().max() < 1e-4
    assert all(b.seconds_to_make > 0 for b in blocks)


def test_goes_on_from_a_recording(model):
    recording = lm.read_audio(RECORDINGS[0])[:, : 3 * 44100]
    stream = lm.stream(model, context=recording, **FAST)
    first = next(stream)
    assert first.audio.shape == (2, 12 * 2048)  # nothing is owed: the decoder was warm
    alone = next(lm.stream(model, **FAST))
    assert not torch.allclose(first.latents, alone.latents, atol=1e-2)


def test_settings_change_between_blocks(model):
    stream = lm.stream(model, "jazz", **FAST)
    next(stream)
    stream.set(block_latents=24, prompt="house")
    assert next(stream).latents.shape == (64, 24)
    for bad in ({"steps": 0}, {"block_latents": 0}, {"block_latents": 10_000}, {"tempo": 90}):
        with pytest.raises(ValueError, match="|".join([*SETTINGS, "tempo"])):
            stream.set(**bad)
    assert next(stream).latents.shape == (64, 24)


def test_an_empty_prompt_plays_and_memory_stays_flat(model):
    stream = lm.stream(model, "", **FAST)
    for _ in range(25):
        next(stream)
    assert stream.context.shape[-1] <= model.config.window


def test_bad_requests_are_refused(model):
    with pytest.raises(ValueError, match="seconds"):
        lm.generate(model, "x", seconds=0)
    with pytest.raises(ValueError, match="sampler"):
        lm.stream(model, sampler="magic")
    with pytest.raises(ValueError, match="NaN"):
        lm.stream(model, context=torch.full((2, 9000), float("nan")))
