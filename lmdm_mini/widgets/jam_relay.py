"""From the engine's process to the page: the thread of a :class:`lmdm_mini.widgets.jam.JamSession`.

The session is known by a weak reference, so that one that is thrown away can go.
"""

import time
import weakref
from collections import deque
from dataclasses import asdict

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live.engine import Settings
from lmdm_mini.live.process import EngineProcess
from lmdm_mini.live.threads import sentence_of
from lmdm_mini.widgets.player import SILENT_SECONDS

PIECE_SAMPLES = SAMPLE_RATE  # of a message: few large ones, since each costs the page some milliseconds
SHOWN = tuple(name for name in asdict(Settings()) if name != "prompt")  # settings that the page turns


def shown(settings: Settings) -> dict:
    """Settings as the page has them."""
    return {name: getattr(settings, name) for name in SHOWN}


class PageClock:
    """What a time of the page's clock is by `time.perf_counter`: a message took at least as long as the
    quickest of the last ones."""

    def __init__(self, remembered: int = 64):
        self.ahead = deque(maxlen=remembered)

    def __call__(self, at: float) -> float:
        """Of a message that has just come and was sent at second `at` of the page."""
        self.ahead.append(time.perf_counter() - at)
        return at + min(self.ahead)


def relay(session_ref: weakref.ref, process: EngineProcess) -> None:
    """The body of the thread, until the process ends or the session is thrown away."""
    number = 0  # of the next piece of sound
    while True:
        events = process.events(0.1)
        session = session_ref()
        if session is None:  # thrown away
            process.close()
            return
        for kind, *rest in events:
            try:
                number = pass_on(session, kind, rest, number)
            except Exception as error:  # whatever it is: the page has to say it, and Start must work again
                fail(session, sentence_of(error))
            if kind == "closed":
                return
        if session._run is not None and time.monotonic() - session._reported > SILENT_SECONDS:
            session._end("the page fell silent")
        del session  # or it could not be thrown away


def pass_on(session, kind: str, rest: list, number: int) -> int:
    """Hands on one event of the process; number: of the next piece of sound, before and after it."""
    if kind == "ready":
        session.state = "ready"
    elif kind == "started" and session._starting == rest[1]:
        session._begin(rest[0])
        return 0
    elif kind == "block" and session._run is not None:
        session._give(rest[0], number)
        return number + -(-rest[0].samples // PIECE_SAMPLES)
    elif kind == "refused":
        session.send({"kind": "refused", "text": rest[0]})
        session.settings = shown(rest[1])  # the page goes back to what is so
    elif kind == "stopped":
        session._end("the kernel was interrupted")
    elif kind == "error":
        fail(session, rest[0])
    elif kind == "closed":
        ended = "The engine's process has ended: run the cell again."
        session._end("error", ended)
        if session.comm is not None and not session.state.startswith("error"):
            session.state = f"error: {ended}"
    return number


def fail(session, why: str) -> None:
    """The music ends, and the page says why."""
    if session is not None:
        session._end("error", why)
        session.state = f"error: {why}"
