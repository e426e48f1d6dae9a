"""Whether the player is heard, judged: the table cannot be won by a model that hears nothing."""

import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.__main__ import main
from lmdm_mini.evaluation.hearing import _agreement, judge_hearing, recordings


def test_a_model_that_is_deaf_agrees_with_all_alike():
    sounds = recordings(3, 12.0)
    assert len(sounds) == 3 and all(sound.shape == (2, round(12 * 44100 / 2048) * 2048) for sound in sounds)
    table = judge_hearing(lm.load("block_causal"), sounds, steps=2, mic_level=0.0)
    assert table["chroma"].keys() == {"heard", "others", "effect", "more_often"}
    assert abs(table["chroma"]["heard"] - table["chroma"]["others"]) < 0.5


def test_agreement_is_that_of_the_diagonal():
    found = _agreement(torch.eye(4) + 0.1 * torch.arange(4)[:, None])
    assert (
        found["heard"] - found["others"] == pytest.approx(1.0)
        and found["effect"] > 100
        and found["more_often"] == 1.0
    )


@pytest.mark.parametrize(
    ("option", "value", "complaint"), [("--clips", "2", "at least 3"), ("--seconds", "4", "at least 15")]
)
def test_what_cannot_be_judged_is_refused(option, value, complaint, capsys):
    assert main(["evaluate", "hearing", option, value]) == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_player_plays_is_taken_up():
    sounds = recordings(20, 20.0)
    heard = judge_hearing(lm.load("block_causal"), sounds)["chroma"]
    deaf = judge_hearing(lm.load("block_causal"), sounds, mic_level=0.0)["chroma"]
    print(heard, deaf)
    assert heard["effect"] > 0.8 and heard["effect"] > deaf["effect"] + 0.5
