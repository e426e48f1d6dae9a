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
import traitlets
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, read_audio, to_stereo
from lmdm_mini.live.engine import JamBlock, Settings
from lmdm_mini.live.process import EngineProcess
from lmdm_mini.live.recording import Recording, from_16_bit
from lmdm_mini.live.settings import clean_settings
from lmdm_mini.live.threads import sentence_of, start_thread
from lmdm_mini.live.weights import check_model, check_name, fingerprint_of
from lmdm_mini.widgets.browser import hear_pages, joined, styles
from lmdm_mini.widgets.jam_relay import PIECE_SAMPLES, SHOWN, PageClock, fail, relay, shown
from lmdm_mini.widgets.player import StreamPlayer

COMM_TARGET = "lmdm_mini.jam"
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

    prompts: texts on the surface, 1 to 8, or one as a string; the puck mixes them. sound: a recording to play
        along with instead of the microphone, a path or audio (2, N). context: what the model goes on from,
        likewise. model: the name of a diffusion model, with checkpoint as the path of other weights, or a
        loaded one. folder: where recordings are saved. settings: `seed`, `lead_seconds` (see
        :class:`lmdm_mini.live.engine.Engine`), and those of :class:`lmdm_mini.live.engine.Settings` but for
        the prompt.

    `.blocks` holds the blocks of this Start, without their sound. `.save()` writes what was played. Raises
    ValueError or OSError for what cannot be played; the session before then plays on.
    """

    _esm = joined("jam.js")
    _css = styles("player.css", "jam.css")
    jam_id = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    pads = traitlets.List().tag(sync=True)  # of {"text", "x", "y"}, 0 to 1
    puck = traitlets.List([0.5, 0.5]).tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    state = traitlets.Unicode("loading").tag(sync=True)  # or "ready", or "error: what happened"
    has_sound = traitlets.Bool(False).tag(sync=True)
    # pyrefly: ignore[no-matching-overload]  # ipywidgets' classes have no types
    microphone = traitlets.Instance(ipywidgets.Widget, allow_none=True).tag(
        sync=True, **ipywidgets.widget_serialization
    )

    _all = weakref.WeakValueDictionary()  # jam_id -> session, for messages from the browser
    _current = None  # weak reference to the newest
    # until __init__ has come so far
    _process: EngineProcess | None = None
    _run: str | None = None
    _starting: str | None = None
    recording: Recording | None = None

    def __init__(
        self,
        prompts=PROMPTS,
        sound=None,
        context=None,
        *,
        model="block_causal",
        checkpoint=None,
        folder=".",
        title="Jam session",
        **settings,
    ):
        prompts = _prompts(prompts)
        settings = _known_settings(settings)
        check_model(model, checkpoint)
        if isinstance(model, str) and checkpoint is None:
            check_name(model)
        if not isinstance(folder, str | Path):
            raise ValueError(f"folder is {folder!r}; it must be the path where recordings are saved.")
        self.sound, self.context = _audio(sound, "sound"), _audio(context, "context")
        before = JamSession._current() if JamSession._current else None
        if before is not None:  # nothing can be refused from here on
            before.close()
        self.folder, self.model, self.checkpoint = Path(folder), model, checkpoint
        self.seed = settings.get("seed", 0)
        self.blocks, self.underruns = deque(maxlen=100_000), 0
        self._files = threading.Lock()
        self._saved, self._reported = {}, time.monotonic()
        self._process = EngineProcess(
            model, checkpoint, self.context, **{"seed": 0} | settings, prompt=prompts[0]
        )
        super().__init__(
            jam_id=uuid.uuid4().hex,
            title=str(title),
            pads=_places(prompts),
            has_sound=sound is not None,
            settings=shown(Settings()) | {name: x for name, x in settings.items() if name in SHOWN},
            microphone=ipywebrtc.CameraStream(constraints=MICROPHONE),
        )
        JamSession._all[self.jam_id] = self
        JamSession._current = weakref.ref(self)
        hear_pages(COMM_TARGET, JamSession._all)
        # for front ends that cannot open a comm
        self.on_msg(lambda _, content, buffers: self._heard(content, buffers))
        me = weakref.ref(self)
        start_thread(relay, me, self._process, name="JamSession", report=lambda why: fail(me(), why))

    # -- for cells ---------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether music is being made."""
        return self._run is not None

    def set(self, **changes) -> None:
        """Turns settings from the next block on, see :class:`lmdm_mini.live.engine.Settings`; the page
        follows. Raises ValueError or TypeError for what is of a wrong type; the page says what cannot be
        played."""
        changes = clean_settings(changes)
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

    def save(self, name: str | None = None, folder: str | Path | None = None) -> list[Path]:
        """Writes what was played since Start into `folder`, or that of the session; see
        :meth:`lmdm_mini.live.recording.Recording.save`. name: of the files; None: the time. Raises ValueError
        if nothing was played, or for a name that no file can have, OSError if it cannot be written; then
        nothing is lost."""
        if self.recording is None:
            raise ValueError("nothing was played yet, so there is nothing to save: press Start first.")
        name = f"jam-{datetime.now():%Y-%m-%d-%H%M%S}" if name is None else name
        return self.recording.save(self.folder if folder is None else folder, name)

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
        try:
            self._answer(message.get("kind"), message, buffers)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            self.send({"kind": "refused", "text": sentence_of(error)})

    def _answer(self, kind: str | None, message: dict, buffers: list | None) -> None:
        if kind == "sound":
            piece = np.frombuffer(buffers[0], np.int16).reshape(2, -1)
            self._process.hear(int(message["start"]), from_16_bit(piece), int(message["rate"]))
        elif kind == "report" and message.get("run") == self._run:
            self._reported, self.underruns = time.monotonic(), int(message["underruns"])
            at = self._page(float(message["at"]))
            self._process.report(float(message["played"]), bool(message["moving"]), at, message["left"])
        elif kind == "set":
            self._set(message["settings"])
        elif kind == "forget":
            self._process.forget()
        elif kind == "start":
            self._start(str(message["run"]), message["settings"])
        elif kind == "stop" and message.get("run") in (self._run, self._starting):
            self._end(None)
        elif kind in ("save", "fetch"):  # elsewhere: what the player plays comes on this line, too
            start_thread(
                self._work_on_files,
                kind,
                message.get("name"),
                name=f"JamSession, {kind}",
                report=lambda why: self.send({"kind": "refused", "text": why}),
            )
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
        loaded = None if isinstance(self.model, str) else self.model
        start = {
            "model": self.model if loaded is None else loaded.name,
            "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            "seed": self.seed,
            "settings": asdict(settings),
        } | ({} if loaded is None else {"weights": fingerprint_of(loaded)})
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
                "ended": self.recording.ended,
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
        except (ValueError, OSError) as error:
            self.send({"kind": "refused", "text": f"not saved: {error}", "stays": True})
        else:
            self._saved = {path.name: path for path in saved}
            self.send({"kind": "saved", "names": list(self._saved), "folder": str(self.folder.resolve())})

    def _fetch(self, name: str) -> None:
        path = self._saved.get(name)
        if path is None or not path.exists():
            return self.send({"kind": "refused", "text": f"{name} is not there any more."})
        try:
            with open(path, "rb") as file:
                size = path.stat().st_size
                for at in range(0, size, DOWNLOAD_BYTES):
                    part = file.read(DOWNLOAD_BYTES)
                    self.send({"kind": "file", "name": name, "at": at, "size": size}, [part])
        except OSError as error:
            self.send({"kind": "refused", "text": f"{name} cannot be read ({error})."})

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


