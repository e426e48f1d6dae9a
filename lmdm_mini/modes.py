"""How torch is set while music is made, whatever a notebook or a library has set before: no gradient, no autocast, and
float32 where nothing else is said."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps

import torch
from torch import Tensor


@contextmanager
def in_float32() -> Iterator[None]:
    """Inside the block, torch makes float32 where no type is named; it can also be put before a function."""
    usual = torch.get_default_dtype()
    if usual == torch.float32:
        yield
        return
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


@contextmanager
def playing(device: str = "cpu") -> Iterator[None]:
    """Inside the block, torch is in inference mode, without autocast on `device` ("cpu", "cuda"), and makes float32."""
    with in_float32(), torch.inference_mode(), torch.autocast(device, enabled=False):
        yield


def quickly(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that runs as :func:`playing`, but whose result is a plain tensor: it may be changed, and trained on."""

    @wraps(function)
    def call(*args, **kwargs):
        with playing():
            made = function(*args, **kwargs)
        return made.clone()

    return call
