"""Accompaniment judged: what is compared, and that the scale tells a good part from a bad one."""

import numpy as np
import pytest
import torch
from small import make_model

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec import load_codec
from lmdm_mini.evaluation.accompaniment import (
    beat_agreement,
    beat_seconds,
    chroma_agreement,
    draw_clips,
    notes,
    play_with,
    tracked_beats,
)
from lmdm_mini.evaluation.agreement import on_a_scale, table_of
from lmdm_mini.latents import LatentPiece
from lmdm_mini.latents.encode import quantised
from lmdm_mini.latents.packed import LatentPair, Quantised


def chord(root, seconds=6.0):
    time = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return sum(
        0.1 * torch.sin(2 * torch.pi * 220 * 2 ** ((root + step) / 12) * time) for step in (0, 4, 7)
    ).expand(2, -1)


def clicks(bpm, seconds=16.0):
    audio = 0.001 * torch.randn(2, int(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    for at in np.arange(0, seconds - 0.1, 60 / bpm):
        start = int(at * SAMPLE_RATE)
        audio[:, start : start + 400] += torch.linspace(0.8, 0, 400)
    return audio


def piece(beats=None, pairs=1):
    count = torch.arange(1200.0).expand(64, -1)
    stem, rest = (Quantised(*quantised(count / 1200 + more)) for more in (1, 2))
    pair = LatentPair(("drums",), ("bass", "lead"), stem, None, rest, {}, ["jazz"])
    return LatentPiece("a", "jazz", 120.0, ["jazz"], count.half(), beats, None, [pair] * pairs)


def test_notes_agree_with_their_own_chord():
    """A part in the key of its piece is near the true rest on the scale, one in a random key near 0."""
    roots = [0, 3, 6, 8]
    stems, rests = [notes(chord(root)) for root in roots], [notes(chord(root + 12)) for root in roots]
    truth = table_of(rests, stems, chroma_agreement)
    assert on_a_scale(truth, truth)["share"] == pytest.approx(1)
    wrong = on_a_scale(table_of([rests[i] for i in (1, 2, 3, 0)], stems, chroma_agreement), truth)
    assert wrong["share"] < 0.1 and wrong["truth"] > 0.8


def test_beats_are_found_where_they_are():
    times = np.arange(0, 16, 0.5)
    assert beat_agreement(tracked_beats(clicks(120), 120), times) > 0.9
    assert beat_agreement(tracked_beats(clicks(97), 97), times) < 0.6


def test_beats_of_a_stretch():
    slow = torch.arange(1200.0) / 20 + 0.3
    assert np.allclose(
        beat_seconds(piece(slow), 0, 60), (np.array([1, 2, 3]) - 0.3) * 20 * 2048 / 44100, atol=0.03
    )
    assert np.allclose(np.diff(beat_seconds(piece(), 100, 300)), 0.5, atol=1e-3)


def test_clips_are_aligned_and_need_pairs():
    clips = draw_clips([piece()], 3, seconds=5.0)
    starts = [float(clip.stem[0, 0, 0] - 1) * 1200 for clip in clips]
    assert starts[0] < starts[1] < starts[2] and not any(clip.pitched for clip in clips)
    for clip in clips:
        assert clip.rest.shape == clip.stem.shape == (1, 64, 108)
        assert (clip.rest - clip.stem - 1).abs().max() < 0.05
    with pytest.raises(ValueError, match="no stems"):
        draw_clips([piece(pairs=0)], 3)


def test_a_stem_is_played_to_as_late_as_it_is_visible():
    """The model's part changes with what is visible of the stem, and with nothing else of it."""
    model = make_model("block_causal", granule=4, blocks=(4, 12), controls=("stem",))
    object.__setattr__(model, "codec", load_codec())
    stem = torch.randn(1, 64, 48)
    other = torch.cat([stem[..., :24], torch.randn(1, 64, 24)], -1)
    how = {"steps": 2, "block_latents": 12}
    a, b = (play_with(model, x, 0, **how) for x in (stem, other))
    assert torch.equal(a[..., :36], b[..., :36]) and not torch.equal(a[..., 36:], b[..., 36:])
    early = play_with(model, other, 12, **how)
    assert not torch.equal(early[..., 24:36], b[..., 24:36])
