"""The engine in its own process: it answers, refuses, fails aloud, and does not outlive us."""

import time

import numpy as np
import pytest

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live.process import EngineProcess

FAST = {"steps": 2, "cfg_scale": 1.0, "prompt": "house"}


def wait_for(process: EngineProcess, kind: str, seconds: float = 120.0) -> tuple:
    """The next event of a kind; fails on an error that was not asked for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in process.events(timeout=0.2):
            if event[0] == kind:
                return event
            assert event[0] not in ("error", "closed"), event
    raise AssertionError(f"no {kind!r} in {seconds:g} s")


@pytest.fixture(scope="module")
def process():
    with EngineProcess(lead_seconds=0.35, **FAST) as process:
        assert wait_for(process, "ready")[1] > 0
        yield process
    assert not process.process.is_alive()


def test_it_keeps_its_lead_hears_and_obeys(process):
    process.start()
    first = wait_for(process, "block")[1]
    assert first.number == 0 and first.audio.shape == (2, first.samples) and first.audio.dtype == np.float32
    time.sleep(1.0)
    more = process.events(0.5)
    assert len(more) == 1 and not process.events(0.5), (
        "nobody has heard the first yet, so there is no need of more than another"
    )
    process.stop()
    process.start()
    blocks, begun, sent = [], None, 0
    process.report(0.0, False)
    process.set(output_level=0.0, block_latents=24)
    while len(blocks) < 8:
        blocks += [event[1] for event in process.events(0.02) if event[0] == "block"]
        begun = time.monotonic() if begun is None and blocks else begun
        if begun is not None:
            heard = time.monotonic() - begun
            process.report(heard, True)
            while sent + 0.05 < heard:
                process.hear(int(sent * SAMPLE_RATE), np.ones((2, 2205), np.float32))
                sent += 0.05
    process.stop()
    assert [block.number for block in blocks] == list(range(8)), "each start begins anew"
    assert blocks[-1].settings.block_latents == 24 and not blocks[-1].audio.any()
    assert blocks[-1].heard_until > SAMPLE_RATE / 2
    made = sum(block.samples for block in blocks) / SAMPLE_RATE
    assert made - (time.monotonic() - begun) < 0.35 + 24 * 2048 / SAMPLE_RATE, "it does not run ahead"


def test_what_cannot_be_played_comes_back(process):
    process.set(steps=0)
    assert "steps is 0" in wait_for(process, "refused", 5)[1]
    process.set(prompt=3)
    assert "prompt" in wait_for(process, "refused", 5)[1]


def test_what_cannot_be_loaded_is_said():
    with EngineProcess("no such model") as process:
        end, found = time.monotonic() + 60, []
        while time.monotonic() < end and "closed" not in [event[0] for event in found]:
            found += process.events(0.2)
    assert found[0][0] == "error" and "no model 'no such model'" in found[0][1]
    process.start()  # nobody is there: no exception
    assert process.events() == [("closed",)]
