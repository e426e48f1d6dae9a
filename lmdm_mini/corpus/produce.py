"""Pass two of the corpus: dry stems through a production of their own, into a second folder.

The new folder has the layout of the first (`audio/`, `meta/`, `manifest.json`), so that everything that reads
a corpus reads either. It can be stopped and goes on where it was; pieces that are added later are added here.

Notebook: 01_sound_to_latents.
"""

import json
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lmdm_mini.audio import loudness
from lmdm_mini.corpus.build import arrange
from lmdm_mini.corpus.data import load_manifest, read_stems
from lmdm_mini.corpus.effects import Clock
from lmdm_mini.corpus.files import check_room, check_writable, make_all, write_json, write_stems
from lmdm_mini.corpus.production import DUCKING, audible, draw_production, produce, with_effects

VERSION = 1  # raise it when the same stems should sound different: finished pieces are then made again
KICKS = (35, 36)


def _recipe(entry: dict) -> str:
    return f"p{VERSION} of {entry['recipe']}"


def _clock(entry: dict) -> Clock:
    """The tempo of a piece; of styles whose kick pushes the rest down, also its kicks."""
    kicks = []
    if entry["style"] in DUCKING:
        piece = arrange(entry["style"], entry["tune"], entry["take"], entry["seed"])
        kicks = [n.start * 60 / piece.bpm for n in piece.stems["drums"] if n.pitch in KICKS]
    return Clock(entry["bpm"], entry["beats_per_bar"], sorted(kicks))


def _make(arguments: tuple[Path, dict]) -> None:
    """Produce one piece; the description is written last and says that the audio is whole."""
    out, entry = arguments
    torch.set_num_threads(1)  # the pool has a process a core
    check_room(out)
    recipe = _recipe(entry)
    production = draw_production(random.Random(recipe), entry)
    stems = produce(read_stems(entry), production, _clock(entry))
    write_stems(out / entry["audio"], stems)
    mix = stems.sum(0)
    captions, instruments = with_effects(entry, audible(production), random.Random(f"{recipe} captions"))
    described = {key: value for key, value in entry.items() if key != "folder"} | {
        "captions": captions,
        "instruments": instruments,
        "effects": audible(production),
        "production": asdict(production),
        "peak_db": round(20 * np.log10(mix.abs().max().item()), 2),
        "loudness_lufs": round(loudness(mix), 2),
        "recipe": recipe,
    }
    write_json(out / "meta" / f"{entry['id']}.json", described)


def _finished(out: Path, entry: dict) -> dict | None:
    path = out / "meta" / f"{entry['id']}.json"
    if not path.is_file() or not (out / entry["audio"]).is_file():
        return None
    found = json.loads(path.read_text())
    return found | {"split": entry["split"]} if found["recipe"] == _recipe(entry) else None


def produce_corpus(dry, out, workers: int = 2) -> dict:
    """Produce every piece of the corpus in folder `dry` into folder `out`; returns the manifest of `out`.

    Needs the extra `corpus`. Raises FileNotFoundError without a corpus, ValueError when `out` is the same
    folder or cannot be written, OSError when the disk is full.
    """
    dry, out = Path(dry), Path(out)
    if out.resolve() == dry.resolve():
        raise ValueError("the produced corpus needs a folder of its own: choose another one with --to")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    manifest = load_manifest(dry)
    check_writable(out)
    todo = [(out, entry) for entry in manifest["pieces"] if _finished(out, entry) is None]
    print(f"{len(manifest['pieces'])} pieces, {len(manifest['pieces']) - len(todo)} are produced already")
    try:
        make_all(_make, todo, workers=workers, what="producing")
    finally:
        done = [found for entry in manifest["pieces"] if (found := _finished(out, entry))]
        whole = manifest["complete"] and len(done) == len(manifest["pieces"])
        result = manifest | {"complete": whole, "pieces": done}
        write_json(out / "manifest.json", result)
    return result
