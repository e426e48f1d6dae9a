"""Consistency distillation: a live model learns to jump to the music in one step, with guidance built in.

A teacher walks from noise to music in many small steps. Two neighbouring points of its walk lead to the same
music. So the student at the noisier point learns to say what its own average says at the next point, which
the frozen teacher reaches in one Euler step. At the last level that next point is music already, and the
chain of answers hangs from it. Afterwards one jump from anywhere is a good guess, and two are enough to play.

The teacher is guided, with strengths that are drawn for every item and given to the student as two numbers
in the modulation of its targets. The student never runs a second branch, and keeps both sliders.

Notebook: 09_arc_forcing (planned). Paper: section 3.3.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lmdm_mini.checkpoints import CHECKPOINTS, read, save_model
from lmdm_mini.codec.codec import load_codec
from lmdm_mini.conditioning.conditions import stack_conditions
from lmdm_mini.diffusion.batches import FlowBatch, draw_block_causal
from lmdm_mini.diffusion.distil import DISTIL_BLOCKS
from lmdm_mini.diffusion.dit import DiT, DiTConfig, load_dit
from lmdm_mini.diffusion.flow import noised_sample, schedule
from lmdm_mini.latents.packed import find_latents
from lmdm_mini.latents.windows import LatentSet, validation_set
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.training.run import Run, Schedule, TrainSettings, make_fabric

LEVELS = 24  # steps of the teacher's walk from noise to music
HUBER = 0.03  # errors below this count by their square, larger ones by their size
STRONGEST = 4.0  # guidance that is drawn in training, at most
USUAL = 2.0
# how the models of both stages play, unless asked otherwise; kept among the facts of their files
PLAY = {"steps": 2, "sampler": "pingpong", "cfg_scale": USUAL, "sketch_scale": 1.0}


# -- strengths of guidance ---------------------------------------------------------------------------------


def with_strengths(model: DiT) -> DiT:
    """Returns a copy of a model that takes strengths of guidance as an input. It is closed at first, so the
    copy gives the same velocities, whatever the strengths are."""
    controls = model.config.controls
    if "strengths" not in controls:
        controls = (*controls, "strengths")
    made = DiT(replace(model.config, controls=controls))
    missing, unexpected = made.load_state_dict(model.state_dict(), strict=False)
    assert not unexpected and set(missing) <= {"strengths_in.weight"}
    if hasattr(model, "codec"):
        object.__setattr__(made, "codec", model.codec)
    return made.train(model.training)


def draw_strengths(size: int, controls: tuple[str, ...], generator: torch.Generator) -> Tensor:
    """Draws strengths of guidance of text and sketch, (size, 2): their logarithms evenly from 1 to STRONGEST.
    A model without a sketch has strength 1 there."""
    strengths = STRONGEST ** torch.rand(size, 2, generator=generator)
    if "sketch" not in controls:
        strengths[:, 1] = 1.0
    return strengths


# -- the loss ----------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """Noisy blocks of B stretches, each somewhere on the teacher's walk.

    batch: stretches as copies [clean | noisy]; its own noise levels are not used. places: (B, n), where each
    of the n noisy blocks is, from 0 (noise) to LEVELS - 1 (one step from music). strengths: (B, 2), guidance
    of text and sketch.
    """

    batch: FlowBatch
    places: Tensor
    strengths: Tensor

    def map(self, function: Callable) -> "Walk":
        """The same with `function` applied to every tensor."""
        batch = self.batch.part(slice(None), function)
        return Walk(batch, function(self.places), function(self.strengths))

    def levels(self, further: int = 0) -> Tensor:
        """Returns the noise levels of all frames, (B, S), so many steps further on. Context is at 0."""
        levels = schedule(LEVELS).to(self.places.device)[self.places + further]
        levels = levels.repeat_interleave(self.batch.block, 1)
        context = self.batch.x0.shape[-1] - levels.shape[1]
        return torch.cat([levels.new_zeros(len(levels), context), levels], 1)

    def here(self) -> Tensor:
        """Returns the frames with the noise of their places, (B, 64, S)."""
        return noised_sample(self.batch.x0, self.levels(), self.batch.noise).x_t


def draw_walk(
    data: LatentSet, batch: int, config: DiTConfig, rng: random.Random, generator: torch.Generator
) -> Walk:
    """Draws about `batch` // 4 stretches with 8 noisy blocks each, their places, and strengths of
    guidance."""
    drawn = draw_block_causal(data, batch, config, rng, generator, count=DISTIL_BLOCKS)
    noisy = int((1 - drawn.context_mask[0]).sum())
    places = torch.randint(LEVELS, (len(drawn.x0), noisy // drawn.block), generator=generator)
    return Walk(drawn, places, draw_strengths(len(drawn.x0), config.controls, generator))


@torch.no_grad()
def guided_velocity(teacher: DiT, x: Tensor, t: Tensor, walk: Walk) -> Tensor:
    """Returns the teacher's velocities (B, 64, S) at the strengths of a walk, with all branches in one pass.

    x: (B, 64, S). t: (B, S), noise levels. The branch without a prompt keeps stem and sketch, and the one
    without a sketch keeps the stem.
    """
    batch = walk.batch
    given = replace(batch.conditions, strengths=None)
    branches = [given, given.without_text()]
    if given.sketch is not None:
        branches.append(branches[-1].without_sketch())
    count, mask = len(branches), batch.attention_mask
    with fast_autocast(x.device.type):
        v = teacher(
            x.repeat(count, 1, 1),
            t.repeat(count, 1),
            stack_conditions(branches),
            batch.context_mask.repeat(count, 1),
            positions=batch.positions,
            attention_mask=None if mask is None else mask.repeat(count, 1, 1, 1),
        )
    everything, sketched, *rest = v.chunk(count)
    plain = rest[0] if rest else sketched
    of_text, of_sketch = walk.strengths[:, :1, None], walk.strengths[:, 1:, None]
    return plain + of_sketch * (sketched - plain) + of_text * (everything - sketched)


def estimate(model, x: Tensor, t: Tensor, walk: Walk) -> Tensor:
    """Returns where a model jumps to from x (B, 64, S) at levels t (B, S): its x0, (B, 64, S)."""
    batch = walk.batch
    with fast_autocast(x.device.type):
        v = model(
            x,
            t,
            replace(batch.conditions, strengths=walk.strengths),
            batch.context_mask,
            positions=batch.positions,
            attention_mask=batch.attention_mask,
        )
    return x - t[:, None] * v


def distance(made: Tensor, goal: Tensor, batch: FlowBatch) -> Tensor:
    """Returns the pseudo-Huber distance of each item, (B,), of (B, 64, S), with the weights of the flow loss:
    the square of small errors and the size of large ones, smoothly joined."""
    error = ((made - goal).square() + HUBER**2).sqrt() - HUBER
    return (error.mean(1) * batch.weight).sum(1) / batch.weight.sum(1).clamp_min(1)


def consistency_loss(student, average: DiT, teacher: DiT, walk: Walk) -> Tensor:
    """Returns the distance of each item, (B,), between the student's x0 and the goal: the average's x0 one
    step of the teacher further on.

    average: the student with averaged weights. At the last place the step ends at level 0, where the
    average's x0 is its input, so the goal is what the teacher says itself.
    """
    t, t_next, x = walk.levels(), walk.levels(1), walk.here()
    with torch.no_grad():
        v = guided_velocity(teacher, x, t, walk)
        goal = estimate(average, x + (t_next - t)[:, None] * v, t_next, walk)
    return distance(estimate(student, x, t, walk), goal, walk.batch)


@torch.no_grad()
def teachers_end(teacher: DiT, walk: Walk) -> Tensor:
    """Returns where the teacher's whole walk from the noise of a batch ends: (B, 64, S)."""
    walk = replace(walk, places=torch.zeros_like(walk.places))
    x = walk.here()
    for place in range(LEVELS):
        t, t_next = walk.levels(place), walk.levels(place + 1)
        x = x + (t_next - t)[:, None] * guided_velocity(teacher, x, t, walk)
    return x


