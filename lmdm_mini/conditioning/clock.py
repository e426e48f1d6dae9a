"""The clock: positions of frames in beats and bars, and the tempo, as features for the network.

Notebook: 02_rectified_flow.
"""

import math

import torch
from torch import Tensor

from lmdm_mini.codec.codec import LATENT_RATE


def frames_to_beats(frames: Tensor, bpm: Tensor | float) -> Tensor:
    """Where the middles of latent frames are, in beats, if frame 0 begins on one."""
    return (frames + 0.5) / LATENT_RATE * bpm / 60


TEMPO_CHANNELS = 32


CLOCK_PERIODS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 4.0)  # beats


def clock_features(beats: Tensor) -> Tensor:
    """Where in the beat and the bar places are, as sines and cosines: (...,) -> (..., 12)."""
    phase = 2 * math.pi * beats[..., None] / torch.tensor(CLOCK_PERIODS, device=beats.device)
    return torch.cat([phase.cos(), phase.sin()], -1)


def tempo_features(bpm: Tensor) -> Tensor:
    """Fourier features of tempi on a scale of octaves: (...,) -> (..., 32). Half and double tempo are
    neighbours."""
    octaves = torch.log2(bpm.clamp_min(1.0) / 60)
    angles = (
        2
        * math.pi
        * octaves[..., None]
        * torch.tensor([1 / 8, 1 / 4, 1 / 2, *range(1, 14)], device=bpm.device)
    )
    return torch.cat([angles.cos(), angles.sin()], -1)
