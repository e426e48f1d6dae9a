"""StreamPlayer: plays any stream of blocks in a notebook cell and draws the cost of each block (notebook 00).

Who does what: pressing Start in the strip wakes the browser's sound and sends one word to Python. A thread
then pulls blocks, keeps `lead_seconds` of sound ahead of what is heard and sends it in 50 ms pieces. It is a
thread and not an asyncio task because the kernel's event loop stands still while a cell runs. The browser
reports four times a second how far it has played; between two reports the thread goes by the clock, so that
music goes on even where a kernel delivers no message to a busy Python. Reports come on a comm that the
*browser* opens and Python never sends on: only such messages are handed over while a cell is running.
"""

import itertools
import threading
import time
import uuid
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace

import anywidget
import numpy as np
import traitlets
from IPython.display import HTML

from lmdm_mini.checks import whole_number
from lmdm_mini.live.threads import start_thread
from lmdm_mini.widgets.arguments import positive
from lmdm_mini.widgets.browser import hear_pages, joined, styles
from lmdm_mini.widgets.listen import SAMPLE_RATE, as_stereo_array, cost_figure, sound_card

PIECE_SAMPLES = 2205  # 50 ms; the server starts to drop messages near 1,000 a second
BURST_SECONDS = 3.0  # of one block are sent at once, the rest of a long block at 200 pieces a second
AHEAD_SECONDS = 20.0  # never more sound than this in the browser, however long a block is
SILENT_SECONDS = 60.0  # a browser that reports nothing for so long has gone
PREBUFFER_SECONDS = 0.4  # of sound in hand before the first is heard
COMM_TARGET = "lmdm_mini.player"


def as_blocks(audio, block_samples):
    """Cut audio (2, N) into a list of blocks with `.audio` (2, block_samples) and `.seconds_to_make` 0.

    The last block may be shorter. Raises ValueError if `block_samples` is not a positive whole number.
    """
    block_samples = whole_number(block_samples, "block_samples", 1)
    audio = as_stereo_array(audio)
    return [
        SimpleNamespace(audio=audio[:, start : start + block_samples], seconds_to_make=0.0)
        for start in range(0, audio.shape[1], block_samples)
    ]


@dataclass(eq=False)
class _Run:
    """What one press of Start knows about itself: how far it was sent and, as far as is known, heard."""

    name: str
    stopping: bool = False
    thread: threading.Thread | None = None
    news: threading.Event = field(default_factory=threading.Event)
    sent_samples: int = 0
    played: float = 0.0  # seconds, by the browser's last report
    moving: bool = False  # whether sound was running then
    reported: float = field(default_factory=time.monotonic)

    def report(self, played, moving):
        self.played, self.moving, self.reported = float(played), bool(moving), time.monotonic()
        self.news.set()

    def stop(self):
        self.stopping = True
        self.news.set()

    def lead(self):
        """Seconds of sound that were sent and not yet heard."""
        since = time.monotonic() - self.reported if self.moving else 0.0
        sent = self.sent_samples / SAMPLE_RATE
        return sent - min(sent, self.played + since)

    def wait_below(self, seconds):
        """Sleep until less than `seconds` of sound are ahead; False if the run is to end."""
        while not self.stopping:
            if time.monotonic() - self.reported > SILENT_SECONDS:
                return False
            if self.lead() < seconds:
                return True
            self.news.wait(0.05)
            self.news.clear()
        return False


