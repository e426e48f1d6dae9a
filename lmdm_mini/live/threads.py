"""Threads that say what ended them.

An exception in a thread goes to a log that nobody reads, and whoever waits for the thread waits for ever. So
every thread of the session and its widgets is started here, with somebody to tell.
"""

import sys
import threading
import traceback
from collections.abc import Callable


def sentence_of(error: BaseException) -> str:
    """What went wrong, for somebody who sees no traceback: the message, with the type where that helps."""
    plain = isinstance(error, ValueError | OSError) and str(error)
    return str(error) if plain else f"{type(error).__name__}: {error}"


def start_thread(body: Callable, *args, name: str, report: Callable[[str], None]) -> threading.Thread:
    """Runs ``body(*args)`` in a thread that ends with the program.

    report: is told in a sentence if the thread was ended by an exception; the traceback goes to stderr.
    """

    def run() -> None:
        try:
            body(*args)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            report(f"the thread {name!r} was ended by {type(error).__name__}: {error}")

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
