"""Set-up all tests share: few threads, no network for model files, the same random numbers each time."""

import os

# Before torch is imported anywhere: two threads are what the smallest machine we aim at has, and prompts
# have to work without a network.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(autouse=True)
def same_random_numbers():
    """A test that draws random numbers draws the same ones alone and among others."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_model():
    """A function that makes a small diffusion model of a variant, of which no part is zero: with every path open."""
    import torch

    from lmdm_mini.diffusion.dit import DiT, DiTConfig

    def make(variant: str = "bidirectional", seed: int = 0, **config):
        torch.manual_seed(seed)
        model = DiT(DiTConfig(**{"width": 48, "depth": 3, "heads": 2, "variant": variant} | config)).eval()
        for p in model.parameters():
            p.data += 0.05 * torch.randn_like(p)
        return model

    return make


@pytest.fixture(scope="session")
def words():
    """A function that makes prompts: random tokens, of which the first prompt has fewer, and a tempo for every second one."""
    import math

    import torch

    from lmdm_mini.conditioning import Text

    def make(batch: int, seed: int = 0) -> Text:
        generator = torch.Generator().manual_seed(seed)
        log_weight = torch.zeros(batch, 4)
        log_weight[0, 2:] = -math.inf
        tokens = torch.randn(batch, 4, 384, generator=generator)
        sentence = torch.randn(batch, 384, generator=generator)
        return Text(tokens, log_weight, torch.tensor([90.0, 0.0, 120.0, 0.0])[:batch], sentence)

    return make
