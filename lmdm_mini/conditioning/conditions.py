"""All that a player controls, as one object that every path of a model takes and hands on.

A new control is added here, and where the network takes it in (`diffusion/dit.py`). Nothing between, streams,
caches, roll-outs, batches and losses, names a single control.

Notebooks: 02_rectified_flow (prompt and clock), 10_sketch_control and 11_accompaniment (planned).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lmdm_mini.conditioning.sketch import Sketch
from lmdm_mini.conditioning.stem import Stem
from lmdm_mini.conditioning.text import Text, no_text, stack_texts


@dataclass
class Conditions:
    """What a batch of B targets is conditioned on.

    text: prompts and tempi. beats: (B or 1, T), where frames are in beats; None: the clock starts with
    position 0. stem: what another musician plays; None: nothing. sketch: a melody and a loudness to follow;
    None: none. strengths: (B, 2), guidance of text and of sketch, for models that take it as an input; None:
    no guidance.
    """

    text: Text
    beats: Tensor | None = None
    stem: Stem | None = None
    sketch: Sketch | None = None
    strengths: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text.tokens)

    def __getitem__(self, rows) -> "Conditions":
        return self.map(lambda x: x if len(x) == 1 < len(self) else x[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Conditions":
        """The same with `function` applied to every tensor that has a row an item."""
        given = {"beats": self.beats, "strengths": self.strengths}
        mapped = {name: None if x is None else function(x) for name, x in given.items()}
        stem = None if self.stem is None else self.stem.map(function)
        sketch = None if self.sketch is None else self.sketch.map(function)
        return Conditions(self.text.map(function), stem=stem, sketch=sketch, **mapped)

    def to(self, device) -> "Conditions":
        """The same on another device."""
        moved = self.map(lambda x: x.to(device))
        if moved.stem is not None:
            moved.stem = replace(moved.stem, positions=moved.stem.positions.to(device))
        return moved

    def take(self, frames: Tensor) -> "Conditions":
        """Those of the frames with these numbers (n,): what is given frame by frame is picked. The stem's
        frames stay."""
        stem = self.stem
        if stem is not None and stem.visible.shape[1] > 1:
            stem = replace(stem, visible=stem.visible[:, frames])
        return replace(
            self,
            beats=None if self.beats is None else self.beats[:, frames],
            sketch=None if self.sketch is None else self.sketch.map(lambda x: x[..., frames]),
            stem=stem,
        )

    def without_text(self) -> "Conditions":
        """The same without prompt and tempo."""
        return replace(self, text=no_text(len(self), self.text.tokens.device))

    def without_sketch(self) -> "Conditions":
        """The same without a sketch."""
        return replace(self, sketch=None if self.sketch is None else self.sketch.absent())


def as_conditions(given: "Conditions | Text") -> Conditions:
    """Conditions; of a prompt alone, those with nothing but it."""
    return Conditions(given) if isinstance(given, Text) else given


def stack_conditions(some: list[Conditions]) -> Conditions:
    """Conditions as one batch. They have the same controls, and the same frames."""

    def joined(values: list[Tensor | None]) -> Tensor | None:
        if values[0] is None:
            return None
        return torch.cat([x.expand(len(one), *x.shape[1:]) for x, one in zip(values, some, strict=True)])

    first = some[0]
    stem = sketch = None
    if first.stem is not None:
        parts = [one.stem for one in some]
        names = ("latents", "present", "visible")
        stem = replace(first.stem, **{name: torch.cat([getattr(x, name) for x in parts]) for name in names})
    if first.sketch is not None:
        parts = [one.sketch for one in some]
        sketch = Sketch(*(torch.cat([getattr(x, name) for x in parts]) for name in ("values", "present")))
    return Conditions(
        stack_texts([one.text for one in some]),
        joined([one.beats for one in some]),
        stem,
        sketch,
        joined([one.strengths for one in some]),
    )
