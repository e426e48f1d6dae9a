"""The door of the package: what comes in, in which shape it goes on, and what is refused."""

import os
import subprocess
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.audio import (
    SAMPLE_RATE,
    fold_down,
    loudness,
    normalize_loudness,
    read_audio,
    to_stereo,
    write_audio,
)


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


# ---------------------------------------------------------------- what arrays may hold


@pytest.mark.parametrize(
    "kind, middle, half",
    [
        (np.int8, 0, 2**7),
        (np.uint8, 2**7, 2**7),
        (np.uint16, 2**15, 2**15),
        (np.uint32, 2**31, 2**31),
        (">i2", 0, 2**15),
        (np.float16, 0, 1),
        (np.longdouble, 0, 1),
    ],
)
def test_any_pcm_type_is_scaled_by_its_type(kind, middle, half):
    wave = sine(0.01)
    audio = to_stereo((wave * half + middle).astype(kind))
    assert np.abs(audio[0].numpy() - wave).max() < 0.02


@pytest.mark.parametrize(
    "audio, message",
    [
        (np.zeros(4, np.int64), "type int64.*full scale is unknown"),
        (torch.zeros(4, dtype=torch.int64), "type int64"),
        (np.zeros(4, np.uint64), "type uint64"),
        (np.zeros(4, complex), "type complex128"),
        ("music.wav", "type <U9"),
        (None, "type object"),
    ],
)
def test_types_without_a_full_scale_are_refused_by_name(audio, message):
    with pytest.raises(ValueError, match=message):
        to_stereo(audio)


def test_views_and_gradients_pass():
    wave = sine(0.1)
    assert torch.equal(to_stereo(wave[::-1])[0], to_stereo(wave.tolist())[0].flip(0))
    assert not to_stereo(torch.zeros(10, requires_grad=True)).requires_grad


def test_numbers_far_beyond_full_scale_are_not_audio():
    with pytest.raises(ValueError, match="far too loud.*divided by 32768"):
        to_stereo(sine() * 32768)
    assert to_stereo(sine() * 3).abs().max() == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 10, 1e9])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="sample_rate is"):
        to_stereo(sine(), rate)


@pytest.mark.filterwarnings("ignore:resampled")
@pytest.mark.parametrize("rate", [44056, 44099, 22050, 96000, 47999.5])
def test_rates_without_a_common_divisor_take_little_memory(rate):
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    audio = to_stereo(sine(3.0, rate), rate)
    assert abs(audio.shape[1] - 3 * SAMPLE_RATE) <= 2
    middle = slice(1000, 130_000)
    assert np.abs(audio[0, middle].numpy() - sine(3.0)[middle]).max() < 0.01
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert to_stereo(np.array([0.5]), rate).shape[1] >= 1


# ---------------------------------------------------------------- files


