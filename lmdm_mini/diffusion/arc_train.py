"""The training loop of ARC-Forcing: a generator and a discriminator learn in turn.

The generator starts from the result of consistency distillation, the discriminator from the base. In each
step the generator plays (`arc.py`); then one of the two learns from it. The discriminator is alone at first,
since nobody can learn from a judge who knows nothing, and takes two steps for each of the generator's later.
The consistency loss stays in with a tenth of its weight: it holds on to what guidance means.

Loss curves say nothing about the music. Judge what is written to the run's folder every ten minutes, and stop
early.

Notebook: 09_arc_forcing (planned). Paper: section 3.3.
"""

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from lmdm_mini.checkpoints import save_model
from lmdm_mini.codec.codec import load_codec
from lmdm_mini.diffusion.arc import (
    SHORTEST,
    draw_performance,
    longest_played,
    one_thread,
    pairs_of,
    perform,
)
from lmdm_mini.diffusion.consistency import (
    PLAY,
    Draws,
    check_variant,
    consistency_loss,
    draw_walk,
    find_live,
    variant_of,
)
from lmdm_mini.diffusion.discriminator import (
    Discriminator,
    discriminator_loss,
    draw_noise,
    generator_loss,
    of_another,
)
from lmdm_mini.diffusion.dit import DiT, load_dit
from lmdm_mini.diffusion.rollout import parallel_pass
from lmdm_mini.diffusion.train import find_base
from lmdm_mini.latents.packed import find_latents
from lmdm_mini.latents.windows import LatentSet
from lmdm_mini.training.duel import Duel, Turns
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.training.run import Schedule, TrainSettings, make_fabric

NAME = "block_causal+arc"
RATES = {"body": 20.0, "head": 200.0}  # of the discriminator, as multiples of the generator's 5e-6
CONSISTENCY = 0.1  # weight of the consistency loss
CONSISTENCY_BATCH = 4  # one stretch: its weight is small
WON, PATIENCE = 0.99, 50  # an accuracy above this, for so many of its steps: the discriminator wins outright


def load_start(path: Path) -> DiT:
    """Loads the result of consistency distillation. Raises FileNotFoundError if it is not there, ValueError
    for what is none."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no consistency model at {path}: ARC-Forcing starts from one. `python -m lmdm_mini train "
            "consistency` makes it, or name one with --start."
        )
    check_variant(variant_of(path))
    model = load_dit("block_causal", path)
    if "strengths" not in model.config.controls:
        raise ValueError(
            f"{path} is no consistency model: it takes no strengths of guidance. `python -m lmdm_mini train "
            "consistency` makes one of it."
        )
    return model


class Watch:
    """Notices a discriminator that wins outright."""

    def __init__(self, folder: Path):
        self.folder, self.won = folder, 0

    def see(self, accuracy: Tensor) -> None:
        """Takes the accuracy of one step. Raises ArithmeticError, saying what to do, after PATIENCE steps in
        which it was above WON."""
        self.won = self.won + 1 if float(accuracy) > WON else 0
        if self.won >= PATIENCE:
            raise ArithmeticError(
                f"the discriminator wins outright: in each of its last {PATIENCE} steps it told real from "
                f"made in more than {WON:.0%} of the windows, so the generator learns nothing from it. Take "
                f"weights of an earlier step from {self.folder}, or delete that folder and begin again with "
                "--each 1 (fewer of its steps), or after a longer `train consistency`."
            )


class Arc(Duel):
    """The run, which also writes the generator's averaged weights whenever it saves, for judging."""

    def __init__(self, *args, turns: Turns, facts: dict, fingerprint: str, **more):
        self.turns, self.facts, self.fingerprint = turns, facts, fingerprint
        self.after_save = self.write_to_judge
        super().__init__(*args, **more)

    @property
    def generator_average(self) -> DiT:
        """The generator with averaged weights."""
        return cast(DiT, self.average["generator"])

    def write_generator(self, path: Path) -> None:
        """Writes the averaged weights. Raises OSError."""
        steps = self.turns.of_generator(self.step)
        facts = {"steps": steps, "minutes": round(self.seconds / 60), "play": PLAY} | self.facts
        save_model(self.generator_average, path, NAME, codec_fingerprint=self.fingerprint, **facts)

    def write_to_judge(self) -> None:
        """Writes them into the run's folder, under the number of the generator's steps."""
        if steps := self.turns.of_generator(self.step):
            self.write_generator(self.folder / f"step{steps:05d}.safetensors")


