"""JamSession without a browser: what goes back and forth, one session at a time, and how it ends."""

import gc
import json
import os
import signal
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import lmdm_mini as lm
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live import replay
from lmdm_mini.widgets import JamSession
from lmdm_mini.widgets.jam_relay import PageClock

pytestmark = pytest.mark.long  # with the process that makes the music
FAST = {"steps": 2, "cfg_scale": 1.0}
START = {"prompt": [["house", 0.7], ["", 0.1], ["choir", 0.2]], "steps": 2}


def wait_for(condition, seconds=180.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def sent():
    """Every message to the browser, as (content, buffers)."""
    messages = []
    patch = pytest.MonkeyPatch()
    patch.setattr(JamSession, "send", lambda self, content, buffers=None: messages.append((content, buffers)))
    yield messages
    patch.undo()


@pytest.fixture(scope="module")
def jam(sent, tmp_path_factory):
    jam = JamSession(prompts=("house", "choir"), folder=tmp_path_factory.mktemp("jam"), **FAST)
    assert jam.state == "loading" and not jam.playing
    wait_for(lambda: jam.state == "ready")
    yield jam
    jam.close()
    assert not jam._process.process.is_alive()


def of(sent, kind, run):
    return [content for content, _ in sent if content["kind"] == kind and content.get("run") == run]


def play(jam, sent, run, seconds=2.0):
    """A start, and a listener who hears so many seconds."""
    jam._heard({"kind": "start", "run": run, "settings": START})
    wait_for(lambda: of(sent, "sound", run))
    begun, number = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        heard = time.monotonic() - begun
        jam._heard(
            {
                "kind": "report",
                "run": run,
                "played": heard,
                "at": 100 + heard,
                "moving": True,
                "underruns": 0,
                "left": None,
            }
        )
        while (number + 1) * 0.05 < heard:
            piece = np.full((2, 2205), 3000, np.int16)
            jam._heard({"kind": "sound", "start": number * 2205, "rate": SAMPLE_RATE}, [piece.tobytes()])
            number += 1
        time.sleep(0.02)


def test_a_message_that_was_held_up_is_dated_by_the_quickest(monkeypatch):
    page, now = PageClock(), 0.0
    monkeypatch.setattr("lmdm_mini.widgets.jam_relay.time.perf_counter", lambda: now)
    for sent_at, delay in ((5.0, 0.02), (5.4, 0.5), (5.8, 0.03)):
        now = 1000 + sent_at + delay
        assert page(sent_at) == pytest.approx(1000 + sent_at + 0.02)


def test_a_start_a_jam_a_recording(jam, sent):
    play(jam, sent, "one")
    blocks, sounds = of(sent, "block", "one"), of(sent, "sound", "one")
    assert len(blocks) >= 4 and [sound["seq"] for sound in sounds] == list(range(len(sounds)))
    assert sum(sound["samples"] for sound in sounds) == sum(block["samples"] for block in blocks)
    assert blocks[-1]["heard"] > SAMPLE_RATE / 2 and jam.playing and len(jam.blocks) == len(blocks)
    assert jam.blocks[0].settings.prompt == [("house", 0.7), ("choir", 0.2)], (
        "a prompt without words is left out"
    )
    jam._heard({"kind": "save"})
    wait_for(lambda: [content for content, _ in sent if content["kind"] == "saved"])
    saved = [content for content, _ in sent if content["kind"] == "saved"][-1]
    wav, mp3, page = saved["names"]
    sound = soundfile.read(jam.folder / wav)[0]
    assert (sound[: SAMPLE_RATE // 4, 2:] == 3000 / 32768).all() and json.loads(
        (jam.folder / page).read_text()
    )["model"] == "block_causal"
    jam._heard({"kind": "fetch", "name": mp3})
    wait_for(
        lambda: (
            sum(len(buffers[0]) for content, buffers in sent if content["kind"] == "file")
            == (jam.folder / mp3).stat().st_size
        )
    )
    parts = [buffers[0] for content, buffers in sent if content["kind"] == "file"]
    assert b"".join(parts) == (jam.folder / mp3).read_bytes()
    jam._heard({"kind": "fetch", "name": "../secret"})
    wait_for(lambda: [content for content, _ in sent if "not there any more" in content.get("text", "")], 5)
    jam._heard({"kind": "stop", "run": "one"})
    assert not jam.playing


def test_a_new_start_begins_anew_and_old_messages_are_stale(jam, sent):
    play(jam, sent, "two", 0.3)
    jam._heard({"kind": "stop", "run": "one"})
    assert jam.playing and of(sent, "block", "two")[0]["start"] == 0
    jam.stop()
    assert of(sent, "end", "two") and not jam.playing


def test_what_cannot_be_set_comes_back(jam, sent):
    jam.set(mic_level=0.5)
    assert jam.settings["mic_level"] == 0.5
    jam.set(steps=0)
    wait_for(
        lambda: [
            content for content, _ in sent if content["kind"] == "refused" and "steps is 0" in content["text"]
        ],
        5,
    )
    wait_for(lambda: jam.settings["steps"] == 2, 5)


def test_an_interrupt_ends_the_music_and_start_works_again(jam, sent):
    play(jam, sent, "three", 0.3)
    os.kill(jam._process.process.pid, signal.SIGINT)
    wait_for(lambda: of(sent, "end", "three"), 10)
    assert "interrupted" in of(sent, "end", "three")[0]["reason"]
    play(jam, sent, "four", 0.3)
    jam.stop()


def test_a_silent_page_ends_the_music(jam, sent, monkeypatch):
    play(jam, sent, "five", 0.3)
    monkeypatch.setattr("lmdm_mini.widgets.jam_relay.SILENT_SECONDS", 0.2)
    wait_for(lambda: of(sent, "end", "five"), 10)
    assert of(sent, "end", "five")[0]["reason"] == "the page fell silent"


def test_without_a_temporary_folder_it_plays_and_says_that_nothing_is_recorded(
    jam, sent, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    play(jam, sent, "no folder", 0.3)
    assert all("not recorded" in block["ended"] for block in of(sent, "block", "no folder"))
    (tmp_path / "gone").mkdir()
    play(jam, sent, "folder", 0.3)
    assert not any(block["ended"] for block in of(sent, "block", "folder")) and jam.save("take")
    jam.stop()


def test_an_exception_while_handing_on_is_said_and_start_works_again(jam, sent, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("lmdm_mini.widgets.jam.Recording.add", lambda *_: 1 / 0)
        jam._heard({"kind": "start", "run": "broken", "settings": START})
        wait_for(lambda: of(sent, "end", "broken"))
    assert "ZeroDivisionError" in of(sent, "end", "broken")[0]["text"] and "ZeroDivisionError" in jam.state
    play(jam, sent, "mended", 0.2)
    assert jam.state == "ready"
    jam.stop()


def test_what_cannot_be_saved_is_said_and_can_be_saved_elsewhere(jam, sent, tmp_path):
    play(jam, sent, "elsewhere", 0.2)
    (tmp_path / "file").write_text("")
    folder, jam.folder = jam.folder, tmp_path / "file"
    jam._heard({"kind": "save"})
    wait_for(lambda: [c for c, _ in sent if c["kind"] == "refused" and "Nothing is lost" in c["text"]])
    jam.folder = folder
    assert jam.save("take", folder=tmp_path)[0] == tmp_path / "take.wav"
    jam.stop()


def test_a_message_that_makes_no_sense_is_refused(jam, sent):
    for message in (
        {"kind": "sound", "start": 0},
        {"kind": "set"},
        {"kind": "set", "settings": {"steps": "x"}},
    ):
        jam._heard(message, [b"123"])
    wait_for(lambda: [c for c, _ in sent if c["kind"] == "refused" and "steps is 'x'" in c["text"]])
    with pytest.raises(ValueError, match="steps is 'many'"):
        jam.set(steps="many")
    jam.set(steps=np.int64(2))
    assert jam.settings["steps"] == 2 and type(jam.settings["steps"]) is int


# from here on other sessions are made, which end the one of the tests above


def test_a_process_that_dies_is_said(sent, tmp_path):
    jam = JamSession(folder=tmp_path, **FAST)
    wait_for(lambda: jam.state == "ready")
    jam._process.process.kill()
    wait_for(lambda: jam.state.startswith("error"), 10)
    with pytest.raises(ValueError, match="nothing was played yet"):
        jam.save()
    jam.close()


def test_one_session_at_a_time_and_none_is_left_behind(sent, tmp_path):
    first = JamSession(folder=tmp_path, **FAST)
    second = JamSession(folder=tmp_path, **FAST)
    assert not first._process.process.is_alive()
    process, gone = second._process.process, weakref.ref(second)
    second.close()
    assert not process.is_alive()
    del first, second
    gc.collect()
    assert gone() is None, "a closed session is not kept"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"prompts": ()}, "1 to 8 sentences"),
        ({"prompts": (3,)}, "1 to 8 sentences"),
        ({"prompts": {"house": 1}}, "1 to 8 sentences"),
        ({"prompts": 7}, "prompts is 7"),
        ({"model": 3}, "model is of type int"),
        ({"model": "no such model"}, "there is no model 'no such model'"),
        ({"checkpoint": 3}, "checkpoint is 3"),
        ({"seed": "one"}, "seed is 'one'"),
        ({"seed": None}, "seed is None"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"lead_seconds": "long"}, "lead_seconds is 'long'"),
        ({"folder": 3}, "folder is 3"),
        ({"sound": {"a": 1}}, "sound is of type dict"),
        ({"context": 3.0}, "context is of type float"),
        ({"context": np.zeros((3, 100))}, "audio has shape"),
        ({"colour": 1}, "no setting 'colour'"),
        ({"prompt": "house"}, "given as `prompts`"),
        ({"sound": "nowhere.wav"}, "nowhere.wav"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(arguments, complaint, monkeypatch):
    before = SimpleNamespace(close=lambda: pytest.fail("the session before was ended"))
    monkeypatch.setattr(JamSession, "_current", lambda: before)
    with pytest.raises((ValueError, OSError), match=complaint):
        JamSession(**arguments)


def test_a_string_is_one_prompt_and_a_loaded_model_is_played(sent, tmp_path):
    jam = JamSession("house", folder=tmp_path, model=lm.load("block_causal"), seed=np.int64(3), **FAST)
    assert [pad["text"] for pad in jam.pads] == ["house"]
    wait_for(lambda: jam.state == "ready")
    play(jam, sent, "object", 0.2)
    page = jam.save("take")[2]
    assert json.loads(page.read_text())["seed"] == 3
    jam.close()
    block = replay(page, blocks=1)
    assert torch.equal(block, replay(page, blocks=1, model=lm.load("block_causal")))
