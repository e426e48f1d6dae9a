"""Sketches: semitones where notes are, low ones too; a stream gives what the whole gives; few bytes keep
it."""

import math

import pytest
import torch

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.conditioning.sketch import (
    AHEAD,
    FFT,
    LOWEST_HZ,
    SEMITONES,
    StreamSketch,
    constant_q,
    pack_sketch,
    sketch,
    unpack_sketch,
)

FRAME = 2048


def tone(semitone, seconds=1.0, level=0.3):
    """A tone with four partials, (2, N)."""
    t = torch.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    hz = LOWEST_HZ * 2 ** (semitone / 12)
    parts = [0.6**k * torch.sin(2 * math.pi * hz * (k + 1) * t) for k in range(4) if hz * (k + 1) < 15_000]
    return level * sum(parts).expand(2, -1)


@pytest.mark.parametrize("semitone", [0, 4, 12, 24, 40, 59, 83])
def test_the_loudest_semitone_is_the_note(semitone):
    """From C1 on: no high-pass cuts low notes off."""
    found = sketch(tone(semitone)).values[0, :SEMITONES, 6:-7]
    assert (found.argmax(0) == semitone).all() and (found > 0).sum(0).max() <= 5


def test_constant_q_is_librosas():
    librosa = pytest.importorskip("librosa")
    generator = torch.Generator().manual_seed(0)
    music = sum(tone(note, 2.0, 0.2) for note in (9, 28, 45, 60)) + 0.01 * torch.randn(
        2, 2 * SAMPLE_RATE, generator=generator
    )
    mono = music.mean(0)
    theirs = abs(
        librosa.cqt(mono.numpy(), sr=SAMPLE_RATE, hop_length=FRAME, fmin=LOWEST_HZ, n_bins=84, scale=False)
    )
    at = torch.arange(12, 30)  # theirs are centred on multiples of the hop
    windows = torch.stack([mono[i * FRAME - FFT // 2 :][:FFT] for i in at])
    lengths = librosa.filters.wavelet_lengths(
        freqs=librosa.cqt_frequencies(84, fmin=LOWEST_HZ), sr=SAMPLE_RATE
    )[0]
    ours = constant_q(windows).T / 2  # a sine has magnitude 1 here; there, half of its window's length
    theirs = torch.from_numpy(theirs[:, at] / lengths[:, None])
    assert (ours - theirs).abs().max() < 0.05 * theirs.max()
    assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.99


def test_a_stream_gives_what_the_whole_gives():
    generator = torch.Generator().manual_seed(1)
    sound = torch.cat([tone(30, 0.7), tone(47, 0.6), 0.1 * torch.randn(2, 20_000, generator=generator)], 1)
    whole, stream, parts, at = sketch(sound), StreamSketch(), [], 0
    for size in (0, 1000, 3, 30_000, 2048, 5000, 10_000_000):
        parts.append(stream(sound[:, at : at + size]))
        at += size
        ready = max(0, (min(at, sound.shape[1]) - AHEAD) // FRAME)
        assert sum(part.values.shape[-1] for part in parts) == ready
    parts.append(stream.flush())
    joined = torch.cat([part.values for part in parts], -1)
    assert joined.shape == whole.values.shape == (1, 88, -(-sound.shape[1] // FRAME))
    assert (joined - whole.values).abs().max() < 1e-4


def test_a_frame_depends_on_a_quarter_of_a_second_ahead_at_most():
    """By change: what comes later than six latent frames after a frame does not move it."""
    sound = 0.1 * torch.randn(2, 40 * FRAME, generator=torch.Generator().manual_seed(2))
    other = sound.clone()
    other[:, 20 * FRAME + AHEAD :] = 0
    one, two = sketch(sound).values, sketch(other).values
    assert AHEAD <= 6 * FRAME and torch.allclose(one[..., :20], two[..., :20], atol=1e-4)
    assert not torch.allclose(one[..., 20:26], two[..., 20:26], atol=1e-2)


def test_loudness_follows_the_level_and_silence_is_nothing():
    loud, soft = sketch(tone(40, level=0.3)).values, sketch(tone(40, level=0.03)).values
    difference = (loud - soft)[0, SEMITONES:, 4:-8]
    assert torch.allclose(difference, torch.tensor(20 / 60), atol=0.01)
    assert torch.allclose(loud[0, :SEMITONES, 6:-7], soft[0, :SEMITONES, 6:-7], atol=0.02)  # pitch does not
    assert sketch(torch.zeros(2, 9000)).values.abs().max() == 0


def test_few_bytes_keep_a_sketch():
    given = sketch(torch.cat([tone(20, 0.5), tone(55, 0.5)], 1))
    packed = pack_sketch(given)
    assert sum(x.numel() for x in packed.values()) == 12 * given.values.shape[-1]
    again = unpack_sketch(packed)
    assert (again.values - given.values).abs().max() < 1 / 400 and again.present.shape == given.present.shape


def test_bad_sounds_are_refused():
    for wrong, words in (
        (torch.zeros(9000), "2, samples"),
        (torch.zeros(2, 0), "2, samples"),
        (torch.full((2, 9), math.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=words):
            sketch(wrong)