# -- the loop ----------------------------------------------------------------------------------------------


def check_variant(name: str) -> None:
    """Raises ValueError for variants that cannot be made to play in few steps yet."""
    if name != "block_causal":
        later = "comes later: its context states change with every block" if name == "enc_dec" else "is none"
        raise ValueError(f"few steps are for block_causal so far; {name}+arc {later}.")


def variant_of(path: Path) -> str:
    """Returns the variant that a file of weights is of. Raises FileNotFoundError or ValueError."""
    _, _, about = read(path, "model")
    return json.loads(about.get("config", "{}")).get("variant", "")


def find_live(out: Path) -> DiT:
    """Loads the `block_causal` model that was trained in folder `out`, else the shipped one, and prints
    which."""
    path = out / "block_causal.safetensors"
    live = load_dit("block_causal", path if path.is_file() else None)
    print(f"the teacher is {path if path.is_file() else CHECKPOINTS / path.name}")
    return live


class Draws:
    """Random numbers of a training that depend on seed and step alone, so that a run that was interrupted
    goes on as if it had not been."""

    def __init__(self, seed: int, data: LatentSet):
        self.seed, self.data = seed, data
        self.rng, self.generator = random.Random(), torch.Generator()

    def at(self, step: int) -> tuple[random.Random, torch.Generator]:
        """Begins step number `step`: returns its random numbers, and seeds those of the data."""
        for part, rng in enumerate((self.rng, self.data.rng)):
            rng.seed(f"{self.seed} {step} {part}")
        for generator in (self.generator, self.data.generator):
            generator.manual_seed(self.data.rng.getrandbits(60))
        return self.rng, self.generator


