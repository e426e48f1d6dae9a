"""How a session answers: an :class:`EngineProcess` at real speed, with a listener and a player who are
simulated.

The listener hears blocks as they come and reports four times a second how far; the player's sound arrives in
pieces of 50 ms, `mic_delay` after it was played. Sound card and browser are not in these numbers, but in
`mic_delay` and `prebuffer`.

Notebook: 14_jam_session.
"""

import math
import statistics
import threading
import time
import warnings
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checks import real_number
from lmdm_mini.live.engine import JamBlock
from lmdm_mini.live.process import EngineProcess
from lmdm_mini.live.threads import start_thread

PIECE_SAMPLES = 2205  # 50 ms
PROMPTS = ("house, 124 bpm", "warm lo-fi piano, 80 bpm", "funk, 106 bpm", "ambient pads")
CHANGE_SECONDS = 2.3  # between two changes of the prompt: no multiple of a block


@dataclass
class LiveTimes:
    """What was measured in one session; delays are in seconds of the player's time."""

    loading: float  # from the start of the process to ready
    first_sound: float  # from `start` to the first block
    blocks: list[JamBlock] = field(default_factory=list)
    turned: list[tuple[float, str]] = field(default_factory=list)  # second that was heard, new prompt
    silent: float = 0.0  # seconds in which nothing was left to play
    late: int = 0  # times that it ran out

    def answers(self) -> list[float]:
        """Of every piece of the player's sound: from when it was played to when the first block that has
        heard it is heard."""
        delays = []
        for before, block in zip(self.blocks, self.blocks[1:]):
            delays += [
                (block.start - sample) / SAMPLE_RATE
                for sample in range(before.heard_until, block.heard_until, PIECE_SAMPLES)
            ]
        return delays

    def turns(self) -> list[float]:
        """Of every change of the prompt: from the wish to the first block with it, at the listener's ear."""
        delays = []
        for at, prompt in self.turned:
            first = next(
                (
                    b.start / SAMPLE_RATE
                    for b in self.blocks
                    if b.settings.prompt == prompt and b.start / SAMPLE_RATE > at
                ),
                None,
            )
            delays += [] if first is None else [first - at]
        return delays


