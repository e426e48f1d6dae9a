"""The corpus as latents: the mix, every stem, and the mix minus every stem, each encoded apart.

Sums do not commute with encoding, so what a later chapter wants to hear (a mix without its bass, say) is
mixed first and encoded then. Every file carries the encoder's fingerprint and is refused by another codec.

Notebook: 01_sound_to_latents.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.codec import Codec
from lmdm_mini.corpus.data import load_manifest, read_stems
from lmdm_mini.corpus.piece import STEMS

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


def encode_corpus(out, codec: Codec, views: tuple[str, ...] = VIEWS) -> int:
    """Encodes what is missing of the named views of every piece in folder `out`; returns how many pieces were done.

    Latents are half precision, (64, T), one safetensors file a piece. Raises ValueError for unknown views.
    """
    unknown = set(views) - set(VIEWS)
    if unknown:
        raise ValueError(f"no view {sorted(unknown)[0]!r}; there are: {', '.join(VIEWS)}.")
    done = 0
    for entry in tqdm(load_manifest(out)["pieces"], desc="encoding"):
        path = latent_path(entry)
        have: dict[str, Tensor] = {}
        if path.is_file():
            with safe_open(str(path), framework="pt") as file:
                if (file.metadata() or {}).get("codec") == codec.fingerprint:
                    have = {name: file.get_tensor(name) for name in file.keys()}
        missing = [name for name in views if name not in have]
        if not missing:
            continue
        stems = read_stems(entry)
        latents = codec.encode(views_of(stems, missing))
        have |= {name: z.half().contiguous() for name, z in zip(missing, latents)}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        save_file(have, str(part), metadata={"codec": codec.fingerprint})
        part.replace(path)
        done += 1
    return done


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
