"""The reference: scores and embeddings of real music, which a model's clips are compared with. It is computed
once from the corpus and shipped.

Clips of the train split give the distribution that Fréchet distances are measured to; clips of valid and test
give the prompts, and the rows of the table that need no model: real music (the floor), the same through the
codec, and shuffled in time. With this file in `data/checkpoints`, any laptop can judge a model without
building the corpus.

Notebook: 02_rectified_flow. Paper: section 4 (metrics).
"""

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor
from tqdm import tqdm

from lmdm_mini import musical
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import CHECKPOINTS, explained, fingerprint, read, write
from lmdm_mini.codec.codec import FRAME_SAMPLES, Codec
from lmdm_mini.conditioning.prompt import parse_bpm
from lmdm_mini.corpus.data import load_manifest, pieces, read_piece
from lmdm_mini.evaluation.judges import FIRST_STYLES, Clap, embed_audio, embed_prompts
from lmdm_mini.evaluation.metrics import frechet_distance
from lmdm_mini.latents.packed import ENDING, LatentPiece

FRAMES = 240  # latent frames of a clip, 11.1 s
RHYTHMIC = ("house", "funk", "lofi", "chiptune")
CREPE_CHANNELS = 64
REFERENCE = CHECKPOINTS / "reference.safetensors"
EMBEDDED = ("train", "train_seconds", "real_seconds")


@lru_cache(maxsize=1)
def _crepe_projection(channels: int) -> Tensor:
    """A fixed random orthogonal map to few dimensions: this many clips could not fill more with a
    covariance."""
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(channels, CREPE_CHANNELS, generator=generator, dtype=torch.float64))[
        0
    ].float()


@torch.inference_mode()
def embed_crepe(audio: Tensor) -> Tensor:
    """Clips (B, 2, N) -> (B, 64): CREPE's last hidden layer, mean and deviation over time, projected."""
    import torchcrepe

    mono = AF.resample(audio.mean(1), SAMPLE_RATE, torchcrepe.SAMPLE_RATE)  # (B, n)
    pooled = []
    for clip in mono:
        states = torchcrepe.embed(
            clip[None], torchcrepe.SAMPLE_RATE, hop_length=1600, model="tiny", batch_size=256
        )[0].flatten(1)
        pooled.append(torch.cat([states.mean(0), states.std(0)]))
    pooled = torch.stack(pooled)
    return pooled @ _crepe_projection(pooled.shape[1])


def embed(clap: Clap, audio: Tensor) -> dict[str, Tensor]:
    """Clips (B, 2, N) in both embeddings."""
    return {"clap": embed_audio(clap, audio), "crepe": embed_crepe(audio)}


def embed_seconds(clap: Clap, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Single seconds of each clip (B, 2, N) of some batches, every other one of the first eight: both
    embeddings, (n, 4, D). With these, roll-outs are compared along their way."""
    found: dict[str, list] = {}
    for audio in batches:
        seconds = audio[..., : 8 * SAMPLE_RATE].split(SAMPLE_RATE, -1)[::2]
        embedded = embed(clap, torch.cat(seconds))  # second after second, of all clips
        for name, values in embedded.items():
            found.setdefault(name, []).append(values.unflatten(0, (len(seconds), -1)).transpose(0, 1))
    return {name: torch.cat(values) for name, values in found.items()}


@torch.inference_mode()
def measure(clap: Clap, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Measures clips, given as batches (B, 2, N).

    Returns both embeddings and the tagger's log-posteriors (n, D), and tempo, beat, key clarity, level and
    silence (n,), see `musical.py`.
    """
    found: dict[str, list] = {}
    for audio in batches:
        measured = embed(clap, audio)
        measured["style"] = clap.style_head(measured["clap"]).log_softmax(-1)
        tempi = torch.tensor([musical.tempo(clip) for clip in audio])
        measured |= {"tempo": tempi[:, 0], "beat": tempi[:, 1]}
        for name in ("key_clarity", "loudness_db", "silence_ratio"):
            measured[name] = torch.tensor([getattr(musical, name)(clip) for clip in audio])
        for name, values in measured.items():
            found.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in found.items()}


