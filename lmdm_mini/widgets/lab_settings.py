"""Where the sliders of the complexity lab stand, and what follows from that: passes, and predicted seconds.

Notebook: 08_complexity_lab.
"""

from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache

from lmdm_mini.codec.codec import LATENT_RATE
from lmdm_mini.complexity.counts import Pass, block_passes
from lmdm_mini.complexity.roofline import Machine, predict
from lmdm_mini.diffusion.dit import DiTConfig
from lmdm_mini.discrete.lmm import LMMConfig
from lmdm_mini.transformer import BLOCKS
from lmdm_mini.widgets.listen import PALETTE

SYSTEMS = {
    "bidirectional": ("outpainting", "#8C8C8C"),
    "enc_dec": ("enc_dec", "#4C9FBF"),
    "block_causal": ("block_causal", "#8172B3"),
    "lmm": ("discrete (lmm)", "#937860"),
}
PARTS = {
    "text": "#CCB974",
    "context": PALETTE["context"],
    "denoising": PALETTE["target"],
    "temporal": "#EDB183",
    "depth": "#B4632A",
    "codec": PALETTE["noise"],
}
TOKENS = 9  # words of a prompt as cross-attention sees them, of a short sentence
WIDTH = 960
# diffusion models, and a discrete one with as many parameters; the third is the shape of the original
SIZES = {
    "6 M, this book": (DiTConfig(), LMMConfig()),
    "50 M": (DiTConfig(512, 12, 8), LMMConfig(12, 4, 1024, 512, 8, 3, 8, 256, 4, 4)),
    "340 M": (DiTConfig(1024, 16, 8, 4.0), LMMConfig(12, 4, 1024, 1024, 8, 5, 10, 512, 8, 4, 4.0)),
    "2 B": (DiTConfig(2048, 24, 16, 4.0), LMMConfig(12, 4, 1024, 2048, 16, 8, 13, 1024, 16, 8, 4.0)),
}
OURS = next(iter(SIZES))  # they can be played


@dataclass(frozen=True)
class Setting:
    """One place of all sliders. Raises ValueError for what no model can play."""

    context_latents: int = 192
    block_latents: int = 48
    steps: int = 8
    n_q: int = 12
    guided: bool = True
    size: str = OURS
    machine: str = "this machine"

    def __post_init__(self):
        if min(self.block_latents, self.steps, self.n_q) < 1 or self.context_latents < 0:
            raise ValueError(f"{asdict(self)}: block, steps and n_q are at least 1, and context at least 0.")
        if self.size not in SIZES:
            raise ValueError(f"no size {self.size!r}; there are: {', '.join(SIZES)}.")

    @property
    def block_seconds(self) -> float:
        """What a block lasts when it is heard."""
        return self.block_latents / LATENT_RATE

    def played_as(self) -> tuple:
        """What a measurement depends on: all but the machine."""
        return tuple(getattr(self, f.name) for f in fields(self) if f.name != "machine")


def why_not_measured(setting: Setting, here: str, window: int, *, n_q: int) -> str:
    """Why a setting cannot be measured on the machine called `here` with the book's models (window of context
    frames, codes of the quantiser); "" if it can."""
    if setting.machine != here:
        return f"Predicted only: choose the machine “{here}” to measure."
    if setting.size != OURS:
        return f"Predicted only: the models of the book have the size “{OURS}”."
    if setting.block_latents not in BLOCKS:
        sizes = ", ".join(map(str, BLOCKS))
        return (
            f"Predicted only: the live models play blocks of {sizes} frames, not of {setting.block_latents}."
        )
    if setting.context_latents > window:
        return (
            f"Predicted only: the models read at most {window} frames of context, "
            f"not {setting.context_latents}."
        )
    if setting.n_q > n_q:
        return f"Predicted only: the quantiser has {n_q} codebooks, not {setting.n_q}."
    return ""


# -- numbers -----------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _passes(setting: Setting, system: str) -> tuple[Pass, ...]:
    diffusion, discrete = SIZES[setting.size]
    config = (
        replace(discrete, n_q=setting.n_q, context_n_q=min(discrete.context_n_q, setting.n_q))
        if system == "lmm"
        else replace(diffusion, variant=system)
    )
    return tuple(
        block_passes(
            config,
            setting.context_latents,
            setting.block_latents,
            steps=setting.steps,
            tokens=TOKENS,
            guided=setting.guided,
        )
    )


def passes_of(setting: Setting, system: str) -> tuple[Pass, ...]:
    """Of one block of a system once its context is full."""
    return _passes(
        replace(
            setting,
            machine="",
            steps=1 if system == "lmm" else setting.steps,
            n_q=1 if system != "lmm" else setting.n_q,
        ),
        system,
    )


def seconds_of(setting: Setting, system: str, machine: Machine) -> dict[str, float]:
    """Predicted seconds a block, by part."""
    return predict(list(passes_of(setting, system)), machine)


def first_seconds(setting: Setting, system: str, machine: Machine) -> dict[str, float]:
    """The same for the very first block, with nothing before it: until then nothing is heard. (The sentence
    is encoded already.)"""
    passes = [p for p in passes_of(replace(setting, context_latents=0), system) if p.part != "context"]
    return predict(passes, machine)


def first_frame_seconds(setting: Setting, machine: Machine) -> float:
    """When the discrete model could be heard if each frame were decoded at once: after one frame instead of a
    block."""
    return sum(first_seconds(replace(setting, block_latents=1), "lmm", machine).values())
