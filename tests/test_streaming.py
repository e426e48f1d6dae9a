"""The stream: gapless, repeatable, steerable, and clear about what it cannot play."""

from pathlib import Path

import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.complexity import frame_forwards
from lmdm_mini.complexity.bench import counted_frames
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.diffusion.stream import SETTINGS

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


@pytest.mark.long
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


@pytest.fixture(scope="module", params=["enc_dec", "block_causal"])
def live(request, model):
    """An untrained model of a live variant."""
    torch.manual_seed(0)
    made = DiT(DiTConfig(width=48, depth=2, heads=2, variant=request.param)).eval().requires_grad_(False)
    for p in made.parameters():  # as initialised, gates are closed and nothing is heard
        p += 0.05 * torch.randn_like(p)
    object.__setattr__(made, "codec", model.codec)
    return made


def test_live_variants_cost_what_the_formula_says(live):
    stream = lm.stream(live, "jazz", block_latents=24, steps=3)
    stream.set_context(torch.randn(1, 64, 192))
    next(stream)
    with counted_frames(live) as frames:
        blocks = [next(stream) for _ in range(2)]
    assert frames[0] == 2 * frame_forwards(live.config.variant, 192, 24, steps=3, guided=True)
    assert blocks[0].seconds_of["context"] > 0 and set(blocks[0].seconds_of) == {
        "context",
        "network",
        "codec",
    }


def test_live_variants_stream_steer_and_repeat(live):
    def play(seed):
        stream = lm.stream(live, [("jazz", 0.5), ("house", 0.5)], block_latents=12, steps=2, seed=seed)
        blocks = [next(stream)]
        stream.set(block_latents=48, prompt="")
        return torch.cat([b.latents for b in [*blocks, next(stream), next(stream)]], -1)

    assert (
        play(0).shape == (64, 108)
        and torch.equal(play(0), play(0))
        and not torch.allclose(play(0), play(1), atol=1e-2)
    )
    with pytest.raises(ValueError, match="blocks of"):
        lm.stream(live, block_latents=36)
    with pytest.raises(ValueError, match="context_latents"):
        lm.stream(live, context_latents=100)


def test_live_variants_go_on_from_a_recording(live):
    recording = lm.read_audio(RECORDINGS[0])[:, : 3 * 44100]
    first = next(lm.stream(live, context=recording, block_latents=12, steps=2))
    alone = next(lm.stream(live, block_latents=12, steps=2))
    assert first.audio.shape == (2, 12 * 2048) and not torch.allclose(first.latents, alone.latents, atol=1e-3)


def test_context_that_comes_late_counts_as_if_it_had_been_there(live):
    """A stream that is corrected goes on like one that heard the right thing from the start."""
    stream, late = lm.stream(live, "jazz", block_latents=24, steps=2), torch.randn(1, 64, 30)
    stream.set_context(torch.randn(1, 64, 96))
    for _ in range(3):
        next(stream)
    stream.correct(late, 40)  # 16 frames of it are in the cache already, and begin within a granule
    other = lm.stream(live, "jazz", block_latents=24, steps=2)
    other.set_context(stream.context)
    other.generator.set_state(stream.generator.get_state())
    other.beat = stream.beat
    assert torch.equal(stream.context[..., -40:-10], late)
    assert (next(stream).latents - next(other).latents).abs().max() < 1e-3
    with pytest.raises(ValueError, match="cannot be corrected"):
        stream.correct(late, 20)
    if live.config.variant == "block_causal":
        with pytest.raises(ValueError, match="taken back"):
            stream.correct(late, 120)


@pytest.mark.parametrize("context_latents", [0, 12])
def test_live_variants_play_with_little_context(live, context_latents):
    stream = lm.stream(live, block_latents=48, steps=1, context_latents=context_latents)
    made = [next(stream).latents for _ in range(3)]
    assert all(torch.isfinite(z).all() for z in made)


