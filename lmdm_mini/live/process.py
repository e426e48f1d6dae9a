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
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.diffusion.dit import load_dit
from lmdm_mini.live.engine import Engine

REST = 0.005  # seconds between two looks at what has come, when no block is due
TRIM_BLOCKS = 64  # after so many, memory that is free goes back


class EngineProcess:
    """A session of model `name` in its own process. It loads at once, in the background; music starts with
    `start`.

    checkpoint, seed, context, lead_seconds and settings are those of :func:`lmdm_mini.load` and
    :class:`Engine`. What it has to say comes by `events`. Use it in a `with` statement, or call `close`.
    """

    def __init__(self, name: str = "block_causal", checkpoint: Path | None = None, context=None, **settings):
        spawn = multiprocessing.get_context("spawn")  # a forked torch may hang
        self.pipe, other = spawn.Pipe()
        # cells, messages of the browser and the relay send, each from a thread of its own
        self.sending = threading.Lock()
        context = None if context is None else to_stereo(context).numpy()
        self.process = spawn.Process(
            target=work,
            args=(other, name, checkpoint, context, settings),
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


class Teller(threading.Thread):
    """Sends what a process has to say from a thread of its own: a notebook that is slow to listen must not
    hold up the music."""

    def __init__(self, pipe: Connection):
        super().__init__(name="teller", daemon=True)
        self.pipe, self.waiting = pipe, queue.SimpleQueue()
        self.start()

    def __call__(self, *message) -> None:
        self.waiting.put(message)

    def run(self) -> None:
        while (message := self.waiting.get()) is not None:
            try:
                self.pipe.send(message)
            except OSError:
                return  # nobody is there; the next look at the pipe ends the process

    def end(self) -> None:
        """Returns when all is said."""
        self.waiting.put(None)
        self.join()


def trim_memory() -> None:
    """Gives free memory back. Log entries, which stay, lie between tensors, which go: glibc's heap would
    creep up by 10 MB a minute."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def work(
    pipe: Connection, name: str, checkpoint: Path | None, context: np.ndarray | None, settings: dict
) -> None:
    """The process: answers messages, and makes a block whenever one is due."""
    begun, tell = time.perf_counter(), Teller(pipe)
    interrupted: list[
        int
    ] = []  # Jupyter interrupts a kernel and its processes: then the music ends, but not the process
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    torch.set_num_threads(1)  # two would wait for each other whenever the kernel is busy
    torch.set_flush_denormal(True)
    try:
        model = load_dit(name, checkpoint)
        context = None if context is None else torch.from_numpy(context)
        fixed = {key: settings.pop(key) for key in ("seed", "lead_seconds") if key in settings}
        engine = Engine(model, context=context, **fixed, **settings)
        Engine(model, **settings).next_block()  # the first of a process takes longer than it should
    # whatever it is, the notebook has to show it: nobody reads what a process prints
    except Exception as error:
        tell("error", f"{type(error).__name__}: {error}")
        tell.end()
        return
    tell("ready", time.perf_counter() - begun)
    playing = fresh = False
    while True:
        try:
            while pipe.poll(0.0 if playing and engine.due() else REST):
                kind, *rest = pipe.recv()
                if kind == "start":
                    if fresh:  # what was played before is over
                        engine = Engine(
                            model, context=context, **fixed, **vars(replace(engine.settings, frozen=False))
                        )
                    playing = fresh = True
                    tell("started", engine.settings, rest[0])
                elif kind == "stop":
                    playing = False
                else:
                    try:
                        if kind == "set":
                            engine.set(**rest[0])
                        else:
                            getattr(engine, kind)(
                                *(torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in rest)
                            )
                    except (ValueError, TypeError) as error:
                        tell("refused", str(error), engine.settings)
        except (EOFError, OSError):
            return
        if interrupted:
            interrupted.clear()
            if playing:
                playing = False
                tell("stopped", "interrupted")
        if playing and engine.due():
            try:
                block = engine.next_block()
            except Exception as error:  # as above
                playing = False
                tell("error", f"{type(error).__name__}: {error}")
            else:
                # as arrays: tensors would travel as open files
                tell("block", replace(block, audio=block.audio.numpy(), player=block.player.numpy()))
                if block.number % TRIM_BLOCKS == TRIM_BLOCKS - 1:
                    trim_memory()
