"""The precision that is fast on this machine.

Notebook: 02_rectified_flow.
"""

import math
import time
from functools import lru_cache

import torch


@lru_cache(maxsize=1)
def fast_dtype() -> torch.dtype:
    """bfloat16 where this processor multiplies it faster than float32, else float32: measured, once.

    Processors with bfloat16 units gain a factor of two; without them it is a hundred times slower.
    """

    def seconds(dtype: torch.dtype) -> float:
        a, best = torch.ones(256, 512, dtype=dtype), math.inf
        for _ in range(8):  # the best of some: another program may be busy
            start = time.perf_counter()
            a @ a.T
            best = min(best, time.perf_counter() - start)
        return best

    return torch.bfloat16 if seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32


def fast_autocast(device: str = "cpu") -> torch.autocast:
    """Mixed precision on a graphics card, or where :func:`fast_dtype` says that it pays; else a context that
    does nothing."""
    return torch.autocast(device, torch.bfloat16, enabled=device != "cpu" or fast_dtype() == torch.bfloat16)
