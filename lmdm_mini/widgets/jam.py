"""JamSession: playing together with the model, in a cell.

The kernel only relays. The engine has a process of its own (process.py), the browser owns sound and
microphone (jam.js), and one thread here hands on what comes from the process. What the browser says comes on
a comm that it opens itself, so it is heard while a cell is running (see player.py). Of all sessions in a
kernel one is there at a time: a new one ends the one before.

Notebook: 14_jam_session.
"""

import sys
import threading
import time
import uuid
import weakref
from collections import deque
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

import anywidget
import ipywebrtc
import ipywidgets
import numpy as np
import soundfile
import traitlets
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, read_audio, to_stereo
from lmdm_mini.live.engine import JamBlock, Settings
from lmdm_mini.live.process import EngineProcess
from lmdm_mini.live.recording import Recording, from_16_bit
from lmdm_mini.widgets.browser import hear_pages, joined
from lmdm_mini.widgets.player import SILENT_SECONDS, StreamPlayer

COMM_TARGET = "lmdm_mini.jam"
PIECE_SAMPLES = SAMPLE_RATE  # of a message: few large ones, since each costs the page some milliseconds
DOWNLOAD_BYTES = 1_000_000  # of a message
# a cell that loops lets other threads wait for 5 ms at each of their steps; while music plays for a tenth of
# that
PYTHON_SECONDS, SWITCH_SECONDS = sys.getswitchinterval(), 0.0005
SOUND_SECONDS = 60.0  # of a recording to play along with; the browser plays it again and again
PROMPTS = ("warm lo-fi piano", "funk with slap bass", "house with a deep bass", "a quiet choir with organ")
# echo cancellation, noise suppression and gain control take music for noise
MICROPHONE = {
    "audio": {"echoCancellation": False, "noiseSuppression": False, "autoGainControl": False},
    "video": False,
}


