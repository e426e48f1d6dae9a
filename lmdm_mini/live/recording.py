"""A session on disk: what both played, and all that is needed to play it again.

A session goes to two files while it runs, so memory stays flat. Saved are a WAV of four channels (model left
and right, player left and right), an MP3 of the mix to share, and a JSON with every block and every turn of a
control. `replay` makes the model's part anew from it: the player's part is stored as the 16 bits that the
model heard.

Notebook: 14_jam_session.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.diffusion.dit import load_dit
from lmdm_mini.live.engine import Engine, JamBlock, Settings

LIMIT_SECONDS = 30 * 60  # then a recording ends, and says so
CHUNK = 10 * SAMPLE_RATE  # samples that are read at once


def to_16_bit(sound: np.ndarray) -> np.ndarray:
    """Sound (2, n) from -1 to 1 as it is stored and sent; louder is clipped."""
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def from_16_bit(sound: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_16_bit`, exactly."""
    return sound.astype(np.float32) / 32768


class Recording:
    """A session as it goes on: `add` every block, then `save`.

    start: model, checkpoint, seed and settings that it began with, for the JSON. context: what it went on
    from, (2, N).
    """

    def __init__(self, start: dict, context: Tensor | None = None):
        self.start, self.context, self.blocks, self.full = start, context, [], False
        self.folder = tempfile.TemporaryDirectory(prefix="lmdm_mini-jam-")  # gone with this object
        self.paths = [
            Path(self.folder.name) / name for name in ("model.raw", "player.raw")
        ]  # 16 bits, left and right in turns
        self.files = [open(path, "wb") for path in self.paths]

    @property
    def seconds(self) -> float:
        """Seconds of the model's part."""
        return (self.blocks[-1]["start"] + self.blocks[-1]["samples"]) / SAMPLE_RATE if self.blocks else 0.0

    def add(self, block: JamBlock) -> None:
        """The next block, its sounds as arrays; after LIMIT_SECONDS, or when the disk is full, it is left
        out."""
        self.full = self.full or self.seconds > LIMIT_SECONDS
        if self.full:
            return
        try:
            for file, sound in zip(self.files, (block.audio, block.player)):
                file.write(to_16_bit(sound).T.tobytes())
                file.flush()  # it may be saved at any moment
        except OSError:  # the disk is full: music goes on
            self.full = True
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

    def save(self, folder: Path, name: str) -> list[Path]:
        """Writes NAME.wav, NAME.mp3 and NAME.json (and NAME-context.wav if it went on from something);
        returns their paths. Nothing is overwritten. Raises ValueError if nothing was played."""
        if not self.blocks:
            raise ValueError("nothing was played yet, so there is nothing to save.")
        folder, stem, number = Path(folder), name, 1
        folder.mkdir(parents=True, exist_ok=True)
        while (folder / f"{stem}.json").exists() or (folder / f"{stem}.wav").exists():
            number += 1
            stem = f"{name}-{number}"
        wav, mp3, page, context = (
            folder / f"{stem}{end}" for end in (".wav", ".mp3", ".json", "-context.wav")
        )
        blocks = list(self.blocks)
        samples = blocks[-1]["start"] + blocks[-1]["samples"]
        model, player = (
            np.memmap(path, np.int16, "r")[: 2 * samples].reshape(-1, 2)
            if path.stat().st_size
            else np.zeros((0, 2), np.int16)
            for path in self.paths
        )
        with (
            soundfile.SoundFile(wav, "w", SAMPLE_RATE, 4, "PCM_16") as parts,
            soundfile.SoundFile(mp3, "w", SAMPLE_RATE, 2, "MPEG_LAYER_III", format="MP3") as mix,
        ):
            for at in range(0, samples, CHUNK):
                made, heard = model[at : at + CHUNK], player[at : at + CHUNK]
                heard = np.pad(
                    heard, ((0, len(made) - len(heard)), (0, 0))
                )  # the player is known a little less far
                parts.write(np.concatenate([made, heard], 1))
                mix.write(np.clip(from_16_bit(made) + from_16_bit(heard), -1, 1))
        saved = [wav, mp3, page]
        if self.context is not None:
            soundfile.write(context, to_stereo(self.context).T.numpy(), SAMPLE_RATE, "FLOAT")
            saved.append(context)
        page.write_text(
            json.dumps(
                {
                    **self.start,
                    "context": context.name if self.context is not None else None,
                    "wav": wav.name,
                    "sample_rate": SAMPLE_RATE,
                    "blocks": blocks,
                },
                indent=1,
            ),
            encoding="utf-8",
        )
        return saved

    def close(self) -> None:
        """Deletes what was not saved."""
        for file in self.files:
            file.close()
        self.folder.cleanup()


def replay(page: Path, blocks: int | None = None) -> Tensor:
    """The model's part of a saved session made anew, (2, N): the same blocks with the same player, seed and
    controls. blocks: only so many of them. On the machine and threads it was played with, the same to the
    last bit.

    Raises ValueError for a JSON that no session has written, FileNotFoundError if its WAV is not beside it.
    """
    page = Path(page)
    try:
        told = json.loads(page.read_text(encoding="utf-8"))
        made, names = (
            told["blocks"],
            (told["model"], told["checkpoint"], told["seed"], told["settings"], told["wav"], told["context"]),
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{page} is not the JSON of a saved session ({type(error).__name__}: {error})."
        ) from error
    model, checkpoint, seed, settings, wav, context = names
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a session; sums in another order would differ
    try:
        sound = torch.from_numpy(
            from_16_bit(soundfile.read(page.with_name(wav), dtype="int16", always_2d=True)[0].T)
        )
        past = (
            None
            if context is None
            else torch.from_numpy(soundfile.read(page.with_name(context), dtype="float32")[0].T)
        )
        engine = Engine(load_dit(model, checkpoint), seed=seed, context=past, **_as_settings(settings))
        parts, heard = [], 0
        for block in made[:blocks]:
            for name, change in block["turned"]:
                getattr(engine, name)(**_as_settings(change))
            if block["heard_until"] > heard:
                engine.hear(heard, sound[2:, heard : block["heard_until"]])
                heard = block["heard_until"]
            parts.append(engine.next_block(heard, block["settings"]["steps"]).audio)
    finally:
        torch.set_num_threads(threads)
    return torch.cat(parts, 1) if parts else torch.zeros(2, 0)


def _as_settings(told: dict) -> dict:
    """Settings out of a JSON: a mixture of prompts comes back as a list of pairs."""
    unknown = set(told) - {"seed", *asdict(Settings())}
    if unknown:
        raise ValueError(f"a session has no setting {sorted(unknown)[0]!r}.")
    prompt = told.get("prompt", "")
    return told | ({"prompt": [tuple(part) for part in prompt]} if isinstance(prompt, list) else {})
