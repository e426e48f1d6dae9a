"""ARC-Forcing: what is played and judged, who learns what from whom, and a run that can be interrupted."""

import csv
import random
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from small import make_model, save_small, set_with_controls

import lmdm_mini as lm
from lmdm_mini import checkpoints
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, Stem, visible_stem
from lmdm_mini.diffusion import arc, arc_train, consistency
from lmdm_mini.diffusion.arc import (
    JUDGED,
    SHORTEST,
    STRETCH,
    conditions_of,
    draw_blocks,
    draw_performance,
    pairs_of,
    perform,
)
from lmdm_mini.diffusion.arc_train import NAME, PATIENCE, Watch, train_arc
from lmdm_mini.diffusion.consistency import PLAY, with_strengths
from lmdm_mini.diffusion.discriminator import (
    Discriminator,
    Noise,
    Pairs,
    discriminator_loss,
    draw_noise,
    generator_loss,
    of_another,
)
from lmdm_mini.diffusion.rollout import parallel_pass, roll_out
from lmdm_mini.latents import windows
from lmdm_mini.training import TrainSettings
from lmdm_mini.training.duel import Turns
from lmdm_mini.transformer import WINDOW

SHAPE = {"granule": 4, "blocks": (4, 12, 24, 48), "look_back": 48, "controls": ("stem", "sketch")}
TINY = SHAPE | {"width": 32, "depth": 2, "heads": 1}


@pytest.fixture(scope="module")
def data():
    return set_with_controls(frames=1100)


@pytest.fixture(scope="module")
def player():
    """A live model that takes strengths, with every path open."""
    model = with_strengths(make_model("block_causal", **TINY))
    model.strengths_in.weight.data += 0.1
    return model


@pytest.fixture(scope="module")
def judge():
    """A discriminator that has an opinion."""
    torch.manual_seed(3)
    made = Discriminator(make_model("bidirectional", **TINY))
    for p in made.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return made


def drawn_with(data, config, *, longest=SHORTEST, wanted=lambda drawn: True):
    """A performance that has what is wanted."""
    for seed in range(200):
        data.rng.seed(seed)
        generator = torch.Generator().manual_seed(seed)
        drawn = draw_performance(data, 4, config, random.Random(seed), generator, longest=longest)
        if wanted(drawn):
            return drawn
    raise AssertionError("never drawn")


def with_stem(drawn):
    return drawn.conditions.stem is not None


def played(player, drawn, seed=0):
    rollout, given = perform(player, drawn, torch.Generator().manual_seed(seed))
    return rollout, given, pairs_of(drawn, rollout, rollout.made)


# -- what is drawn -----------------------------------------------------------------------------------


def test_stretches_are_cut_into_blocks_of_every_size():
    blocks = draw_blocks(48 * 200, (4, 12, 24, 48), random.Random(0))
    assert sum(blocks) == 48 * 200 and set(blocks) == {4, 12, 24, 48}
    assert 0.4 < blocks.count(48) / 200 < 0.8
    starts = torch.tensor([0, *blocks]).cumsum(0)
    assert set(range(0, 48 * 200, 48)) <= set(starts.tolist())
    assert set(draw_blocks(480, (12, 24, 48), random.Random(0))) <= {12, 24, 48}


