"""The corpus as latents: the mix, every stem, and the mix minus every stem, each encoded apart.

Sums do not commute with encoding, so what a later chapter wants to hear (a mix without its bass, say) is
mixed first and encoded then. Every file carries the encoder's fingerprint and is refused by another codec.

A set of mixes ships in ``data/latents``, 8 bits a number, so that every notebook can train without a corpus.

Notebook: 01_sound_to_latents.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.codec import LATENT_RATE, Codec
from lmdm_mini.corpus.data import SPLITS, load_manifest, pieces, read_stems
from lmdm_mini.corpus.piece import STEMS

SHIPPED = Path(__file__).resolve().parent.parent.parent / "data" / "latents"
ENDING = 172  # latent frames at the end of a piece, 8 s: last chords and their tails. No stream should learn to end
VIEWS = ("mix", *STEMS, *(f"minus_{stem}" for stem in STEMS))


def latent_path(entry: dict) -> Path:
    """Where the latents of a piece (an entry of the manifest) are kept."""
    return Path(entry["folder"]) / "latents" / f"{entry['id']}.safetensors"


def views_of(stems: Tensor, names: list[str]) -> Tensor:
    """Stems (4, 2, n) to the named views, (len(names), 2, n)."""
    mix = stems.sum(0)
    made = []
    for name in names:
        stem = stems[STEMS.index(name.removeprefix("minus_"))] if name != "mix" else mix
        made.append(mix - stem if name.startswith("minus_") else stem)
    return torch.stack(made)


def _present(entry: dict, fingerprint: str) -> set[str]:
    """The views of a piece that this encoder has made already."""
    path = latent_path(entry)
    if not path.is_file():
        return set()
    with safe_open(str(path), framework="pt") as file:
        return set(file.keys()) if (file.metadata() or {}).get("codec") == fingerprint else set()


def encode_piece(entry: dict, codec: Codec, views: tuple[str, ...]) -> None:
    """Encodes what is missing of the views of one piece and writes it beside what is there."""
    path, present = latent_path(entry), _present(entry, codec.fingerprint)
    latents, stems = load_file(str(path)) if present else {}, read_stems(entry)
    for name in views:  # one by one: all views of a minute at once would fill the memory of a laptop
        if name not in present:
            latents[name] = codec.encode(views_of(stems, [name]))[0].half().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(latents, str(part), metadata={"codec": codec.fingerprint})
    part.replace(path)


def _start_worker(codec: Codec) -> None:
    global _codec
    _codec = codec
    torch.set_num_threads(1)


def _work(entry: dict, views: tuple[str, ...]) -> None:
    encode_piece(entry, _codec, views)


def encode_corpus(out, codec: Codec, views: tuple[str, ...] = VIEWS, workers: int = 1) -> int:
    """Encodes what is missing of the named views of every piece in folder `out`; returns how many pieces were done.

    Latents are half precision, (64, T), one safetensors file a piece. workers: processes of one thread each, which is nearly
    twice as fast on two cores as one process of two threads; 1 is this process. Raises ValueError for unknown views.
    """
    unknown = set(views) - set(VIEWS)
    if unknown:
        raise ValueError(f"no view {sorted(unknown)[0]!r}; there are: {', '.join(VIEWS)}.")
    todo = [entry for entry in load_manifest(out)["pieces"] if not _present(entry, codec.fingerprint) >= set(views)]
    if workers <= 1 or len(todo) < workers:
        for entry in tqdm(todo, desc="encoding"):
            encode_piece(entry, codec, views)
    else:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker, (codec,)) as pool:
            for _ in tqdm(pool.map(partial(_work, views=views), todo), desc="encoding", total=len(todo)):
                pass
    return len(todo)


def read_latents(entry: dict, view: str, fingerprint: str) -> Tensor:
    """Latents of one view of a piece, (64, T) float32.

    Raises FileNotFoundError if they were not made, ValueError if another encoder made them.
    """
    path = latent_path(entry)
    hint = f"run `python -m lmdm_mini corpus encode --out {entry['folder']}`"
    if not path.is_file():
        raise FileNotFoundError(f"no latents at {path}: {hint}.")
    with safe_open(str(path), framework="pt") as file:
        made_by = (file.metadata() or {}).get("codec")
        if made_by != fingerprint:
            raise ValueError(f"{path.name} was made by encoder {made_by}, not by {fingerprint}: {hint} to make it anew.")
        if view not in file.keys():
            raise FileNotFoundError(f"{path.name} has no {view!r}: {hint} --views {view}.")
        return file.get_tensor(view).float()


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
    return {"id": entry["id"], "style": entry["style"], "bpm": entry["bpm"], "captions": entry["captions"]["mix"]}


def pack_latents(entries: list[dict], path, fingerprint: str) -> float:
    """Writes the mixes of corpus entries into one file, 8 bits a number and a scale a channel; returns their hours.

    A step is a 32nd of the usual deviation: a tenth of the noise that the codec was trained to bear.
    """
    tensors, hours = {}, 0.0
    for entry in tqdm(entries, desc=f"packing {Path(path).stem}"):
        z = read_latents(entry, "mix", fingerprint)
        scale = (z.abs().amax(1) / 127).clamp_min(1e-6)  # (64,)
        tensors[entry["id"]] = (z / scale[:, None]).round().to(torch.int8).contiguous()
        tensors[f"{entry['id']}.scale"] = scale
        hours += z.shape[1] / LATENT_RATE / 3600
    about = {"codec": fingerprint, "pieces": json.dumps([_about(entry) for entry in entries])}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata=about)
    return hours


def pack_splits(corpus, fingerprint: str, hours: float, folder=SHIPPED) -> str:
    """Writes `hours` of the train split (styles in turn) and all of valid and test into `folder`; returns what was written."""
    manifest, sizes = load_manifest(corpus), []
    for split in SPLITS:
        chosen, total = [], 0.0
        by_style = [pieces(manifest, split, style) for style in sorted({p["style"] for p in manifest["pieces"]})]
        for entry in (e for row in zip_longest(*by_style) for e in row if e):
            if split != "train" or total + entry["seconds"] / 3600 <= hours:
                chosen.append(entry)
                total += entry["seconds"] / 3600
        sizes.append(f"{split}: {pack_latents(chosen, Path(folder) / f'{split}.safetensors', fingerprint):.2f} h")
    return ", ".join(sizes)


def read_packed(path, fingerprint: str) -> list[LatentPiece]:
    """The pieces of a file of :func:`pack_latents`.

    Raises FileNotFoundError, or ValueError if another encoder made them.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no latents at {path}: restore them with `git checkout -- data/latents`.")
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata() or {}
        if about.get("codec") != fingerprint:
            raise ValueError(f"{path.name} was made by encoder {about.get('codec')}, not by {fingerprint}: restore both with "
                             "`git checkout -- data`.")
        return [LatentPiece(**row, latents=(file.get_tensor(row["id"]) * file.get_tensor(f"{row['id']}.scale")[:, None]).half())
                for row in json.loads(about["pieces"])]


def find_latents(corpus, split: str, fingerprint: str) -> list[LatentPiece]:
    """Pieces of one split: all of the corpus in that folder if there is one, else the shipped set; says which.

    Raises FileNotFoundError if the corpus was built but not encoded.
    """
    built = (Path(corpus) / "manifest.json").is_file()
    print(f"{split}: latents of {corpus if built else 'data/latents'}")
    if built:
        return [LatentPiece(**_about(entry), latents=read_latents(entry, "mix", fingerprint).half())
                for entry in tqdm(pieces(load_manifest(corpus), split), desc=f"reading {split}", leave=False)]
    return read_packed(SHIPPED / f"{split}.safetensors", fingerprint)