def train_consistency(settings: TrainSettings, variant: str = "block_causal") -> Path:
    """Distils the live model in folder `settings.out`, or the shipped one, into one that plays in two steps;
    returns its weights' path. Goes on where it stopped.

    Prompts are never empty, so that guidance has something to guide. The log's `valid_teacher` is the
    distance between one jump from noise and the end of the teacher's whole walk. Raises ValueError for
    another variant.
    """
    check_variant(variant)
    torch.manual_seed(settings.seed)
    fabric, seed = make_fabric(settings.accelerator), settings.seed
    if fabric.world_size > 1:
        raise ValueError("consistency distillation runs in one process: start it without torchrun.")
    teacher, codec = find_live(settings.out), load_codec()
    student = with_strengths(teacher).train().requires_grad_(True)
    if settings.compiled:
        student.compile(dynamic=True)
    teacher.to(fabric.device)
    about = {"codec": codec.fingerprint, "config": str(student.config), "batch": str(settings.batch)}
    every = max(1, min(50, settings.steps // 9))
    plan = Schedule(
        settings.steps, settings.lr, min(20, settings.steps // 10), last=0.1, ema=0.99, check_every=every
    )
    folder = settings.out / "consistency"
    run = Run(folder, student, plan, fabric=fabric, about=about | {"seed": str(seed)})
    data = LatentSet(find_latents(settings.corpus, "train", codec.fingerprint), seed, empty=0.0)
    held_out = validation_set(find_latents(settings.corpus, "valid", codec.fingerprint))
    held_out.empty = 0.0
    check = draw_walk(held_out, 8, student.config, *Draws(7, held_out).at(0)).map(fabric.to_device)
    check.places, check.strengths = check.places * 0, torch.full_like(check.strengths, USUAL)
    end = teachers_end(teacher, check)

    def validate() -> dict[str, Tensor]:
        with torch.no_grad():
            made = estimate(run.average, check.here(), check.levels(), check)
        return {"teacher": distance(made, end, check.batch).mean()}

    path = folder.with_suffix(".safetensors")

    def write_weights() -> None:
        facts = {"steps": run.step, "minutes": round(run.seconds / 60), "seed": seed, "play": PLAY}
        facts["start"] = teacher.facts
        save_model(run.average, path, variant, codec_fingerprint=codec.fingerprint, **facts)

    run.after_save = write_weights
    draws = Draws(seed, data)
    for step in run.loop():
        walk = draw_walk(data, settings.batch, student.config, *draws.at(step)).map(fabric.to_device)
        loss = consistency_loss(run.forward, run.average, teacher, walk)
        run.update({"consistency": loss.mean()}, validate)
    return path
