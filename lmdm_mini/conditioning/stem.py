"""The input stem: what another musician plays, as a second stream of clean latent frames.

Stem frames enter the same network through an input projection of their own, and share positions with the
frames of the music. A granule of the stem attends to itself and to the STEM_LOOK_BACK frames of stem before
it, and to nothing else, so its keys and values are computed once, like all that is clean. How much of it a
target may attend to is its **visibility**: a target that begins at frame p attends to stem frames before p +
v, where v runs from -43 frames (two seconds late) to the target's length + 43 (two seconds ahead). That is a
mask on target queries, so changing it recomputes nothing.

Notebook: 11_accompaniment (planned). Paper: section 3.5 (t_f).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEM_LOOK_BACK = (
    96  # frames of stem before its granule that a stem frame attends to, and before what is visible, a target
)
MAX_VISIBILITY = 43  # frames, 2 s: so far ahead of a target's end, or behind its beginning, visibility may be


@dataclass
class Stem:
    """Input stems of a batch.

    latents: (B, 64, S). present: (B, S), True where there is a stem. positions: (S,), places in time, shared
    with the frames of the music. visible: (B, 1 or T, 2): each frame of the music may attend to stem frames
    from the first of these positions on, up to the second, which is excluded (:func:`visible_stem`).
    """

    latents: Tensor
    present: Tensor
    positions: Tensor
    visible: Tensor

    def __getitem__(self, rows) -> "Stem":
        return Stem(self.latents[rows], self.present[rows], self.positions, self.visible[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Stem":
        """The same with `function` applied to every tensor that has a row an item."""
        return Stem(function(self.latents), function(self.present), self.positions, function(self.visible))

    def absent(self) -> "Stem":
        """The same without any frame: the branch of guidance that has no stem."""
        return Stem(self.latents, torch.zeros_like(self.present), self.positions, self.visible)


def visible_stem(begins: Tensor, visibility: Tensor, granule: int) -> Tensor:
    """Returns the range of stem positions that targets attend to, (B, T, 2).

    It ends at the target's beginning plus the visibility, or at the last granule that is complete by then,
    because frames of one granule know of each other. It starts STEM_LOOK_BACK frames before the target's
    beginning, or before its own end if that is earlier.

    begins: (T,) or (B, T), where the target of each frame begins. visibility: (B,) in frames.
    """
    v = visibility[:, None]
    begins = begins.expand(len(v), -1)
    end = (begins + v) // granule * granule
    return torch.stack([begins + v.clamp_max(0) - STEM_LOOK_BACK, end], -1)


def stem_mask(stem: Stem, granule: int) -> Tensor:
    """Returns the mask among stem frames, (B, S, S). Only an absent frame itself attends to it."""
    place = stem.positions
    begins = (place // granule * granule)[:, None]
    near = (place < begins + granule) & (place >= begins - STEM_LOOK_BACK)
    return near & stem.present[:, None] | torch.eye(len(place), dtype=torch.bool, device=place.device)


def sees_stem(visible: Tensor, positions: Tensor, present: Tensor) -> Tensor:
    """Returns which stem frames each frame of the music attends to: (B, 1 or T, S).

    visible: (B, 1 or T, 2). positions: (S,) or (B, S). present: (B, S).
    """
    positions = positions.expand(present.shape)[:, None]
    return (positions >= visible[..., :1]) & (positions < visible[..., 1:]) & present[:, None]
