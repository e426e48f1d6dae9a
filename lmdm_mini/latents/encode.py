"""The corpus as latents: the mix, every stem, and the mix minus every stem, each encoded apart.

Notebook: 01_sound_to_latents.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.codec.codec import Codec
from lmdm_mini.corpus.data import load_manifest, read_stems
from lmdm_mini.corpus.piece import STEMS

VIEWS = ("mix", *STEMS, *(f"minus_{stem}" for stem in STEMS))


def latent_path(entry: dict) -> Path:
    """Returns the path of the latents of a piece (an entry of the manifest)."""
    return Path(entry["folder"]) / "latents" / f"{entry['id']}.safetensors"


def views_of(stems: Tensor, names: list[str]) -> Tensor:
    """Returns the named views, (len(names), 2, n), of stems (4, 2, n)."""
    mix = stems.sum(0)
    made = []
    for name in names:
        stem = stems[STEMS.index(name.removeprefix("minus_"))] if name != "mix" else mix
        made.append(mix - stem if name.startswith("minus_") else stem)
    return torch.stack(made)


def _present(entry: dict, fingerprint: str) -> set[str]:
    """Returns the names of the views that this encoder has encoded already."""
    path = latent_path(entry)
    if not path.is_file():
        return set()
    with safe_open(str(path), framework="pt") as file:
        return set(file.keys()) if (file.metadata() or {}).get("codec") == fingerprint else set()


def encode_piece(entry: dict, codec: Codec, views: tuple[str, ...]) -> None:
    """Encodes the missing views of one piece and adds them to its file."""
    path, present = latent_path(entry), _present(entry, codec.fingerprint)
    latents, stems = load_file(str(path)) if present else {}, read_stems(entry)
    for name in views:  # one by one: all views of a minute at once would fill the memory of a laptop
        if name not in present:
            latents[name] = codec.encode(views_of(stems, [name]))[0].half().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(latents, str(part), metadata={"codec": codec.fingerprint})
    part.replace(path)


_codec: Codec  # of a worker


def _start_worker(codec: Codec) -> None:
    global _codec
    _codec = codec
    torch.set_num_threads(1)


def _work(entry: dict, views: tuple[str, ...]) -> None:
    encode_piece(entry, _codec, views)


def encode_corpus(out, codec: Codec, views: tuple[str, ...] = VIEWS, *, workers: int = 1) -> int:
    """Encodes the missing views of every piece in folder `out`; returns the number of pieces encoded.

    Latents are half precision, (64, T), one safetensors file a piece. workers: processes of one thread each,
    which is nearly twice as fast on two cores as one process of two threads; 1 is this process. Raises
    ValueError for unknown views.
    """
    unknown = set(views) - set(VIEWS)
    if unknown:
        raise ValueError(f"no view {sorted(unknown)[0]!r}; there are: {', '.join(VIEWS)}.")
    todo = [
        entry
        for entry in load_manifest(out)["pieces"]
        if not _present(entry, codec.fingerprint) >= set(views)
    ]
    if workers <= 1 or len(todo) < workers:
        for entry in tqdm(todo, desc="encoding"):
            encode_piece(entry, codec, views)
    else:
        with ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _start_worker, (codec,)
        ) as pool:
            for _ in tqdm(pool.map(partial(_work, views=views), todo), desc="encoding", total=len(todo)):
                pass
    return len(todo)


def read_latents(entry: dict, view: str, fingerprint: str) -> Tensor:
    """Reads the latents of one view of a piece, (64, T) float32.

    Raises FileNotFoundError if they were not made, ValueError if another encoder made them.
    """
    path = latent_path(entry)
    hint = f"run `python -m lmdm_mini corpus encode --out {entry['folder']}`"
    if not path.is_file():
        raise FileNotFoundError(f"no latents at {path}: {hint}.")
    with safe_open(str(path), framework="pt") as file:
        made_by = (file.metadata() or {}).get("codec")
        if made_by != fingerprint:
            raise ValueError(
                f"{path.name} was made by encoder {made_by}, not by {fingerprint}: {hint} to make it anew."
            )
        if view not in file.keys():
            raise FileNotFoundError(f"{path.name} has no {view!r}: {hint} --views {view}.")
        return file.get_tensor(view).float()
