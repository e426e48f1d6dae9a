"""Pieces of music as latents, from an encoded corpus or from the packed sets that ship in ``data/latents``.

A packed set is one file for each split: the mixes, for most pieces an input stem with the rest, sketches and
beats, 8 bits a number, with captions. Every notebook can train with it, without a corpus. Each file carries
the fingerprint of its encoder, and reading it with another codec raises an error.

Notebook: 01_sound_to_latents.
"""

import json
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.checkpoints import LATENTS, check_codec, explained, read, write
from lmdm_mini.codec.codec import LATENT_RATE
from lmdm_mini.conditioning.sketch import Sketch, unpack_sketch
from lmdm_mini.corpus.data import SPLITS, load_manifest, pieces
from lmdm_mini.latents.encode import PAIRS, read_latents

# latent frames at the end of a piece, 8 s: last chords and their tails. Models should not learn to end
ENDING = 172
PACKED_PAIRS = 1  # pairs of a piece that ship, without the microphone's copies


# -- training data ---------------------------------------------------------------------------------


@dataclass
class Quantised:
    """Latents in 8 bits, read from the disk when they are used: values (64, T) int8, scale (64,)."""

    values: Tensor
    scale: Tensor

    def frames(self, start: int, end: int) -> Tensor:
        """Returns frames `start` to `end`, (64, end - start) float32."""
        return self.values[:, start:end] * self.scale[:, None]


@dataclass
class LatentPair:
    """What one musician plays, and the rest of the piece. played, left: names of the stems on either side.
    heard: the stem as a microphone hears it; None: not kept. sketch: of the rest, packed. captions: of the
    rest."""

    played: tuple[str, ...]
    left: tuple[str, ...]
    stem: Quantised
    heard: Quantised | None
    rest: Quantised
    sketch: dict[str, Tensor]
    captions: list[str]


@dataclass
class LatentPiece:
    """The latents of a piece's mix, (64, T) in half precision, with its style, tempo and captions.

    beats: (T,), the frames' positions in beats; None: the piece begins on a beat and keeps its tempo. sketch:
    of the mix, packed; None: not kept. pairs: of an input stem and the rest.
    """

    id: str
    style: str
    bpm: float
    captions: list[str]
    latents: Tensor
    beats: Tensor | None = None
    sketch: dict[str, Tensor] | None = None
    pairs: list[LatentPair] = field(default_factory=list)

    def sketch_of(self, start: int, end: int, pair: int | None = None) -> Sketch | None:
        """Returns the sketch of some frames of the mix, or of the rest of a pair: a batch of one."""
        packed = self.sketch if pair is None else self.pairs[pair].sketch
        return unpack_sketch({key: x[:, start:end] for key, x in packed.items()}) if packed else None


def _about(entry: dict) -> dict:
    return {
        "id": entry["id"],
        "style": entry["style"],
        "bpm": entry["bpm"],
        "captions": entry["captions"]["mix"],
    }


def _sides(entry: dict, pairs: list[dict]) -> list[dict]:
    """Pairs with the names of the stems that are left to play."""
    return [p | {"left": [name for name in entry["instruments"] if name not in p["stems"]]} for p in pairs]


def _piece(about: dict, tensors: dict[str, Tensor], pairs: list[dict]) -> LatentPiece:
    """The piece that tensors named as in :mod:`lmdm_mini.latents.encode` hold."""

    def view(name: str) -> Quantised:
        return Quantised(tensors[name], tensors[f"{name}.scale"])

    def sketched(name: str) -> dict[str, Tensor]:
        start = f"{name}.sketch."
        return {key[len(start) :]: x for key, x in tensors.items() if key.startswith(start)}

    mix = tensors["mix"] * tensors["mix.scale"][:, None]
    found = []
    for n, pair in enumerate(pairs):
        heard = view(f"heard{n}") if f"heard{n}" in tensors else None
        rest = view(f"rest{n}"), sketched(f"rest{n}")
        names = tuple(pair["stems"]), tuple(pair["left"])
        found.append(LatentPair(*names, view(f"stem{n}"), heard, *rest, captions=pair["captions"]))
    return LatentPiece(
        **about, latents=mix.half(), beats=tensors.get("beats"), sketch=sketched("mix") or None, pairs=found
    )


