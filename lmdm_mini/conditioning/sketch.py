"""Sketch control: a melody and a loudness to follow, frame by frame.

A sketch acts on targets only. Pitch and loudness have a flag of their own in every frame, so either can be missing
anywhere: absent values are zero, and the flag says that the zero means nothing.

Notebook: 10_sketch_control (planned). Paper: section 3.4.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SEMITONES = 84  # from C1 up
LOUDNESSES = 4  # a latent frame: one of each STFT frame
SKETCH_CHANNELS = SEMITONES + LOUDNESSES


@dataclass
class Sketch:
    """Sketches of a batch.

    values: (B, 88, T), salience of 84 semitones from C1 up, then four loudnesses. present: (B, 2, T), 1 where there is
    a pitch, and where there is a loudness.
    """

    values: Tensor
    present: Tensor

    def __getitem__(self, rows) -> "Sketch":
        return Sketch(self.values[rows], self.present[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Sketch":
        """The same with `function` applied to every tensor."""
        return Sketch(function(self.values), function(self.present))

    def absent(self) -> "Sketch":
        """The same shape, with nothing in it: the branch of guidance that has no sketch."""
        return self.map(torch.zeros_like)

    def features(self) -> Tensor:
        """As the model's door takes it, (B, T, 90): values where they are present, then the flags."""
        pitch, loudness = self.values.split((SEMITONES, LOUDNESSES), 1)
        kept = [pitch * self.present[:, :1], loudness * self.present[:, 1:], self.present]
        return torch.cat(kept, 1).transpose(1, 2)