def test_a_recording_is_heard_to_its_end_and_no_further(model):
    """What the model hears of a recording does not depend on the silence after it."""
    recording = lm.read_audio(RECORDINGS[0])[:, : 4 * 44100]
    stream = lm.stream(model, context=recording[:, : 3 * 44100], **FAST)
    frames = stream.context.shape[-1]
    assert frames == (3 * 44100 - 1280) // 2048
    start = (3 * 44100 - 1280) % 2048
    whole = model.codec.encode(recording[:, start:][None])[..., :frames]
    assert (stream.context - whole).abs().max() < 1e-4
    kept = lm.generate(model, context=recording[:, : 3 * 44100], seconds=1, keep=True, **FAST)
    assert kept.shape[-1] == 44100 + frames * 2048 - 256 and torch.equal(
        kept[:, : stream.heard.shape[-1]], stream.heard
    )


def test_of_a_long_recording_the_end_is_used_and_said_so(model):
    recording = torch.cat([lm.read_audio(RECORDINGS[0])] * 2, 1)[:, : 12 * 44100]
    with pytest.warns(UserWarning, match="lasts 12.0 s; only its last 5.5 s"):
        long = lm.stream(model, context=recording, **FAST | {"context_latents": 96})
    short = lm.stream(model, context=recording[:, -int(5.4 * 44100) :], **FAST | {"context_latents": 96})
    assert (next(long).latents - next(short).latents).abs().max() < 0.1


def test_the_two_ways_of_outpainting(model):
    recording = lm.read_audio(RECORDINGS[0])[:, : 2 * 44100]
    mask, replaced = (
        next(lm.stream(model, context=recording, outpainting=way, **FAST)).latents
        for way in ("mask", "replace")
    )
    assert mask.shape == replaced.shape and not torch.allclose(mask, replaced, atol=1e-2)
    with pytest.raises(ValueError, match="mask, replace"):
        lm.stream(model, outpainting="magic")


# ---------------------------------------------------------------- whatever torch was set to before


def test_blocks_and_latents_are_plain_tensors(model):
    """They may be changed in place and trained on."""
    block = next(lm.stream(model, "lo-fi", **FAST))
    block.audio *= 0.5
    block.latents.requires_grad_(True)
    (2 * block.latents).sum().backward()
    latents = model.codec.encode(torch.randn(1, 2, 8192))
    torch.nn.Linear(latents.shape[-1], 1)(latents).sum().backward()
    assert not latents.is_inference() and not block.audio.is_inference()


def test_default_type_and_autocast_change_nothing(model):
    plain = lm.generate(model, "folk", seconds=0.5, **FAST)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain, lm.generate(model, "folk", seconds=0.5, **FAST))
    torch.set_default_dtype(torch.float64)
    try:
        again = lm.generate(lm.load("bidirectional"), "folk", seconds=0.5, **FAST)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(plain, again) and again.dtype == torch.float32


@pytest.mark.parametrize("name", ["half", "bfloat16", "double"])
def test_other_types_of_weights_are_refused_in_a_sentence(name, live):
    other = DiT(live.config).eval()
    object.__setattr__(other, "codec", live.codec)
    with pytest.raises(ValueError, match=r"weights are .* call model.float"):
        lm.stream(getattr(other, name)(), block_latents=12)


@pytest.mark.long
def test_a_compiled_model_plays(live):
    assert torch.equal(
        next(lm.stream(torch.compile(live), "jazz", block_latents=12, steps=1)).latents,
        next(lm.stream(live, "jazz", block_latents=12, steps=1)).latents,
    )


def test_a_network_that_has_diverged_is_said_and_nothing_is_lost(live):
    stream = lm.stream(live, "jazz", block_latents=12, steps=1)
    first, context = next(stream), stream.context
    weight = live.frames_out.weight.data.clone()
    live.frames_out.weight.data.fill_(float("nan"))
    try:
        with pytest.raises(ValueError, match="NaN"):
            next(stream)
    finally:
        live.frames_out.weight.data.copy_(weight)
    assert torch.equal(stream.context, context) and torch.isfinite(next(stream).latents).all() and first
