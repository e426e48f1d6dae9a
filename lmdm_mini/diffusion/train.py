"""Training models of latents: the loss, what a live model learns from the base, and one loop for every
variant.

The base learns the velocity of the data. A live variant starts from the base, and learns what the base itself
says when it outpaints (`base_velocity`). For the velocity of the data is mostly chance, since nobody can know
which music was under the noise; the base has learnt the mean of what could have been, and what is left to
learn is the difference that the masks make.

Notebooks: 02_rectified_flow, 04_reparameterization, 06_block_causal. Paper: sections 3.1 and 3.2.
"""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lmdm_mini.checkpoints import save_model
from lmdm_mini.codec.codec import load_codec
from lmdm_mini.diffusion.batches import DRAWS, FlowBatch
from lmdm_mini.diffusion.distil import DISTIL_BLOCKS, base_velocity
from lmdm_mini.diffusion.dit import DiT, DiTConfig, live_model, load_dit
from lmdm_mini.diffusion.flow import noised_sample
from lmdm_mini.latents.packed import find_latents
from lmdm_mini.latents.windows import LatentSet, validation_set
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.training.run import Run, make_fabric

LEARN = ("distil", "from_data", "scratch")


def flow_loss(model, batch: FlowBatch) -> Tensor:
    """Mean squared error of the velocity where it weighs, item by item: (B,). Equation 1 of the paper, on
    target frames."""
    sample = noised_sample(batch.x0, batch.levels, batch.noise)
    with fast_autocast(batch.x0.device.type):
        v = model(
            sample.x_t,
            batch.t,
            batch.text,
            batch.context_mask,
            positions=batch.positions,
            attention_mask=batch.attention_mask,
            beats=batch.beats,
        )
    return ((v - (sample.v if batch.v is None else batch.v)).square().mean(1) * batch.weight).sum(
        1
    ) / batch.weight.sum(1).clamp_min(1)


# -- the loop ----------------------------------------------------------------------------------------


def find_base(out: Path) -> DiT:
    """The base that was trained in folder `out`, if there is one, else the shipped one; says which."""
    path = out / "bidirectional.safetensors"
    base = load_dit("bidirectional", path if path.is_file() else None)
    print(
        f"from the base in {path if path.is_file() else 'data/checkpoints'}, {base.facts.get('steps')} steps"
    )
    return base


def train_model(
    out: Path,
    corpus: Path,
    variant: str,
    steps: int,
    batch: int,
    lr: float,
    seed: int = 0,
    learn: str = "distil",
    config: DiTConfig | None = None,
    accelerator: str = "auto",
    compiled: bool = True,
    splices: bool = True,
    start: Path | None = None,
) -> Path:
    """Trains a variant, or goes on where it stopped; returns its weights' path.

    Trains on the latents of the corpus in folder `corpus` if there are any, else on the set in
    ``data/latents``. batch: windows a step in all, however many processes share them. Every process draws the
    whole batch and takes its part, so that their number changes nothing but the pace. learn: how live
    variants do, "distil": from the base (`find_base`), and what it says (:func:`base_velocity`); or to see
    what that is worth, "from_data": from the base, but the velocity of the data; or "scratch": that from
    nothing. config: of a model that starts from nothing. compiled: with torch.compile, which takes a few
    minutes at the start and saves a sixth of every step. splices: whether live variants also practise
    contexts from another piece than the target, which is what a change of the prompt sounds like. start:
    weights of this variant to go on from, with new optimisers. Raises ValueError for another way to learn.
    """
    if learn not in LEARN:
        raise ValueError(f"learn is {learn!r}; there are: {', '.join(LEARN)}.")
    torch.manual_seed(seed)
    fabric = make_fabric(accelerator)
    if fabric.world_size > 1 and batch % (4 * fabric.world_size):
        raise ValueError(
            f"--batch is {batch}; for {fabric.world_size} processes it must be a multiple of {4 * fabric.world_size}."
        )
    codec = load_codec()
    live = variant != "bidirectional"
    distil = live and learn == "distil"
    base = find_base(out) if distil or live and learn == "from_data" and not start else None
    model = (
        load_dit(variant, start)
        if start
        else live_model(base, variant)
        if base
        else DiT(config or DiTConfig(variant=variant))
    )
    model.train()
    model.requires_grad_(True)
    for door in (model.input_in, model.sketch_in):  # closed until their chapters
        door.requires_grad_(False)
    if compiled:
        model.compile(dynamic=True)
    name = variant + ("" if splices else "_no_splices") + (f"_{learn}" if live and not distil else "")
    run = Run(
        out / name,
        model,
        steps=steps,
        lr=lr,
        warmup=min(200, steps // 10),
        ema=0.999,
        check_every=max(20, min(200, steps // 10)),
        matrices="layers.",
        fabric=fabric,
        about={
            "codec": codec.fingerprint,
            "config": str(model.config),
            "batch": str(batch),
            "seed": str(seed),
        },
    )
    data = LatentSet(find_latents(corpus, "train", codec.fingerprint), seed + run.step)
    check_set = validation_set(find_latents(corpus, "valid", codec.fingerprint))
    draw, window = partial(DRAWS[variant], splices=splices) if live else DRAWS[variant], model.config.window
    fixed = random.Random(7), torch.Generator().manual_seed(7)
    checks = {
        "flow": [
            DRAWS[variant](check_set, 16, window, *fixed).part(slice(None), fabric.to_device)
            for _ in range(4)
        ]
    }
    if distil:
        base.to(fabric.device)
        draw = partial(draw, count=DISTIL_BLOCKS) if variant == "block_causal" else draw
        checks["base"] = [replace(batch, v=base_velocity(base, batch)) for batch in checks["flow"]]
    rng, generator = random.Random(seed + run.step), torch.Generator().manual_seed(seed + run.step)

    def validate() -> dict[str, Tensor]:
        with torch.no_grad():
            return {
                name: torch.stack([flow_loss(run.average, batch).mean() for batch in some]).mean()
                for name, some in checks.items()
            }

    for _ in run.loop():
        mine = draw(data, batch, window, rng, generator).part(
            slice(fabric.global_rank, None, fabric.world_size), fabric.to_device
        )
        if distil:
            mine.v = base_velocity(base, mine)
        run.update({"flow": flow_loss(run.forward, mine).mean()}, validate)
    path = run.folder.with_suffix(".safetensors")
    if fabric.global_rank == 0:
        facts = {"steps": run.step, "minutes": round(run.seconds / 60), "seed": seed}
        facts |= ({"base": base.facts} if base else {}) | ({"start": model.facts} if start else {})
        save_model(run.average, path, variant, codec.fingerprint, **facts)
    return path
