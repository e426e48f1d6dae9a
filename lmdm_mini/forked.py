"""Processes that are forked from one in which torch has worked.

torch keeps a pool of threads. A forked child inherits the pool but not its threads, and the first large
operation would wait for them for ever. So a child gets one thread, which needs no pool, as torch gives the
workers of its own DataLoader. Sound is then made as usual, with a warning that says what is better: workers
that are started afresh.
"""

import os
import sys
import warnings

_warn = False  # whether this process is a forked child that has not been warned yet


def _in_child() -> None:
    global _warn
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        _warn = True


def warn_if_forked() -> None:
    """Warns, once a process, that it was forked and works with one thread."""
    global _warn
    if _warn:
        _warn = False
        warnings.warn(
            "this process was forked from one that had loaded torch, so it works with one thread. "
            'Start workers with multiprocessing.get_context("spawn") instead of fork.',
            RuntimeWarning,
            stacklevel=3,
        )


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_in_child)