class StreamPlayer(anywidget.AnyWidget):
    """A strip that plays a stream gaplessly in a cell and draws each block's cost as it comes.

    blocks: an iterable of blocks, or a function without arguments that returns one (then every Start begins
        anew; an iterator goes on where it was). A block has `.audio` (2, n) at 44.1 kHz, tensor or array, and
        may have `.seconds_to_make` (measured if missing) and `.label` (a short text under its bar).
    lead_seconds: sound kept ready ahead of what is heard; more than this only if blocks take longer to make.
    max_seconds: the stream is cut there; None plays until Stop.
    reference: audio (2, N) that belongs to the stream sample by sample, drawn under it and heard at the
        press of a button.

    `.costs` holds (block seconds, seconds to make) of the blocks so far, `.error` the exception that ended
    the stream, if one did. Of all players in a kernel at most one is playing.
    """

    _esm = joined("player.js")
    _css = styles("player.css")
    title = traitlets.Unicode().tag(sync=True)
    player_id = traitlets.Unicode().tag(sync=True)
    lead_seconds = traitlets.Float().tag(sync=True)
    prebuffer_seconds = traitlets.Float().tag(sync=True)
    has_reference = traitlets.Bool().tag(sync=True)

    _all = weakref.WeakValueDictionary()  # player_id -> player, for messages from the browser
    _playing = None  # weak reference to the one player that may be heard
    _lock = threading.RLock()

    def __init__(self, blocks, title="", lead_seconds=1.5, *, max_seconds=60, reference=None):
        if not (hasattr(blocks, "__iter__") or callable(blocks)):
            raise ValueError(
                f"blocks must be an iterable of blocks or a function that returns one, got {blocks!r}"
            )
        lead_seconds = positive(lead_seconds, "lead_seconds")
        self.blocks = blocks
        self.max_seconds = None if max_seconds is None else positive(max_seconds, "max_seconds")
        self.reference = None if reference is None else as_stereo_array(reference)
        self.costs = []
        self.error = None
        self._run = None
        super().__init__(
            title=str(title),
            player_id=uuid.uuid4().hex,
            lead_seconds=lead_seconds,
            prebuffer_seconds=min(lead_seconds, PREBUFFER_SECONDS),
            has_reference=reference is not None,
        )
        StreamPlayer._all[self.player_id] = self
        hear_pages(COMM_TARGET, StreamPlayer._all)
        self.on_msg(lambda _, content, buffers: self._heard(content))  # front ends that cannot open a comm

    @property
    def playing(self):
        """Whether blocks are being made or waited for now."""
        run = self._run
        return run is not None and run.thread is not None and run.thread.is_alive() and not run.stopping

    def stop(self, timeout=30.0):
        """End the stream: no sound after a short fade, the thread is over when this returns.

        Raises TimeoutError if the block being made is not ready within `timeout` seconds.
        """
        timeout, run = positive(timeout, "timeout"), self._run
        if run is None:
            return
        run.stop()
        self.send({"kind": "end", "run": run.name, "reason": "stopped"})
        if run.thread is not threading.current_thread():
            run.thread.join(timeout)
            if run.thread.is_alive():
                raise TimeoutError(f"the block being made was not ready {timeout:g} s after stop()")

    def close(self):
        run = getattr(self, "_run", None)
        if run is not None:
            run.stop()
        super().close()

    def preview(self, seconds=10):
        """The first `seconds` of the stream made now, as HTML that needs no kernel: sound, costs,
        spectrogram.

        Blocks taken from an iterator are put back in front of it. Raises ValueError while playing.
        """
        if self.playing:
            raise ValueError("the stream is playing: call stop() before preview()")
        seconds = positive(seconds, "seconds")
        source, fresh = self._open()
        taken, pieces, costs, samples = [], [], [], 0
        while samples < seconds * SAMPLE_RATE:
            began = time.perf_counter()
            block = next(source, None)
            if block is None:
                break
            audio, made = _content(block, time.perf_counter() - began, len(taken))
            taken.append(block)
            pieces.append(audio)
            costs.append((audio.shape[1] / SAMPLE_RATE, made))
            samples += audio.shape[1]
        if fresh:
            _close(source)
        else:
            self.blocks = itertools.chain(taken, source)
        if samples == 0:
            raise ValueError("there is nothing to preview: the stream gave no sound")
        audio = np.concatenate(pieces, 1)[:, : int(seconds * SAMPLE_RATE)]
        return HTML(sound_card(audio, self.title or None, cost_figure(audio, costs)))

    def _open(self):
        """The iterator of blocks, and whether it was made for this run alone."""
        fresh = not hasattr(self.blocks, "__iter__")
        source = iter(self.blocks() if fresh else self.blocks)
        return source, fresh or source is not self.blocks

    def _heard(self, message, buffers=None):
        """A message from the strip: start, stop, or how far it has played."""
        kind, run = message.get("kind"), self._run
        if kind == "start":
            self._start(str(message["run"]))
        elif run is not None and message.get("run") == run.name:
            if kind == "report":
                run.report(message["played"], message["moving"])
            elif kind == "stop":
                run.stop()

    def _start(self, name):
        with StreamPlayer._lock:
            other = StreamPlayer._playing() if StreamPlayer._playing else None
            before = None
            if other is not None and other._run is not None:
                before = other._run.thread
                other._run.stop()
                if other is not self:
                    other.send(
                        {"kind": "end", "run": other._run.name, "reason": "another player was started"}
                    )
            self.costs, self.error = [], None
            run = _Run(name)
            self._run, me = run, weakref.ref(self)
            StreamPlayer._playing = me
            run.thread = start_thread(
                _play, run, me, before, name="StreamPlayer", report=lambda why: _tell_end(me(), run, why)
            )