def pack_latents(entries: list[dict], path, fingerprint: str) -> float:
    """Writes corpus entries into one file: mix, sketch, beats, and PACKED_PAIRS of the pairs; returns their
    length in hours."""
    packed, rows, hours = {}, [], 0.0
    left_out = ("heard", *(f"{name}{n}" for name in ("stem", "rest") for n in range(PACKED_PAIRS, PAIRS)))
    for entry in tqdm(entries, desc=f"packing {Path(path).stem}"):
        tensors, pairs = read_latents(entry, fingerprint)
        kept = {key: x for key, x in tensors.items() if not key.startswith(left_out)}
        packed |= {f"{entry['id']}/{key}": x for key, x in kept.items()}
        rows.append(_about(entry) | {"pairs": _sides(entry, pairs[:PACKED_PAIRS])})
        hours += tensors["mix"].shape[1] / LATENT_RATE / 3600
    write(path, packed, "latents", codec=fingerprint, pieces=rows)
    return hours


def pack_splits(corpus, fingerprint: str, hours: dict[str, float], *, folder=LATENTS) -> str:
    """Writes at most so many hours of each split (styles in turn) into `folder`; returns a summary."""
    manifest, sizes = load_manifest(corpus), []
    for split in SPLITS:
        chosen, total = [], 0.0
        by_style = [
            pieces(manifest, split, style) for style in sorted({p["style"] for p in manifest["pieces"]})
        ]
        for entry in (e for row in zip_longest(*by_style) for e in row if e):
            if total + entry["seconds"] / 3600 <= hours[split]:
                chosen.append(entry)
                total += entry["seconds"] / 3600
        sizes.append(
            f"{split}: {pack_latents(chosen, Path(folder) / f'{split}.safetensors', fingerprint):.2f} h"
        )
    return ", ".join(sizes)


def read_packed(path, fingerprint: str) -> list[LatentPiece]:
    """Reads the pieces of a file that :func:`pack_latents` wrote.

    Raises FileNotFoundError, or ValueError if another encoder made them.
    """
    path, tensors, about = read(path, "latents")
    with explained(path, "set of latents"):
        made_by, rows = about["codec"], json.loads(about["pieces"])
    check_codec(path, made_by, fingerprint)
    with explained(path, "set of latents"):
        found = []
        parts: dict[str, dict[str, Tensor]] = {row["id"]: {} for row in rows}
        for key, x in tensors.items():
            name, _, view = key.partition("/")
            if not view:  # files of before have the mixes alone, named as the pieces are
                name, view = key.removesuffix(".scale"), f"mix{key[len(key.removesuffix('.scale')) :]}"
            parts[name][view] = x
        for row in rows:
            pairs = row.pop("pairs", [])
            found.append(_piece(row, parts[row["id"]], pairs))
        return found


def find_latents(corpus, split: str, fingerprint: str) -> list[LatentPiece]:
    """Returns the pieces of one split, and prints where they are from: the corpus in folder `corpus`, or the
    packed set there, or else the shipped set.

    Raises FileNotFoundError if the corpus was built but not encoded.
    """
    packed = Path(corpus) / f"{split}.safetensors"
    built = (Path(corpus) / "manifest.json").is_file()
    print(f"{split}: latents of {corpus if built or packed.is_file() else 'data/latents'}")
    if packed.is_file():
        return read_packed(packed, fingerprint)
    if built:
        found = []
        for entry in tqdm(pieces(load_manifest(corpus), split), desc=f"reading {split}", leave=False):
            tensors, pairs = read_latents(entry, fingerprint)
            found.append(_piece(_about(entry), tensors, _sides(entry, pairs)))
        return found
    return read_packed(LATENTS / f"{split}.safetensors", fingerprint)
