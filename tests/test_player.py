"""The live player without a browser: what its thread does, how it ends, and that compact sound is sound."""

import base64
import gc
import io
import re
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.widgets import StreamPlayer, as_blocks, listen, mp3_data_uri, spectrogram
from lmdm_mini.widgets.player import SAMPLE_RATE


def tone(seconds, hertz=440.0):
    time_axis = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.stack([0.4 * np.sin(2 * np.pi * hertz * time_axis)] * 2).astype(np.float32)


def endless(made, block_seconds=0.5):
    """Blocks without end; `made` gets an entry for each."""
    while True:
        made.append(time.monotonic())
        yield SimpleNamespace(audio=torch.from_numpy(tone(block_seconds)), seconds_to_make=0.01)


def press_start(player, name="one", moving=False):
    """What the browser sends on a click, and a first report so that the clock is ours."""
    player._heard({"kind": "start", "run": name})
    wait_for(lambda: player._run.sent_samples > 0 or not player._run.thread.is_alive())
    player._heard({"kind": "report", "run": name, "played": 0.0, "moving": moving})


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def player_threads():
    return [thread for thread in threading.enumerate() if thread.name == "StreamPlayer"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not player_threads()
    StreamPlayer._playing = None
    yield
    for player in list(StreamPlayer._all.values()):
        player.stop()
    wait_for(lambda: not player_threads())


@pytest.fixture
def sent(monkeypatch):
    """Every message to the browser, as (content, buffers)."""
    messages = []
    monkeypatch.setattr(
        StreamPlayer, "send", lambda self, content, buffers=None: messages.append((content, buffers))
    )
    return messages


def kinds(sent, kind):
    return [content for content, _ in sent if content["kind"] == kind]


def test_pulls_the_lead_and_no_more(sent):
    made = []
    player = StreamPlayer(endless(made, 0.4), lead_seconds=1.5)
    assert made == [], "nothing is made before Start"
    press_start(player)
    wait_for(lambda: len(made) >= 4)
    time.sleep(0.3)
    assert len(made) == 4, "four blocks of 0.4 s are the first to reach 1.5 s"
    player._heard({"kind": "report", "run": "one", "played": 1.0, "moving": False})
    wait_for(lambda: len(made) == 7)
    time.sleep(0.2)
    assert len(made) == 7


def test_goes_by_the_clock_between_reports(sent):
    made = []
    player = StreamPlayer(endless(made, 0.1), lead_seconds=0.3)
    began = time.monotonic()
    press_start(player, moving=True)
    # no report comes: a kernel that hands over no message while a cell runs
    wait_for(lambda: len(made) >= 9)
    most = (time.monotonic() - began + 0.3) / 0.1 + 2
    assert len(made) <= most, "it keeps its lead on what was heard by now"


def test_pieces_join_to_the_stream(sent):
    audio, reference = tone(1.3), tone(1.0, 220)
    player = StreamPlayer(as_blocks(audio, 20_000), reference=reference)
    press_start(player)
    player._run.thread.join(60)
    sounds = [(content, buffers[0]) for content, buffers in sent if content["kind"] == "sound"]
    assert [content["seq"] for content, _ in sounds] == list(range(len(sounds)))
    joined = np.concatenate([np.frombuffer(b, np.float32).reshape(4, c["samples"]) for c, b in sounds], 1)
    np.testing.assert_array_equal(joined[:2], audio)
    np.testing.assert_array_equal(joined[2:, :SAMPLE_RATE], reference)
    assert not joined[2:, SAMPLE_RATE:].any()
    assert kinds(sent, "end")[-1]["reason"] == "end of the stream"
    assert len(player.costs) == len(kinds(sent, "block")) == 3


def test_slow_blocks_get_a_longer_lead(sent):
    def slow():
        while True:
            yield SimpleNamespace(audio=tone(0.5), seconds_to_make=2.1)

    player = StreamPlayer(slow(), lead_seconds=0.5)
    press_start(player)
    wait_for(lambda: len(player.costs) >= 7)
    time.sleep(0.3)
    assert len(player.costs) == 7, "1.5 times the 2.1 s that a block takes"


def test_max_seconds_cuts_the_last_block(sent):
    player = StreamPlayer(endless([]), lead_seconds=5, max_seconds=1.2)
    press_start(player)
    player._run.thread.join(60)
    assert player._run.sent_samples == int(1.2 * SAMPLE_RATE)
    assert kinds(sent, "end")[-1]["reason"] == "1.2 s are over"


def test_stop_joins(sent):
    player = StreamPlayer(endless([]))
    press_start(player)
    assert player.playing
    player.stop()
    assert not player.playing and not player_threads()
    player.stop()  # again: nothing to do


def test_stop_in_the_strip_ends_the_thread(sent):
    player = StreamPlayer(endless([]))
    press_start(player)
    player._heard({"kind": "stop", "run": "of an earlier start"})
    assert player.playing
    player._heard({"kind": "stop", "run": "one"})
    wait_for(lambda: not player_threads())


def test_an_iterator_goes_on_and_a_function_begins_anew(sent):
    blocks = as_blocks(tone(4), SAMPLE_RATE)
    for source, expected in [(iter(blocks), 4), (lambda: iter(blocks), 6), (blocks, 6)]:
        sent.clear()
        player = StreamPlayer(source, lead_seconds=1.5)
        press_start(player)
        wait_for(lambda p=player: len(p.costs) == 2)
        player.stop()
        press_start(player, "two", moving=False)
        player._heard({"kind": "report", "run": "two", "played": 100.0, "moving": False})
        player._run.thread.join(60)
        assert len(kinds(sent, "block")) == expected


def test_a_generator_of_our_own_is_closed(sent):
    closed = threading.Event()

    def blocks():
        try:
            yield from endless([])
        finally:
            closed.set()

    player = StreamPlayer(blocks)
    press_start(player)
    player.stop()
    assert closed.is_set()


def test_the_generators_exception_is_shown(sent):
    def broken():
        yield as_blocks(tone(0.2), 8820)[0]
        raise RuntimeError("the model is out of tune")

    player = StreamPlayer(broken)
    press_start(player)
    player._run.thread.join(60)
    (end,) = kinds(sent, "end")
    assert end["reason"] == "error" and end["text"] == "RuntimeError: the model is out of tune"
    assert isinstance(player.error, RuntimeError)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (SimpleNamespace(audio=np.full((2, 10), np.nan)), "block 0: audio holds NaN"),
        (SimpleNamespace(audio=np.zeros((3, 10))), "block 0: audio must be"),
        (np.zeros((2, 10)), "block 0 is a ndarray without .audio"),
    ],
)
def test_bad_blocks_are_named(sent, block, words):
    player = StreamPlayer([block])
    press_start(player)
    player._run.thread.join(60)
    assert words in kinds(sent, "end")[-1]["text"]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="iterable"):
        StreamPlayer(3)
    with pytest.raises(ValueError, match="positive"):
        StreamPlayer([], lead_seconds=0)
    with pytest.raises(ValueError, match="block_samples"):
        as_blocks(tone(1), 0)
    with pytest.raises(ValueError, match="0 samples"):
        listen(np.zeros((2, 0), np.float32))
    with pytest.raises(ValueError, match="floating point"):
        listen(np.zeros((2, 100), np.int16))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: StreamPlayer([], lead_seconds="2"), "lead_seconds is '2'"),
        (lambda: StreamPlayer([], max_seconds=float("nan")), "max_seconds is nan"),
        (lambda: StreamPlayer([]).preview(seconds=None), "seconds is None"),
        (lambda: StreamPlayer([]).stop(timeout="soon"), "timeout is 'soon'"),
        (lambda: as_blocks(tone(1), 2.5), "block_samples is 2.5"),
        (lambda: as_blocks("house.wav", 5), "array of samples"),
        (lambda: listen(tone(1), seconds="3"), "seconds is '3'"),
        (lambda: listen(tone(1), seconds=-1), "seconds is -1"),
        (lambda: listen(None), "array of samples"),
        (lambda: mp3_data_uri(tone(1), kbit_per_second=1e6), "at most 320"),
        (lambda: spectrogram(tone(1), color="red"), "color is 'red'; there are: context, real"),
        (lambda: spectrogram(tone(1), start="now"), "start is 'now'"),
        (lambda: spectrogram(tone(1), ax=3), "ax is of type int"),
    ],
)
def test_wrong_types_get_a_sentence(call, complaint):
    with pytest.raises(ValueError, match=complaint):
        call()


