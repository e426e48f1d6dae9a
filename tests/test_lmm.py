"""The discrete rival: cached equals uncached, who hears whom, its size and cost, its stream, its training."""

import math
import random
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from small import CODES, ENTRIES, SMALL, codes_of, make_lmm, played, words

import lmdm_mini as lm
from lmdm_mini.codec import load_codec
from lmdm_mini.complexity import block_passes, forwards
from lmdm_mini.conditioning import Text, no_text
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.discrete import train as lmm_training
from lmdm_mini.discrete.cache import CachedBlock, LMMCache
from lmdm_mini.discrete.lmm import LMM, LMMConfig, load_lmm, parameters, save_lmm, start_from
from lmdm_mini.discrete.rvq import RVQ, load_rvq, save_rvq
from lmdm_mini.discrete.stream import LMM_SETTINGS, LMMStream, sample_code, stream_lmm
from lmdm_mini.discrete.train import as_codes, by_group, code_loss, draw_codes, train_lmm
from lmdm_mini.latents import LatentPiece, LatentSet, windows
from lmdm_mini.models import sampling
from lmdm_mini.streaming import beats_from
from lmdm_mini.training import TrainSettings
from lmdm_mini.transformer import BLOCKS


@pytest.fixture(scope="module")
def model():
    return make_lmm()


def uncached(model, context, codes, text, beat):
    batch, known = len(text.bpm), context.shape[-1]
    beats = beats_from(beat, text.bpm, codes.shape[-1], known)
    return model(torch.cat([context, codes], -1).expand(batch, -1, -1), known, text, beats)


def greedy(logits):
    return (2 * logits[:1] - logits[-1:]).argmax(-1)  # any mix of the branches will do


# ---------------------------------------------------------------- cached equals uncached


