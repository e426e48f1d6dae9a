"""Read the built corpus: pieces, stretches of them, and a summary.

Notebook: 01_sound_to_latents.
"""

import json
from collections import Counter
from pathlib import Path

import soundfile
import torch

from lmdm_mini.corpus.piece import STEMS

SPLITS = ("train", "valid", "test")


def load_manifest(out) -> dict:
    """The manifest of the corpus in folder `out`; every entry of `manifest["pieces"]` knows its `folder`.

    Raises FileNotFoundError when nothing was built there, ValueError when the file is damaged.
    """
    path = Path(out) / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no corpus in {out}: build one with 'python -m lmdm_mini corpus build --out {out}'"
        )
    try:
        manifest = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it and run 'corpus build' again, which keeps "
            "finished pieces"
        ) from error
    for piece in manifest["pieces"]:
        piece["folder"] = str(out)
    return manifest


def pieces(manifest: dict, split: str | None = None, style: str | None = None) -> list[dict]:
    """Entries of one split and one style (None: all)."""
    return [p for p in manifest["pieces"] if split in (None, p["split"]) and style in (None, p["style"])]


def read_stems(entry: dict, start: float = 0.0, seconds: float | None = None) -> torch.Tensor:
    """A stretch of a piece, in seconds (None: to the end), as (4, 2, n) float32 in the order of `STEMS`.

    Only this stretch is decoded. Raises FileNotFoundError, or ValueError when `start` lies outside.
    """
    path = Path(entry["folder"]) / entry["audio"]
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: run 'python -m lmdm_mini corpus build --out {entry['folder']}'"
        )
    with soundfile.SoundFile(str(path)) as file:
        first = round(start * file.samplerate)
        if not 0 <= first < file.frames:
            length = file.frames / file.samplerate
            raise ValueError(f"start={start} s lies outside {path.name} (0 to {length:.1f} s)")
        file.seek(first)
        count = -1 if seconds is None else round(seconds * file.samplerate)
        audio = file.read(count, dtype="float32", always_2d=True)  # (n, 8)
    return torch.from_numpy(audio.T.copy()).view(len(STEMS), 2, -1)


def read_piece(entry: dict, start: float = 0.0, seconds: float | None = None) -> dict[str, torch.Tensor]:
    """The same as {"drums": (2, n), "bass": ..., "chords": ..., "lead": ..., "mix": (2, n)}."""
    stems = read_stems(entry, start, seconds)
    return dict(zip(STEMS, stems)) | {"mix": stems.sum(0)}


def show_corpus(out) -> str:
    """Hours by style and split, tempo and key histograms of a built corpus: text, printed and returned."""
    pieces = load_manifest(out)["pieces"]
    hours, tempos, keys = Counter(), Counter(), Counter()
    for piece in pieces:
        hours[piece["style"], piece["split"]] += piece["seconds"] / 3600
        tempos[int(piece["bpm"] // 10 * 10)] += 1
        minor = piece["mode"] in ("minor", "dorian", "phrygian")
        keys[piece["key"] + (" minor" if minor else " major")] += 1
    lines = [
        f"{out}: {len(pieces)} pieces, {sum(hours.values()):.2f} hours",
        "",
        "hours      " + "".join(f"{split:>8}" for split in (*SPLITS, "all")),
    ]
    for style in sorted({style for style, _ in hours}):
        row = [hours[style, split] for split in SPLITS]
        lines.append(f"{style:<11}" + "".join(f"{value:8.2f}" for value in (*row, sum(row))))
    by_mode = sorted(keys, key=lambda key: (key.split()[1], key))
    for name, count, order in (("bpm", tempos, sorted(tempos)), ("key", keys, by_mode)):
        unit = 40 / max(count.values(), default=1)
        lines += ["", name]
        lines += [f"{value!s:>9} {count[value]:4d} {'#' * round(unit * count[value])}" for value in order]
    text = "\n".join(lines)
    print(text)
    return text