def _tell_end(player, run, why):
    """An error ended the run: the strip says so."""
    run.stop()
    if player is not None and player.comm is not None:
        player.send({"kind": "end", "run": run.name, "reason": "error", "text": why})


def _play(run, player_ref, before):
    """The body of the thread: pull, send, wait."""
    if before is not None:
        before.join()  # its last block may still be in the making, on the same generator
    player = player_ref()
    if player is None or run.stopping:
        return

    def send(kind, buffers=None, **content):
        player = player_ref()
        if player is None or player.comm is None:
            run.stop()
        else:
            player.send({"kind": kind, "run": run.name, **content}, buffers)

    max_samples = None if player.max_seconds is None else int(player.max_seconds * SAMPLE_RATE)
    lead, reference, costs = player.lead_seconds, player.reference, player.costs
    send("started")
    source, fresh, reason = None, False, "end of the stream"
    try:
        source, fresh = player._open()
        del player  # a strip that is thrown away shall not live on in its own thread
        reason = _pull(
            run, source, send, lead=lead, reference=reference, costs=costs, max_samples=max_samples
        )
    # the generator is the reader's code: whatever it raises belongs in the strip, not in a lost thread
    except Exception as error:
        player = player_ref()
        if player is not None:
            player.error = error
        send("end", reason="error", text=f"{type(error).__name__}: {error}")
    else:
        send("end", reason=reason)
    finally:
        if fresh:
            _close(source)


def _pull(run, source, send, *, lead, reference, costs, max_samples):
    """Block after block until the stream ends, is stopped or is long enough; returns the reason."""
    pieces, slowest = 0, []
    while run.wait_below(max([lead] + [1.5 * made for made in slowest[-4:]])):
        if max_samples is not None and run.sent_samples >= max_samples:
            return f"{max_samples / SAMPLE_RATE:g} s are over"
        began = time.perf_counter()
        block = next(source, None)
        if block is None:
            return "end of the stream"
        if run.stopping:
            break
        audio, made = _content(block, time.perf_counter() - began, len(costs))
        if max_samples is not None:
            audio = audio[:, : max_samples - run.sent_samples]
        start, seconds = run.sent_samples, audio.shape[1] / SAMPLE_RATE
        costs.append((seconds, made))
        slowest.append(made)
        label = str(getattr(block, "label", None) or "")
        send("block", start=start / SAMPLE_RATE, seconds=seconds, made=made, label=label)
        for first in range(0, audio.shape[1], PIECE_SAMPLES):
            piece = audio[:, first : first + PIECE_SAMPLES]
            if not run.wait_below(AHEAD_SECONDS):
                return "stopped"
            if reference is not None:
                beside = reference[:, start + first : start + first + piece.shape[1]]
                beside = np.pad(beside, ((0, 0), (0, piece.shape[1] - beside.shape[1])))
                piece = np.concatenate([piece, beside])  # (4, n)
            send("sound", [np.ascontiguousarray(piece).tobytes()], seq=pieces, samples=piece.shape[1])
            pieces += 1
            run.sent_samples += piece.shape[1]
            if pieces == 1:  # goes by the clock from here on, until the browser's own reports come
                run.report(0.0, True)
            if first > BURST_SECONDS * SAMPLE_RATE:
                time.sleep(0.005)
    return "stopped"


def _content(block, waited, number):
    """Audio (2, n) and the seconds it took, of any object that looks like a block."""
    if not hasattr(block, "audio"):
        raise ValueError(f"block {number} is a {type(block).__name__} without .audio; see as_blocks()")
    try:
        audio = as_stereo_array(block.audio)
    except ValueError as error:
        raise ValueError(f"block {number}: {error}") from error
    made = getattr(block, "seconds_to_make", None)
    return audio, float(waited if made is None else made)


def _close(source):
    if hasattr(source, "close"):
        source.close()
