"""What is loaded late and once, from whichever thread asks first."""

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R", covariant=True)

# One lock for all: a library may load parts of itself late, too, and two threads that make it do so at the
# same time can find it half loaded.
_LOADING = threading.RLock()


def _in_child() -> None:
    """A forked process has no thread that could give the lock back."""
    global _LOADING
    _LOADING = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class LoadedOnce(Protocol[P, R]):
    """A function of :func:`loaded_once`. It takes its arguments by position."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R: ...

    def cache_clear(self) -> None: ...


def loaded_once(load: Callable[P, R]) -> LoadedOnce[P, R]:
    """A function that does its work at the first call with some arguments and gives the same object ever
    after. Threads that call it meanwhile wait. `cache_clear()` forgets what it gave."""
    kept: dict[tuple, object] = {}

    @wraps(load)
    def once(*args):
        if args not in kept:
            with _LOADING:
                if args not in kept:
                    # pyrefly: ignore[invalid-param-spec]  # there are no arguments by name
                    kept[args] = load(*args)
        return kept[args]

    once.cache_clear = kept.clear
    return cast(LoadedOnce[P, R], once)
