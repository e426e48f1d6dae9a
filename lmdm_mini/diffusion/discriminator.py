"""The discriminator of ARC-Forcing, and what it and the generator learn from each other.

It is the base, cut after two thirds of its layers, with a small head: the base already knows what music is
under noise, and which music goes with a prompt. It is given context and music with noise added, real and made
at the same level and with the *same* noise, so that nothing but the music differs. It gives a score to every
24 frames, about a second.

Losses compare scores, and never ask for a value: real music should score higher than what was made for the
same prompt (relativistic), and real music with its own prompt higher than with another's (contrastive). The
scores should not change where the music hardly does (approximate R1 and R2): without that, the discriminator
learns rounding errors and the generator nothing.

Notebook: 09_arc_forcing (planned). Paper: section 3.3.
"""

import random
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.conditioning.conditions import Conditions, stack_conditions
from lmdm_mini.diffusion.dit import CONTROLS, DiT
from lmdm_mini.diffusion.flow import noised_sample
from lmdm_mini.training.precision import fast_autocast

WINDOW_FRAMES = 24  # latent frames that get one score
LAYERS = 2 / 3  # share of the base's layers
SMOOTHNESS = 20.0  # weight of R1 and R2
NUDGE = 0.1  # size of the change under which scores should stay
LEVEL_MEAN, LEVEL_DEVIATION = -1.2, 1.0  # of the noise level before a sigmoid: .23 in the middle


class Discriminator(nn.Module):
    """Scores music: (B, 64, T) noisy frames to (B, n), one score for each 24 of the last frames.

    base: the bidirectional model that its layers are copied from; all of them learn.
    """

    def __init__(self, base: DiT):
        super().__init__()
        if base.variant.caches:
            raise ValueError(f"the discriminator starts from the base, not from {base.config.variant}.")
        self.body = DiT(base.config)
        self.body.load_state_dict(base.state_dict())
        self.body.layers = self.body.layers[: max(1, round(LAYERS * len(base.layers)))]
        del self.body.last_norm, self.body.frames_out  # the velocity is not asked for
        width = base.config.width
        self.norm = nn.LayerNorm(width)
        self.neighbours = nn.Conv1d(width, width, 5, padding=2, groups=width)
        last = nn.Linear(width, 1)
        self.score = nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def rates(self, body: float, head: float) -> dict[float, list[nn.Parameter]]:
        """Returns the parameters of body and head by their learning rates."""
        parts = {body: [self.body], head: [self.norm, self.neighbours, self.score]}
        return {rate: [p for part in some for p in part.parameters()] for rate, some in parts.items()}

    def given(self, conditions: Conditions) -> Conditions:
        """Returns conditions without the controls that the base was not trained with, strengths of guidance
        among them: they say nothing about music."""
        absent: dict = dict.fromkeys(name for name in CONTROLS if name not in self.body.config.controls)
        return replace(conditions, **absent)

    def forward(self, x: Tensor, t: Tensor, conditions: Conditions, *, seen: Tensor, judged: int) -> Tensor:
        """Returns scores (B, judged / 24) of the last `judged` frames.

        x: (B, 64, T), context and music with noise added. t: (B,), its level. conditions: of all T frames.
        seen: (B, T), False on frames that nothing may depend on.
        """
        mask = seen[:, None, None] | torch.eye(x.shape[-1], dtype=torch.bool, device=x.device)
        with fast_autocast(x.device.type):
            h = self.body(
                x, t, self.given(conditions), attention_mask=mask, return_hidden=len(self.body.layers)
            )
            h = self.norm(h) * seen[..., None]
            h = self.neighbours(h.transpose(1, 2))[..., -judged:].transpose(1, 2)
            scores = self.score(h)[..., 0].float()  # (B, judged)
        return scores.unflatten(1, (-1, WINDOW_FRAMES)).mean(-1)


@dataclass
class Pairs:
    """Real music and what was made for the same prompt, B of each.

    real, made: (B, 64, T): context, then music. conditions: of all T frames. seen: (B, T), False on frames
    that belong to another prompt or are missing, in both. judged: frames at the end that are judged.
    """

    real: Tensor
    made: Tensor
    conditions: Conditions
    seen: Tensor
    judged: int