@pytest.mark.parametrize("longest", [8, 11, 48])
def test_the_end_is_judged_and_straddles_no_change(data, player, longest):
    """Whatever the length, as far as there are pieces: this set's have room for 15 stretches."""
    lengths, changes, empty = set(), 0, 0
    for seed in range(60):
        data.rng.seed(seed)
        rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        drawn = draw_performance(data, 4, player.config, rng, generator, longest=longest)
        count, last = drawn.music.shape[-1] - WINDOW, drawn.parts[-1]
        assert last.end - last.begin == JUDGED and last.end == WINDOW + count
        assert [p.begin for p in drawn.parts] == [WINDOW, *(p.end for p in drawn.parts[:-1])]
        assert all(sum(p.blocks) == p.end - p.begin for p in drawn.parts)
        assert WINDOW <= drawn.change <= last.begin and drawn.look_back in (48, 96, 192)
        lengths.add(count // STRETCH)
        changes += int((drawn.before != torch.arange(len(drawn.before))).sum())
        empty += int(drawn.from_nothing.sum())
    assert lengths == set(range(SHORTEST, min(longest, 15) + 1))
    assert changes > 10 and empty > 10


def test_a_stem_is_known_no_further_ahead_than_a_target_may(data, player):
    drawn = drawn_with(data, player.config, wanted=with_stem)
    stem = drawn.conditions.stem
    blocks = [STRETCH] * 4 + [n for part in drawn.parts for n in part.blocks]
    ends = torch.tensor([n for n in blocks for _ in range(n)]) + torch.tensor(
        [b for b, n in zip(torch.tensor([0, *blocks]).cumsum(0).tolist(), blocks) for _ in range(n)]
    )
    assert (stem.visible[..., 1] <= ends + MAX_VISIBILITY).all()
    assert not (stem.visible[..., 1] % 4).any() and stem.positions[0] % 4 == 0
    part = conditions_of(drawn.conditions, WINDOW, WINDOW + 48, origin=96)
    assert torch.equal(part.stem.visible + 96, stem.visible[:, WINDOW : WINDOW + 48])
    at = int((stem.positions == int(part.stem.positions[0]) + 96).nonzero())
    assert torch.equal(part.stem.latents, stem.latents[..., at : at + part.stem.latents.shape[-1]])


# -- what is played ----------------------------------------------------------------------------------


def test_a_roll_out_with_a_stem_equals_its_parallel_pass(data, player):
    """Blocks of many sizes, visibility per item, missing context; then a short context, with stem before
    it."""
    drawn = drawn_with(data, player.config, wanted=lambda d: with_stem(d) and d.from_nothing.any())
    rollout, given, _ = played(player, drawn)
    assert len(set(rollout.blocks)) > 1
    again = parallel_pass(player, rollout, given)
    assert again.requires_grad and (again - rollout.made).abs().max() < 1e-4
    other = replace(given, stem=replace(given.stem, latents=given.stem.latents + 1))
    assert (parallel_pass(player, rollout, other) - rollout.made).abs().max() > 1e-3
    part = drawn.parts[-1]
    given = conditions_of(drawn.conditions, part.begin, part.begin + 60, origin=part.begin - 48)
    assert given.stem.positions[0] < 0
    with torch.no_grad():
        rollout = roll_out(
            player,
            drawn.music[..., part.begin - 48 : part.begin],
            given,
            blocks=[48, 4, 4, 4],
            levels=[[1.0, 0.5]] * 4,
            generator=torch.Generator().manual_seed(0),
        )
    assert (parallel_pass(player, rollout, given) - rollout.made).abs().max() < 1e-4


def test_a_stem_begins_with_a_granule(player):
    stem = Stem(
        torch.zeros(1, 64, 8),
        torch.ones(1, 8) > 0,
        torch.arange(-3, 5),
        visible_stem(torch.arange(4), torch.zeros(1, dtype=torch.long), 4),
    )
    given = lm.conditioning.Conditions(lm.conditioning.no_text(1), torch.zeros(1, 4), stem)
    with pytest.raises(ValueError, match="frame -3, inside a granule of 4"):
        roll_out(player, torch.zeros(1, 64, 4), given, blocks=[4], levels=[[1.0]], generator=None)


def test_before_a_change_somebody_elses_music_is_played(data, player, monkeypatch):
    """Context and conditions are the other's until then, and the discriminator is shown neither."""

    def wanted(d):
        return len(d.parts) == 3 and (d.before != torch.arange(len(d.before))).any() and not with_stem(d)

    drawn = drawn_with(data, player.config, longest=15, wanted=wanted)
    calls = []

    def spy(model, context, conditions, **how):
        made = roll_out(model, context, conditions, **how)
        calls.append((context, conditions, made))
        return made

    monkeypatch.setattr(arc, "roll_out", spy)
    rollout, given, pairs = played(player, drawn)
    own, others = drawn.conditions.text.tokens, drawn.conditions.text.tokens[drawn.before]
    (first, second, last), changed = calls, drawn.before != torch.arange(len(own))
    assert torch.equal(first[0], drawn.music[drawn.before][..., :WINDOW])
    assert torch.equal(first[1].text.tokens, others) and torch.equal(second[1].text.tokens, own)
    assert torch.equal(last[1].text.tokens, own) and torch.equal(given.text.tokens, own)
    played_before = torch.cat([first[0], first[2].made, second[2].made], -1)
    assert torch.equal(last[0], played_before[..., -WINDOW:]) and rollout is last[2]
    begin = drawn.parts[-1].begin - WINDOW
    hidden = torch.arange(begin, begin + WINDOW + JUDGED) < drawn.change
    assert torch.equal(~pairs.seen[changed], hidden.expand(int(changed.sum()), -1))
    assert pairs.seen[:, WINDOW:].all()
    assert torch.equal(pairs.real, drawn.music[..., begin:]) and pairs.made.shape == pairs.real.shape
    assert torch.equal(pairs.conditions.text.tokens, own)


def test_a_context_that_is_missing_is_hidden_from_the_discriminator(data, player):
    drawn = drawn_with(data, player.config, wanted=lambda d: d.from_nothing.any())
    rollout, _, pairs = played(player, drawn)
    assert not pairs.seen[drawn.from_nothing][:, :WINDOW].any()
    assert not rollout.present[drawn.from_nothing].any()
    assert rollout.t[0] > 0.1 and (rollout.t.unique() < 1).any()


# -- who learns what ---------------------------------------------------------------------------------


def make_pairs(data, player, **how):
    drawn = drawn_with(data, player.config, **how)
    rollout, given, pairs = played(player, drawn)
    return drawn, rollout, given, pairs


def test_real_and_made_get_the_same_noise(data, player, judge, monkeypatch):
    """Equal music scores equally, at every level, and its losses are those of equal scores."""
    _, _, _, pairs = make_pairs(data, player)
    inputs, forward = [], judge.forward

    def spy(x, t, conditions, **how):
        inputs.append((x, t, conditions))
        return forward(x, t, conditions, **how)

    monkeypatch.setattr(judge, "forward", spy)
    noise = draw_noise(pairs.real, torch.Generator().manual_seed(1))
    nudge = torch.randn_like(pairs.real)
    same = replace(pairs, made=pairs.real)
    parts, also = discriminator_loss(judge, same, noise, nudge=nudge, others=pairs.conditions)
    x, t, given = inputs[0]
    size = len(pairs.real)
    level = noise.t[:, None, None]
    for rows, music in ((slice(0, size), pairs.real), (slice(size, 2 * size), same.made)):
        assert torch.allclose(x[rows], (1 - level) * music + level * noise.noise) and torch.equal(
            t[rows], noise.t
        )
    assert torch.allclose(x[2 * size : 3 * size] - x[:size], 0.1 * nudge, atol=1e-5)
    assert abs(parts["pairs"].item() - 0.6931) < 1e-3 and abs(float(also["accuracy"]) - 0.5) < 0.2
    assert abs(parts["contrast"].item() - 0.6931) < 1e-3 and parts["smooth"] > 0
    assert given.strengths is None and given.beats is not None  # all that the base knows, and no more


def test_noise_is_mostly_low():
    t = draw_noise(torch.zeros(4000, 1, 1), torch.Generator().manual_seed(0)).t
    assert abs(float(t.median()) - 0.231) < 0.02 and 0.3 < float((t < 0.19).float().mean()) < 0.5


def test_what_is_hidden_has_no_say(data, player, judge):
    _, _, _, pairs = make_pairs(data, player, wanted=lambda d: d.from_nothing.any())
    item = int((~pairs.seen).any(1).nonzero()[0])
    t = torch.full((len(pairs.real),), 0.2)
    how = {"seen": pairs.seen, "judged": JUDGED}
    changed = pairs.real.clone()
    changed[item, :, :WINDOW] += 3
    with torch.no_grad():
        scores = judge(pairs.real, t, pairs.conditions, **how)
        assert scores.shape == (len(t), JUDGED // 24) and scores.std() > 1e-3
        assert torch.equal(judge(changed, t, pairs.conditions, **how)[item], scores[item])
        changed[item, :, WINDOW + 100] += 3
        assert not torch.equal(judge(changed, t, pairs.conditions, **how)[item], scores[item])


def test_the_judges_gradient_reaches_keys_values_and_words(data, player, judge):
    """Of the clean path, too: a block is judged by what those after it make of it."""
    drawn, rollout, given, _ = make_pairs(data, player)
    player.zero_grad()
    judge.requires_grad_(False)
    made = parallel_pass(player, rollout, given)
    pairs = pairs_of(drawn, rollout, made)
    loss = generator_loss(judge, pairs, draw_noise(pairs.real, torch.Generator().manual_seed(2)))
    loss.backward()
    judge.requires_grad_(True)
    width = player.config.width
    for layer in player.layers:
        keys, values = layer.attention.qkv.weight.grad[width:].split(width)
        assert keys.abs().max() > 0 and values.abs().max() > 0
        assert layer.cross.key_value.weight.grad.abs().max() > 0
    for part in (player.clean_in, player.frames_in, player.strengths_in):
        assert part.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in judge.parameters())
    player.zero_grad()


def test_a_new_judge_has_no_opinion_and_two_thirds_of_the_layers(data, player):
    base = make_model("bidirectional", **SHAPE | {"depth": 6})
    fresh = Discriminator(base)
    assert len(fresh.body.layers) == 4 and len(base.layers) == 6
    _, _, _, pairs = make_pairs(data, player)
    scores = fresh(
        pairs.real, torch.full((len(pairs.real),), 0.2), pairs.conditions, seen=pairs.seen, judged=384
    )
    assert not scores.any()
    rates = fresh.rates(20.0, 200.0)
    assert sum(map(len, rates.values())) == len(list(fresh.parameters())) and len(rates[200.0]) == 8
    with pytest.raises(ValueError, match="not from block_causal"):
        Discriminator(player)


def test_others_have_another_prompt_stem_or_sketch(data, player):
    drawn = drawn_with(data, player.config, wanted=lambda d: with_stem(d) and d.conditions.sketch is not None)
    own, kinds = drawn.conditions, set()
    for seed in range(20):
        other = of_another(own, random.Random(seed))
        changed = {
            "text": not torch.equal(other.text.sentence, own.text.sentence),
            "stem": not torch.equal(other.stem.latents, own.stem.latents),
            "sketch": not torch.equal(other.sketch.values, own.sketch.values),
        }
        assert sum(changed.values()) == 1
        kinds |= {name for name, there in changed.items() if there}
    assert kinds == {"text", "stem", "sketch"}


def test_a_judge_learns_to_tell_noise_from_music(player):
    """Thirty steps on pairs whose difference is plain."""
    judge = Discriminator(make_model("bidirectional", **TINY))
    rates = judge.rates(1e-3, 1e-2)
    optimizer = torch.optim.AdamW(
        [{"params": some, "lr": lr} for lr, some in rates.items()], betas=(0.0, 0.98)
    )
    given = lm.conditioning.Conditions(lm.conditioning.no_text(4))
    seen = torch.ones(4, 96, dtype=torch.bool)
    for step in range(30):
        generator = torch.Generator().manual_seed(step)
        real = torch.randn(4, 64, 1, generator=generator).expand(-1, -1, 96).contiguous()
        pairs = Pairs(real, torch.randn(4, 64, 96, generator=generator), given, seen, 48)
        nudge = torch.randn(4, 64, 96, generator=generator)
        parts, also = discriminator_loss(judge, pairs, draw_noise(real, generator), nudge=nudge, others=given)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
    assert also["accuracy"] > 0.9 and also["score_real"] > also["score_made"]
    assert isinstance(draw_noise(real, generator), Noise)


# -- the run -----------------------------------------------------------------------------------------


def test_turns_follow_from_the_number_of_a_step():
    turns = Turns(alone=3, each=2)
    assert [turns.of(step)[0] for step in range(9)] == list("dddddgddg")
    assert turns.total(2) == 9 and [turns.of_generator(n) for n in (2, 5, 6, 8, 9)] == [0, 0, 1, 1, 2]
    assert Turns().total(400) == 1320


def settings(out, steps=2, batch=2):
    return TrainSettings(out, out, steps, batch, 1e-4, accelerator="cpu", compiled=False)


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """A folder with a small base, a live model, the result of its distillation, and little music."""
    monkeypatch.setattr(windows, "PARAPHRASES", {})
    monkeypatch.setattr(arc_train, "find_latents", lambda *args: set_with_controls().pieces)
    save_small(tmp_path / "bidirectional.safetensors", make_model("bidirectional", **TINY))
    live = make_model("block_causal", **TINY)
    save_small(tmp_path / "block_causal.safetensors", live)
    save_small(tmp_path / "consistency.safetensors", with_strengths(live), steps=450)
    return tmp_path


TURNS = Turns(alone=1, each=1)


def test_a_run_makes_a_model_of_its_own_name(small_run):
    path = train_arc(settings(small_run), turns=TURNS)
    assert path == small_run / f"{NAME}.safetensors"
    model = lm.load(NAME, path=path)
    assert model.name == NAME and model.facts["steps"] == 2 and model.facts["start"]["steps"] == 450
    assert lm.stream(model, "funk").how.sampler == "pingpong"
    with (small_run / NAME / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = {"pairs", "contrast", "smooth", "fooled", "consistency", "score_real", "score_made", "accuracy"}
    assert wanted | {"norm_generator", "norm_discriminator"} < set(rows[0]) and len(rows) == 5
    assert all(float(value) >= -10 for value in rows[-1].values())
    start = lm.load("block_causal", path=small_run / "consistency.safetensors")
    moved = [not torch.equal(a, b) for a, b in zip(start.parameters(), model.parameters())]
    assert sum(moved) > 5
    assert (small_run / NAME / "step00002.safetensors").is_file()  # what can be judged on the way


def test_the_shipped_folder_is_told_as_it_is(small_run, monkeypatch):
    """A model is listed and loaded by its name where its file is, and nowhere else."""
    shutil.copy(checkpoints.CHECKPOINTS / "codec.safetensors", small_run)
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", small_run)
    assert NAME not in [row["name"] for row in lm.list_models()]
    with pytest.raises(
        ValueError, match=r"no model 'block_causal\+arc'. There are: bidirectional, block_causal"
    ):
        lm.load(NAME)
    named = with_strengths(make_model("block_causal", **TINY))
    save_small(small_run / f"{NAME}.safetensors", named, steps=400, play=PLAY)
    assert {"name": NAME, "steps": 400}.items() <= next(
        r for r in lm.list_models() if "+" in r["name"]
    ).items()
    model = lm.load(NAME)
    assert model.facts["steps"] == 400
    playing = lm.stream(model, "funk", block_latents=4)  # as the file says, unless asked otherwise
    assert (playing.steps, playing.how.sampler) == (2, "pingpong")
    asked = lm.stream(model, "funk", block_latents=4, steps=1, sampler="euler")
    assert (asked.steps, asked.how.sampler) == (1, "euler")


def test_an_interrupted_run_goes_on_with_the_same_numbers(small_run, monkeypatch):
    whole = lm.load(NAME, path=train_arc(settings(small_run, 2), turns=TURNS))
    state = (small_run / NAME / "run.safetensors").read_bytes()
    (small_run / NAME).rename(small_run / "first")
    draw, stops = arc_train.draw_performance, []

    def stop(*args, **how):
        stops.append(1)
        if len(stops) in (2, 3):  # in one of the discriminator's steps, and in one of the generator's
            signal.raise_signal(signal.SIGINT)
        return draw(*args, **how)

    monkeypatch.setattr(arc_train, "draw_performance", stop)
    for step in (2, 3):
        with pytest.raises(KeyboardInterrupt, match=f"at step {step} of 5: the same command goes on"):
            train_arc(settings(small_run, 2), turns=TURNS)
    again = lm.load(NAME, path=train_arc(settings(small_run, 2), turns=TURNS))
    assert len(stops) == 5
    for a, b in zip(whole.parameters(), again.parameters()):
        assert torch.allclose(a, b, atol=1e-6)
    assert len((small_run / NAME / "run.safetensors").read_bytes()) == len(state)


def test_what_cannot_be_trained_is_refused(small_run):
    with pytest.raises(ValueError, match="--batch is 1; at least 2 streams"):
        train_arc(settings(small_run, batch=1))
    with pytest.raises(ValueError, match="--longest is 7; it must be at least 8"):
        train_arc(settings(small_run), longest=7)
    live = small_run / "block_causal.safetensors"
    with pytest.raises(ValueError, match=r"no consistency model: it takes no strengths.*train consistency"):
        train_arc(settings(small_run), start=live)
    with pytest.raises(ValueError, match=r"enc_dec\+arc comes later"):
        path = small_run / "enc_dec.safetensors"
        save_small(path, make_model("enc_dec", **TINY))
        train_arc(settings(small_run), start=path)
    save_small(live, make_model("block_causal", **TINY | {"controls": ()}))
    with pytest.raises(ValueError, match="both must come from one block_causal model"):
        train_arc(settings(small_run))
    base = small_run / "bidirectional.safetensors"
    save_small(base, make_model("bidirectional", **TINY), codec="another")
    with pytest.raises(ValueError, match="made for latents of encoder another, but the codec here is"):
        train_arc(settings(small_run))
    (small_run / "consistency.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no consistency model at .*train consistency` makes it"):
        train_arc(settings(small_run))


def test_a_loss_that_is_not_finite_ends_the_run(small_run, monkeypatch):
    real = arc_train.discriminator_loss

    def broken(*args, **how):
        parts, also = real(*args, **how)
        return parts | {"pairs": parts["pairs"] * torch.nan}, also

    monkeypatch.setattr(arc_train, "discriminator_loss", broken)
    with pytest.raises(ArithmeticError, match="the loss is not finite at step 0.*lower --lr"):
        train_arc(settings(small_run), turns=TURNS)


def test_a_judge_that_wins_outright_is_said(tmp_path):
    watch = Watch(tmp_path)
    for _ in range(PATIENCE - 1):
        watch.see(torch.tensor(1.0))
    watch.see(torch.tensor(0.9))
    for _ in range(PATIENCE - 1):
        watch.see(torch.tensor(0.995))
    with pytest.raises(ArithmeticError, match="wins outright.*more than 99% of the windows.*--each 1"):
        watch.see(torch.tensor(0.995))


def test_a_length_has_enough_pieces(monkeypatch):
    data = set_with_controls(count=2, frames=1100)
    data.pieces += set_with_controls(count=1, frames=1900).pieces
    assert [data.longest(count) for count in (1, 2, 3, 9)] == [1728, 928, 928, 928]
    monkeypatch.setattr(arc, "PIECES", 2)
    assert [arc.longest_played(data, most) for most in (8, 11, 48)] == [8, 11, 15]
    monkeypatch.setattr(arc, "PIECES", 1)
    assert arc.longest_played(data, 48) == 32


def test_no_music_is_long_enough(player):
    short = set_with_controls(frames=600)
    with pytest.raises(ValueError, match="576 latent frames are needed of a piece; the longest has 428"):
        draw_performance(short, 2, player.config, random.Random(0), torch.Generator(), longest=8)


def test_the_average_follows_the_generator_alone(small_run):
    train_arc(settings(small_run, 1), turns=Turns(alone=4, each=1))
    run_of = checkpoints.read(small_run / NAME / "run.safetensors", "run")[1]
    assert run_of["step"][0] == 6 and run_of["step"][2] == 1
    assert consistency.PLAY["steps"] == 2
