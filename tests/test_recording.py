"""Sessions on disk: what is saved, that it is lossless, and that a replay is the same music."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import lmdm_mini as lm
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live import recording as home
from lmdm_mini.live import replay
from lmdm_mini.live.engine import Engine
from lmdm_mini.live.recording import Recording, from_16_bit, to_16_bit

FAST = {"steps": 2, "block_latents": 12, "cfg_scale": 1.0}
PIECE = 2205


def as_arrays(block):
    return replace(block, audio=block.audio.numpy(), player=block.player.numpy())


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A short session with a player, a context, turns of the controls, and pieces that never came; and what
    it played, (2, N)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the process of a session
    folder, generator = tmp_path_factory.mktemp("jam"), torch.Generator().manual_seed(0)
    sound = torch.from_numpy(
        from_16_bit(to_16_bit(0.3 * torch.randn(2, 10 * SAMPLE_RATE, generator=generator).numpy()))
    )
    context = lm.read_audio("data/clips/funk-1.flac")[:, : 3 * SAMPLE_RATE]
    engine, made, sent = (
        Engine(
            lm.load("block_causal"), seed=5, context=context, prompt=[("house", 0.5), ("choir", 0.5)], **FAST
        ),
        [],
        0,
    )
    settings = {"prompt": [["house", 0.5], ["choir", 0.5]], **FAST}
    recording = Recording(
        {"model": "block_causal", "checkpoint": None, "seed": 5, "settings": settings}, context
    )
    for number in range(9):
        while sent + PIECE < engine.samples - 0.4 * SAMPLE_RATE:
            if sent // PIECE % 7:
                engine.hear(sent, sound[:, sent : sent + PIECE])
            sent += PIECE
        if number == 3:
            engine.set(prompt="funk", mic_level=0.5)
        if number == 5:
            engine.set(block_latents=24)
            engine.forget()
        if number == 7:
            engine.set(seed=9, steps=1)
        block = engine.next_block()
        made.append(block.audio)
        recording.add(as_arrays(block))
    torch.set_num_threads(threads)
    yield recording, recording.save(folder, "take"), torch.cat(made, 1)
    recording.close()


def test_wav_has_both_and_mp3_is_the_mix(session):
    recording, (wav, mp3, page, context), made = session
    sound, rate = soundfile.read(wav)
    assert (
        rate == SAMPLE_RATE
        and sound.shape == (made.shape[1], 4)
        and recording.seconds == pytest.approx(made.shape[1] / SAMPLE_RATE)
    )
    assert np.abs(sound[:, :2].T - made.numpy()).max() <= 0.5 / 32768 + 1e-6
    assert sound[:, 2:].any() and mp3.stat().st_size < wav.stat().st_size / 10
    mix = soundfile.read(mp3)[0]
    assert np.abs(mix).max() > 0.1 and abs(len(mix) - len(sound)) < 3000
    told = json.loads(page.read_text())
    assert (
        told["blocks"][3]["turned"] == [["set", {"prompt": "funk", "mic_level": 0.5}]]
        and context.name == told["context"]
    )


def test_a_replay_is_the_same_music(session):
    _, (_, _, page, _), made = session
    again = replay(page)
    assert again.shape == made.shape and torch.equal(again, made)
    assert torch.equal(replay(page, blocks=2), made[:, : replay(page, blocks=2).shape[1]])


def test_nothing_is_overwritten(session, tmp_path):
    recording, _, _ = session
    first, second = recording.save(tmp_path, "take")[0], recording.save(tmp_path, "take")[0]
    assert first.name == "take.wav" and second.name == "take-2.wav"


def test_what_is_no_session_is_refused(session, tmp_path):
    for text in ("not JSON", "{}", "[]"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(ValueError, match="not the JSON of a saved session"):
            replay(tmp_path / "x.json")
    _, (_, _, page, _), _ = session
    (tmp_path / "alone.json").write_text(page.read_text())
    with pytest.raises((FileNotFoundError, soundfile.LibsndfileError)):
        replay(tmp_path / "alone.json")


def test_nothing_to_save_and_a_full_recording(monkeypatch, session, tmp_path):
    empty = Recording({})
    with pytest.raises(ValueError, match="nothing was played yet"):
        empty.save(tmp_path, "x")
    monkeypatch.setattr(home, "LIMIT_SECONDS", 0.1)
    engine = Engine(lm.load("block_causal"), **FAST)
    for _ in range(3):
        empty.add(as_arrays(engine.next_block()))
    assert "full" in empty.ended and len(empty.blocks) == 1
    empty.close()


def test_sixteen_bits_there_and_back():
    all_values = np.arange(-32768, 32768, dtype=np.int16)
    assert (to_16_bit(from_16_bit(all_values)) == all_values).all()
    assert to_16_bit(np.array([2.0, -2.0])).tolist() == [32767, -32768]