def _prompts(prompts) -> list[str]:
    """Prompts as a list; a string is one prompt. Raises ValueError."""
    texts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(texts, list | tuple) or not all(isinstance(words, str) for words in texts):
        raise ValueError(
            f"prompts is {prompts!r}; it must be 1 to 8 sentences in a list, or one as a string."
        )
    if not 1 <= len(texts) <= 8:
        raise ValueError(f"there are {len(texts)} prompts; a surface has 1 to 8 sentences.")
    return list(texts)


def _known_settings(settings: dict) -> dict:
    """Settings with plain types, if the engine knows their names. Raises ValueError."""
    unknown = sorted(set(settings) - {"seed", "lead_seconds", *SHOWN})
    if unknown:
        raise ValueError(f"a session has no setting {unknown[0]!r}; prompts are given as `prompts`.")
    return clean_settings(settings)


def _audio(sound, name: str) -> Tensor | None:
    """A recording (2, N) from its path or its samples. Raises ValueError, FileNotFoundError."""
    if sound is None:
        return None
    if isinstance(sound, str | Path):
        return read_audio(sound)
    if not isinstance(sound, Tensor | np.ndarray):
        raise ValueError(
            f"{name} is of type {type(sound).__name__}; it must be the path of a recording, or audio (2, N)."
        )
    return to_stereo(sound)