def test_whatever_ends_the_thread_is_shown(sent, monkeypatch):
    monkeypatch.setattr("lmdm_mini.widgets.player._close", lambda _: 1 / 0)  # not in the stream, but after it
    player = StreamPlayer(lambda: iter(as_blocks(tone(0.1), 4410)))
    press_start(player)
    wait_for(lambda: "ZeroDivisionError" in kinds(sent, "end")[-1].get("text", ""))
    assert not player.playing


def test_a_second_start_stops_the_first(sent):
    first, second = StreamPlayer(endless([])), StreamPlayer(endless([]))
    press_start(first)
    press_start(second, "two")
    assert second.playing and not first.playing
    wait_for(lambda: len(player_threads()) == 1)
    assert kinds(sent, "end")[0] == {"kind": "end", "run": "one", "reason": "another player was started"}


def test_two_starts_never_share_a_running_generator(sent):
    def slow():
        while True:
            time.sleep(0.1)
            yield as_blocks(tone(0.1), 4410)[0]

    player = StreamPlayer(slow(), lead_seconds=3)
    for name in "abcdef":  # impatient clicks while a block is in the making
        player._heard({"kind": "start", "run": name})
    wait_for(lambda: len(player.costs) > 2)
    assert player.error is None and len(player_threads()) == 1


