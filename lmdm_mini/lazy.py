"""What is loaded late and once, from whichever thread asks first."""

import threading
from collections.abc import Callable
from functools import wraps

# One lock for all: a library may load parts of itself late, too, and two threads that make it do so at the
# same time can find it half loaded.
_LOADING = threading.RLock()


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
