"""Whether the player is heard, judged: the table cannot be won by a model that hears nothing."""

import pytest
import torch

import lmdm_mini as lm
from lmdm_mini.__main__ import main
from lmdm_mini.evaluation import hearing
from lmdm_mini.evaluation.hearing import _agreement, judge_hearing, play_along, recordings


def test_who_repeats_what_it_hears_wins_and_who_is_deaf_agrees_with_all_alike(monkeypatch):
    sounds = recordings(3, 10.5)
    assert len(sounds) == 3 and all(sound.shape == (2, round(10.5 * 44100 / 2048) * 2048) for sound in sounds)
    monkeypatch.setattr(hearing, "play_along", lambda model, sound, seed, **settings: 0.5 * sound)
    parrot = judge_hearing(None, sounds)
    assert parrot["chroma"].keys() == {"heard", "others", "effect", "more_often"}
    assert parrot["chroma"]["heard"] == pytest.approx(1, abs=1e-3) and parrot["tempo"]["heard"] == 1
    assert parrot["chroma"]["more_often"] == 1 and parrot["chroma"]["effect"] > 1
    monkeypatch.setattr(hearing, "play_along", lambda model, sound, seed, **settings: sounds[0])
    deaf = judge_hearing(None, sounds)  # the same, whatever is played to it
    for of in ("chroma", "tempo"):
        assert deaf[of]["heard"] == pytest.approx(deaf[of]["others"], abs=1e-5)
        assert abs(deaf[of]["effect"]) < 1e-4


def test_a_model_plays_otherwise_with_another_player_unless_its_ears_are_closed():
    model, settings = lm.load("block_causal"), {"block_latents": 12, "steps": 1, "cfg_scale": 1.0}
    one, other = torch.randn(2, 2, 2 * 44100).mul(0.1)

    def difference(mic_level):
        made = [play_along(model, sound, mic_level=mic_level, **settings) for sound in (one, other)]
        assert made[0].shape[1] >= one.shape[1]
        return (made[0] - made[1]).abs().max()

    assert difference(0.0) == 0 and difference(1.5) > 1e-2


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
