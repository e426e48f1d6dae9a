"""The engine in its own process: it answers, refuses, fails aloud, and does not outlive us."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live.engine import FIRST_SECONDS, Engine
from lmdm_mini.live.process import EngineProcess

pytestmark = pytest.mark.long  # each starts a process that loads a model
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
    wait_for(process, "block")
    assert not process.events(0.5), "nobody has heard the first yet, so there is no need of a third"
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
    slowest = max(block.ready - block.asked for block in blocks)
    assert all(block.lead < max(FIRST_SECONDS, 1.5 * slowest) for block in blocks), "it does not run ahead"


def test_what_cannot_be_played_comes_back(process):
    process.set(steps=0)
    assert "steps is 0" in wait_for(process, "refused")[1]
    process.set(prompt=3)
    assert "prompt" in wait_for(process, "refused")[1]


def test_whole_numbers_of_any_type_are_taken_and_others_leave_the_music_alone(process):
    process.start("types")
    wait_for(process, "block")
    process.set(steps=1.0, block_latents=np.int64(24), cfg_scale=np.float32(1), follow=np.bool_(False))
    for wrong in ({"steps": 2.5}, {"steps": "two"}, {"seed": None}, {"mic_level": "loud"}, {"frozen": "yes"}):
        process.set(**wrong)
        refused = wait_for(process, "refused")
        assert f"{next(iter(wrong))} is {next(iter(wrong.values()))!r}" in refused[1]
        assert refused[2].steps == 1 and refused[2].block_latents == 24
    process.report(100.0, True)
    block = wait_for(process, "block")[1]
    assert type(block.settings.steps) is int and block.settings.block_latents == 24
    json.dumps([block.turned, asdict(block.settings)])  # as a recording stores it
    process.stop()
    process.start("again")
    assert wait_for(process, "started")[2] == "again" and wait_for(process, "block")
    process.stop()
    process.set(block_latents=12, steps=2)


def test_what_goes_wrong_in_a_call_ends_the_music_but_not_the_process(process):
    process.start()
    wait_for(process, "block")
    process._send("no such call")  # any exception that nobody foresaw
    end = time.monotonic() + 120
    while "error" not in (kinds := [event[0] for event in process.events(0.2)]):
        assert time.monotonic() < end and "closed" not in kinds
    process.start("again")
    assert wait_for(process, "started")[2] == "again" and wait_for(process, "block")
    process.stop()


def test_a_loaded_model_plays_and_what_is_none_is_refused():
    model = lm.load("block_causal")
    with EngineProcess(model, **FAST) as process:
        wait_for(process, "ready")
        process.start()
        block = wait_for(process, "block")[1]
    alone = Engine(model, **FAST).next_block()
    assert np.abs(block.audio - alone.audio.numpy()).max() < 1e-3
    for wrong in (3, None, torch.nn.Linear(1, 1)):
        with pytest.raises(ValueError, match=f"model is of type {type(wrong).__name__}"):
            EngineProcess(wrong)
    with pytest.raises(ValueError, match="brings its weights along"):
        EngineProcess(model, "weights.safetensors")
    with pytest.raises(ValueError, match="checkpoint is 3"):
        EngineProcess("block_causal", 3)
    with pytest.raises(ValueError, match="seed is 'x'"):
        EngineProcess("block_causal", seed="x")


def test_what_cannot_be_loaded_is_said():
    with EngineProcess("no such model") as process:
        end, found = time.monotonic() + 120, []
        while time.monotonic() < end and "closed" not in [event[0] for event in found]:
            found += process.events(0.2)
    assert found[0][0] == "error" and "no model 'no such model'" in found[0][1]
    process.start()  # nobody is there: no exception
    assert process.events() == [("closed",)]