@dataclass
class Listener:
    """Who listens to a session that is measured, and plays to it.

    sound: what the player plays (2, N), again and again; None: nobody plays. mic_delay: seconds from playing
    to the piece's arrival. prebuffer: seconds of sound in hand before any is heard. prompts: in turn, each
    for `change_seconds`. busy: this process works, too, as a notebook does while cells run.
    """

    sound: Tensor | None = None
    mic_delay: float = 0.15
    prebuffer: float = 0.7
    busy: bool = False
    prompts: tuple[str, ...] = PROMPTS
    change_seconds: float = CHANGE_SECONDS

    def __post_init__(self):
        if isinstance(self.prompts, str) or not self.prompts:
            raise ValueError(f"prompts is {self.prompts!r}; it must be a list of one sentence or more.")
        for name in ("mic_delay", "prebuffer", "change_seconds"):
            if real_number(getattr(self, name), name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative.")


def keep_busy(stop: threading.Event) -> threading.Thread:
    """What the cells of a notebook may be doing: loops in Python, torch, and sleep, in turns."""

    def work() -> None:
        while not stop.is_set():
            end = time.perf_counter() + 1.0
            while time.perf_counter() < end:
                sum(range(1000))
            a = torch.randn(300, 300)
            end = time.perf_counter() + 1.0
            while time.perf_counter() < end:
                a = (a @ a).clamp(-1, 1)
            time.sleep(0.3)

    return start_thread(work, name="busy notebook", report=lambda why: warnings.warn(why, stacklevel=2))


LISTENER = tuple(f.name for f in fields(Listener))


def measure_live(name: str = "block_causal", seconds: float = 60.0, **listener_and_settings) -> LiveTimes:
    """A session of `seconds` with model `name`. The other arguments are those of :class:`Listener` and of
    :class:`lmdm_mini.live.process.EngineProcess`.

    Raises ValueError for what cannot be measured, RuntimeError if the session fails.
    """
    if real_number(seconds, "seconds") <= 0:
        raise ValueError(f"seconds is {seconds}; it must be more than 0.")
    listener = Listener(**{key: x for key, x in listener_and_settings.items() if key in LISTENER})
    settings = {key: x for key, x in listener_and_settings.items() if key not in LISTENER}
    begun, stop = time.perf_counter(), threading.Event()
    with EngineProcess(name, prompt=listener.prompts[0], **settings) as session:
        _wait(session, "ready")
        times, asked = LiveTimes(time.perf_counter() - begun, 0.0), time.perf_counter()
        session.start()
        times.blocks.append(_wait(session, "block"))
        times.first_sound = time.perf_counter() - asked
        worker = keep_busy(stop) if listener.busy else None
        try:
            _listen(session, times, seconds, listener)
        finally:
            stop.set()
            if worker:
                worker.join()
    return times


def _wait(session: EngineProcess, kind: str, seconds: float = 120.0):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for event in session.events(0.1):
            if event[0] == kind:
                return event[1]
            if event[0] in ("error", "closed"):
                raise RuntimeError(f"the session ended: {event[1:]}")
    raise RuntimeError(f"no {kind!r} within {seconds:g} s.")


def _listen(session: EngineProcess, times: LiveTimes, seconds: float, listener: Listener) -> None:
    """The loop of listener and player, until `seconds` have been heard."""
    made = times.blocks[0].samples / SAMPLE_RATE
    heard, sent, moving, reported, left = 0.0, 0, False, -1.0, None
    last, next_turn = time.perf_counter(), listener.change_seconds
    while heard < seconds:
        for event in session.events(0.005):
            if event[0] == "block":
                times.blocks.append(event[1])
                if moving:
                    rest = made - heard - (time.perf_counter() - last)
                    left = min(math.inf if left is None else left, rest)
                made += event[1].samples / SAMPLE_RATE
            elif event[0] in ("error", "closed"):
                raise RuntimeError(f"the session ended: {event[1:]}")
        now = time.perf_counter()
        passed, last = now - last, now
        if moving:
            rest = made - heard
            if passed > rest:
                times.silent, times.late, moving = times.silent + passed - rest, times.late + 1, False
                left = 0.0
            heard += min(passed, rest)
        elif made - heard >= listener.prebuffer:
            moving = True
        if now - reported > 0.25:
            session.report(heard, moving, left=left)
            reported, left = now, None
        sent = _play(session, listener, sent, heard)
        if len(listener.prompts) > 1 and heard > next_turn:
            prompt = listener.prompts[(len(times.turned) + 1) % len(listener.prompts)]
            times.turned.append((heard, prompt))
            session.set(prompt=prompt)
            next_turn += listener.change_seconds


def _play(session: EngineProcess, listener: Listener, sent: int, heard: float) -> int:
    """Hands on the player's pieces that have arrived when `heard` seconds have been heard; returns how many
    samples were sent so far."""
    sound = listener.sound
    while sound is not None and (sent + PIECE_SAMPLES) / SAMPLE_RATE + listener.mic_delay < heard:
        columns = np.arange(sent, sent + PIECE_SAMPLES) % sound.shape[1]
        session.hear(sent, sound.numpy()[:, columns])
        sent += PIECE_SAMPLES
    return sent


def live_lines(times: LiveTimes) -> list[str]:
    """The numbers as text."""

    def spread(delays: list[float]) -> str:
        return (
            f"median {statistics.median(delays):.2f} s, worst {max(delays):.2f} s ({len(delays)})"
            if delays
            else "none"
        )

    blocks = times.blocks[1:]
    made = [(block.ready - block.asked) for block in blocks]
    rate = [(block.ready - block.asked) * SAMPLE_RATE / block.samples for block in blocks]
    parts = {
        name: statistics.mean(block.seconds_of[name] for block in blocks) * 1000
        for name in blocks[-1].seconds_of
    }
    return [
        f"ready after {times.loading:.1f} s, first block {times.first_sound:.2f} s after start",
        f"{len(blocks)} blocks of {blocks[-1].samples / SAMPLE_RATE:.2f} s, "
        f"{blocks[-1].settings.steps} steps at last: "
        f"{statistics.median(made) * 1000:.0f} ms each, real-time factor {statistics.median(rate):.2f} ("
        + ", ".join(f"{name} {value:.0f} ms" for name, value in parts.items())
        + ")",
        f"ran out of sound {times.late} times, {times.silent * 1000:.0f} ms in all",
        f"from the player's sound to the block that has heard it: {spread(times.answers())}",
        f"from a change of the prompt to its first block: {spread(times.turns())}",
    ]
