"""Sessions on disk: what is saved, that it is lossless, and that a replay is the same music."""

import contextlib
import json
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import lmdm_mini as lm
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live import recording as home
from lmdm_mini.live import replay
from lmdm_mini.live.engine import Engine, JamBlock, Settings
from lmdm_mini.live.recording import Recording, from_16_bit, to_16_bit
from lmdm_mini.live.weights import fingerprint_of

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


@pytest.mark.long
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
    with pytest.raises(FileNotFoundError, match="must be beside its JSON"):
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


@contextlib.contextmanager
def full_disk(at_bytes):
    """While it lasts, no file of this process can grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def block_of(number, samples=SAMPLE_RATE):
    """A block of noise as it comes from the process, of a session without a model."""
    sound = np.random.default_rng(number).uniform(-0.5, 0.5, (2, samples)).astype(np.float32)
    start = number * samples
    return JamBlock(
        sound, number, start, samples, 0.0, 0.1, {}, start + samples, sound, [], 0.3, 0.0, False, Settings()
    )


START = {"model": "block_causal", "checkpoint": None, "seed": 0, "settings": {}}


def test_a_disk_that_fills_up_ends_the_recording_and_keeps_what_it_has(tmp_path):
    recording = Recording(START)
    recording.add(block_of(0))
    with full_disk(int(1.5 * SAMPLE_RATE) * 4):
        recording.add(block_of(1))
    assert "temporary file cannot grow" in recording.ended and recording.seconds == 1
    recording.add(block_of(2))  # no hole: it stays ended
    wav = recording.save(tmp_path, "take")[0]
    saved = soundfile.read(wav, dtype="int16")[0]
    assert (saved[:, :2].T == to_16_bit(block_of(0).audio)).all()
    recording.close()


def test_a_disk_that_is_full_when_saving_loses_nothing(tmp_path):
    recording = Recording(START)
    for number in range(3):
        recording.add(block_of(number))
    with full_disk(300_000), pytest.raises(OSError, match="Nothing is lost: save it elsewhere"):
        recording.save(tmp_path / "full", "take")
    assert list((tmp_path / "full").iterdir()) == [], "nothing half is left"
    assert len(soundfile.read(recording.save(tmp_path, "take")[0])[0]) == 3 * SAMPLE_RATE
    recording.close()


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    recording = Recording(START)
    recording.add(block_of(0))
    monkeypatch.setattr(home.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="0 MB left"):
        recording.save(tmp_path, "take")
    assert list(tmp_path.iterdir()) == []
    recording.close()


def test_a_folder_that_cannot_be_written_and_names_that_no_file_has(tmp_path):
    recording = Recording(START)
    recording.add(block_of(0))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Nothing is lost"):
        recording.save(tmp_path / "file", "take")
    for name, complaint in (
        ("x" * 300, "300 bytes"),
        ("ü" * 150, "300 bytes"),
        ("a/b", "without '/'"),
        ("", "first part of a file name"),
        (3, "name is 3"),
        (None, "name is None"),
        ("a\0", "without"),
        ("..", "a dot or a space"),
    ):
        with pytest.raises(ValueError, match=complaint):
            recording.save(tmp_path, name)
    with pytest.raises(ValueError, match="folder is 3"):
        recording.save(3, "take")
    assert recording.save(tmp_path, "x" * 200)[0].exists()
    recording.close()


def test_without_a_temporary_folder_nothing_is_recorded_and_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(home.tempfile, "tempdir", str(tmp_path / "gone"))
    recording = Recording(START)
    recording.add(block_of(0))
    assert "not recorded" in recording.ended and "gone" in recording.ended and recording.full
    with pytest.raises(ValueError, match="not recorded"):
        recording.save(tmp_path, "take")
    recording.close()
    (tmp_path / "gone").mkdir()
    assert not Recording(START).ended


def test_a_replay_knows_whether_the_model_is_the_one_that_played(session, tmp_path):
    _, (wav, _, page, context), made = session
    told = json.loads(page.read_text()) | {"weights": fingerprint_of(lm.load("block_causal"))}
    for part in (wav, context):
        (tmp_path / part.name).write_bytes(part.read_bytes())
    (tmp_path / "take.json").write_text(json.dumps(told))
    first = replay(tmp_path / "take.json", blocks=1, model=lm.load("block_causal"))
    assert torch.equal(first, made[:, : first.shape[1]])
    (tmp_path / "take.json").write_text(json.dumps(told | {"weights": "0123"}))
    with pytest.raises(ValueError, match="other weights"):
        replay(tmp_path / "take.json")
    with pytest.raises(ValueError, match="blocks is 'two'"):
        replay(page, blocks="two")


def test_sixteen_bits_there_and_back():
    all_values = np.arange(-32768, 32768, dtype=np.int16)
    assert (to_16_bit(from_16_bit(all_values)) == all_values).all()
    assert to_16_bit(np.array([2.0, -2.0])).tolist() == [32767, -32768]
