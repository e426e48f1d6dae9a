"""The times of a session, worked out from blocks whose times are known."""

import pytest
import torch

from lmdm_mini.__main__ import main
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.live.bench import LiveTimes, live_lines
from lmdm_mini.live.engine import JamBlock, Settings


def block(number: int, heard_until: float, prompt: str) -> JamBlock:
    """A block of half a second, made in 0.1 s."""
    samples = SAMPLE_RATE // 2
    return JamBlock(
        torch.zeros(2, 0),
        number,
        number * samples,
        samples,
        number * 0.5,
        number * 0.5 + 0.1,
        {"network": 0.1},
        int(heard_until * SAMPLE_RATE),
        torch.zeros(2, 0),
        [],
        0.3,
        120.0,
        False,
        Settings(prompt=prompt),
    )


def test_delays_are_counted_at_the_ear():
    times = LiveTimes(
        1.0, 0.2, [block(0, 0, "a"), block(1, 0, "a"), block(2, 0.1, "b"), block(3, 0.2, "b")], [(0.7, "b")]
    )
    assert times.answers() == pytest.approx(
        [1.0, 0.95, 1.4, 1.35]
    )  # block 2 begins at 1.0 s, block 3 at 1.5 s
    assert times.turns() == pytest.approx([0.3])
    lines = "\n".join(live_lines(times))
    assert (
        "real-time factor 0.20" in lines and "worst 1.40 s" in lines and "ran out of sound 0 times" in lines
    )


def test_a_session_of_no_length_is_refused(capsys):
    assert main(["bench", "live", "--seconds", "0"]) == 2
    assert "--seconds is 0.0" in capsys.readouterr().err
