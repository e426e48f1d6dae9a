"""What is loaded late is loaded once, whichever threads ask first."""

import subprocess
import sys
import threading
import time

import pytest

from lmdm_mini.lazy import loaded_once

FRESH = """
import threading, warnings
warnings.simplefilter("error")
from lmdm_mini.conditioning.text import encode_text

failed, found, together = [], [], threading.Barrier(4)

def ask(words):
    together.wait()
    try:
        found.append(encode_text([words]))
    except BaseException as error:
        failed.append(repr(error))

threads = [threading.Thread(target=ask, args=(f"funk with slap bass, {n} bpm",)) for n in (90, 100, 110, 120)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failed, failed
assert sorted(float(text.bpm) for text in found) == [90, 100, 110, 120]
print("all four")
"""


@pytest.mark.long
def test_first_prompts_of_a_process_from_four_threads(root):
    done = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "all four" in done.stdout, done.stderr


def test_it_is_loaded_once():
    calls = []

    @loaded_once
    def load(name):
        calls.append(name)
        time.sleep(0.05)
        return object()

    found = []
    threads = [threading.Thread(target=lambda: found.append(load("a"))) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert calls == ["a"] and len(set(map(id, found))) == 1
    assert load("b") is not found[0] and calls == ["a", "b"]
    load.cache_clear()
    assert load("a") is not found[0] and load.__name__ == "load"


def test_a_load_that_fails_is_tried_again():
    tries = []

    @loaded_once
    def load():
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")
        return "there"

    with pytest.raises(OSError, match="not yet"):
        load()
    assert load() == "there"


def test_a_load_may_load_another():
    @loaded_once
    def inner():
        return 1

    @loaded_once
    def outer():
        return inner() + 1

    assert outer() == 2
