"""The corpus as latents: of every piece the mix and two pairs of an input stem and the rest, encoded apart.

A pair is one stem, or several, and the sum of all others: what a musician plays, and what the model shall
play to it. The input stem is there twice, as it is and as a microphone hears it. Sums do not commute with
encoding, so mix, stem and rest are three encodings, frame by frame aligned. Beside them lie the sketches of
what a model learns to play (mix and rests), and the beats, frame by frame.

    <out>/latents/<id>.safetensors
        mix, stem0, heard0, rest0, stem1, heard1, rest1   (64, T) int8, each with a `.scale` (64,)
        mix.sketch.*, rest0.sketch.*, rest1.sketch.*      a few bytes a frame (`pack_sketch`)
        beats, bpm                                         (T,) position in beats, and tempo

Notebook: 01_sound_to_latents.
"""

import json
import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.checkpoints import write
from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_RATE, Codec
from lmdm_mini.conditioning.sketch import pack_sketch, sketch
from lmdm_mini.corpus.captions import rest_captions
from lmdm_mini.corpus.data import load_manifest, read_stems
from lmdm_mini.corpus.piece import STEMS
from lmdm_mini.corpus.rooms import draw_microphone, heard

VERSION = "2"  # raise it when files should be made anew though the encoder is the same
PAIRS = 2  # of a piece


def latent_path(entry: dict) -> Path:
    """Returns the path of the latents of a piece (an entry of the manifest)."""
    return Path(entry["folder"]) / "latents" / f"{entry['id']}.safetensors"


def draw_pairs(playing: list[str], rng: random.Random) -> list[tuple[str, ...]]:
    """Draws which stems are the input of each of a piece's pairs, from those that play, in the order of
    `STEMS`. Something is always left to play; a piece of a single stem has no pairs."""
    playing = [stem for stem in STEMS if stem in playing]
    drawn: list[tuple[str, ...]] = []
    for _ in range(PAIRS if len(playing) > 1 else 0):
        count = 1 if rng.random() < 0.6 else rng.randint(1, len(playing) - 1)
        for _ in range(8):  # rather another pair than the same again
            chosen = rng.sample(playing, count)
            pair = tuple(stem for stem in playing if stem in chosen)
            if pair not in drawn:
                break
        drawn.append(pair)
    return drawn


def quantised(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Returns latents (64, T) in 8 bits and the scale (64,) of each channel.

    A quantisation step is a 32nd of the usual standard deviation, a tenth of the noise that the codec was
    trained with.
    """
    scale = (latents.abs().amax(1) / 127).clamp_min(1e-6)
    return (latents / scale[:, None]).round().to(torch.int8).contiguous(), scale


def beats_of(entry: dict, frames: int) -> tuple[Tensor, Tensor]:
    """Returns the position of every frame's middle in beats, and the tempo there: (T,) float32 each.

    They follow the beats that the piece's description lists, and go on at its tempo after the last of them.
    """
    middles = (np.arange(frames) + 0.5) / LATENT_RATE
    times = np.asarray(entry.get("beat_times") or [0.0], dtype=np.float64)
    usual = 60 / entry["bpm"]
    more = int(max(0, middles[-1] - times[-1]) / usual) + 2
    times = np.concatenate([times, times[-1] + usual * np.arange(1, more + 1)])
    position = np.interp(middles, times, np.arange(len(times)))
    position -= np.maximum(0, times[0] - middles) / usual  # before the first beat
    lengths = np.diff(times)[np.clip(np.searchsorted(times, middles) - 1, 0, len(times) - 2)]
    return torch.from_numpy(position).float(), torch.from_numpy(60 / lengths).float()


def _encoded(name: str, audio: Tensor, codec: Codec) -> dict[str, Tensor]:
    values, scale = quantised(codec.encode(audio[None])[0])
    return {name: values, f"{name}.scale": scale}


def _sketched(name: str, audio: Tensor) -> dict[str, Tensor]:
    return {f"{name}.sketch.{key}": x for key, x in pack_sketch(sketch(audio)).items()}


def encode_piece(entry: dict, codec: Codec) -> None:
    """Encodes one piece and writes its file, whole or not at all.

    Raises ValueError if a stem is longer or shorter than the others (the file of stems is not of one piece).
    """
    stems = read_stems(entry)  # (4, 2, n)
    mix = stems.sum(0)
    tensors = _encoded("mix", mix, codec) | _sketched("mix", mix)
    rng, pairs = random.Random(f"{entry['recipe']} pairs"), []
    for number, names in enumerate(draw_pairs(list(entry["instruments"]), rng)):
        stem = stems[[STEMS.index(name) for name in names]].sum(0)
        microphone = torch.from_numpy(heard(stem.numpy(), draw_microphone(rng)))
        tensors |= _encoded(f"stem{number}", stem, codec) | _encoded(f"heard{number}", microphone, codec)
        rest = mix - stem
        tensors |= _encoded(f"rest{number}", rest, codec) | _sketched(f"rest{number}", rest)
        pairs.append({"stems": names, "captions": rest_captions(entry, names, rng)})
    tensors["beats"], tensors["bpm"] = beats_of(entry, -(-mix.shape[-1] // FRAME_SAMPLES))
    about = {"codec": codec.fingerprint, "version": VERSION, "recipe": entry["recipe"]}
    latent_path(entry).parent.mkdir(parents=True, exist_ok=True)
    write(latent_path(entry), tensors, "latents", pairs=pairs, **about)


def _finished(entry: dict, fingerprint: str) -> bool:
    path = latent_path(entry)
    if not path.is_file():
        return False
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata() or {}
    wanted = {"codec": fingerprint, "version": VERSION, "recipe": entry["recipe"]}
    return all(about.get(key) == value for key, value in wanted.items())


_codec: Codec  # of a worker


def _start_worker(codec: Codec) -> None:
    global _codec
    _codec = codec
    torch.set_num_threads(1)


def _work(entry: dict) -> None:
    encode_piece(entry, _codec)


def encode_corpus(out, codec: Codec, *, workers: int = 1) -> int:
    """Encodes every piece in folder `out` that is not encoded yet; returns the number of pieces encoded.

    workers: processes of one thread each, which is nearly twice as fast on two cores as one process of two
    threads; 1 is this process.
    """
    todo = [e for e in load_manifest(out)["pieces"] if not _finished(e, codec.fingerprint)]
    if workers <= 1 or len(todo) < workers:
        for entry in tqdm(todo, desc="encoding"):
            encode_piece(entry, codec)
    else:
        with ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), _start_worker, (codec,)
        ) as pool:
            for _ in tqdm(pool.map(_work, todo), desc="encoding", total=len(todo)):
                pass
    return len(todo)


def read_latents(entry: dict, fingerprint: str) -> tuple[dict[str, Tensor], list[dict]]:
    """Reads the file of a piece: its tensors, mapped from the disk until they are used, and its pairs.

    Raises FileNotFoundError if it was not made, ValueError if another encoder made it.
    """
    path = latent_path(entry)
    hint = f"run `python -m lmdm_mini corpus encode --out {entry['folder']}`"
    if not path.is_file():
        raise FileNotFoundError(f"no latents at {path}: {hint}.")
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata() or {}
    if about.get("codec") != fingerprint or about.get("version") != VERSION:
        made_by = f"encoder {about.get('codec')}, not by {fingerprint}"
        if about.get("codec") == fingerprint:
            made_by = "an older version of this program"
        raise ValueError(f"{path.name} was made by {made_by}: {hint} to make it anew.")
    return load_file(str(path)), json.loads(about["pairs"])
