"""Pass two: effects keep time and level, the mix bus is linear, captions name what is heard; microphones."""

import json
import random

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.audio import SAMPLE_RATE, loudness
from lmdm_mini.corpus import produce as second_pass
from lmdm_mini.corpus.data import load_manifest, read_stems
from lmdm_mini.corpus.effects import Clock, Room, StemEffects, apply, duck, playing_level
from lmdm_mini.corpus.files import write_json, write_stems
from lmdm_mini.corpus.piece import STEMS
from lmdm_mini.corpus.production import audible, draw_production, mix_bus, produce, with_effects
from lmdm_mini.corpus.rooms import Microphone, draw_microphone, heard, peak_filter, room_response

DRY = Room("dry", 0.1, 0.5, 0.002, 0)
HALL = Room("hall", 1.5, 0.5, 0.02, 0)
CLOCK = Clock(120.0, 4, (0.5, 1.0))
QUIET = Microphone(0.0, 40, 16_000, 1000, 0.0, 0.2, 0.0, 50, -200, -200, 0)


def tone(seconds: float = 3.0, hz: float = 220.0) -> np.ndarray:
    """Struck notes, one each half second, a little louder on the left."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    note = np.sin(2 * np.pi * hz * time) * np.exp(-6 * (time % 0.5)) * 0.3 * (time > 0.1)
    return np.stack([note, 0.7 * note]).astype(np.float32)


def entry(style: str = "rock", amp: bool = True) -> dict:
    """A description of a dry piece with a guitar, a bass and drums."""
    track = {"program": 27, "instrument": "electric guitar", "pan": 0.0, "volume": 1.0, "reverb": 0.3}
    return {
        "id": "rock_00000",
        "style": style,
        "recipe": "r",
        "split": "train",
        "bpm": 120.0,
        "beats_per_bar": 4,
        "audio": f"audio/{style}/rock_00000.flac",
        "tracks": {stem: [track | {"amp": amp and stem == "lead"}] for stem in STEMS},
        "instruments": {stem: ["electric guitar"] for stem in STEMS},
        "captions": {
            "mix": ["an electric guitar and drums, electric guitar rock"],
            "lead": ["a wailing electric guitar line"],
        },
    }


PIPES = {
    "amp": StemEffects(amp_db=30),
    "equaliser": StemEffects(low_db=3, bell_db=-4, high_db=3),
    "saturation": StemEffects(drive_db=10),
    "duck": StemEffects(duck_db=10),
    "echo": StemEffects(echo_beats=0.75, echo_share=0.4),
    "width": StemEffects(width=1.5),
    "room": StemEffects(room=0.4),
}
BOARD = {
    "compressor": StemEffects(ratio=4.0),
    "chorus": StemEffects(chorus=0.4),
    "sweep": StemEffects(sweep_bars=1),
}


@pytest.mark.parametrize("effects", [*PIPES.values(), *BOARD.values()], ids=[*PIPES, *BOARD])
def test_every_effect_keeps_time_length_and_level(effects):
    if effects in BOARD.values():
        pytest.importorskip("pedalboard")
    dry = tone()
    wet = apply(dry, effects, room=HALL, clock=CLOCK)
    assert wet.shape == dry.shape and wet.dtype == np.float32 and np.isfinite(wet).all()
    assert playing_level(wet) == pytest.approx(playing_level(dry), rel=0.01)
    assert np.abs(wet - dry).max() > 1e-3
    onsets = [int((np.abs(x).max(0) > 0.02 * np.abs(x).max()).argmax()) for x in (dry, wet)]
    assert onsets[0] > 1000 and abs(onsets[1] - onsets[0]) < 0.002 * SAMPLE_RATE
    silence = np.zeros((2, 4410), np.float32)
    assert np.array_equal(apply(silence, effects, room=HALL, clock=CLOCK), silence)


def test_left_and_right_have_amplifiers_of_their_own():
    left, right = tone()[:1], tone(hz=330.0)[:1]
    alone = apply(np.concatenate([left, 0 * left]), StemEffects(amp_db=30), room=DRY, clock=CLOCK)
    both = apply(np.concatenate([left, right]), StemEffects(amp_db=30), room=DRY, clock=CLOCK)
    assert np.abs(alone[1]).max() < 1e-9
    scaled = alone[0] * np.abs(both[0]).max() / np.abs(alone[0]).max()
    assert np.corrcoef(scaled, both[0])[0, 1] > 0.95  # what is right does not sound in the left one
    crest, driven = (np.abs(x).max() / playing_level(x) for x in (left, alone[:1]))
    assert driven < 0.9 * crest


def test_a_kick_pushes_down_and_lets_go():
    flat = np.ones((2, SAMPLE_RATE), np.float32)
    pushed = duck(flat, (0.25,), depth_db=12.0, release=0.3)
    assert np.array_equal(pushed[:, : SAMPLE_RATE // 4], flat[:, : SAMPLE_RATE // 4])
    assert pushed[:, int(0.256 * SAMPLE_RATE)].max() < 0.3 and pushed[:, -1].min() == 1.0
    assert np.abs(np.diff(pushed[0])).max() < 0.01  # no click


def test_a_room_dies_away_and_high_tones_sooner():
    response = room_response(1.0, 0.2, near=0.01, seed=3)
    assert np.array_equal(response, room_response(1.0, 0.2, near=0.01, seed=3))
    assert (response**2).sum(1) == pytest.approx(1.0, rel=1e-3)
    early, late = (
        np.abs(np.fft.rfft(part[0])) ** 2 for part in (response[:, :8192], response[:, 16_384:24_576])
    )
    assert late.sum() < 0.01 * early.sum()
    high = slice(1000, 4096)
    assert late[high].sum() / late.sum() < 0.5 * early[high].sum() / early.sum()


def test_the_mix_bus_is_linear_and_stems_sum_to_the_mix():
    torch.manual_seed(0)
    stems = torch.randn(4, 2, 64 * 2000) * 0.05
    done = mix_bus(stems, 2.0, -2.0)
    mix = done.sum(0)
    assert abs(loudness(mix) + 16) < 1.0 and mix.abs().max() < 10 ** (-1 / 20)
    alone = mix_bus(torch.stack([stems.sum(0), *[torch.zeros_like(stems[0])] * 3]), 2.0, -2.0)
    assert torch.allclose(alone[0], mix, atol=2e-5)  # the mix through the bus is the sum of stems through it


def test_a_production_is_decided_by_its_seed_and_named_in_captions():
    pytest.importorskip("pedalboard")
    stems = torch.from_numpy(np.stack([tone(64 * 1000 / SAMPLE_RATE, hz) for hz in (100, 150, 300, 500)]))
    one = draw_production(random.Random(4), entry())
    assert one == draw_production(random.Random(4), entry()) != draw_production(random.Random(5), entry())
    assert one.stems["lead"].amp_db > 0 and one.stems["bass"].amp_db == 0
    a, b = produce(stems, one, CLOCK), produce(stems, one, CLOCK)
    assert torch.equal(a, b) and a.shape == stems.shape and a[..., -1].abs().max() < 1e-3
    assert a.sum(0).abs().max() < 10 ** (-1 / 20)


def test_captions_name_what_is_audible():
    heard_words = {"mix": ["roomy"], "lead": ["distorted", "echoing"], "drums": [], "bass": [], "chords": []}
    seen = set()
    for seed in range(20):
        found, instruments = with_effects(entry(), heard_words, random.Random(seed))
        seen |= {found["mix"][0], found["lead"][0]}
    assert instruments["lead"] == ["distorted guitar"] and instruments["bass"] == ["electric guitar"]
    assert seen == {
        "a distorted guitar and drums, electric guitar rock",
        "a distorted guitar and drums, electric guitar rock, roomy",
        "a wailing distorted guitar line",
        "a wailing distorted guitar line, echoing",
    }
    for seed in range(40):
        words = audible(draw_production(random.Random(seed), entry("house", amp=False)))
        assert set(words) == {"mix", *STEMS} and "distorted" not in sum(words.values(), [])


# --- microphones -----------------------------------------------------------------------------------


def test_a_microphone_is_in_time_mono_and_as_loud_as_it_says():
    stem = tone()
    plain = heard(stem, QUIET)
    assert plain.shape == stem.shape and plain.dtype == np.float32 and np.array_equal(plain[0], plain[1])
    lag = np.correlate(plain[0][:8000], stem.mean(0)[:8000], "full").argmax() - 7999
    assert abs(lag) <= 20
    softer = heard(stem, Microphone(**{**QUIET.__dict__, "level_db": -12.0}))
    assert 20 * np.log10(playing_level(plain) / playing_level(softer)) == pytest.approx(12, abs=0.1)
    loud = heard(stem * 3, Microphone(**{**QUIET.__dict__, "level_db": 6.0}))
    assert np.abs(loud).max() == 1.0  # it clips, as a converter does


def test_a_microphone_hums_in_silence_and_rooms_are_heard():
    silence = np.zeros((2, SAMPLE_RATE), np.float32)
    hum = heard(silence, Microphone(**{**QUIET.__dict__, "hum_db": -50.0}))
    spectrum = np.abs(np.fft.rfft(hum[0]))
    assert spectrum.argmax() == 50 and 0.002 < np.abs(hum).max() < 0.02
    click = silence.copy()
    click[:, 100] = 0.5
    near, far = heard(click, QUIET), heard(click, Microphone(**{**QUIET.__dict__, "room_share": 0.5}))
    assert np.abs(far[0, 3000:9000]).sum() > 20 * np.abs(near[0, 3000:9000]).sum()
    levels = [draw_microphone(random.Random(k)).level_db for k in range(200)]
    assert -18 <= min(levels) < -15 and 3 < max(levels) <= 6
    with pytest.raises(ValueError, match=r"shape \(2, N\)"):
        heard(silence[0], QUIET)


def test_a_bell_lifts_its_own_frequency_only():
    noise = np.random.default_rng(0).standard_normal(1 << 15)
    from scipy.signal import sosfilt

    gain = np.abs(np.fft.rfft(sosfilt(peak_filter(1000, 12, 2.0), noise))) / np.abs(np.fft.rfft(noise))
    at = lambda hz: 20 * np.log10(np.median(gain[int(hz / SAMPLE_RATE * (1 << 15)) + np.arange(-8, 9)]))  # noqa: E731
    assert at(1000) == pytest.approx(12, abs=1.0) and abs(at(100)) < 0.5 and abs(at(10_000)) < 0.5


# --- the pass over a folder ------------------------------------------------------------------------


def test_a_corpus_is_produced_and_goes_on_where_it_was(tmp_path, monkeypatch):
    pytest.importorskip("pedalboard")
    dry, out = tmp_path / "dry", tmp_path / "wet"
    stems = torch.from_numpy(np.stack([tone(64 * 1500 / SAMPLE_RATE, hz) for hz in (100, 150, 300, 500)]))
    piece = entry()
    write_stems(dry / piece["audio"], stems)
    write_json(dry / "manifest.json", {"complete": True, "pieces": [piece]})
    manifest = second_pass.produce_corpus(dry, out, workers=1)
    assert manifest["complete"] and len(manifest["pieces"]) == 1
    made = load_manifest(out)["pieces"][0]
    assert made["effects"]["lead"] and made["production"]["room"]["kind"] and made["bpm"] == 120.0
    wet = read_stems(made)
    assert wet.shape == stems.shape and wet.sum(0).abs().max() < 10 ** (-1 / 20)
    assert soundfile.info(str(out / made["audio"])).channels == 8
    monkeypatch.setattr(second_pass, "_make", lambda item: pytest.fail("made again"))
    assert second_pass.produce_corpus(dry, out, workers=1) == manifest
    assert "folder" not in json.loads((out / "manifest.json").read_text())["pieces"][0]
    with pytest.raises(ValueError, match="folder of its own"):
        second_pass.produce_corpus(dry, dry)
    with pytest.raises(FileNotFoundError, match="corpus build"):
        second_pass.produce_corpus(tmp_path / "nowhere", out)