def train_arc(
    settings: TrainSettings, *, start: Path | None = None, longest: int = SHORTEST, turns: Turns | None = None
) -> Path:
    """Trains `block_causal+arc`, or goes on where it stopped; returns its weights' path.

    settings: `steps` are the generator's, `batch` are streams that play together, `lr` is the generator's.
    start: the result of consistency distillation (None: that in folder `settings.out`). longest: stretches of
    48 frames that are played, at most; at least 8, all of which are judged then. turns: who learns when.
    Raises ValueError or FileNotFoundError for what cannot be trained, ArithmeticError when it fails.
    """
    if settings.batch < 2:
        raise ValueError(f"--batch is {settings.batch}; at least 2 streams are needed, to contrast prompts.")
    if longest < SHORTEST:
        raise ValueError(f"--longest is {longest}; it must be at least {SHORTEST}, the part that is judged.")
    turns = turns or Turns()
    generator = load_start(start or settings.out / "consistency.safetensors")
    base, teacher = find_base(settings.out), find_live(settings.out)
    torch.manual_seed(settings.seed)
    fabric, codec = make_fabric(settings.accelerator), load_codec()
    if fabric.world_size > 1:
        raise ValueError("ARC-Forcing runs in one process: start it without torchrun.")
    same = teacher.config.granule, {*teacher.config.controls, "strengths"}
    if (generator.config.granule, set(generator.config.controls)) != same:
        raise ValueError(
            f"the consistency model has granules of {generator.config.granule} frames and controls "
            f"{generator.config.controls}, its teacher {teacher.config.granule} and "
            f"{teacher.config.controls}: both must come from one block_causal model. Run `train consistency` "
            "again."
        )
    judge = Discriminator(base)
    generator.train().requires_grad_(True)
    total = turns.total(settings.steps)
    plan = Schedule(total, settings.lr, 20, last=1.0, ema=0.99, check_every=max(1, min(30, total // 10)))
    kept = {"codec": codec.fingerprint, "config": str(generator.config), "batch": settings.batch}
    kept |= {"seed": settings.seed, "turns": turns}
    run = Arc(
        settings.out / NAME,
        generator,
        judge,
        plan,
        turns=turns,
        facts={"seed": settings.seed, "base": base.facts, "start": generator.facts},
        fingerprint=codec.fingerprint,
        rates=judge.rates(**RATES),
        fabric=fabric,
        about={name: str(value) for name, value in kept.items()},
    )
    names = ("pairs", "contrast", "smooth", "score_real", "score_made", "accuracy", "norm_discriminator")
    run.expect(*names, "fooled", "consistency", "norm_generator")
    data = LatentSet(find_latents(settings.corpus, "train", codec.fingerprint), settings.seed, empty=0.0)
    print(f"roll-outs of {SHORTEST} to {longest_played(data, longest)} stretches of 48 frames, then judged")
    draws, watch = Draws(settings.seed, data), Watch(run.folder)
    teacher.to(fabric.device)

    for step in run.loop():
        rng, numbers = draws.at(step)
        drawn = draw_performance(data, settings.batch, generator.config, rng, numbers, longest=longest)
        drawn = drawn.to(fabric.device)
        with one_thread():
            rollout, given = perform(generator, drawn, numbers)
        who = turns.of(step)
        judge.requires_grad_(who == "discriminator")
        if who == "discriminator":
            pairs = pairs_of(drawn, rollout, rollout.made)
            nudge = torch.randn(pairs.real.shape, generator=numbers).to(fabric.device)
            others = of_another(pairs.conditions, rng)
            noise = draw_noise(pairs.real, numbers)
            parts, also = discriminator_loss(judge, pairs, noise, nudge=nudge, others=others)
            run.learn(who, parts, also)
            if step >= turns.alone:
                watch.see(also["accuracy"])
        else:
            with fast_autocast(fabric.device.type):
                made = parallel_pass(generator, rollout, given)
            pairs = pairs_of(drawn, rollout, made)
            fooled = generator_loss(judge, pairs, draw_noise(pairs.real, numbers))
            walk = draw_walk(data, CONSISTENCY_BATCH, generator.config, rng, numbers).map(fabric.to_device)
            kept_up = consistency_loss(generator, run.generator_average, teacher, walk)
            run.learn(who, {"fooled": fooled, "consistency": CONSISTENCY * kept_up.mean()})
    path = settings.out / f"{NAME}.safetensors"
    run.write_generator(path)
    return path
