"""Machines and live music systems of the real world, by their public figures: what
:mod:`lmdm_mini.complexity.roofline` predicts without having them.

Peak figures are what a data sheet promises for half precision without sparsity. How many rows it takes to
reach half of the peak is our estimate, as is the time that an operation costs at least: about 5 µs to launch
a kernel from Python.

Notebook: 08_complexity_lab. Paper: table 1.
"""

from dataclasses import dataclass

from lmdm_mini.complexity.counts import Pass, block_passes
from lmdm_mini.complexity.roofline import Machine, predict, saturating
from lmdm_mini.diffusion.dit import DiTConfig
from lmdm_mini.discrete.lmm import LMMConfig

MACHINES = {
    machine.name: machine
    for machine in (
        # 24 multiprocessors, 11.6 TFLOPS in single precision on its shaders; its tensor cores do twice that
        # in half precision when they add up in single precision; 128 bit of GDDR6 at 16 Gbit/s (as GPU data
        # bases list it)
        Machine(
            "gaming laptop (RTX 4060)",
            saturating(23e12, 64),
            saturating(8e12, 64),
            256e9,
            256e9,
            5e-6,
            2,
            "public figures",
        ),
        # Apple A17 Pro: six GPU cores of 128 lanes at 1.4 GHz, 2.15 TFLOPS; LPDDR5 at 6,400 MT/s, 64 bit
        # (Apple names neither; figures of reviews)
        Machine(
            "phone (A17 Pro)",
            saturating(2.15e12, 16),
            saturating(1e12, 16),
            51e9,
            51e9,
            10e-6,
            2,
            "public figures",
        ),
        # NVIDIA's data sheet of the SXM version: 989 TFLOPS in bfloat16, dense; 3.35 TB/s
        Machine(
            "data centre (H100)",
            saturating(989e12, 512),
            saturating(300e12, 512),
            3.35e12,
            3.35e12,
            5e-6,
            2,
            "public figures",
        ),
    )
}


@dataclass(frozen=True)
class System:
    """A live music system of the real size, as a configuration of ours."""

    name: str
    config: DiTConfig | LMMConfig
    context_latents: int
    block_latents: int
    steps: int = 1
    guided: bool = False
    frame_rate: float = 44100 / 2048
    # a discrete model that never reads its context again: keys and values of the frames it made are there
    keeps_context: bool = False
    million_parameters: float = 0  # as published

    @property
    def block_seconds(self) -> float:
        return self.block_latents / self.frame_rate

    def passes(self, tokens: int = 65) -> list[Pass]:
        """Of one block, without the codec, which is another one there. tokens: 64 of a prompt, and the learnt
        one."""
        passes = block_passes(
            self.config,
            self.context_latents,
            self.block_latents,
            steps=self.steps,
            tokens=tokens,
            guided=self.guided,
        )
        return [p for p in passes if p.part != "codec" and not (self.keeps_context and p.part == "context")]

    def seconds(self, machine: Machine) -> float:
        """Predicted for a block."""
        return sum(predict(self.passes(), machine).values())


def _lmdm(variant: str, steps: int, guided: bool) -> System:
    """On Stable Audio Open Small, whose public configuration says width 1024, depth 16, 8 heads, and a gated
    feed-forward of four times the width. Its text has 768 channels and ours 384: most of what is missing to
    340 M."""
    name = {"enc_dec": "LMDM ED", "block_causal": "LMDM BC"}[variant] + ("" if guided else "+ARC")
    config = DiTConfig(width=1024, depth=16, heads=8, expansion=4.0, variant=variant)
    return System(name, config, 192, 48, steps, guided, million_parameters=340)


# Width, depth and heads of Magenta RealTime 2 are those of its public code (magenta_rt/config.py: 12 codes of
# 1,024 entries a frame, 25 frames a second, and in each layer 41 frames or 25 to look back at). Its
# feed-forwards are not gated; ours are narrower, so that the parameters are as many. Of the first one, T5
# gives the width; its layers are chosen so that there are 800 M.
REAL_SYSTEMS = {
    system.name: system
    for system in (
        _lmdm("enc_dec", 50, True),
        _lmdm("enc_dec", 8, False),
        _lmdm("block_causal", 50, True),
        _lmdm("block_causal", 2, False),
        System(
            "Magenta RealTime",
            LMMConfig(16, 4, 1024, 1024, 16, 24, 24, 1024, 16, 4, 2.75),
            250,
            50,
            1,
            True,
            25.0,
            False,
            800,
        ),
        System(
            "Magenta RealTime 2 small",
            LMMConfig(12, 4, 1024, 1024, 8, 0, 12, 768, 6, 2, 8 / 3),
            41,
            1,
            1,
            True,
            25.0,
            True,
            230,
        ),
        System(
            "Magenta RealTime 2 base",
            LMMConfig(12, 4, 1024, 3072, 24, 0, 20, 1024, 8, 6, 1.42),
            25,
            1,
            1,
            True,
            25.0,
            True,
            2400,
        ),
    )
}


@dataclass(frozen=True)
class Published:
    """A measured latency of the paper's table 1. The machine is the authors'."""

    name: str
    evaluations: int  # NFE as they count them: a guided step once, every code once
    seconds: float  # TTFF


PUBLISHED = (
    Published("Magenta RealTime", 800, 4.0),
    Published("Stable Audio Open", 100, 10.35),
    Published("MusicGen-L", 2400, 10.8),
    Published("LMDM ED", 50, 0.11),
    Published("LMDM ED+ARC", 8, 0.03),
    Published("LMDM BC", 50, 0.17),
    Published("LMDM BC+ARC", 2, 0.02),
)
