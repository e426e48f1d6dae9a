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


@pytest.fixture(scope="module")
def learner():
    """A small quantiser that learns."""
    import torch
    from small import latents_of

    from lmdm_mini.discrete.rvq import RVQConfig
    from lmdm_mini.discrete.train_rvq import RVQLearner

    torch.manual_seed(0)
    learner = RVQLearner(RVQConfig(n_q=4, codebook_size=32))
    learner.init_from(latents_of()[0].T)
    return learner.eval()


@pytest.fixture(scope="module")
def quantiser(learner):
    """Its codebooks."""
    return learner.rvq()


@pytest.fixture
def reference():
    """What made-up music scores."""
    from small import make_reference

    return make_reference()
