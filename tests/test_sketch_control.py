"""Sketches judged: each measure says 1 for the same sound and falls with the one thing it is about."""

import numpy as np
import pytest
import torch
from small import make_model

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec import load_codec
from lmdm_mini.conditioning.sketch import pack_sketch, sketch
from lmdm_mini.evaluation.sketch_control import (
    MEASURES,
    draw_wanted,
    dynamics,
    evaluate_sketch,
    follow,
    from_sketch,
    low_notes,
    melody,
    rhythm,
    traits,
)
from lmdm_mini.latents import LatentPiece


def tune(semitones, gains=None, shift=0.0, length=0.4):
    """Plucked notes, semitones above C1, one every `length` seconds."""
    parts = []
    for number, semitone in enumerate(semitones):
        time = torch.arange(int(length * SAMPLE_RATE)) / SAMPLE_RATE
        tone = torch.sin(2 * torch.pi * 32.7032 * 2 ** (semitone / 12) * time) * torch.exp(-4 * time)
        parts.append((gains[number] if gains else 0.3) * tone)
    silence = torch.zeros(int(shift * SAMPLE_RATE))
    return torch.cat([silence, *parts]).expand(2, -1)


NOTES = [36, 40, 43, 48, 45, 41, 38, 36, 47, 43]


def test_melody_is_about_notes_whatever_the_octave():
    wanted = traits(tune(NOTES))
    assert melody(wanted, wanted) == 1
    assert melody(traits(tune([n + 12 for n in NOTES])), wanted) > 0.85
    assert melody(traits(tune([n + 1 for n in NOTES])), wanted) < 0.3


def test_low_notes_count_in_their_octave():
    low = [n - 20 for n in NOTES]
    wanted = traits(tune(low, length=0.8))
    assert low_notes(wanted, wanted) == 1
    assert low_notes(traits(tune([n + 12 for n in low], length=0.8)), wanted) < 0.3
    assert low_notes(wanted, traits(tune([n + 24 for n in NOTES]))) == 0  # nothing low is asked for


def test_rhythm_is_about_when_and_dynamics_about_how_loud():
    gains = [0.4, 0.1, 0.3, 0.05, 0.4, 0.2, 0.02, 0.3, 0.1, 0.4]
    wanted = traits(tune(NOTES, gains))
    other = traits(tune(NOTES[::-1], gains))
    assert rhythm(other, wanted) > 0.9 and dynamics(other, wanted) > 0.9
    late = traits(tune(NOTES, gains, shift=0.2))
    assert rhythm(late, wanted) < 0.3
    assert dynamics(traits(tune(NOTES, gains).roll(SAMPLE_RATE // 5, 1)), wanted) < 0.6
    assert dynamics(traits(torch.zeros(2, 2048 * 20)), traits(torch.zeros(2, 2048 * 20))) == 0


def test_what_a_sketch_asks_for_is_what_the_sound_has():
    sound = tune(NOTES)
    known = traits(sound)
    asked = from_sketch(sketch(sound), known)
    assert np.array_equal(asked.pitch, known.pitch) and np.array_equal(asked.level, known.level)


def pieces():
    found = []
    for i, style in enumerate(("jazz", "house", "funk")):
        sound = tune([n + i for n in NOTES * 3])
        codec = load_codec()
        latents = codec.encode(sound[None])[0]
        latents = torch.cat([latents, latents.new_zeros(64, 172)], 1).half()
        packed = {k: torch.nn.functional.pad(x, (0, 172)) for k, x in pack_sketch(sketch(sound)).items()}
        found.append(LatentPiece(str(i), style, 150.0, [style], latents, None, packed))
    return found


def test_a_model_that_ignores_its_sketch_scores_about_nothing():
    """And what is played does depend on the sketch, and on the strength of its guidance."""
    wanted = draw_wanted(pieces(), 3, seconds=6.0)
    model = make_model("block_causal", granule=4, blocks=(4, 12), controls=("sketch",))
    object.__setattr__(model, "codec", load_codec())
    how = {"steps": 1, "block_latents": 12, "cfg_scale": 1.0}
    row = evaluate_sketch(model, wanted, **how)
    assert set(row) >= set(MEASURES) - {"low"} and abs(row["melody"]["share"]) < 0.3
    assert row["melody"]["truth"] > 0.6 > row["melody"]["shuffled"]
    a, b = (follow(model, wanted[0], sketch_scale=scale, **how) for scale in (1.0, 3.0))
    assert a.shape == (1, 64, 129) and not torch.equal(a, b)
    with pytest.raises(ValueError, match="no sketches"):
        draw_wanted([LatentPiece("a", "jazz", 100.0, ["jazz"], torch.randn(64, 600).half())], 3)