def shuffle_time(audio: Tensor, seed: int = 0) -> Tensor:
    """Clips (B, 2, N) with their tenths of a second in random order: the same sounds, no music."""
    generator, size = torch.Generator().manual_seed(seed), SAMPLE_RATE // 10
    parts = audio[..., : audio.shape[-1] // size * size].unflatten(-1, (-1, size))
    return torch.stack(
        [clip[:, torch.randperm(parts.shape[2], generator=generator)] for clip in parts]
    ).flatten(2)


def novelty(latents: Tensor, train: list[LatentPiece], size: int = 48, step: int = 8) -> Tensor:
    """Distance of the middle 2.2 s of each clip (B, 64, T) to the nearest stretch of the training set, (B,).

    Frames are averaged in fours first, so that a copy a little off is still found.
    """

    def pooled(z: Tensor) -> Tensor:
        return F.avg_pool1d(z, 4)

    middle = (latents.shape[-1] - size) // 2
    clips = pooled(latents[..., middle : middle + size])
    nearest = torch.full((len(clips),), float("inf"))
    for piece in train:
        bank = torch.cat(
            [
                pooled(piece.latents.float()[:, i:]).unfold(1, size // 4, step // 4).transpose(0, 1)
                for i in range(0, step, 2)
            ]
        )
        nearest = torch.minimum(nearest, musical.nearest_distance(clips, bank))
    return nearest


# -- the reference -----------------------------------------------------------------------------------


@dataclass
class Reference:
    """What real music scores. Embeddings are (n, D); styles are indices into `styles`, those of the judge."""

    train: dict[str, Tensor]  # clap, crepe
    train_seconds: dict[str, Tensor]  # the same of single seconds, four a clip (n, 4, D), of train ...
    real_seconds: dict[str, Tensor]  # ... and of valid and test
    scale: dict[str, float]  # median FD of two styles, in each
    prompts: list[str]  # what the clips of valid and test are captioned with
    wanted: Tensor  # their styles (n,)
    style: Tensor  # the tagger's log-posteriors of the real clips (n, 8)
    novelty: Tensor  # distance of the real clips to the training set (n,)
    rows: dict[str, dict]  # of the table: real, codec, shuffled
    facts: dict
    styles: tuple[str, ...] = FIRST_STYLES

    def row(self, clap: Clap, measured: dict[str, Tensor]) -> dict:
        """Returns one row of the table. measured: results of :func:`measure` on one clip for each prompt."""
        words = embed_prompts(clap, self.prompts)
        asked = [
            (float(found), parse_bpm(p))
            for found, p, s in zip(measured["tempo"], self.prompts, self.wanted)
            if parse_bpm(p) and self.styles[s] in RHYTHMIC
        ]
        found = measured["style"].argmax(-1)
        row = {f"fd_{name}": frechet_distance(measured[name], self.train[name]) for name in self.train}
        row |= {
            "kl": float((self.style.exp() * (self.style - measured["style"])).sum(-1).mean()),
            "clap_score": float((F.normalize(measured["clap"], dim=-1) * words).sum(-1).mean()),
            "style_right": float((found == self.wanted).float().mean()),
            "styles_missing": [style for i, style in enumerate(self.styles) if not (found == i).any()],
            "tempo_asked": len(asked),
            "tempo_right": sum(musical.same_tempo(*pair) for pair in asked) / len(asked) if asked else None,
        }
        return row | {
            name: float(measured[name].mean())
            for name in ("beat", "key_clarity", "loudness_db", "silence_ratio")
        }


def real_windows(
    corpus, splits: tuple[str, ...], each: int, *, styles: Sequence[str], seed: int = 0
) -> tuple[list[dict], Iterator[Tensor]]:
    """Draws `each` windows of every one of the styles, endings left out. Returns the corpus entries they are
    cut from, and their audio (B, 2, N) in batches."""
    rng, manifest, cuts = random.Random(seed), load_manifest(corpus), []
    for style in styles:
        found = [entry for split in splits for entry in pieces(manifest, split, style)]
        if not found:
            raise ValueError(
                f"the corpus in {corpus} has no piece of {style!r} in {' or '.join(splits)}: build "
                "more hours."
            )
        for i in range(each):
            entry = found[i % len(found)]
            room = entry["samples"] // FRAME_SAMPLES - FRAMES
            cuts.append((entry, rng.randrange(max(1, room - ENDING))))
    seconds = FRAME_SAMPLES / SAMPLE_RATE

    def audio() -> Iterator[Tensor]:
        for i in tqdm(range(0, len(cuts), 16), desc=f"measuring {' and '.join(splits)}"):
            sounds = [
                read_piece(entry, start * seconds, FRAMES * seconds)["mix"]
                for entry, start in cuts[i : i + 16]
            ]
            yield torch.stack(
                [F.pad(sound, (0, FRAMES * FRAME_SAMPLES - sound.shape[1])) for sound in sounds]
            )

    return [entry for entry, _ in cuts], audio()


def style_scale(embeddings: Tensor, styles: Tensor) -> float:
    """Median FD between two real styles: the scale of the distances."""
    parts = [embeddings[styles == i] for i in styles.unique()]
    return float(
        torch.tensor([frechet_distance(a, b) for i, a in enumerate(parts) for b in parts[:i]]).median()
    )


def styles_of(entries: list[dict], styles: Sequence[str]) -> Tensor:
    """Returns the number of each entry's style among `styles`, (n,)."""
    return torch.tensor([styles.index(entry["style"]) for entry in entries])


def build_reference(
    clap: Clap, codec: Codec, corpus, *, train: list[LatentPiece], clips: int = 256, seed: int = 0
) -> Reference:
    """Computes the reference from three times `clips` windows of train, and `clips` of valid and test.

    train: the latents that models are trained on.

    Raises ValueError if `clips` is less than one a style or the corpus lacks one.
    """
    styles = clap.styles
    if clips < len(styles):
        raise ValueError(f"--clips is {clips}; every one of the {len(styles)} styles needs at least one.")
    each = clips // len(styles)
    entries, audio = real_windows(corpus, ("train",), 3 * each, styles=styles, seed=seed)
    parts = [(embed(clap, batch), embed_seconds(clap, [batch])) for batch in audio]
    embedded, train_seconds = (
        {name: torch.cat([part[name] for part in some]) for name in some[0]} for some in zip(*parts)
    )
    scale = {name: style_scale(embedded[name], styles_of(entries, styles)) for name in embedded}
    entries, audio = real_windows(corpus, ("test", "valid"), each, styles=styles, seed=seed)
    rng, batches = random.Random(seed), list(audio)
    latents = [codec.encode(batch) for batch in tqdm(batches, desc="encoding")]
    sets = {
        "real": measure(clap, batches),
        "codec": measure(clap, (codec.decode(z) for z in latents)),
        "real, shuffled in time": measure(clap, (shuffle_time(batch) for batch in batches)),
    }
    prompts = [rng.choice(entry["captions"]["mix"]) for entry in entries]
    facts = {
        "clips": len(prompts),
        "seed": seed,
        "codec": codec.fingerprint,
        "judge": judge_fingerprint(clap),
    }
    reference = Reference(
        embedded,
        train_seconds,
        embed_seconds(clap, batches),
        scale,
        prompts,
        styles_of(entries, styles),
        sets["real"]["style"],
        novelty(torch.cat(latents), train),
        {},
        facts,
        styles,
    )
    reference.rows = {name: reference.row(clap, measured) for name, measured in sets.items()}
    return reference


def judge_fingerprint(clap: Clap) -> str:
    """Twelve hexadecimal digits that change when the judge does."""
    return fingerprint((value for _, value in sorted(clap.state_dict().items())), digits=12)


def save_reference(reference: Reference, path=REFERENCE) -> None:
    """Writes a reference, with embeddings in half precision."""
    tensors = {
        f"{group}.{name}": value.half()
        for group in EMBEDDED
        for name, value in getattr(reference, group).items()
    }
    tensors |= {"wanted": reference.wanted, "style": reference.style, "novelty": reference.novelty}
    about = {name: getattr(reference, name) for name in ("scale", "prompts", "rows", "facts", "styles")}
    write(path, tensors, "reference", **about)


def load_reference(clap: Clap, codec: Codec, path=REFERENCE) -> Reference:
    """Loads the reference. Raises FileNotFoundError or ValueError for a missing or damaged file, or one
    that another judge or codec made."""
    path, tensors, about = read(path, "reference")
    with explained(path, "reference"):
        facts: dict[str, Any] = {
            name: json.loads(about[name]) for name in ("scale", "prompts", "rows", "facts")
        }
        groups: dict[str, Any] = {
            group: {name: tensors[f"{group}.{name}"].float() for name in ("clap", "crepe")}
            for group in EMBEDDED
        }
        reference = Reference(
            **groups, **facts, wanted=tensors["wanted"], style=tensors["style"], novelty=tensors["novelty"]
        )
        reference.styles = tuple(json.loads(about.get("styles", "null")) or FIRST_STYLES)
    made_by = {"codec": codec.fingerprint, "judge": judge_fingerprint(clap)}
    for name, own in made_by.items():
        if reference.facts.get(name) != own:
            raise ValueError(
                f"{path.name} was made with {name} {reference.facts.get(name)}, but the one here is "
                f"{own}: make it "
                "anew with `python -m lmdm_mini evaluate reference`."
            )
    return reference
