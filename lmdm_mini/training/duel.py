"""A run of two networks that learn in turn: a generator, and a discriminator that tells its output from real
music.

It is a :class:`Run` like every other: one folder, one file with everything that is needed to go on, one log.
Only who takes a step is new. `turn` says whose turn a step is, so the order of the steps follows from their
number and a run that was interrupted goes on with the right one.

Notebook: 09_arc_forcing (planned). Paper: section 3.3.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lmdm_mini.training.run import Run, Schedule


@dataclass
class Turns:
    """Who learns when, counted in optimiser steps.

    alone: steps that the discriminator takes first. each: its steps before every step of the generator.
    """

    alone: int = 120
    each: int = 2

    def of(self, step: int) -> str:
        """Returns "generator" or "discriminator": whose turn step number `step` is."""
        after = step - self.alone
        return "generator" if after >= 0 and after % (self.each + 1) == self.each else "discriminator"

    def total(self, steps: int) -> int:
        """Returns how many steps of both there are when the generator takes `steps`."""
        return self.alone + (self.each + 1) * steps

    def of_generator(self, step: int) -> int:
        """Returns how many of the first `step` steps are the generator's."""
        return max(0, step - self.alone) // (self.each + 1)


class Duel(Run[nn.ModuleDict]):
    """A run of a generator and a discriminator, which take turns; constructed and iterated like
    :class:`Run`.

    rates: groups of the discriminator's parameters, by their learning rate as a multiple of the generator's.
    """

    def __init__(
        self,
        folder: Path,
        generator: nn.Module,
        discriminator: nn.Module,
        schedule: Schedule,
        *,
        rates: dict[float, list[nn.Parameter]],
        **more,
    ):
        self.rates = rates
        pair = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        super().__init__(folder, pair, schedule, **more)

    def make_optimizers(self, slow=None, matrices=None) -> list[torch.optim.Optimizer]:
        """AdamW without momentum for both: what the other side does changes from step to step."""
        generator = [{"params": list(self.model["generator"].parameters()), "share": 1.0}]
        discriminator = [{"params": some, "share": share} for share, some in self.rates.items()]
        lr = self.schedule.lr
        return [torch.optim.AdamW(groups, lr=lr, betas=(0.0, 0.98)) for groups in (generator, discriminator)]

    def expect(self, *names: str) -> None:
        """Gives the log a column for each of these numbers, before the first of them is known."""
        self.recent = dict.fromkeys(names, math.nan) | self.recent

    def learn(self, who: str, parts: dict[str, Tensor], also: dict[str, Tensor] | None = None) -> None:
        """One optimiser step of "generator" or "discriminator" on the sum of `parts`.

        also: what the log shows beside them. The average follows the generator's steps.
        """
        norm = self.descend(parts, [self.optimizers[0 if who == "generator" else 1]])
        self.step += 1
        if who == "generator":
            self.averaged.update_parameters(self.model)
        self.note(parts | (also or {}) | {f"norm_{who}": norm})
        self.log_if_due()
