"""Training the discrete rival: its batches, its loss and its loop.

An item is a context of 192 frames and the 48 frames after it, as codes. All codes of the 48 frames are
learned at once, each given the true codes before it (teacher forcing). The decoder is causal, so it learns
shorter blocks together with the longest. Captions, context dropout and splices are those of the diffusion
models (`latents/windows.py`).

The loss is the mean cross-entropy of all codebooks, in nats per code. A uniform guess costs log 1024 = 6.93.

Notebook: 07_discrete_live_music_models. Source: Lyria Team 2025, "Live Music Models", section 3.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.codec.codec import load_codec
from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.discrete.lmm import LMM, LMMConfig, save_lmm, start_from
from lmdm_mini.discrete.rvq import RVQ, load_rvq
from lmdm_mini.latents.packed import LatentPiece, find_latents
from lmdm_mini.latents.windows import SPLICES, LatentSet, draw_context_dropout, splice, validation_set
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.training.run import Run, Schedule, TrainSettings, make_fabric
from lmdm_mini.transformer import BLOCKS


def as_codes(pieces: list[LatentPiece], rvq: RVQ, n_q: int) -> list[LatentPiece]:
    """Pieces whose latents are codes, (n_q, T): a :class:`lmdm_mini.latents.windows.LatentSet` draws windows
    of either."""
    return [
        replace(piece, latents=rvq.encode(piece.latents.float(), n_q).short())
        for piece in tqdm(pieces, desc="latents to codes", leave=False)
    ]


@dataclass
class CodeBatch:
    """A training batch of B items with S frames each, of which the first `context_latents` are context."""

    codes: Tensor  # (B, n_q, S) int64
    context_latents: int
    conditions: Conditions  # prompts, tempi, and beats (B, S)
    present: Tensor  # (B, context_latents), False where context is missing
    weight: Tensor  # (B, S - context_latents), 0 after the end of a piece

    def part(self, rows: slice, place: Callable) -> "CodeBatch":
        """Returns the items `rows`, with every tensor moved by the function `place`."""
        moved = {name: place(getattr(self, name)[rows]) for name in ("codes", "present", "weight")}
        return replace(self, conditions=self.conditions[rows].map(place), **moved)


def draw_codes(
    data: LatentSet, batch: int, window: int, *, rng: random.Random, splices: float = SPLICES
) -> CodeBatch:
    """Draws `batch` windows of a context and one block."""
    size = window - BLOCKS[-1]  # of the context
    music = data.batch(batch, window)
    windows, _ = splice(music.latents, size, rng, share=splices)
    present = torch.arange(size) >= draw_context_dropout(batch, size, rng)[:, None]
    return CodeBatch(windows.long(), size, music.conditions, present, music.present[:, size:])


def code_loss(model: Callable, batch: CodeBatch) -> Tensor:
    """Returns the cross-entropy of each codebook in nats per code: (n_q,)."""
    size, given = batch.context_latents, batch.conditions
    with fast_autocast(batch.codes.device.type):
        logits = model(
            batch.codes, size, given.text, given.beats, batch.present
        )  # (B, T, n_q, codebook_size)
    target = batch.codes[..., size:].transpose(1, 2)  # (B, T, n_q)
    error = F.cross_entropy(logits.float().flatten(0, 2), target.flatten(), reduction="none").view(
        target.shape
    )
    return (error * batch.weight[..., None]).sum((0, 1)) / batch.weight.sum().clamp_min(1)


def by_group(loss: Tensor) -> dict[str, Tensor]:
    """Returns the losses of codebooks (n_q,) in groups for the log: of all, of the first, and of the second
    to fourth, fifth to eighth, and so on."""
    groups = {"all": loss.mean(), "code_1": loss[0]}
    first = 1
    while first < len(loss):
        last = min(4 * (first // 4 + 1), len(loss))
        groups[f"codes_{first + 1}_{last}" if last - first > 1 else f"code_{last}"] = loss[first:last].mean()
        first = last
    return groups


def find_rvq(out: Path, path: Path | None = None) -> RVQ:
    """Loads the quantiser at `path`, else the one that was trained in folder `out`, else the shipped one, and
    prints which."""
    path = path or (out / "rvq.safetensors" if (out / "rvq.safetensors").is_file() else None)
    rvq = load_rvq(path)
    print(
        f"codes of the quantiser in {path or 'data/checkpoints'}, {rvq.n_q} codebooks, "
        f"{rvq.facts.get('steps')} steps"
    )
    return rvq


def train_lmm(
    settings: TrainSettings,
    *,
    n_q: int | None = None,
    rvq: Path | None = None,
    config: LMMConfig | None = None,
) -> Path:
    """Trains the Live Music Model, or goes on where it stopped; returns its weights' path.

    Data and processes as :func:`lmdm_mini.diffusion.train.train_model`. n_q: codes a frame; None: all that
    the quantiser has. rvq: its checkpoint, see :func:`find_rvq`. config: another shape, instead of n_q.
    """
    torch.manual_seed(settings.seed)
    fabric, batch, seed = make_fabric(settings.accelerator), settings.batch, settings.seed
    if batch % fabric.world_size:
        raise ValueError(
            f"--batch is {batch}; for {fabric.world_size} processes it must be a multiple of "
            f"{fabric.world_size}."
        )
    codec, quantiser = load_codec(), find_rvq(settings.out, rvq)
    n_q = quantiser.n_q if n_q is None else n_q
    model: LMM = start_from(quantiser, config or LMMConfig(n_q=n_q, context_n_q=min(4, max(1, n_q)))).train()
    if settings.compiled:
        model.compile(dynamic=True)
    tenth = max(1, min(200, settings.steps // 10))
    plan = Schedule(settings.steps, settings.lr, tenth, ema=0.999, check_every=tenth)
    matrices = ("encoder.", "temporal.", "context_keys.", "depth.")
    about = {"codec": codec.fingerprint, "rvq": quantiser.fingerprint, "config": str(model.config)}
    about |= {"batch": str(batch), "seed": str(seed)}
    run = Run(settings.out / "lmm", model, plan, matrices=matrices, fabric=fabric, about=about)

    def coded(split: str) -> list[LatentPiece]:
        return as_codes(find_latents(settings.corpus, split, codec.fingerprint), quantiser, model.config.n_q)

    window, fixed = model.config.window, random.Random(7)
    data, check_set = LatentSet(coded("train"), seed + run.step), validation_set(coded("valid"))
    check = [draw_codes(check_set, min(16, batch), window, rng=fixed) for _ in range(4)]
    rng = random.Random(seed + run.step)

    def validate() -> dict[str, Tensor]:
        with torch.no_grad():
            losses = [code_loss(run.average, item.part(slice(None), fabric.to_device)) for item in check]
        return by_group(torch.stack(losses).mean(0))

    rows = slice(fabric.global_rank, None, fabric.world_size)
    for _ in run.loop():
        mine = draw_codes(data, batch, window, rng=rng).part(rows, fabric.to_device)
        run.update({"nats": code_loss(run.forward, mine).mean()}, validate)
    path = run.folder.with_suffix(".safetensors")
    if fabric.global_rank == 0:
        facts = {"steps": run.step, "minutes": round(run.seconds / 60), "seed": seed}
        nats = round(float(validate()["all"]), 3)
        save_lmm(run.average, path, codec.fingerprint, **facts, nats=nats)
    return path
