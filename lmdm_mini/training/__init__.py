"""The training loop that all trainings share, the precision that is fast here, and the Muon optimiser.

`Run` is loaded on first use: it needs Lightning, which takes seconds.
"""

from lmdm_mini.training.precision import fast_autocast, fast_dtype


def __getattr__(name: str):
    if name in ("Run", "Schedule", "TrainSettings", "make_fabric"):
        from lmdm_mini.training import run

        return getattr(run, name)
    raise AttributeError(f"module 'lmdm_mini.training' has no attribute {name!r}")
