"""A session on disk: what both played, and all that is needed to play it again.

A session goes to two files without a name while it runs, so memory stays flat and nothing is left behind.
Saved are a WAV of four channels (model left and right, player left and right), an MP3 of the mix to share,
and a JSON with every block and every turn of a control. `replay` makes the model's part anew from it: the
player's part is stored as the 16 bits that the model heard.

Music never waits for a recording, nor fails with it. One that cannot go on keeps what it has, and `ended`
says why.

Notebook: 14_jam_session.
"""

import json
import os
import shutil
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.checks import whole_number
from lmdm_mini.diffusion.dit import DiT, load_dit
from lmdm_mini.live.engine import Engine, JamBlock, Settings
from lmdm_mini.live.threads import sentence_of
from lmdm_mini.live.weights import fingerprint_of

LIMIT_SECONDS = 30 * 60  # then a recording ends, and says so
CHUNK = 10 * SAMPLE_RATE  # samples that are read at once
FRAME_BYTES = 4  # a sample of both channels, 16 bits each
MP3_BYTES = 40_000  # a second of the mix takes at most
LONGEST_NAME = 200  # characters: with a number and "-context.wav" it stays below what file systems take


def to_16_bit(sound: np.ndarray) -> np.ndarray:
    """Sound (2, n) from -1 to 1 as it is stored and sent; louder is clipped."""
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def from_16_bit(sound: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_16_bit`, exactly."""
    return sound.astype(np.float32) / 32768


class RawFile:
    """Stereo sound in 16 bits in a file without a name, which is gone with this object.

    Raises OSError, also from `add`, after which `samples` says what is there.
    """

    def __init__(self):
        self.file, self.samples = tempfile.TemporaryFile("w+b", buffering=0), 0
        self.lock = threading.Lock()  # it may be saved while it grows

    def add(self, sound: np.ndarray) -> None:
        """Appends sound (2, n) float32, all of it or nothing."""
        rest = memoryview(to_16_bit(sound).T.tobytes())
        with self.lock:
            self.file.seek(self.samples * FRAME_BYTES)
            while rest:
                written = self.file.write(rest)  # a disk that is nearly full takes a part
                if not written:
                    raise OSError("nothing more can be written")
                rest = rest[written:]
            self.samples += sound.shape[1]

    def read(self, start: int, count: int) -> np.ndarray:
        """Samples (n, 2) int16 from `start` on, at most `count` of them."""
        count = max(0, min(count, self.samples - start))
        with self.lock:
            self.file.seek(start * FRAME_BYTES)
            data = self.file.read(count * FRAME_BYTES)
        return np.frombuffer(data, np.int16).reshape(-1, 2)

    def close(self) -> None:
        """Deletes it."""
        self.file.close()


class Recording:
    """A session as it goes on: `add` every block, then `save`.

    start: model, checkpoint, seed and settings that it began with, for the JSON. context: what it went on
    from, (2, N). `ended`: why nothing more is recorded, in a sentence; "" while it goes on.
    """

    def __init__(self, start: dict, context: Tensor | None = None):
        self.start, self.context, self.blocks, self.ended = start, context, [], ""
        self.files: list[RawFile] = []
        try:
            self.files = [RawFile(), RawFile()]  # the model's part and the player's
        except OSError as error:
            self.ended = (
                f"This is not recorded, since the temporary folder cannot be used ({error}). "
                "Stop and press Start when it is there again."
            )

    @property
    def seconds(self) -> float:
        """Seconds of the model's part."""
        return (self.blocks[-1]["start"] + self.blocks[-1]["samples"]) / SAMPLE_RATE if self.blocks else 0.0

    @property
    def full(self) -> bool:
        """Whether nothing more is recorded."""
        return bool(self.ended)

    def add(self, block: JamBlock) -> None:
        """The next block, its sounds as arrays; after LIMIT_SECONDS, or when the disk is full, it is left
        out."""
        if self.ended:
            return
        if self.seconds > LIMIT_SECONDS:
            self.ended = f"The recording is full ({LIMIT_SECONDS / 60:g} minutes). Save it."
            return
        try:
            for file, sound in zip(self.files, (block.audio, block.player)):
                file.add(np.asarray(sound))
        except (OSError, ValueError) as error:  # ValueError: closed
            self.ended = (
                f"The recording ended at {self.seconds:.0f} s, since its temporary file cannot grow "
                f"({error}). What was recorded can be saved."
            )
            return
        self.blocks.append(
            {
                "start": block.start,
                "samples": block.samples,
                "heard_until": block.heard_until,
                "made_in": block.ready - block.asked,
                "lead": block.lead,
                "bpm": block.bpm,
                "turned": block.turned,
                "settings": asdict(block.settings),
                "seconds_of": block.seconds_of,
            }
        )

    def save(self, folder: str | Path, name: str) -> list[Path]:
        """Writes NAME.wav, NAME.mp3 and NAME.json (and NAME-context.wav if it went on from something) into
        `folder`; returns their paths. Nothing is overwritten.

        Raises ValueError if nothing was recorded, or for a name that no file can have, and OSError if the
        folder cannot be written or the disk is full. Then no file is left there, the recording is as it was,
        and can be saved elsewhere.
        """
        blocks = list(self.blocks)
        if not blocks:
            raise ValueError(self.ended or "nothing was played yet, so there is nothing to save.")
        folder, name = _check_place(folder, name)
        samples = blocks[-1]["start"] + blocks[-1]["samples"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _check_room(folder, samples)
            # whole beside its place, then moved there: a failure leaves nothing
            with tempfile.TemporaryDirectory(
                prefix=".saving-", dir=folder, ignore_cleanup_errors=True
            ) as part:
                stem = _free_name(folder, name)
                made = self._write(Path(part), stem, blocks, samples)
                return [path.rename(folder / path.name) for path in made]
        except (OSError, soundfile.SoundFileError, AssertionError) as error:  # that: soundfile, a full disk
            reason = getattr(error, "strerror", None) or sentence_of(error)
            raise OSError(
                f"the session could not be written to {folder} ({reason}). Nothing is lost: save it "
                'elsewhere, in a cell with jam.save(folder="…").'
            ) from error

    def _write(self, folder: Path, stem: str, blocks: list[dict], samples: int) -> list[Path]:
        wav, mp3, page, context = (
            folder / f"{stem}{end}" for end in (".wav", ".mp3", ".json", "-context.wav")
        )
        with (
            soundfile.SoundFile(wav, "w", SAMPLE_RATE, 4, "PCM_16") as parts,
            soundfile.SoundFile(mp3, "w", SAMPLE_RATE, 2, "MPEG_LAYER_III", format="MP3") as mix,
        ):
            for at in range(0, samples, CHUNK):
                count = min(CHUNK, samples - at)
                model, player = (file.read(at, count) for file in self.files)
                # the player is known a little less far
                player = np.pad(player, ((0, len(model) - len(player)), (0, 0)))
                parts.write(np.concatenate([model, player], 1))
                mix.write(np.clip(from_16_bit(model) + from_16_bit(player), -1, 1))
        saved = [wav, mp3, page]
        if self.context is not None:
            soundfile.write(context, to_stereo(self.context).T.numpy(), SAMPLE_RATE, "FLOAT")
            saved.append(context)
        told = {
            **self.start,
            "context": context.name if self.context is not None else None,
            "wav": wav.name,
            "sample_rate": SAMPLE_RATE,
            "blocks": blocks,
        }
        page.write_text(json.dumps(told, indent=1), encoding="utf-8")
        return saved

    def close(self) -> None:
        """Deletes what was not saved."""
        for file in self.files:
            file.close()


def _check_place(folder, name) -> tuple[Path, str]:
    """Where to save, if a file can be called so. Raises ValueError."""
    if not isinstance(folder, str | os.PathLike):
        raise ValueError(f"folder is {folder!r}; it must be the path of a folder.")
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name is {name!r}; it must be the first part of a file name, for instance 'take'.")
    wrong = [character for character in name if character in '/\\:*?"<>|' or ord(character) < 32]
    if wrong or name != name.strip(" ."):
        raise ValueError(
            f"name is {name!r}; it must be the first part of a file name, without "
            f"{repr(wrong[0]) if wrong else 'a dot or a space at its ends'}. Give the folder as `folder`."
        )
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ValueError(
            f"name has {len(os.fsencode(name))} bytes, more than the {LONGEST_NAME} that are possible."
        )
    return Path(folder).expanduser(), name


def _check_room(folder: Path, samples: int) -> None:
    """Raises OSError if the disk has no room for so much of a session."""
    needed = 2 * FRAME_BYTES * samples + MP3_BYTES * samples // SAMPLE_RATE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"the disk has {free / 1e6:.0f} MB left, and {needed / 1e6:.0f} MB are needed")


def _free_name(folder: Path, name: str) -> str:
    """`name`, or that with a number, so that nothing is overwritten."""
    stem, number = name, 1
    while any((folder / f"{stem}{end}").exists() for end in (".json", ".wav", ".mp3", "-context.wav")):
        number += 1
        stem = f"{name}-{number}"
    return stem


def replay(page: str | Path, blocks: int | None = None, *, model: DiT | None = None) -> Tensor:
    """The model's part of a saved session made anew, (2, N): the same blocks with the same player, seed and
    controls. On the machine and threads it was played with, the same to the last bit.

    blocks: only so many of them. model: what played, if the session was given a loaded model.

    Raises ValueError for a JSON that no session has written, or for another model than the one that played;
    FileNotFoundError if its WAV is not beside it.
    """
    most = None if blocks is None else whole_number(blocks, "blocks", 0)
    page = Path(page)
    try:
        told = json.loads(page.read_text(encoding="utf-8"))
        made, name, checkpoint, seed = (told[key] for key in ("blocks", "model", "checkpoint", "seed"))
        settings, wav, context = (told[key] for key in ("settings", "wav", "context"))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{page} is not the JSON of a saved session ({type(error).__name__}: {error})."
        ) from error
    model = load_dit(name, checkpoint) if model is None else model
    if "weights" in told and told["weights"] != fingerprint_of(model):
        raise ValueError(
            f"{page} was played by a model with other weights (its name is {name!r}): replay(page, model=…) "
            "takes the one that played."
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a session; sums in another order would differ
    try:
        sound = torch.from_numpy(from_16_bit(_read(page.with_name(wav), "int16")))
        past = None if context is None else torch.from_numpy(_read(page.with_name(context), "float32"))
        engine = Engine(model, seed=seed, context=past, **_as_settings(settings))
        parts, heard = [], 0
        for block in made[:most]:
            for call, change in block["turned"]:
                getattr(engine, call)(**_as_settings(change))
            if block["heard_until"] > heard:
                engine.hear(heard, sound[2:, heard : block["heard_until"]])
                heard = block["heard_until"]
            parts.append(engine.next_block(heard, block["settings"]["steps"]).audio)
    finally:
        torch.set_num_threads(threads)
    return torch.cat(parts, 1) if parts else torch.zeros(2, 0)


def _read(path: Path, dtype: Literal["int16", "float32"]) -> np.ndarray:
    """The sound (channels, N) of a file that belongs to a session. Raises FileNotFoundError, ValueError."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; it belongs to the session and must be beside its JSON."
        )
    try:
        return soundfile.read(path, dtype=dtype, always_2d=True)[0].T
    except soundfile.SoundFileError as error:
        raise ValueError(f"{path} is damaged ({error}).") from error


def _as_settings(told: dict) -> dict:
    """Settings out of a JSON: a mixture of prompts comes back as a list of pairs."""
    unknown = set(told) - {"seed", *asdict(Settings())}
    if unknown:
        raise ValueError(f"a session has no setting {sorted(unknown)[0]!r}.")
    prompt = told.get("prompt", "")
    return told | ({"prompt": [tuple(part) for part in prompt]} if isinstance(prompt, list) else {})