def test_a_closed_player_falls_silent_and_is_collected():
    player = StreamPlayer(endless([]))
    press_start(player)
    player.close()
    wait_for(lambda: not player_threads())
    gone = weakref.ref(player)
    del player
    gc.collect()
    assert gone() is None


def decode(uri):
    head, data = uri.split(",", 1)
    assert head == "data:audio/mpeg;base64"
    return soundfile.read(io.BytesIO(base64.b64decode(data)), always_2d=True)


def test_mp3_is_small_and_sounds_the_same():
    audio = tone(3)
    uri = mp3_data_uri(audio)
    assert len(uri) < 3 * 22_000
    decoded, rate = decode(uri)
    assert rate == SAMPLE_RATE and abs(len(decoded) - audio.shape[1]) < 4000  # MP3 pads to whole frames
    middle = decoded[SAMPLE_RATE : 2 * SAMPLE_RATE, 0]
    assert middle.std() == pytest.approx(audio[0].std(), rel=0.06)  # the encoder turns down by 0.4 dB
    assert abs(np.abs(np.fft.rfft(middle)).argmax() - 440) <= 1


def test_listen_shows_sound_and_picture():
    html = listen(torch.from_numpy(tone(2)), title="a <tone>", seconds=1, picture=True).data
    assert "a &lt;tone&gt;" in html and "data:image/webp" in html
    decoded, _ = decode(re.search(r'src="(data:audio[^"]+)"', html)[1])
    assert abs(len(decoded) - SAMPLE_RATE) < 4000


def test_preview_needs_no_kernel_and_loses_no_block():
    made = []
    source = endless(made)
    player = StreamPlayer(source, title="preview")
    html = player.preview(seconds=1).data
    assert "data:audio/mpeg" in html and "data:image/webp" in html and len(made) == 2
    list_player = StreamPlayer(as_blocks(tone(2), SAMPLE_RATE))
    list_player.preview(5)
    blocks = iter(as_blocks(tone(3), SAMPLE_RATE))
    iterator_player = StreamPlayer(blocks)
    iterator_player.preview(1)
    assert len(list(iterator_player.blocks)) == 3
    with pytest.raises(ValueError, match="no sound"):
        StreamPlayer([]).preview()


def test_spectrogram_finds_the_tone():
    from matplotlib.figure import Figure

    axes = spectrogram(tone(1, 1000.0), ax=Figure().subplots(), title="1 kHz", start=2.0)
    image = axes.get_images()[0]
    levels = image.get_array()
    row = levels[:, levels.shape[1] // 2].argmax()
    hertz = 40 * (18_000 / 40) ** ((row + 0.5) / levels.shape[0])
    assert hertz == pytest.approx(1000, rel=0.06)
    assert levels.max() == pytest.approx(20 * np.log10(0.4), abs=1.5), "dB below a full-scale sine"
    assert image.get_extent()[:2] == [2.0, 3.0] or tuple(image.get_extent()[:2]) == (2.0, 3.0)
