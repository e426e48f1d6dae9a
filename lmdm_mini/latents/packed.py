"""The corpus as latents: the mix, every stem, and the mix minus every stem, each encoded apart.

Sums do not commute with encoding, so what a later chapter wants to hear (a mix without its bass, say) is
mixed first and encoded then. Every file carries the encoder's fingerprint and is refused by another codec.

A set of mixes ships in ``data/latents``, 8 bits a number, so that every notebook can train without a corpus.

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

# latent frames at the end of a piece, 8 s: last chords and their tails. No stream should learn to end
ENDING = 172


# -- what models are trained on --------------------------------------------------------------------


@dataclass
class LatentPiece:
    """The latents of a piece's mix, (64, T) in half precision, and what is known about it."""

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
    """Writes the mixes of corpus entries into one file, 8 bits a number and a scale a channel; returns their
    hours.

    A step is a 32nd of the usual standard deviation: a tenth of the noise that the codec was trained to bear.
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


def pack_splits(corpus, fingerprint: str, hours: float, folder=LATENTS) -> str:
    """Writes `hours` of the train split (styles in turn) and all of valid and test into `folder`; returns
    what was written."""
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
    """The pieces of a file of :func:`pack_latents`.

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
    """Pieces of one split: all of the corpus in that folder if there is one, else the shipped set; says
    which.

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