class JamSession(anywidget.AnyWidget):
    """An instrument in a cell: prompts on a surface, a microphone, and a model that plays along. Display it
    and press Start.

    prompts: texts on the surface, 1 to 8; the puck mixes them. sound: a recording to play along with instead
        of the microphone, a path or audio (2, N). context: what the model goes on from, likewise. model,
        checkpoint, seed, lead_seconds: see :class:`lmdm_mini.live.process.EngineProcess`. folder: where
        recordings are saved. settings: see :class:`lmdm_mini.live.engine.Settings`, but for the prompt.

    `.blocks` holds the blocks of this Start, without their sound. `.save()` writes what was played. Raises
    ValueError for what cannot be played.
    """

    _esm = joined("sound.js", "picture.js", "synth.js", "surface.js", "jam.js")
    _css = joined("player.css", "jam.css")
    jam_id = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    pads = traitlets.List().tag(sync=True)  # of {"text", "x", "y"}, 0 to 1
    puck = traitlets.List([0.5, 0.5]).tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    state = traitlets.Unicode("loading").tag(sync=True)  # or "ready", or "error: what happened"
    has_sound = traitlets.Bool(False).tag(sync=True)
    microphone = traitlets.Instance(ipywidgets.Widget, allow_none=True).tag(
        sync=True, **ipywidgets.widget_serialization
    )

    _all = weakref.WeakValueDictionary()  # jam_id -> session, for messages from the browser
    _current = None  # weak reference to the newest
    _process = _run = _starting = recording = None  # until __init__ has come so far

    def __init__(
        self,
        prompts=PROMPTS,
        sound=None,
        context=None,
        model="block_causal",
        checkpoint=None,
        seed=0,
        lead_seconds=0.6,
        folder=".",
        title="Jam session",
        **settings,
    ):
        prompts = list(prompts)
        if not 1 <= len(prompts) <= 8 or not all(isinstance(words, str) for words in prompts):
            raise ValueError("prompts must be 1 to 8 sentences.")
        unknown = set(settings) - set(asdict(Settings())) | {"prompt"} & set(settings)
        if unknown:
            raise ValueError(
                f"a session has no setting {sorted(unknown)[0]!r}; prompts are given as `prompts`."
            )
        before = JamSession._current() if JamSession._current else None
        if before is not None:
            before.close()
        self.sound, self.context = _audio(sound), _audio(context)
        self.folder, self.seed, self.model, self.checkpoint = Path(folder), seed, model, checkpoint
        self.blocks, self.underruns = deque(maxlen=100_000), 0
        self._files = threading.Lock()
        self._saved, self._reported = {}, time.monotonic()
        self._process = EngineProcess(
            model,
            checkpoint,
            self.context,
            seed=seed,
            lead_seconds=lead_seconds,
            prompt=prompts[0],
            **settings,
        )
        super().__init__(
            jam_id=uuid.uuid4().hex,
            title=title,
            pads=_places(prompts),
            has_sound=sound is not None,
            settings=_shown(replace(Settings(), **settings)),
            microphone=ipywebrtc.CameraStream(constraints=MICROPHONE),
        )
        JamSession._all[self.jam_id] = self
        JamSession._current = weakref.ref(self)
        hear_pages(COMM_TARGET, JamSession._all)
        self.on_msg(
            lambda _, content, buffers: self._heard(content, buffers)
        )  # front ends that cannot open a comm
        threading.Thread(
            target=_relay, args=(weakref.ref(self), self._process), name="JamSession", daemon=True
        ).start()

    # -- for cells ---------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether music is being made."""
        return self._run is not None

    def set(self, **changes) -> None:
        """Turns settings from the next block on, see :class:`lmdm_mini.live.engine.Settings`; the page
        follows."""
        # first, so that a refusal, which brings the settings back, comes second
        self.settings = self.settings | {
            name: value for name, value in changes.items() if name in self.settings
        }
        self._process.set(**changes)

    def forget(self) -> None:
        """The model goes on as if nothing had been played."""
        self._process.forget()

    def stop(self) -> None:
        """Ends the music; Start begins anew."""
        self._end("stopped")

    def save(self, name: str | None = None) -> list[Path]:
        """Writes what was played since Start into `folder`, see :meth:`Recording.save`. Raises ValueError if
        nothing was."""
        if self.recording is None:
            raise ValueError("nothing was played yet, so there is nothing to save: press Start first.")
        return self.recording.save(self.folder, name or f"jam-{datetime.now():%Y-%m-%d-%H%M%S}")

    def close(self) -> None:
        """Ends the music and the process."""
        if self._process is not None:
            self._end("this session was closed: run its cell again")
            self._process.close()
        if self.recording is not None:
            self.recording.close()
        super().close()

    # -- messages ----------------------------------------------------------------------------------------

    def _heard(self, message: dict, buffers: list | None = None) -> None:
        """What the browser says."""
        kind = message.get("kind")
        if kind == "sound":
            piece = np.frombuffer(buffers[0], np.int16).reshape(2, -1)
            self._process.hear(int(message["start"]), from_16_bit(piece), int(message["rate"]))
        elif kind == "report" and message.get("run") == self._run:
            self._reported, self.underruns = time.monotonic(), int(message["underruns"])
            self._process.report(
                float(message["played"]),
                bool(message["moving"]),
                self._page(float(message["at"])),
                message["left"],
            )
        elif kind == "set":
            self._set(message["settings"])
        elif kind == "forget":
            self._process.forget()
        elif kind == "start":
            self._start(str(message["run"]), message["settings"])
        elif kind == "stop" and message.get("run") in (self._run, self._starting):
            self._end(None)
        elif kind in ("save", "fetch"):  # elsewhere: what the player plays comes on this line, too
            threading.Thread(
                target=self._work_on_files, args=(kind, message.get("name")), daemon=True
            ).start()
        elif kind == "sound?":
            self._send_sound()

    def _set(self, settings: dict) -> None:
        prompt = settings.get("prompt")
        mixed = (
            {}
            if prompt is None
            else {"prompt": [(words, weight) for words, weight in prompt if words.strip()] or ""}
        )
        self._process.set(**settings | mixed)

    def _start(self, run: str, settings: dict) -> None:
        other = StreamPlayer._playing() if StreamPlayer._playing else None
        if other is not None and other.playing:
            other._run.stop()
        self._run, self._starting, self._page = None, run, PageClock()
        self._process.stop()
        self._set(settings)
        self._process.start(run)

    def _begin(self, settings: Settings) -> None:
        """The process has begun to make music."""
        self._run, self._reported, self.state = self._starting, time.monotonic(), "ready"
        self.blocks.clear()
        if self.recording is not None:
            self.recording.close()
        start = {
            "model": self.model,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "seed": self.seed,
            "settings": asdict(settings),
        }
        self.recording = Recording(start, self.context)
        sys.setswitchinterval(SWITCH_SECONDS)
        self.send({"kind": "started", "run": self._run})

    def _give(self, block: JamBlock, number: int) -> None:
        """A block goes to the browser, in pieces from `number` on."""
        self.recording.add(block)
        self.blocks.append(replace(block, audio=block.audio[:, :0], player=block.player[:, :0]))
        self.send(
            {
                "kind": "block",
                "run": self._run,
                "start": block.start,
                "samples": block.samples,
                "made": block.ready - block.asked,
                "heard": block.heard_until,
                "lead": block.lead,
                "steps": block.settings.steps,
                "bpm": block.bpm,
                "follows": block.follows,
                "recorded": self.recording.seconds,
                "full": self.recording.full,
            }
        )
        for i, first in enumerate(range(0, block.samples, PIECE_SAMPLES)):
            piece = np.ascontiguousarray(block.audio[:, first : first + PIECE_SAMPLES], np.float32)
            self.send(
                {"kind": "sound", "run": self._run, "seq": number + i, "samples": piece.shape[1]},
                [piece.tobytes()],
            )

    def _end(self, reason: str | None, text: str = "") -> None:
        """No more music; the browser is told, if it does not know."""
        run, self._run, self._starting = self._run or self._starting, None, None
        sys.setswitchinterval(PYTHON_SECONDS)
        self._process.stop()
        if reason is not None and run is not None and self.comm is not None:
            self.send({"kind": "end", "run": run, "reason": reason, "text": text})

    def _work_on_files(self, kind: str, name: str | None) -> None:
        with self._files:  # one after the other, or two would choose the same name
            self._save() if kind == "save" else self._fetch(str(name))

    def _save(self) -> None:
        try:
            saved = self.save()
        except (ValueError, OSError, soundfile.SoundFileError) as error:
            self.send({"kind": "refused", "text": f"not saved: {error}"})
        else:
            self._saved = {path.name: path for path in saved}
            self.send({"kind": "saved", "names": list(self._saved), "folder": str(self.folder.resolve())})

    def _fetch(self, name: str) -> None:
        path = self._saved.get(name)
        if path is None or not path.exists():
            return self.send({"kind": "refused", "text": f"{name} is not there any more."})
        size = path.stat().st_size
        with open(path, "rb") as file:
            for at in range(0, size, DOWNLOAD_BYTES):
                self.send({"kind": "file", "name": name, "at": at, "size": size}, [file.read(DOWNLOAD_BYTES)])

    def _send_sound(self) -> None:
        if self.sound is not None:
            audio = np.ascontiguousarray(
                self.sound[:, : int(SOUND_SECONDS * SAMPLE_RATE)].numpy(), np.float32
            )
            self.send({"kind": "yours", "samples": audio.shape[1]}, [audio.tobytes()])