@pytest.mark.parametrize(
    "block", [BLOCKS[0], *(pytest.param(block, marks=pytest.mark.long) for block in BLOCKS[1:])]
)
def test_cached_equals_uncached(model, block):
    """Many blocks, prompts changing in between, the context growing up to the window and then sliding: same
    logits, same tokens."""
    cache, history, beat = LMMCache(model), codes_of(0), 0.0
    for number in range(288 // block):
        text, context = words(2, number // 3), history[..., -192:]
        codes, logits = played(model, cache, context, block, text, beat, greedy)
        expected = uncached(model, context, codes, text, beat)
        assert (logits - expected).abs().max() < 1e-4
        assert torch.equal((2 * expected[0] - expected[1]).argmax(-1).T, codes[0])
        history, beat = torch.cat([history, codes], -1), beat + 0.3
    assert history.shape[-1] > 240 and len(history.unique()) > ENTRIES / 2 and logits.std() > 0.1


@pytest.mark.parametrize("known", [0, 1, 7, 192])
def test_every_length_of_context_and_one_branch(model, known):
    text, context = words(1, known), codes_of(known, 1)
    cache = LMMCache(model)
    played(
        model, cache, codes_of(192, 2), 48, words(2), 0.0, greedy
    )  # what another block left behind is not heard
    codes, logits = played(model, cache, context, 9, text, 1.0, greedy)
    assert (logits - uncached(model, context, codes, text, 1.0)).abs().max() < 1e-4


def test_sampled_tokens_are_those_of_a_model_without_any_cache(model):
    """Code after code by whole forward passes, with the same seed: the same tokens."""
    text, context, count = words(2), codes_of(20, 3), 4

    def picker():
        generator = torch.Generator().manual_seed(5)
        return lambda logits: sample_code(logits, 1.7, 1.1, top_k=10, generator=generator)

    cached, _ = played(model, LMMCache(model), context, count, text, 0.5, picker())
    naive, pick = torch.zeros(1, CODES, count, dtype=torch.long), picker()
    for i in range(count):
        for j in range(CODES):
            naive[0, j, i] = pick(uncached(model, context, naive, text, 0.5)[:, i, j])
    assert torch.equal(cached, naive) and len(naive.unique()) > 5


# ---------------------------------------------------------------- who hears whom


def test_nobody_hears_what_is_said_later(model):
    """A code that changes is heard by all codes after it and none before it, itself included."""
    text, known, codes = words(1), 10, codes_of(16, 4)
    before = model(codes, known, text)
    for frame, q in ((12, 2), (10, 0), (15, CODES - 1), (13, CODES - 1)):
        changed = codes.clone()
        changed[0, q, frame] = (codes[0, q, frame] + 1) % ENTRIES
        moved = (model(changed, known, text) - before)[0].abs().amax(
            -1
        ).flatten() > 1e-6  # in the order in which codes are said
        place = (frame - known) * CODES + q
        assert not moved[: place + 1].any() and moved[place + 1 :].all()


def test_of_the_context_few_codes_are_heard(model):
    """The encoder is given the first codes of a frame; only the newest frame is told whole, to the first that
    comes."""
    text, known, codes = words(1), 10, codes_of(14, 5)
    before = model(codes, known, text)
    for frame, q, heard in (
        (3, SMALL.context_n_q - 1, True),
        (3, SMALL.context_n_q, False),
        (known - 1, CODES - 1, True),
    ):
        changed = codes.clone()
        changed[0, q, frame] = (codes[0, q, frame] + 1) % ENTRIES
        assert bool(((model(changed, known, text) - before).abs() > 1e-6).any()) == heard


def test_missing_context_is_as_if_it_had_never_been(model):
    text, codes = words(2), codes_of(50, 6, batch=2)
    beats = beats_from(0.0, text.bpm, 50)
    there = torch.arange(40) >= torch.tensor([[24], [40]])
    masked = model(codes, 40, text, beats, there)
    for row, missing in ((0, 24), (1, 40)):
        alone = model(
            codes[row : row + 1, :, missing:],
            40 - missing,
            text[row : row + 1],
            beats[row : row + 1, missing:],
        )
        assert (masked[row] - alone[0]).abs().max() < 1e-4
    assert (masked - model(codes, 40, text, beats)).abs().max() > 1e-2


def test_prompt_tempo_and_clock_are_heard(model):
    """Each changes the logits; the encoded context knows none of them, for its encoder is not given any."""
    text, codes = words(1), codes_of(30, 7)
    beats = torch.linspace(0, 3, 30)[None]
    before = model(codes, 20, text, beats)
    other = words(1, 9)
    for changed in (
        replace(text, tokens=other.tokens),
        replace(text, sentence=other.sentence),
        replace(text, bpm=torch.tensor([140.0])),
        no_text(1),
    ):
        assert (model(codes, 20, changed, beats) - before).abs().max() > 1e-4
    shifted = beats + 0.5
    assert (model(codes, 20, text, shifted) - before).abs().max() > 1e-4
    free = no_text(1)
    assert torch.equal(
        model(codes, 20, free, shifted), model(codes, 20, free, beats)
    )  # without a tempo there is no clock


# ---------------------------------------------------------------- size and cost


def test_as_large_as_ours():
    ours, rival = parameters(DiT()), LMM()
    assert abs(parameters(rival) / ours - 1) < 0.1
    assert sum(p.numel() for p in rival.parameters()) < 10e6
    assert sum(p.numel() for p in rival.depth.parameters()) < 0.1 * parameters(rival)


def test_a_block_costs_what_the_table_says(model):
    """Context once, then o temporal and o * n_q depth forwards, with both branches of guidance in one."""
    rows: dict[str, list] = {"encoder": [], "temporal": [], "depth": []}
    handles = [
        getattr(model, name)[0].register_forward_hook(
            lambda m, args, out, calls=calls: calls.append(tuple(args[0].shape[:2]))
        )
        for name, calls in rows.items()
    ]
    played(model, LMMCache(model), codes_of(60), 12, words(2), 0.0, greedy)
    for handle in handles:
        handle.remove()
    assert rows == {"encoder": [(1, 60)], "temporal": [(2, 1)] * 12, "depth": [(2, 1)] * 12 * CODES}
    counted = {name: sum(items * frames for items, frames in rows[name]) for name in rows}
    through = forwards(block_passes(SMALL, 60, 12, steps=1, tokens=5, guided=True))
    assert [through[part] for part in ("context", "temporal", "depth")] == list(counted.values())


def test_memory_is_allocated_once(model):
    cache = LMMCache(model)
    kept = [cache.keys, cache.values, cache.depth_keys, cache.depth_values]
    addresses = [x.data_ptr() for x in kept]
    for _ in range(2):
        played(model, cache, codes_of(192), 48, words(2), 0.0, greedy)
    now = [cache.keys, cache.values, cache.depth_keys, cache.depth_values]
    assert [x.data_ptr() for x in now] == addresses and all(x.any() for x in now)


# ---------------------------------------------------------------- how codes are drawn


def test_codes_are_drawn_as_asked():
    logits, generator = torch.randn(1, ENTRIES), torch.Generator().manual_seed(0)
    assert sample_code(logits, 1.0, 1.0, top_k=1, generator=generator) == logits.argmax()
    drawn = torch.cat([sample_code(logits, 1.0, 1.5, top_k=4, generator=generator) for _ in range(4000)])
    best, which = logits[0].topk(4)
    assert set(drawn.tolist()) == set(which.tolist())
    share = torch.stack([(drawn == code).float().mean() for code in which])
    assert (share - (best / 1.5).softmax(0)).abs().max() < 0.03
    cold = torch.cat([sample_code(logits, 1.0, 1e-3, top_k=ENTRIES, generator=generator) for _ in range(50)])
    assert (cold == logits.argmax()).all()


def test_guidance_goes_beyond_the_prompt():
    logits, generator = torch.tensor([[0.0, 1.0, 1.1], [0.0, 0.0, 1.0]]), torch.Generator()
    assert [
        int(sample_code(logits, scale, 1.0, top_k=1, generator=generator)) for scale in (0.0, 1.0, 3.0)
    ] == [2, 2, 1]


# ---------------------------------------------------------------- the stream


FAST = {"block_latents": 12, "context_latents": 36, "top_k": 10}


def test_stream_repeats_steers_and_joins(model):
    def play(seed):
        playing = stream_lmm(model, [("jazz", 0.5), ("house", 0.5)], seed=seed, **FAST)
        blocks = [next(playing)]
        playing.set(block_latents=24, prompt="", temperature=0.9, top_k=5)
        return playing, blocks + [next(playing), next(playing)]

    playing, blocks = play(0)
    latents, audio = torch.cat([b.latents for b in blocks], -1), torch.cat([b.audio for b in blocks], -1)
    assert latents.shape == (64, 60) and torch.equal(latents, torch.cat([b.latents for b in play(0)[1]], -1))
    assert not torch.allclose(latents, torch.cat([b.latents for b in play(1)[1]], -1), atol=1e-2)
    assert (audio - model.codec.decode(latents)[:, : audio.shape[-1]]).abs().max() < 1e-4
    assert torch.equal(model.rvq.decode(playing.codes)[0], latents) and torch.equal(
        playing.context[0], latents
    )
    parts = blocks[0].seconds_of
    assert (
        set(parts) == {"context", "network", "codec"} and 0 < sum(parts.values()) <= blocks[0].seconds_to_make
    )


def test_stream_plays_what_the_model_says(model):
    """The stream's second block is the greedy continuation of its first, with guidance and the clock where it
    should be."""
    playing = stream_lmm(model, "funk, 100 bpm", cfg_scale=1.5, **FAST | {"top_k": 1})
    first, beat = next(playing), playing.beat
    assert beat == pytest.approx(12 * 2048 / 44100 * 100 / 60)
    context = playing.codes.clone()
    next(playing)
    both = Text(
        *(
            torch.cat([getattr(playing.text, name), torch.zeros_like(getattr(playing.text, name))])
            for name in ("tokens", "log_weight", "bpm", "sentence")
        )
    )
    both.log_weight[1] = -math.inf
    logits = uncached(model, context, playing.codes[..., 12:], both, beat)
    assert first.latents.shape == (64, 12)
    assert torch.equal((logits[1] + 1.5 * (logits[0] - logits[1])).argmax(-1).T, playing.codes[0, :, 12:])


def test_codes_follow_the_context(model):
    """What a stream is given to go on from, to correct, to play or to forget is so in codes, too."""
    playing, given = stream_lmm(model, "", **FAST), torch.randn(1, 64, 50)
    playing.set_context(given)
    assert torch.equal(playing.codes, model.rvq.encode(given))
    made = next(playing)
    late = torch.randn(1, 64, 10)
    playing.correct(late, 15)
    kept = torch.cat([given, made.latents[None]], -1)
    assert torch.equal(playing.codes[..., -15:-5], model.rvq.encode(late)) and torch.equal(
        playing.context[..., -15:-5], late
    )
    assert (
        torch.equal(playing.codes[..., :47], model.rvq.encode(kept)[..., :47])
        and playing.codes.shape[-1] == 62
    )
    with pytest.raises(ValueError, match="cannot be corrected"):
        playing.correct(late, 5)
    playing.play(late)
    assert torch.equal(playing.codes[..., -10:], model.rvq.encode(late))
    for _ in range(16):
        next(playing)
    assert playing.codes.shape[-1] == playing.context.shape[-1] == 240
    playing.forget()
    assert playing.codes.shape[-1] == 0 and next(playing).latents.shape == (64, 12)


def test_one_surface_and_settings_of_ones_own(model):
    """`lm.stream` is the same for every model; what only the other kind has is refused."""
    diffusion = lm.load("block_causal")
    assert isinstance(lm.stream(model, top_k=1), LMMStream) and not isinstance(
        lm.stream(diffusion), LMMStream
    )
    for one, setting in (
        (model, "steps"),
        (model, "sampler"),
        (diffusion, "temperature"),
        (diffusion, "top_k"),
    ):
        with pytest.raises(TypeError, match=setting):
            lm.stream(one, **{setting: 1})
    assert sampling(model, steps=3, top_k=5) == {"temperature": 1.1, "top_k": 5} and sampling(
        diffusion, steps=3, top_k=5
    ) == {"steps": 3}


def test_goes_on_from_sound_and_gives_the_length_asked_for(model):
    sound = 0.1 * torch.randn(2, 44100, generator=torch.Generator().manual_seed(0))
    audio = lm.generate(model, "", seconds=0.7, context=sound, keep=True, **FAST)
    heard = stream_lmm(model, "", context=sound, **FAST).heard
    assert audio.shape == (2, heard.shape[-1] + int(0.7 * 44100)) and torch.equal(
        audio[:, : heard.shape[-1]], heard
    )
    assert not torch.allclose(
        audio[:, heard.shape[-1] :], lm.generate(model, "", seconds=0.7, **FAST), atol=1e-3
    )


def test_bad_requests_are_refused(model):
    playing = stream_lmm(model, "", **FAST)
    for bad in (
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_k": 2.5},
        {"top_k": ENTRIES + 1},
        {"cfg_scale": math.inf},
        {"block_latents": 0},
        {"block_latents": 49},
        {"steps": 8},
    ):
        with pytest.raises(ValueError, match="|".join([*bad, *LMM_SETTINGS])):
            playing.set(**bad)
    assert (playing.temperature, playing.top_k, playing.block_latents, playing.cfg_scale) == (
        1.1,
        10,
        12,
        2.0,
    )  # nothing has changed
    with pytest.raises(TypeError, match="prompt"):
        playing.set(prompt=3)
    with pytest.raises(ValueError, match="context_latents"):
        stream_lmm(model, context_latents=193, top_k=1)
    with pytest.raises(ValueError, match="seconds"):
        lm.generate(model, seconds=0, top_k=1)
    with pytest.raises(ValueError, match="NaN"):
        stream_lmm(model, context=torch.full((2, 9000), torch.nan), top_k=1)
    with pytest.raises(ValueError, match="5 codes"):
        model(codes_of(4)[:, :3], 0, words(1))
    with pytest.raises(ValueError, match="left to make"):
        model(codes_of(4), 4, words(1))
    cache = LMMCache(model, branches=1, window=24)
    for context, count, batch in ((25, 12, 1), (24, 49, 1), (24, 12, 2)):
        with pytest.raises(ValueError, match="at most"):
            played(model, cache, codes_of(context), count, words(batch), 0.0, greedy)
    block = CachedBlock(model, cache, codes_of(24), 1, text=words(1), beats=torch.zeros(1, 1))
    block(greedy)
    with pytest.raises(ValueError, match="has its 1 frames"):
        block(greedy)
    with pytest.raises(ValueError, match="6; this quantiser has 5"):
        start_from(model.rvq, replace(SMALL, n_q=6))
    with pytest.raises(ValueError, match="entries"):
        start_from(model.rvq, LMMConfig(n_q=5))
    with pytest.raises(ValueError, match="context_n_q"):
        LMM(LMMConfig(n_q=3))


# ---------------------------------------------------------------- training


def pieces(corpus=None, split="train", fingerprint=""):
    """A few bars that come again and again: something that can be learned."""
    generator = torch.Generator().manual_seed(0)
    bar = torch.randn(64, 20, generator=generator)
    return [
        LatentPiece(str(i), "house", 120.0, ["house, 120 bpm"], bar.repeat(1, 26).roll(i, 1).half())
        for i in range(3)
    ]


@pytest.fixture
def few_words(monkeypatch):
    monkeypatch.setattr(windows, "PARAPHRASES", {"house": ["club music"]})
    monkeypatch.setattr(lmm_training, "find_latents", pieces)


def test_what_is_drawn(model, few_words):
    data = LatentSet(as_codes(pieces(), model.rvq, CODES), 0)
    batch = draw_codes(data, 200, 240, rng=random.Random(0))
    assert (
        batch.codes.shape == (200, CODES, 240)
        and batch.codes.dtype == torch.int64
        and batch.context_latents == 192
    )
    assert (
        batch.weight.shape == (200, 48)
        and batch.conditions.beats.shape == (200, 240)
        and len(batch.conditions) == 200
    )
    missing = (~batch.present).sum(1)
    assert 0.1 < (missing == 192).float().mean() < 0.32 and 0.4 < (missing == 0).float().mean() < 0.65
    whole = model.rvq.encode(pieces()[0].latents.float())
    windows = {
        tuple(whole[:, i : i + 48].flatten().tolist()) for i in range(21)
    }  # all there are, as bars come again
    assert all(tuple(row[:, 192:].flatten().tolist()) in windows for row in batch.codes[:20])
    half = batch.part(slice(0, 3), lambda x: x)
    assert (
        torch.equal(half.codes, batch.codes[:3]) and len(half.conditions) == 3 and half.context_latents == 192
    )


def test_the_loss_is_cross_entropy_where_it_weighs(model, few_words, monkeypatch):
    monkeypatch.setattr(
        lmm_training, "fast_autocast", lambda device: nullcontext()
    )  # exact on processors with bfloat16, too
    untrained = start_from(model.rvq, SMALL)
    batch = draw_codes(LatentSet(as_codes(pieces(), model.rvq, CODES), 0), 3, 60, rng=random.Random(0))
    assert torch.allclose(
        code_loss(untrained, batch), torch.full((CODES,), math.log(ENTRIES)), atol=1e-4
    )  # it says nothing yet
    batch.weight[:, 30:] = 0
    logits = model(
        batch.codes, batch.context_latents, batch.conditions.text, batch.conditions.beats, batch.present
    ).log_softmax(-1)
    right = logits.gather(-1, batch.codes[..., batch.context_latents :].transpose(1, 2)[..., None])[
        ..., 0
    ]  # (B, T, CODES)
    assert torch.allclose(code_loss(model, batch), -right[:, :30].mean((0, 1)), atol=1e-5)
    assert torch.equal(untrained.code_embeddings, model.rvq.codebooks)
    groups = by_group(torch.arange(12.0))
    expected = {"all": 5.5, "code_1": 0, "codes_2_4": 2, "codes_5_8": 5.5, "codes_9_12": 9.5}
    assert {name: value.item() for name, value in groups.items()} == expected
    assert set(by_group(torch.zeros(1))) == {"all", "code_1"}


def test_every_parameter_learns(model, few_words):
    trained = LMM(SMALL)
    trained.load_state_dict(model.state_dict())
    batch = draw_codes(
        LatentSet(as_codes(pieces(), model.rvq, CODES), 0, empty=0.5), 8, 72, rng=random.Random(1)
    )
    code_loss(trained, batch).mean().backward()
    assert not {name for name, p in trained.named_parameters() if p.grad is None or not p.grad.any()}


@pytest.mark.long
def test_training_learns_goes_on_and_is_loaded(model, few_words, tmp_path):
    codec = load_codec()
    save_rvq(model.rvq, tmp_path / "rvq.safetensors", codec.fingerprint)
    config = replace(SMALL, window=60)
    settings = TrainSettings(
        tmp_path, tmp_path, steps=10, batch=4, lr=1e-2, accelerator="cpu", compiled=False
    )
    train_lmm(settings, config=config)
    path = train_lmm(replace(settings, steps=40), config=config)
    head, *rows = (tmp_path / "lmm" / "log.csv").read_text().splitlines()
    log = [dict(zip(head.split(","), map(float, row.split(",")))) for row in rows]
    assert {"nats", "valid_all", "valid_code_1", "valid_codes_2_4", "valid_code_5"} < set(log[0])
    assert [row["step"] for row in log] == [*range(1, 11), *range(12, 41, 4)]  # ten rows a run
    assert log[0]["nats"] == pytest.approx(math.log(ENTRIES), abs=1e-3) and log[-1]["valid_all"] < 0.5
    loaded = load_lmm(path, tmp_path / "rvq.safetensors")
    assert (
        loaded.facts["steps"] == 40
        and loaded.config == config
        and loaded.codec.fingerprint == codec.fingerprint
    )
    assert loaded.rvq.fingerprint == load_rvq(tmp_path / "rvq.safetensors").fingerprint
    assert next(stream_lmm(loaded, "", 12, top_k=1)).latents.shape == (64, 12)
    with pytest.raises(ValueError, match="begun with"):
        train_lmm(replace(settings, steps=40, batch=8), config=config)


def test_wrong_files_are_refused(model, tmp_path):
    path, quantiser, codec = tmp_path / "lmm.safetensors", tmp_path / "rvq.safetensors", load_codec()
    save_rvq(model.rvq, quantiser, codec.fingerprint)
    untrained = start_from(load_rvq(quantiser), SMALL)
    with pytest.raises(FileNotFoundError, match="is not there"):
        load_lmm(path, quantiser)
    save_lmm(untrained, path, codec.fingerprint, steps=0)
    with pytest.raises(FileNotFoundError, match="a quantiser is expected"):
        load_lmm(path, tmp_path / "none.safetensors")
    loaded = load_lmm(path, quantiser)
    assert all(
        (loaded.state_dict()[name] - value).abs().max() < 2e-3
        for name, value in untrained.state_dict().items()
    )
    other = RVQ(model.rvq.config)
    other.codebooks.copy_(model.rvq.codebooks + 0.1)
    save_rvq(other, tmp_path / "other.safetensors", codec.fingerprint)
    with pytest.raises(ValueError, match="codes mean different things"):
        load_lmm(path, tmp_path / "other.safetensors")
    save_lmm(untrained, path, "another")
    with pytest.raises(ValueError, match="encoder another"):
        load_lmm(path, quantiser)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged"):
        load_lmm(path, quantiser)
    with pytest.raises(ValueError, match="not a model but the quantiser"):
        load_lmm(quantiser, quantiser)
