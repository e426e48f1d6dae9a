"""An :class:`Engine` in a process of its own, so that a busy notebook cannot make it late.

In a thread of the kernel each step would wait for what the running cell does (`bench live --busy` measures it
as it is here). The kernel only relays: pieces of the microphone and settings in, blocks out. The process ends
when its other end is closed or dies.

Notebook: 14_jam_session.
"""

import ctypes
import multiprocessing
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.diffusion.dit import DiT, load_dit
from lmdm_mini.live.engine import Engine
from lmdm_mini.live.settings import clean_settings
from lmdm_mini.live.threads import sentence_of, start_thread
from lmdm_mini.live.weights import Weights, check_model

REST = 0.005  # seconds between two looks at what has come, when no block is due
TRIM_BLOCKS = 64  # after so many, memory that is free goes back


class EngineProcess:
    """A session of a model in its own process. It loads at once, in the background; music starts with
    `start`.

    model: a name, as :func:`lmdm_mini.load` takes it, with checkpoint as its `path`; or a loaded diffusion
    model, whose weights are copied now. seed, context, lead_seconds, precision and settings are those of
    :class:`Engine`. What it has to say comes by `events`. Use it in a `with` statement, or call `close`.

    Raises ValueError for a model or settings of a wrong type.
    """

    def __init__(
        self, model: str | DiT = "block_causal", checkpoint: Path | None = None, context=None, **settings
    ):
        check_model(model, checkpoint)
        sent = Weights.of(model) if isinstance(model, DiT) else model
        settings = clean_settings(settings)
        spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
        self.pipe, other = spawn.Pipe()
        # cells, messages of the browser and the relay send, each from a thread of its own
        self.sending = threading.Lock()
        context = None if context is None else to_stereo(context).numpy()
        name = model if isinstance(model, str) else model.name
        self.process = spawn.Process(
            target=work,
            args=(other, sent, checkpoint, context, settings),
            daemon=True,
            name=f"lmdm_mini {name}",
        )
        self.process.start()
        other.close()

    def events(self, timeout: float = 0.0) -> list[tuple]:
        """What has come in the meantime, after waiting for at most `timeout` seconds for the first: ("ready",
        seconds to load), ("started", Settings, run), ("block", JamBlock with its sounds as arrays),
        ("refused", why something was not taken, Settings as they are), ("stopped", why, if nobody asked for
        it), ("error", what ended the music), ("closed",)."""
        found = []
        try:
            while self.pipe.poll(0.0 if found else timeout):
                found.append(self.pipe.recv())
        except (EOFError, OSError, TypeError):  # TypeError: closed by another thread while it waited
            found.append(("closed",))
        return found

    def start(self, run: str = "") -> None:
        """Music begins, or begins anew: with the settings as they are now, without a past. run: a name for
        it, which comes back."""
        self._send("start", run)

    def stop(self) -> None:
        """No more blocks."""
        self._send("stop")

    def set(self, **changes) -> None:
        """See :meth:`Engine.set`; what cannot be played comes back as an event."""
        self._send("set", changes)

    def forget(self) -> None:
        """See :meth:`Engine.forget`."""
        self._send("forget")

    def hear(self, start: int, piece: np.ndarray, rate: int = SAMPLE_RATE) -> None:
        """See :meth:`Engine.hear`; piece (2, n) float32."""
        self._send("hear", start, np.asarray(piece, np.float32), rate)

    def report(
        self, played_seconds: float, moving: bool, at: float | None = None, left: float | None = None
    ) -> None:
        """See :meth:`Engine.report`. at: by `time.perf_counter`, which is the same in all processes; else it
        is now, however long the message waits in the pipe."""
        self._send("report", played_seconds, moving, time.perf_counter() if at is None else at, left)

    def close(self, timeout: float = 5.0) -> None:
        """Ends the process."""
        self.pipe.close()  # it sees that nobody is there
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _send(self, *message) -> None:
        try:
            with self.sending:
                self.pipe.send(message)
        except (OSError, TypeError):
            pass  # it has ended; `events` says so

    def __enter__(self) -> "EngineProcess":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Teller:
    """Sends what a process has to say from a thread of its own: a notebook that is slow to listen must not
    hold up the music."""

    def __init__(self, pipe: Connection):
        self.pipe, self.waiting = pipe, queue.SimpleQueue()
        self.thread = start_thread(self._send_all, name="teller", report=self._say)

    def __call__(self, *message) -> None:
        self.waiting.put(message)

    def _send_all(self) -> None:
        while (message := self.waiting.get()) is not None:
            try:
                self.pipe.send(message)
            except OSError:
                return  # nobody is there; the next look at the pipe ends the process

    def _say(self, why: str) -> None:
        with suppress(OSError):
            self.pipe.send(("error", why))
        self.pipe.close()  # which ends the process: it could say nothing any more

    def end(self) -> None:
        """Returns when all is said."""
        self.waiting.put(None)
        self.thread.join()


