"""Worker processes after music was made: a forked one never hangs, and a spawned one is like any other."""

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
]

SCRIPT = """
import multiprocessing, sys, warnings
import torch
import lmdm_mini as lm
from lmdm_mini.live.recording import to_16_bit

def make(seed):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        audio = lm.generate(lm.load("block_causal"), "house", seconds=0.5, steps=1, seed=seed)
    return float(audio.abs().max()), [str(w.message) for w in caught if "spawn" in str(w.message)]

def plain(_):
    return float(torch.randn(2, 3_000_000).abs().max()) > 3, []

if __name__ == "__main__":
    first, work, method = (*sys.argv[1:],)
    torch.set_num_threads(2)
    print("here", globals()[first](0)[0])
    with multiprocessing.get_context(method).Pool(2) as pool:
        try:
            for value, warned in pool.map_async(globals()[work], [0, 0]).get(100):
                print("child", value, *warned)
        except multiprocessing.TimeoutError:
            print("hangs")
            pool.terminate()
"""


def run(tmp_path, *words: str) -> list[str]:
    (tmp_path / "script.py").write_text(SCRIPT)
    told = subprocess.run(
        [sys.executable, tmp_path / "script.py", *words],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


def test_a_forked_pool_makes_the_same_music_and_says_that_spawn_is_better(tmp_path):
    here, *children = run(tmp_path, "make", "make", "fork")
    assert len(children) == 2 and "hangs" not in children
    assert any('get_context("spawn")' in line for line in children)
    peaks = {float(line.split()[1]) for line in (here, *children)}
    assert max(peaks) - min(peaks) < 1e-4


def test_a_spawned_pool_makes_music_without_a_word(tmp_path):
    here, *children = run(tmp_path, "make", "make", "spawn")
    assert len(children) == 2 and not any("spawn" in line for line in children)


def test_work_that_is_not_ours_does_not_hang_either(tmp_path):
    assert run(tmp_path, "plain", "plain", "fork")[1:] == ["child True", "child True"]
