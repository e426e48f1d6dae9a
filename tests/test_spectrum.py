"""Features of an STFT: what they tell, that they are enough, and that synthesis runs piece by piece."""

import pytest
import torch

from lmdm_mini.codec.losses import ERB_WEIGHT, codec_losses, pca_weight
from lmdm_mini.codec.spectrum import (
    BINS,
    FEATURES,
    HOP,
    compress,
    decompress,
    overlap_add,
    spectral_features,
    split_features,
    stft,
    synthesise,
)


def tones(*hertz, seconds=1.5, pan=0.0):
    time = torch.arange(int(seconds * 44100)) / 44100
    mono = sum(torch.sin(2 * torch.pi * f * time) for f in hertz) / len(hertz) * 0.5
    return torch.stack([mono * (1 + pan), mono * (1 - pan)])[None]


def features_of(audio):
    spectrum = stft(audio)
    return spectral_features(spectrum.real, spectrum.imag)


def resynthesised(audio):
    return overlap_add(synthesise(features_of(audio), {})[0], None)[0]


def strongest(audio, count):
    """Frequencies of the strongest partials, to 1 Hz or so."""
    x = audio[0, 0, 8192 : 8192 + 44100]
    spectrum = torch.fft.rfft(x * torch.hann_window(len(x))).abs() * 1.0
    found = []
    for _ in range(count):
        peak = int(spectrum.argmax())
        found.append(peak * 44100 / len(x))
        spectrum[max(0, peak - 40) : peak + 40] = 0
    return sorted(found)


def test_tones_keep_their_pitch_though_no_phase_is_kept():
    chord = (220.0, 277.2, 329.6, 1234.5)
    made = strongest(resynthesised(tones(*chord)), 4)
    assert made == pytest.approx(chord, abs=1.5)


def test_level_and_place_come_back():
    audio = tones(440.0, pan=0.6)
    made = resynthesised(audio)
    inside = slice(4096, made.shape[-1] - 4096)
    for channel in (0, 1):
        level = made[0, channel, inside].std() / audio[0, channel, inside].std()
        assert 0.9 < level < 1.1


def test_features_do_not_change_when_a_tone_is_moved_in_time():
    audio = tones(440.0)
    here, there = features_of(audio), features_of(audio[..., 77:])
    loud = split_features(here).magnitude[0, 10] > 0.5
    for a, b in (
        (split_features(here).magnitude, split_features(there).magnitude),
        (split_features(here).inst_freq, split_features(there).inst_freq),
    ):
        assert (a[0, 10][..., loud[: a.shape[-1]]] - b[0, 10][..., loud[: b.shape[-1]]]).abs().max() < 0.02


def test_a_hit_stays_sharp():
    audio = torch.zeros(1, 2, 44100)
    audio[..., 20000:20040] = torch.randn(1, 1, 40, generator=torch.Generator().manual_seed(0))
    made = resynthesised(audio)[0, 0]
    place = 20000 - HOP  # the first frame is only looked back at
    energy = made.square()
    assert energy[place - 150 : place + 190].sum() / energy.sum() > 0.6


def test_synthesis_piece_by_piece_is_the_same():
    """Pieces are padded to tiles of one length, so that every product has the same shape however the music is
    cut."""
    noise = 0.1 * torch.randn(1, 2, 66150, generator=torch.Generator().manual_seed(1))
    features = features_of(tones(220.0, 331.0) + noise)

    def in_pieces(sizes, tile=48):
        parts, state, start = [], {}, 0
        for size in sizes:
            piece = torch.nn.functional.pad(features[:, start : start + size], (0, 0, 0, tile - size))
            made, state = synthesise(piece, state, size)
            parts.append(made)
            start += size
        return torch.cat(parts, 2)

    assert (in_pieces([1, 7, 40, 20, 28]) - in_pieces([48, 48])).abs().max() < 1e-5


def test_silence_and_compression():
    silence = features_of(torch.zeros(1, 2, 8192))
    assert silence.shape[-1] == FEATURES and silence.abs().max() < 1e-6
    assert resynthesised(torch.zeros(1, 2, 8192)).abs().max() < 1e-6
    x = torch.tensor([0.0, 1e-4, 1.0])
    assert torch.allclose(decompress(compress(x**2)), x, atol=1e-4)


def test_losses_vanish_for_the_same_and_grow_for_worse():
    real = features_of(tones(220.0, 2000.0))[:, :124]
    same = codec_losses(real, real)
    assert all(value.abs() < 1e-6 for value in same.values())
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    little, much = (codec_losses(real + amount * noise, real) for amount in (0.01, 0.1))
    assert all(much[name] > little[name] > 0 for name in same if name != "mel") and little["mel"] > 0.05
    assert pca_weight().shape == (4, FEATURES) and ERB_WEIGHT.shape == (BINS,)