@dataclass
class Noise:
    """What is added before real and made music are scored, the same to both: t (B,), and noise (B, 64, T)."""

    t: Tensor
    noise: Tensor

    def on(self, x: Tensor) -> Tensor:
        """Returns x (B, 64, T) with the noise added."""
        return noised_sample(x, self.t, self.noise).x_t


def draw_noise(like: Tensor, generator: torch.Generator) -> Noise:
    """Draws noise for pairs of the shape of `like`, (B, 64, T), mostly at low levels: under more of it, real
    and made music could not be told apart, and nothing was learned."""
    t = torch.sigmoid(LEVEL_MEAN + LEVEL_DEVIATION * torch.randn(len(like), generator=generator))
    noise = torch.randn(like.shape, generator=generator)
    return Noise(t.to(like.device), noise.to(like.device))


def of_another(conditions: Conditions, rng: random.Random) -> Conditions:
    """Returns conditions in which one kind, drawn among those that there are, is that of the item before:
    the prompt with its clock, the stem, or the sketch."""
    stem, sketch = conditions.stem, conditions.sketch
    kinds = ["text"] + ["stem"] * (stem is not None) + ["sketch"] * (sketch is not None)
    kind = rng.choice(kinds)
    if kind == "stem" and stem is not None:
        rolled = replace(stem, latents=stem.latents.roll(1, 0), present=stem.present.roll(1, 0))
        return replace(conditions, stem=rolled)
    if kind == "sketch" and sketch is not None:
        return replace(conditions, sketch=sketch.map(lambda x: x.roll(1, 0)))
    beats = conditions.beats
    return replace(
        conditions,
        text=conditions.text.map(lambda x: x.roll(1, 0)),
        beats=None if beats is None else beats.roll(1, 0),
    )


def prefers(better: Tensor, worse: Tensor) -> Tensor:
    """Returns the relativistic loss of scores (B, n): small when each of the better ones is well above its
    partner."""
    return F.softplus(worse - better).mean()


def discriminator_loss(
    judge: Discriminator, pairs: Pairs, noise: Noise, *, nudge: Tensor, others: Conditions
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns what the discriminator learns from, and beside that what is worth a look: mean scores of real
    and made music, and the share of windows in which the real one scores higher.

    nudge: (B, 64, T), noise for R1 and R2. others: conditions of :func:`of_another`. All five kinds of
    evidence are scored in one pass.
    """
    real, made = noise.on(pairs.real), noise.on(pairs.made.detach())
    own = judge.given(pairs.conditions)
    scores = judge(
        torch.cat([real, made, real + NUDGE * nudge, made + NUDGE * nudge, real]),
        noise.t.repeat(5),
        stack_conditions([own, own, own, own, judge.given(others)]),
        seen=pairs.seen.repeat(5, 1),
        judged=pairs.judged,
    )
    of_real, of_made, near_real, near_made, mismatched = scores.chunk(5)
    rough = (of_real - near_real).square().mean() + (of_made - near_made).square().mean()
    parts = {
        "pairs": prefers(of_real, of_made),
        "contrast": prefers(of_real, mismatched),
        "smooth": SMOOTHNESS * rough,
    }
    also = {
        "score_real": of_real.mean(),
        "score_made": of_made.mean(),
        "accuracy": ((of_real > of_made).float() + 0.5 * (of_real == of_made)).mean(),
    }
    return parts, also


def generator_loss(judge: Discriminator, pairs: Pairs, noise: Noise) -> Tensor:
    """Returns the generator's loss: small when what it made, `pairs.made` with gradient, scores above its
    real partner."""
    how = {"seen": pairs.seen, "judged": pairs.judged}
    with torch.no_grad():
        of_real = judge(noise.on(pairs.real), noise.t, pairs.conditions, **how)
    return prefers(judge(noise.on(pairs.made), noise.t, pairs.conditions, **how), of_real)
