"""Guidance of a block: which branches are run, and how their velocities become one.

Notebooks: 02_rectified_flow, 10_sketch_control (planned).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from lmdm_mini.conditioning.conditions import Conditions, stack_conditions
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.streaming import guide, is_guided


@dataclass
class Sampling:
    """How a block is denoised.

    steps: denoising steps. cfg_scale: guidance of the prompt, 1 = none. sampler: see :func:`find_sampler`.
    sketch_scale: guidance of the sketch, 1 = none.
    """

    steps: int = 8
    cfg_scale: float = 2.0
    sampler: str = "euler"
    sketch_scale: float = 1.0


Combine = Callable[
    [Tensor], Tensor
]  # velocities of all branches, (G B, 64, T), to those that are followed, (B, 64, T)


def branches_of(model: DiT, conditions: Conditions, how: Sampling) -> tuple[Conditions, Combine]:
    """Returns the conditions of all branches of guidance, (G B rows), and the function that combines their
    velocities.

    A model that takes strengths of guidance as an input needs one branch. Guidance of prompt and sketch needs
    three: with both, without the prompt, and without either.
    """
    if "strengths" in model.config.controls:
        strengths = conditions.text.bpm.new_tensor([how.cfg_scale, how.sketch_scale]).expand(
            len(conditions), 2
        )
        return replace(conditions, strengths=strengths), lambda v: v
    text = is_guided(conditions.text, how.cfg_scale)
    sketch = conditions.sketch is not None and how.sketch_scale != 1.0
    if not text and not sketch:
        return conditions, lambda v: v
    if text and not sketch:
        both = [conditions, conditions.without_text()]
        return stack_conditions(both), lambda v: guide(v, how.cfg_scale)
    if not text:
        both = [conditions, conditions.without_sketch()]
        return stack_conditions(both), lambda v: guide(v, how.sketch_scale)
    plain = conditions.without_text()

    def combine(v: Tensor) -> Tensor:
        everything, sketched, nothing = v.chunk(3)
        return nothing + how.sketch_scale * (sketched - nothing) + how.cfg_scale * (everything - sketched)

    return stack_conditions([conditions, plain, plain.without_sketch()]), combine