def _places(prompts: list[str]) -> list[dict]:
    """Pads for prompts, around the middle."""
    angles = (np.arange(len(prompts)) + 0.5) / len(prompts) * 2 * np.pi
    return [
        {
            "text": words,
            "x": round(0.5 - 0.37 * float(np.sin(a)), 3),
            "y": round(0.5 - 0.37 * float(np.cos(a)), 3),
        }
        for words, a in zip(prompts, angles)
    ]


def _shown(settings: Settings) -> dict:
    return {name: value for name, value in asdict(settings).items() if name != "prompt"}


class PageClock:
    """What a time of the page's clock is by `time.perf_counter`: a message took at least as long as the
    quickest of the last ones."""

    def __init__(self, remembered: int = 64):
        self.ahead = deque(maxlen=remembered)

    def __call__(self, at: float) -> float:
        """Of a message that has just come and was sent at second `at` of the page."""
        self.ahead.append(time.perf_counter() - at)
        return at + min(self.ahead)


def _audio(sound) -> Tensor | None:
    return None if sound is None else read_audio(sound) if isinstance(sound, str | Path) else to_stereo(sound)


def _relay(session_ref, process: EngineProcess) -> None:
    """The body of the thread: what the process says goes to the browser."""
    number = 0
    while True:
        events = process.events(0.1)
        session = session_ref()
        if session is None:  # thrown away
            process.close()
            return
        for kind, *rest in events:
            if kind == "ready":
                session.state = "ready"
            elif kind == "started" and session._starting == rest[1]:
                number = 0
                session._begin(rest[0])
            elif kind == "block" and session._run is not None:
                session._give(rest[0], number)
                number += -(-rest[0].samples // PIECE_SAMPLES)
            elif kind == "refused":
                session.send({"kind": "refused", "text": rest[0]})
                session.settings = _shown(rest[1])  # the page goes back to what is so
            elif kind == "stopped":
                session._end("the kernel was interrupted")
            elif kind == "error":
                session._end("error", rest[0])
                session.state = f"error: {rest[0]}"
            elif kind == "closed":
                session._end("error", "The engine's process has ended: run the cell again.")
                if session.comm is not None and not session.state.startswith("error"):
                    session.state = "error: The engine's process has ended: run the cell again."
                return
        if session._run is not None and time.monotonic() - session._reported > SILENT_SECONDS:
            session._end("the page fell silent")
        del session  # or it could not be thrown away