@pytest.fixture
def ffmpeg():
    """Runs ffmpeg with these arguments, quietly."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()

    def run(*arguments):
        subprocess.run(
            [program, "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)], check=True
        )

    return run


LOUD_THEN_SIMPLE = (  # of variable bit rate, so that the beginning says nothing about the length
    *("-f", "lavfi", "-i", "anoisesrc=d=2:a=0.3:r=44100", "-f", "lavfi", "-i", "sine=440:d=10"),
    *("-filter_complex", "[0][1]concat=n=2:v=0:a=1,aformat=channel_layouts=stereo", "-c:a", "libmp3lame"),
)


@pytest.mark.parametrize("options", [("-write_xing", 0, "-id3v2_version", 0), ("-write_xing", 0), ()])
def test_mp3_is_read_to_its_end(ffmpeg, tmp_path, options):
    path = tmp_path / "a.mp3"
    ffmpeg(*LOUD_THEN_SIMPLE, "-q:a", 0, *options, path)
    whole = read_audio(path)
    assert whole.shape[1] / SAMPLE_RATE == pytest.approx(12, abs=0.1)
    assert read_audio(path, last=1.5).shape[1] == 1.5 * SAMPLE_RATE
    assert read_audio(path, seconds=1, start=9).shape[1] == SAMPLE_RATE
    with pytest.raises(ValueError, match="beyond the end"):
        read_audio(path, start=13)
    if options:
        assert torch.equal(read_audio(path, last=1.5), whole[:, -int(1.5 * SAMPLE_RATE) :])
        assert torch.equal(read_audio(path, seconds=1, start=9), whole[:, 9 * SAMPLE_RATE : 10 * SAMPLE_RATE])


@pytest.mark.parametrize("options", [("-b:a", "128k"), ("-q:a", 2)])
def test_mp3_files_put_end_to_end_are_read_to_their_end(ffmpeg, tmp_path, options):
    for name, hertz in (("a", 440), ("b", 880)):
        ffmpeg("-f", "lavfi", "-i", f"sine={hertz}:d=4", *options, tmp_path / f"{name}.mp3")
    both = (tmp_path / "a.mp3").read_bytes() + (tmp_path / "b.mp3").read_bytes()
    (tmp_path / "both.mp3").write_bytes(both)
    audio = read_audio(tmp_path / "both.mp3")
    assert audio.shape[1] / SAMPLE_RATE == pytest.approx(8, abs=0.3)
    spectrum = torch.fft.rfft(audio[0, -SAMPLE_RATE:]).abs()
    assert int(spectrum.argmax()) == 880, "the end is the second one's"
    assert read_audio(tmp_path / "a.mp3").shape[1] / SAMPLE_RATE == pytest.approx(4, abs=0.1)
    tagged = (tmp_path / "a.mp3").read_bytes() + b"APETAGEX" + bytes(4000)
    (tmp_path / "tagged.mp3").write_bytes(tagged)
    assert torch.equal(read_audio(tmp_path / "tagged.mp3"), read_audio(tmp_path / "a.mp3"))


def test_streamed_flac_is_read_to_its_end(ffmpeg, tmp_path):
    path = tmp_path / "a.flac"
    with path.open("wb") as file:
        program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
        command = [program, "-loglevel", "error", "-f", "lavfi", "-i", "sine=440:d=3", "-f", "flac", "-"]
        subprocess.run(command, stdout=file, check=True)
        file.flush()
    data = bytearray(path.read_bytes())
    data[8 + 13] &= 0xF0  # the number of samples, 36 bits: 0 is "unknown", which is what a pipe gets
    data[8 + 14 : 8 + 18] = bytes(4)
    path.write_bytes(data)
    assert read_audio(path).shape[1] == 3 * SAMPLE_RATE
    assert read_audio(path, last=1).shape[1] == SAMPLE_RATE


def test_the_end_of_a_long_file_is_read_alone(tmp_path):
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, format="FLAC") as file:
        for minute in range(20):
            file.write(np.full((60 * SAMPLE_RATE, 2), minute / 100))
    tracemalloc.start()
    audio = read_audio(path, last=2.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert audio.shape == (2, 2 * SAMPLE_RATE) and float(audio.mean()) == pytest.approx(0.19, abs=1e-3)
    assert peak < 20e6, f"{peak / 1e6:.0f} MB for two seconds"


@pytest.mark.parametrize(
    "given", [{"seconds": x} for x in (float("inf"), float("nan"), -1, 0)]
    + [{"start": x} for x in (-1, float("nan"), float("inf"))]
    + [{"last": x} for x in (0, -1, float("inf"), float("nan"))]
    + [{"last": 1, "seconds": 1}],
)  # fmt: skip
def test_lengths_that_are_none_are_refused(tmp_path, given):
    soundfile.write(tmp_path / "a.wav", sine(), SAMPLE_RATE)
    with pytest.raises(ValueError, match=next(iter(given))):
        read_audio(tmp_path / "a.wav", **given)


def test_files_that_do_not_say_what_they_are(tmp_path):
    for name in ("a.raw", "a.RAW"):
        (tmp_path / name).write_bytes(bytes(1000))
        with pytest.raises(ValueError, match="does not say its sample rate"):
            read_audio(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_audio(tmp_path)
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 2)), SAMPLE_RATE)
    with pytest.raises(ValueError, match="is empty"):
        read_audio(tmp_path / "none.wav")


LESS = 0.5**0.5


@pytest.mark.parametrize(
    "channels, sides",
    [
        (3, [(1, 0), (0, 1), (LESS, LESS)]),
        (4, [(1, 0), (0, 1), (LESS, 0), (0, LESS)]),
        (5, [(1, 0), (0, 1), (LESS, LESS), (LESS, 0), (0, LESS)]),
        (6, [(1, 0), (0, 1), (LESS, LESS), (0, 0), (LESS, 0), (0, LESS)]),
        (7, [(1, 0), (0, 1), (LESS, LESS), (0, 0), (0.5, 0.5), (LESS, 0), (0, LESS)]),
        (8, [(1, 0), (0, 1), (LESS, LESS), (0, 0), (LESS, 0), (0, LESS), (LESS, 0), (0, LESS)]),
    ],
)
def test_surround_is_folded_down(tmp_path, channels, sides):
    for channel, (left, right) in enumerate(sides):
        data = np.zeros((1000, channels))
        data[:, channel] = 0.5
        soundfile.write(tmp_path / "a.wav", data, SAMPLE_RATE, subtype="FLOAT")
        with pytest.warns(UserWarning, match=f"{channels} channels.*folded down"):
            audio = read_audio(tmp_path / "a.wav")
        assert audio[:, 0].tolist() == pytest.approx([0.5 * left, 0.5 * right])
    loud = fold_down(torch.ones(channels, 10))
    assert float(loud.max()) == pytest.approx(1.0), "a sum beyond full scale is made quieter, not cut off"


def test_more_channels_than_are_understood_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 9)), SAMPLE_RATE)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="9 channels; at most 8"):
        read_audio(tmp_path / "a.wav")


def test_a_minute_of_ogg_is_written_from_a_small_thread(tmp_path):
    """libsndfile's Vorbis writer keeps what it is given on the stack: at once, this ends the process."""
    audio, found = 0.1 * torch.randn(2, 60 * SAMPLE_RATE), []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(write_audio(tmp_path / "x.ogg", audio)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert soundfile.info(found[0]).frames == audio.shape[1] and os.listdir(tmp_path) == ["x.ogg"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_full_disk_leaves_nothing_or_the_old_file(tmp_path, name):
    resource = pytest.importorskip("resource")
    write_audio(tmp_path / name, to_stereo(sine(0.2)))
    old = (tmp_path / name).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"{name} could not be written"):
            write_audio(tmp_path / name, 0.1 * torch.randn(2, 10 * SAMPLE_RATE))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == old


def test_peaks_are_scaled_and_said(tmp_path):
    audio = 1.5 * to_stereo(sine()) / 0.5
    with pytest.warns(UserWarning, match="peaks reach 1.50 times full scale, so a.wav is 3.5 dB quieter"):
        path = write_audio(tmp_path / "a.wav", audio)
    assert (read_audio(path) - audio / 1.5 * 0.999).abs().max() < 1e-4
    with pytest.raises(ValueError, match="NaN"):
        write_audio(tmp_path / "b.wav", torch.full((2, 10), float("nan")))
    assert os.listdir(tmp_path) == ["a.wav"]
