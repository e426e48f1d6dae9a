"""Packed sets of latents: the mixes of a split in one file, with 8 bits per number.

Three sets ship in ``data/latents``, so every notebook can train without a corpus. Each file carries the
fingerprint of its encoder, and reading it with another codec raises an error.

Notebook: 01_sound_to_latents.
"""

import json
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.checkpoints import LATENTS, check_codec, explained, read, write
from lmdm_mini.codec.codec import LATENT_RATE
from lmdm_mini.corpus.data import SPLITS, load_manifest, pieces
from lmdm_mini.latents.encode import read_latents

# latent frames at the end of a piece, 8 s: last chords and their tails. Models should not learn to end
ENDING = 172


# -- training data ---------------------------------------------------------------------------------


@dataclass
class LatentPiece:
    """The latents of a piece's mix, (64, T) in half precision, with its style, tempo and captions."""

    id: str
    style: str
    bpm: float
    captions: list[str]
    latents: Tensor


def _about(entry: dict) -> dict:
    return {
        "id": entry["id"],
        "style": entry["style"],
        "bpm": entry["bpm"],
        "captions": entry["captions"]["mix"],
    }


def pack_latents(entries: list[dict], path, fingerprint: str) -> float:
    """Writes the mixes of corpus entries into one file, with 8 bits per number and one scale per channel;
    returns their length in hours.

    A quantisation step is a 32nd of the usual standard deviation, a tenth of the noise that the codec was
    trained with.
    """
    tensors, hours = {}, 0.0
    for entry in tqdm(entries, desc=f"packing {Path(path).stem}"):
        z = read_latents(entry, "mix", fingerprint)
        scale = (z.abs().amax(1) / 127).clamp_min(1e-6)  # (64,)
        tensors[entry["id"]] = (z / scale[:, None]).round().to(torch.int8).contiguous()
        tensors[f"{entry['id']}.scale"] = scale
        hours += z.shape[1] / LATENT_RATE / 3600
    write(path, tensors, "latents", codec=fingerprint, pieces=[_about(entry) for entry in entries])
    return hours


def pack_splits(corpus, fingerprint: str, hours: float, *, folder=LATENTS) -> str:
    """Writes `hours` of the train split (styles in turn) and all of valid and test into `folder`; returns a
    summary."""
    manifest, sizes = load_manifest(corpus), []
    for split in SPLITS:
        chosen, total = [], 0.0
        by_style = [
            pieces(manifest, split, style) for style in sorted({p["style"] for p in manifest["pieces"]})
        ]
        for entry in (e for row in zip_longest(*by_style) for e in row if e):
            if split != "train" or total + entry["seconds"] / 3600 <= hours:
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
        scaled = {row["id"]: tensors[row["id"]] * tensors[f"{row['id']}.scale"][:, None] for row in rows}
        return [LatentPiece(**row, latents=scaled[row["id"]].half()) for row in rows]


def find_latents(corpus, split: str, fingerprint: str) -> list[LatentPiece]:
    """Returns the pieces of one split, from the corpus in folder `corpus` if there is one, else from the
    shipped set, and prints which.

    Raises FileNotFoundError if the corpus was built but not encoded.
    """
    built = (Path(corpus) / "manifest.json").is_file()
    print(f"{split}: latents of {corpus if built else 'data/latents'}")
    if built:
        return [
            LatentPiece(**_about(entry), latents=read_latents(entry, "mix", fingerprint).half())
            for entry in tqdm(pieces(load_manifest(corpus), split), desc=f"reading {split}", leave=False)
        ]
    return read_packed(LATENTS / f"{split}.safetensors", fingerprint)
