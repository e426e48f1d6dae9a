"""The session engine, driven by hand and by a simulated clock: no browser, no microphone, no waiting."""

from pathlib import Path

import pytest
import torch
from small import small

import lmdm_mini as lm
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec import FRAME_SAMPLES
from lmdm_mini.live.engine import MARGIN, Engine, soft_limit
from lmdm_mini.live.microphone import GAP_SECONDS, Microphone, get_ring, put_ring
from lmdm_mini.streaming import Stream

CLIP = Path(__file__).parent.parent / "data" / "clips" / "house-1.flac"
FAST = {"steps": 2, "block_latents": 12, "cfg_scale": 1.0}
PIECE = 2205  # 50 ms


class Clock:
    """Time that passes only when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def model():
    return lm.load("block_causal")


@pytest.fixture(scope="module")
def quick():
    """A small model that has learnt nothing, where it does not matter what is played but when."""
    return small("block_causal")


@pytest.fixture(scope="module")
def player() -> torch.Tensor:
    """What somebody plays, (2, N)."""
    return lm.read_audio(CLIP)


def play_along(engine: Engine, sound: torch.Tensor, blocks: int, behind: float = 0.5) -> list:
    """Blocks made while pieces of `sound` come in, `behind` seconds behind what is made."""
    made, sent = [], 0
    for _ in range(blocks):
        while sent + PIECE <= min(engine.samples - behind * SAMPLE_RATE, sound.shape[1]):
            engine.hear(sent, sound[:, sent : sent + PIECE])
            sent += PIECE
        made.append(engine.next_block())
    return made


def test_alone_it_plays_what_the_stream_plays(model):
    engine, stream = Engine(model, seed=3, prompt="house", **FAST), lm.stream(model, "house", seed=3, **FAST)
    for _ in range(4):
        block = engine.next_block()
        assert torch.equal(block.audio, next(stream).audio)
    assert block.number == 3 and block.start + block.samples == engine.samples and block.heard_until == 0


def test_silence_from_the_player_and_a_player_at_level_0_change_nothing(model, player):
    alone = [block.audio for block in play_along(Engine(model, prompt="house", **FAST), player[:, :0], 6)]
    for sound, level in ((torch.zeros_like(player), 1.0), (player, 0.0)):
        engine = Engine(model, prompt="house", mic_level=level, **FAST)
        made = play_along(engine, sound, 6)
        assert made[-1].heard_until > 2 * SAMPLE_RATE
        assert all(torch.equal(block.audio, other) for block, other in zip(made, alone))


@pytest.mark.parametrize(
    "name",
    ["block_causal", *(pytest.param(name, marks=pytest.mark.long) for name in ("enc_dec", "bidirectional"))],
)
@pytest.mark.parametrize("primed", [False, True])
def test_the_context_is_both_as_the_codec_hears_them(name, primed, player):
    model = lm.load(name)
    engine = Engine(model, prompt="house", context=player[:, : 4 * SAMPLE_RATE] if primed else None, **FAST)
    before = engine.stream.heard
    mine = torch.cat([before, *(block.audio for block in play_along(engine, player, 7))], 1)
    theirs = torch.cat([torch.zeros_like(before), player], 1)
    known = before.shape[1] + engine.encoded
    expected = model.codec.encode((mine + theirs[:, : mine.shape[1]])[None, :, :known])[
        ..., : engine.before + engine.final
    ]
    count = min(expected.shape[-1] - engine.before, engine.final)
    context = engine.stream.context[..., -engine.frames :]  # what was made in this session, corrected and not
    assert count > 3 * 12 and engine.frames - engine.final >= 6
    assert (context[..., :count] - expected[..., -count:]).abs().max() < 1e-3
    assert torch.equal(context[..., engine.final :], engine.made[..., engine.final - engine.frames :])


def test_who_is_heard_changes_what_is_played(model, player):
    alone = play_along(Engine(model, prompt="house", **FAST), player[:, :0], 6)
    heard = play_along(Engine(model, prompt="house", **FAST), player, 6)
    assert torch.equal(heard[1].audio, alone[1].audio)  # nothing had come in yet
    assert not torch.allclose(heard[-1].audio, alone[-1].audio, atol=1e-2)


def test_the_log_replays_a_session(model, player):
    engine = Engine(model, seed=5, prompt="house", **FAST)
    made = play_along(engine, player, 3)
    engine.set(prompt="slow choir", steps=1, mic_level=0.5)
    made += play_along(engine, player, 3)
    again = Engine(model, seed=5, prompt="house", **FAST)
    again.hear(0, get_ring(engine.mic.sound, 0, engine.mic.until))
    for block, page in zip(made, engine.log):
        again.set(prompt=page.settings.prompt, mic_level=page.settings.mic_level)
        assert torch.equal(again.next_block(page.heard_until, page.settings.steps).audio, block.audio)


def clicks(bpm: float, seconds: float) -> torch.Tensor:
    """A metronome, (2, N), whose first click is at sample 0."""
    samples = torch.arange(int(seconds * SAMPLE_RATE))
    since = samples % (60 / bpm * SAMPLE_RATE) / SAMPLE_RATE
    return (0.5 * torch.exp(-60 * since) * torch.sin(2 * torch.pi * 900 * since)).expand(2, -1)


@pytest.mark.parametrize(
    "prompt, own, expected",
    [
        ("", 0, 97),
        pytest.param("house", 124, 97, marks=pytest.mark.long),
        pytest.param("ambient pads", 64, 48.5, marks=pytest.mark.long),
        pytest.param("house, 98 bpm", 98, 97, marks=pytest.mark.long),
        ("house, 130 bpm", 130, 130),
    ],
)
def test_the_clock_takes_up_the_players_beat_unless_the_prompt_names_another(quick, prompt, own, expected):
    engine = Engine(quick, prompt=prompt, **FAST)
    blocks = play_along(engine, clicks(97, 15), 24)
    assert blocks[7].bpm == own and not blocks[7].follows  # nothing can be told from so little
    made = blocks[-1]
    assert made.bpm == pytest.approx(expected, rel=0.01) and made.follows == (expected != 130)
    if made.follows:
        off = (engine.stream.beat - engine.samples / SAMPLE_RATE * made.bpm / 60) / min(
            1, round(made.bpm / 97, 1)
        )  # in clicks
        assert abs((off + 0.5) % 1 - 0.5) < 0.12
    engine.set(follow=False)
    assert engine.next_block().bpm == own


@pytest.mark.long
def test_who_has_no_beat_or_is_not_heard_is_not_followed(quick):
    for sound, settings in (
        (0.1 * torch.randn(2, 12 * SAMPLE_RATE), {}),
        (clicks(97, 12), {"mic_level": 0.0}),
    ):
        assert not any(block.follows for block in play_along(Engine(quick, **settings, **FAST), sound, 20))


def test_a_microphone_that_stops_is_not_waited_for(quick, player):
    """Context older than what the cache can take back becomes final, and pieces for it are dropped; nobody
    waits."""
    engine = Engine(quick, prompt="house", **FAST)
    play_along(engine, player[:, : SAMPLE_RATE // 2], 14)
    assert engine.frames - engine.final <= 36 + 2 * 12 and engine.mic.gaps == 0
    late = engine.mic.late
    engine.hear(SAMPLE_RATE, player[:, :PIECE])
    assert engine.mic.late == late + 1


def test_blocks_of_48_with_a_player(model, player):
    engine = Engine(model, prompt="house", **FAST | {"block_latents": 48})
    assert all(torch.isfinite(block.audio).all() for block in play_along(engine, player, 4))
    assert engine.final > 96


# -- controls ----------------------------------------------------------------------------------------


def test_what_is_wrong_is_refused_and_changes_nothing(quick):
    engine = Engine(quick, prompt="house", **FAST)
    before = engine.settings
    for wrong in (
        {"volume": 1},
        {"mic_level": -1},
        {"output_level": float("nan")},
        {"block_latents": 13},
        {"steps": 0},
        {"frozen": True},
        {"seed": 0.5},
        {"prompt": "funk", "cfg_scale": float("inf")},
    ):
        with pytest.raises(ValueError):
            engine.set(**wrong)
        assert engine.settings == before and engine.stream.prompt == "house"
    with pytest.raises(TypeError):
        engine.set(prompt=7)


def test_a_seed_begins_anew_and_the_level_is_a_factor(model):
    first, second = (Engine(model, seed=seed, prompt="house", **FAST) for seed in (1, 2))
    second.set(seed=1, output_level=0.5)
    assert torch.equal(0.5 * first.next_block().audio, second.next_block().audio)


def test_freeze_repeats_whole_bars_and_lets_go(quick):
    engine = Engine(quick, prompt="house, 120 bpm", **FAST)
    for _ in range(8):
        engine.next_block()
    engine.set(frozen=True)
    bars = round(2 * 4 * 60 / 120 * 44100 / 2048)  # 96 frames were made; two bars are 86
    blocks = [engine.next_block() for _ in range(8)]
    made = torch.cat([engine.made[..., -96:]], -1)
    assert torch.equal(made[..., bars:], made[..., : 96 - bars])
    assert all(block.seconds_of["network"] == 0 for block in blocks)
    engine.set(frozen=False)
    assert engine.next_block().seconds_of["network"] > 0


def test_forget_leaves_no_context_and_no_click(model):
    engine = Engine(model, prompt="house", **FAST)
    before = torch.cat([engine.next_block().audio for _ in range(4)], 1)
    engine.forget()
    assert engine.stream.context.shape[-1] == 0
    block = engine.next_block()
    assert block.samples == 12 * FRAME_SAMPLES  # the decoder went on
    joined = torch.cat([before, block.audio], 1)
    bend = joined.diff(n=2).abs().amax(0)
    at = before.shape[1] - 2
    assert bend[at - 3 : at + 4].max() <= bend[at - SAMPLE_RATE // 4 :].quantile(0.9999)


# -- time --------------------------------------------------------------------------------------------


def slow(monkeypatch, clock: Clock, seconds: list[float]) -> None:
    """Each block takes the next of `seconds`, the last of them from then on."""
    join = Stream._join

    def slowly(self, latents, times):
        clock.now += seconds.pop(0) if len(seconds) > 1 else seconds[0]
        return join(self, latents, times)

    monkeypatch.setattr(Stream, "_join", slowly)


def listen(engine: Engine, clock: Clock, seconds: float) -> None:
    """Lets time pass as a session does it: a block whenever one is due, reports four times a second."""
    end, begun = clock.now + seconds, None
    while clock.now < end:
        if engine.due():
            engine.next_block()
            begun = clock.now if begun is None else begun
        else:
            clock.now += 0.01
        if int(clock.now * 4) != int((clock.now - 0.01) * 4):
            engine.report(engine.played + (clock.now - engine.reported if engine.moving else 0.0), True)


def test_a_quick_model_keeps_its_lead_and_its_steps(quick, monkeypatch):
    clock = Clock()
    slow(monkeypatch, clock, [0.1])
    engine = Engine(quick, clock=clock, prompt="house", lead_seconds=0.35, **FAST | {"steps": 8})
    listen(engine, clock, 8)
    assert engine.late_blocks == 0 and engine.steps == 8
    assert all(0.2 < block.lead < 0.35 for block in list(engine.log)[3:])
    assert all(block.ready - block.asked == pytest.approx(0.1) for block in engine.log)


@pytest.mark.long
def test_steps_go_down_before_it_breaks_and_up_again(quick, monkeypatch):
    clock = Clock()
    slow(monkeypatch, clock, [0.1] * 10 + [0.5] * 20 + [0.1])
    engine = Engine(quick, clock=clock, prompt="house", lead_seconds=0.8, **FAST | {"steps": 8})
    listen(engine, clock, 12)
    assert engine.late_blocks == 0
    assert [block.settings.steps for block in engine.log][:20] == [8] * 12 + [6] * 4 + [4] * 4
    listen(engine, clock, 20)
    assert engine.steps == 8


def test_a_stall_is_counted_and_named(quick, monkeypatch):
    clock = Clock()
    slow(monkeypatch, clock, [0.1] * 8 + [2.0, 0.1])
    engine = Engine(quick, clock=clock, prompt="house", **FAST)
    listen(engine, clock, 10)
    late = [block for block in engine.log if block.lead < 0]
    assert engine.late_blocks == len(late) >= 1
    assert late[0].number == 8 and late[0].ready - late[0].asked == pytest.approx(2.0)


# -- the microphone ----------------------------------------------------------------------------------


def test_a_ring_holds_the_newest():
    ring, sound = torch.zeros(2, 100), torch.randn(2, 333)
    put_ring(ring, 0, sound[:, :40])
    put_ring(ring, 40, sound[:, 40:])
    assert torch.equal(get_ring(ring, 240, 333), sound[:, 240:])


def test_pieces_out_of_turn_twice_and_overlapping():
    mic, sound = Microphone(), torch.randn(2, 8 * PIECE)
    for i in (1, 0, 3, 2, 2, 5, 4, 7, 6):
        mic.put(i * PIECE, sound[:, i * PIECE : (i + 1) * PIECE])
    mic.put(0, sound[:, : 2 * PIECE])
    assert mic.until == 8 * PIECE and torch.equal(get_ring(mic.sound, 0, mic.until), sound)
    assert mic.late == 2 and mic.gaps == 0 and not mic.waiting


def test_a_gap_becomes_silence_when_it_is_old():
    mic, sound = Microphone(), torch.ones(2, PIECE)
    mic.put(0, sound)
    for i in range(2, 2 + int(GAP_SECONDS * SAMPLE_RATE / PIECE)):
        mic.put(i * PIECE, sound)
    assert mic.gaps == 1 and mic.until == (2 + int(GAP_SECONDS * SAMPLE_RATE / PIECE)) * PIECE
    assert get_ring(mic.sound, PIECE, 2 * PIECE).abs().max() == 0
    mic.put(PIECE, sound)
    assert mic.late == 1


def test_a_burst_after_a_stall_and_sound_that_is_none():
    mic = Microphone()
    mic.skip_to(10 * PIECE)  # it was given up
    for i in range(12):
        mic.put(i * PIECE, torch.ones(2, PIECE))
    assert mic.late == 10 and mic.until == 12 * PIECE
    mic.put(12 * PIECE, torch.full((2, PIECE), float("nan")))
    assert mic.damaged == 1 and get_ring(mic.sound, 12 * PIECE, mic.until).abs().max() == 0
    with pytest.raises(ValueError, match="2, samples"):
        mic.put(0, torch.zeros(PIECE))


def test_the_model_is_not_harmed_by_a_player_who_sends_nonsense(quick):
    engine = Engine(quick, prompt="house", **FAST)
    play_along(engine, 1e4 * torch.randn(2, 2 * SAMPLE_RATE), 4)
    engine.hear(engine.mic.until, torch.full((2, PIECE), float("inf")))
    assert torch.isfinite(engine.next_block().audio).all() and engine.mic.damaged == 1


def test_a_microphone_at_48_khz_is_heard_at_the_right_time():
    hertz, seconds = 441.0, 2.0

    def at(rate):
        return torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate).expand(2, -1)

    mic, sound = Microphone(), at(48_000)
    for i in range(40):
        mic.put(i * PIECE, sound[:, i * 2400 : (i + 1) * 2400], 48_000)
    heard = get_ring(mic.sound, 0, mic.until)
    assert mic.gaps == mic.late == 0 and mic.until > 1.9 * SAMPLE_RATE
    assert (heard - at(SAMPLE_RATE)[:, : mic.until])[:, 1000:].abs().max() < 1e-2
    mic.put(80 * PIECE, sound[:, :2400], 48_000)  # not the continuation: it belongs where it says
    assert mic.gaps == 1 and get_ring(mic.sound, 79 * PIECE, 80 * PIECE).abs().max() == 0
    with pytest.raises(ValueError, match="sample rate"):
        mic.put(0, torch.zeros(2, 10), 12)


@pytest.mark.long
def test_together_they_do_not_become_louder_and_louder(model, player):
    engine = Engine(model, prompt="house", **FAST | {"steps": 4, "mic_level": 2.0})
    made = torch.cat(
        [block.audio for block in play_along(engine, (4 * player).clamp(-1, 1).repeat(1, 3), 24)], 1
    )
    assert engine.gain < 0.5 and made.abs().max() <= 1
    assert made[:, -3 * SAMPLE_RATE :].square().mean().sqrt() < 0.35


def test_the_limiter_leaves_what_is_not_loud():
    sound = torch.linspace(-3, 3, 1001).expand(2, -1)
    limited = soft_limit(sound)
    quiet = sound.abs() <= 0.8
    assert torch.equal(limited[quiet], sound[quiet]) and limited.abs().max() <= 1
    assert (limited.diff() >= 0).all()


def test_lead_grows_when_it_was_not_enough_and_old_reports_count_as_old(quick):
    clock = Clock()
    engine = Engine(quick, clock=clock, lead_seconds=0.3, **FAST)
    engine.next_block()
    clock.now = 10.0
    engine.report(0.1, True, at=9.8)
    assert engine.lead() == pytest.approx(engine.samples / SAMPLE_RATE - 0.3)
    engine.report(0.1, True, at=1e9, left=MARGIN - 0.1)
    assert engine.lead() == pytest.approx(
        engine.samples / SAMPLE_RATE - 0.1
    ) and engine.lead_seconds == pytest.approx(0.4)
    engine.report(0.1, True)  # no block came
    assert engine.lead_seconds == pytest.approx(0.4)
    for _ in range(20):
        engine.report(0.1, True, left=0.0)
    assert engine.lead_seconds == pytest.approx(1.0)
    for _ in range(300):
        engine.report(0.1, True, left=0.5)
    assert engine.lead_seconds == pytest.approx(0.3)


def test_what_was_turned_stands_in_the_block(quick):
    engine = Engine(quick, **FAST)
    engine.set(prompt="house")
    engine.forget()
    assert engine.next_block().turned == [("set", {"prompt": "house"}), ("forget", {})]
    with pytest.raises(ValueError, match="steps is 0"):
        engine.set(steps=0)
    assert engine.next_block().turned == []


@pytest.mark.long
def test_joins_do_not_click(model, player):
    """The peak of the second difference around the borders of blocks is what it is elsewhere."""
    engine = Engine(model, prompt="house", **FAST | {"steps": 4})
    blocks = play_along(engine, player, 20)
    sound = torch.cat([block.audio for block in blocks], 1)
    rough = sound.diff(n=2).abs().amax(0)
    peaks = rough[: len(rough) // 128 * 128].view(-1, 128).amax(1)  # of windows of 3 ms
    borders = torch.tensor([rough[block.start - 64 : block.start + 64].max() for block in blocks[1:]])
    assert borders.median() < peaks.quantile(0.75) and (borders > peaks.quantile(0.99)).float().mean() < 0.15
