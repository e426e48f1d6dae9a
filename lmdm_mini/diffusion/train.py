"""Training models of latents: the loss, what a live model learns from the base, and one loop for every
variant.

The base learns the velocity of the data. A live variant starts from the base and learns the base's own
velocity when it outpaints (`base_velocity`). The velocity of the data is a noisy target, because many pieces
of music fit the same noisy input. The base has learnt the mean over all of them, so only the difference that
the masks make is left to learn.

Notebooks: 02_rectified_flow, 04_reparameterization, 06_block_causal. Paper: sections 3.1 and 3.2.
"""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lmdm_mini.checkpoints import CHECKPOINTS, save_model
from lmdm_mini.codec.codec import load_codec
from lmdm_mini.diffusion.batches import DRAWS, FlowBatch
from lmdm_mini.diffusion.distil import DISTIL_BLOCKS, base_velocity
from lmdm_mini.diffusion.dit import BASE, DiT, DiTConfig, live_model, load_dit
from lmdm_mini.diffusion.flow import noised_sample
from lmdm_mini.latents.packed import find_latents
from lmdm_mini.latents.windows import LatentSet, validation_set
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.training.run import Run, Schedule, TrainSettings, make_fabric

LEARN = ("distil", "from_data", "scratch")


def flow_loss(model, batch: FlowBatch) -> Tensor:
    """Returns the weighted mean squared error of the velocity of each item: (B,). This is equation 1 of the
    paper, on target frames."""
    sample = noised_sample(batch.x0, batch.levels, batch.noise)
    places = {"positions": batch.positions, "attention_mask": batch.attention_mask}
    with fast_autocast(batch.x0.device.type):
        v = model(sample.x_t, batch.t, batch.conditions, batch.context_mask, **places)
    error = (v - (sample.v if batch.v is None else batch.v)).square().mean(1) * batch.weight
    return error.sum(1) / batch.weight.sum(1).clamp_min(1)


# -- the loop ----------------------------------------------------------------------------------------


def find_base(out: Path) -> DiT:
    """Loads the base that was trained in folder `out`, else the shipped one, and prints which."""
    path = out / "bidirectional.safetensors"
    base = load_dit("bidirectional", path if path.is_file() else None)
    print(f"from the base in {path if path.is_file() else CHECKPOINTS}, {base.facts.get('steps')} steps")
    return base


def train_model(
    settings: TrainSettings,
    variant: str,
    *,
    learn: str = "distil",
    config: DiTConfig | None = None,
    splices: bool = True,
    start: Path | None = None,
) -> Path:
    """Trains a variant, or goes on where it stopped; returns its weights' path. The averaged weights are
    written there whenever the run is saved, so that they can be judged on the way.

    Trains on the latents of the corpus in folder `settings.corpus` if there are any, else on the set in
    ``data/latents``. Every process draws the whole batch and takes its part, so their number changes only
    the speed.

    learn: how a live variant is trained. "distil" starts from the base (`find_base`) and learns its
    velocities (:func:`base_velocity`). Two others serve as comparisons: "from_data" starts from the base and
    learns the velocity of the data, "scratch" does so from random weights. config: of a model that starts
    from random weights. splices: whether some contexts come from another piece than the target, as after a
    change of the prompt. start: weights of this variant to go on from, with new optimisers.
    Raises ValueError for another way to learn.
    """
    if learn not in LEARN:
        raise ValueError(f"learn is {learn!r}; there are: {', '.join(LEARN)}.")
    if variant not in DRAWS:
        raise ValueError(f"variant is {variant!r}; there are: {', '.join(DRAWS)}.")
    torch.manual_seed(settings.seed)
    fabric, batch, seed = make_fabric(settings.accelerator), settings.batch, settings.seed
    if fabric.world_size > 1 and batch % (4 * fabric.world_size):
        raise ValueError(
            f"--batch is {batch}; for {fabric.world_size} processes it must be a multiple of "
            f"{4 * fabric.world_size}."
        )
    codec = load_codec()
    live = variant != "bidirectional"
    distil = live and learn == "distil"
    base = find_base(settings.out) if distil or live and learn == "from_data" and not start else None
    if start:
        model = load_dit(variant, start)
    elif base:
        model = live_model(base, variant)
    else:
        model = DiT(replace(config or BASE, variant=variant))
    model.train()
    model.requires_grad_(True)
    if settings.compiled:
        model.compile(dynamic=True)
    name = variant + ("" if splices else "_no_splices") + (f"_{learn}" if live and not distil else "")
    about = {"codec": codec.fingerprint, "config": str(model.config), "batch": str(batch), "seed": str(seed)}
    every = max(20, min(200, settings.steps // 10))
    plan = Schedule(settings.steps, settings.lr, min(200, settings.steps // 10), ema=0.999, check_every=every)
    run = Run(settings.out / name, model, plan, matrices="layers.", fabric=fabric, about=about)
    data = LatentSet(find_latents(settings.corpus, "train", codec.fingerprint), seed + run.step)
    check_set = validation_set(find_latents(settings.corpus, "valid", codec.fingerprint))
    draw = partial(DRAWS[variant], splices=splices) if live else DRAWS[variant]
    fixed = random.Random(7), torch.Generator().manual_seed(7)
    some = {"flow": [DRAWS[variant](check_set, 16, model.config, *fixed, controls=False) for _ in range(4)]}
    if model.config.controls:
        some["controls"] = [DRAWS[variant](check_set, 16, model.config, *fixed) for _ in range(4)]
    checks = {
        name: [one.part(slice(None), fabric.to_device) for one in batches] for name, batches in some.items()
    }
    teacher = base if distil else None
    if teacher is not None:
        teacher.to(fabric.device)
        draw = partial(draw, count=DISTIL_BLOCKS) if model.variant.across_blocks else draw
        taught = checks.get("controls", checks["flow"])
        checks["base"] = [replace(one, v=base_velocity(teacher, one)) for one in taught]
    rng, generator = random.Random(seed + run.step), torch.Generator().manual_seed(seed + run.step)

    def validate() -> dict[str, Tensor]:
        losses = {}
        with torch.no_grad():
            for name, batches in checks.items():
                losses[name] = torch.stack([flow_loss(run.average, one).mean() for one in batches]).mean()
        return losses

    path = run.folder.with_suffix(".safetensors")

    def write_weights() -> None:
        facts = {"steps": run.step, "minutes": round(run.seconds / 60), "seed": seed}
        facts |= ({"base": base.facts} if base else {}) | ({"start": model.facts} if start else {})
        save_model(run.average, path, variant, codec_fingerprint=codec.fingerprint, **facts)

    run.after_save = write_weights
    rows = slice(fabric.global_rank, None, fabric.world_size)
    for _ in run.loop():
        mine = draw(data, batch, model.config, rng, generator).part(rows, fabric.to_device)
        if teacher is not None:
            mine.v = base_velocity(teacher, mine)
        run.update({"flow": flow_loss(run.forward, mine).mean()}, validate)
    return path
