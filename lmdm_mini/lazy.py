"""What is loaded late and once, from whichever thread asks first."""

import os
import threading
from collections.abc import Callable
from functools import wraps

# One lock for all: a library may load parts of itself late, too, and two threads that make it do so at the
# same time can find it half loaded.
_LOADING = threading.RLock()


def _in_child() -> None:
    """A forked process has no thread that could give the lock back."""
    global _LOADING
    _LOADING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def loaded_once(load: Callable) -> Callable:
    """A function that does its work at the first call with some arguments and gives the same object ever
    after. Threads that call it meanwhile wait. `cache_clear()` forgets what it gave."""
    kept: dict[tuple, object] = {}

    @wraps(load)
    def once(*args):
        if args not in kept:
            with _LOADING:
                if args not in kept:
                    kept[args] = load(*args)
        return kept[args]

    once.cache_clear = kept.clear
    return once
