"""The door of the package: what comes in, in which shape it goes on, and what is refused."""

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.audio import SAMPLE_RATE, loudness, normalize_loudness, read_audio, to_stereo, write_audio


def sine(seconds=1.0, rate=SAMPLE_RATE, hertz=440.0):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def test_mono_is_heard_from_both_sides():
    audio = to_stereo(sine())
    assert audio.shape == (2, SAMPLE_RATE) and audio.dtype == torch.float32
    assert torch.equal(audio[0], audio[1])


def test_other_rates_are_resampled_and_say_so():
    with pytest.warns(UserWarning, match="resampled from 48000"):
        audio = to_stereo(sine(rate=48000), 48000)
    assert audio.shape == (2, SAMPLE_RATE)
    middle = slice(1000, -1000)
    assert np.abs(audio[0, middle].numpy() - sine()[middle]).max() < 0.01


@pytest.mark.parametrize(
    "kind, scale", [(np.int16, 32768), (np.int32, 2**31), (np.float64, 1), (np.float32, 1)]
)
def test_integers_and_doubles_are_scaled(kind, scale):
    audio = to_stereo((sine() * scale).astype(kind))
    assert audio.dtype == torch.float32
    assert np.abs(audio[0].numpy() - sine()).max() < 1e-3


@pytest.mark.parametrize(
    "audio, message",
    [
        (np.zeros((2, 0)), "empty"),
        (np.zeros((44100, 2)), "transpose"),
        (np.zeros((3, 100)), "expected"),
        (np.array([0.0, np.nan, 0.0]), "sample 1"),
        (np.array([np.inf, 0.0]), "NaN or infinite"),
        (np.zeros(4, dtype=bool), "bool"),
    ],
)
def test_unreadable_audio_is_refused(audio, message):
    with pytest.raises(ValueError, match=message):
        to_stereo(audio)


def test_one_sample_passes():
    assert to_stereo(np.array([0.25])).tolist() == [[0.25], [0.25]]


def test_clipped_audio_passes_with_a_warning():
    with pytest.warns(UserWarning, match="clipped"):
        to_stereo(np.clip(4 * sine(), -1, 1))


def test_files_come_back(tmp_path):
    audio = to_stereo(sine())
    for name, error in (("a.wav", 1e-4), ("a.flac", 1e-4), ("a.ogg", 0.1)):
        assert (read_audio(write_audio(tmp_path / name, audio)) - audio).abs().max() < error
    assert read_audio(tmp_path / "a.wav", seconds=0.25, start=0.5).shape == (2, 11025)


def test_files_that_are_not_there_or_not_sound(tmp_path):
    with pytest.raises(FileNotFoundError, match="no audio file"):
        read_audio(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("hello")
    with pytest.raises(ValueError, match="not an audio file"):
        read_audio(tmp_path / "text.wav")
    soundfile.write(tmp_path / "short.wav", sine(), SAMPLE_RATE)
    with pytest.raises(ValueError, match="beyond the end"):
        read_audio(tmp_path / "short.wav", start=5)
    with pytest.raises(ValueError, match="suffix|cannot write"):
        write_audio(tmp_path / "a.xyz", to_stereo(sine()))


def test_loudness_is_reached_under_the_peak():
    audio = normalize_loudness(to_stereo(sine(3.0)), lufs=-20.0)
    assert abs(loudness(audio) + 20) < 0.1
    spike = to_stereo(sine(3.0)) * 0.01
    spike[:, 1000] = 0.9
    assert normalize_loudness(spike, lufs=-10.0).abs().max() <= 10 ** (-1 / 20) + 1e-6
    assert loudness(torch.zeros(2, 44100)) == float("-inf")