def trim_memory() -> None:
    """Gives free memory back. Log entries, which stay, lie between tensors, which go: glibc's heap would
    creep up by 10 MB a minute."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def work(
    pipe: Connection,
    model: str | Weights,
    checkpoint: Path | None,
    context: np.ndarray | None,
    settings: dict,
) -> None:
    """The process: answers messages, and makes a block whenever one is due."""
    begun, tell = time.perf_counter(), Teller(pipe)
    interrupted: list[int] = []
    # Jupyter interrupts a kernel and its processes: then the music ends, but not the process
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    torch.set_num_threads(1)  # two would wait for each other whenever the kernel is busy
    torch.set_flush_denormal(True)
    try:
        network = load_dit(model, checkpoint) if isinstance(model, str) else model.load()
        player = Player(network, context, settings, tell=tell)
    # whatever it is, the notebook has to show it: nobody reads what a process prints
    except Exception as error:
        tell("error", sentence_of(error))
        tell.end()
        return
    tell("ready", time.perf_counter() - begun)
    while True:
        try:
            while pipe.poll(0.0 if player.due() else REST):
                player.take(*pipe.recv())
        except (EOFError, OSError):
            return
        if interrupted:
            interrupted.clear()
            player.interrupt()
        if player.due():
            player.play()


class Player:
    """The engine of a process, and what it has to say: nothing that goes wrong here ends the process.

    context: what it goes on from, (2, N) float32. settings: those of :class:`Engine`.
    """

    def __init__(self, network: DiT, context: np.ndarray | None, settings: dict, *, tell: Callable):
        settings = dict(settings)
        self.fixed = {
            key: settings.pop(key) for key in ("seed", "lead_seconds", "precision") if key in settings
        }
        self.network, self.tell = network, tell
        self.context = None if context is None else torch.from_numpy(context)
        self.engine = Engine(network, context=self.context, **self.fixed, **settings)
        Engine(network, **settings).next_block()  # the first of a process takes longer than it should
        self.playing = self.used = False

    def due(self) -> bool:
        """Whether the next block should be begun now."""
        return self.playing and self.engine.due()

    def take(self, kind: str, *rest) -> None:
        """A message: "start", "stop", or a call of the engine."""
        try:
            if kind == "start":
                self.start(*rest)
            elif kind == "stop":
                self.playing = False
            elif kind == "set":
                self.engine.set(**rest[0])
            else:
                rest = (torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in rest)
                getattr(self.engine, kind)(*rest)
        except Exception as error:
            if kind != "start" and isinstance(error, ValueError | TypeError):
                self.tell("refused", str(error), self.engine.settings)  # and the music goes on
            else:
                self.fail(error)

    def start(self, run: str) -> None:
        """Music begins; what was played before is over."""
        self.playing = False
        if self.used:
            now = vars(replace(self.engine.settings, frozen=False))
            self.engine = Engine(self.network, context=self.context, **self.fixed, **now)
        self.playing = self.used = True
        self.tell("started", self.engine.settings, run)

    def play(self) -> None:
        """Makes the next block."""
        try:
            block = self.engine.next_block()
        except Exception as error:
            return self.fail(error)
        # as arrays: tensors would travel as open files
        self.tell("block", replace(block, audio=block.audio.numpy(), player=block.player.numpy()))
        if block.number % TRIM_BLOCKS == TRIM_BLOCKS - 1:
            trim_memory()

    def interrupt(self) -> None:
        """The kernel was interrupted."""
        if self.playing:
            self.playing = False
            self.tell("stopped", "interrupted")

    def fail(self, error: Exception) -> None:
        """The music ends, the process goes on: Start begins anew."""
        self.playing = False
        self.tell("error", sentence_of(error))
