"""Sound in and out: read, write, check, resample, measure loudness.

Everywhere in this package audio is float32, ``(2, N)`` (or ``(B, 2, N)`` in a batch), 44,100 Hz,
nominally within -1..1. This module is the door: whatever comes in is turned into that shape or
refused with a sentence that says what was wrong.

Notebook: 01_sound_to_latents.
"""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import soundfile
import soxr
import torch
import torchaudio.functional as AF
from torch import Tensor

from lmdm_mini.files import written_whole

SAMPLE_RATE = 44100
AUDIO_FORMATS = (".wav", ".flac", ".ogg", ".mp3")  # that can be written
PIECE = 4096  # samples read or written at a time: libsndfile's Vorbis writer keeps a piece on the stack
RATES = (1000, 1_000_000)  # Hz that are believed
LOUDEST = 16.0  # 24 dB over full scale: beyond it, the numbers are not audio in -1..1
LONGEST_WAV = (2**32 - 2**16) // 4  # samples; a WAV's header counts bytes in 32 bits


# -- arrays ------------------------------------------------------------------------------------------------


def to_stereo(audio, sample_rate: float = SAMPLE_RATE) -> Tensor:
    """Any sound as ``(2, N)`` float32 at 44.1 kHz.

    audio: numpy array, list or tensor, ``(N,)`` mono or ``(channels, N)`` with one or two channels; float of
        any width in -1..1, or integer PCM of 8, 16 or 32 bits, which is scaled to -1..1.
    sample_rate: of `audio`, in Hz. Another rate than 44,100 is resampled, and a warning says so.

    Raises ValueError for an unreadable shape or type, no samples, NaN or infinite values, or numbers that are
    far beyond full scale. Clipped audio passes with a warning: it can be listened to, but not repaired.
    """
    audio = _as_stereo(audio)
    if not RATES[0] <= sample_rate <= RATES[1]:
        raise ValueError(
            f"sample_rate is {sample_rate}; it must be from {RATES[0]} to {RATES[1]} (in Hz; usual is 44100)."
        )
    peak = float(audio.abs().max())
    if peak > LOUDEST:
        raise ValueError(
            f"audio reaches {peak:.3g}, but 1 is full scale: it is far too loud. "
            "Numbers of 16 bits have to be divided by 32768; else divide it by its peak."
        )
    if sample_rate != SAMPLE_RATE:
        warnings.warn(f"resampled from {sample_rate:g} to {SAMPLE_RATE} Hz", stacklevel=2)
        audio = resample(audio, sample_rate)
    at_ceiling = (audio.abs() >= 0.9999).float().mean().item()
    if at_ceiling > 1e-3:
        warnings.warn(
            f"{at_ceiling:.1%} of the samples are at full scale: the audio is clipped", stacklevel=2
        )
    return audio.contiguous()


def resample(audio: Tensor, sample_rate: float) -> Tensor:
    """Audio (channels, N) of `sample_rate` Hz at 44.1 kHz, at least one sample. It takes memory in proportion
    to its length for any pair of rates."""
    made = soxr.resample(audio.T.numpy(), sample_rate, SAMPLE_RATE)
    return torch.from_numpy(np.ascontiguousarray(made.T)) if len(made) else audio[:, :1]


def _as_stereo(audio) -> Tensor:
    """Any sound as (2, N) float32, at the rate it has."""
    audio = _as_tensor(audio)
    if audio.ndim == 1:
        audio = audio[None]
    if audio.ndim != 2 or audio.shape[0] not in (1, 2):
        hint = (
            " It looks like (N, channels): transpose it."
            if audio.ndim == 2 and audio.shape[1] in (1, 2)
            else ""
        )
        raise ValueError(f"audio has shape {tuple(audio.shape)}; expected (N,) or (1 or 2, N).{hint}")
    if audio.shape[1] == 0:
        raise ValueError(
            "audio is empty: it has no samples. Check the file or the recording before this step."
        )
    audio = _scaled(audio)
    check_finite(audio)
    return audio.repeat(2, 1) if audio.shape[0] == 1 else audio  # mono is heard from the middle


def _as_tensor(audio) -> Tensor:
    """A tensor on the processor of anything that holds numbers."""
    if isinstance(audio, Tensor):
        return audio.detach().cpu()
    array = np.asarray(audio)
    if array.dtype.kind not in "fiub":
        raise _wrong_type(array.dtype)
    array = array.astype(
        np.float64 if array.dtype.itemsize > 8 else array.dtype.newbyteorder("="), copy=False
    )
    return torch.from_numpy(np.ascontiguousarray(array))


def _scaled(audio: Tensor) -> Tensor:
    """float32 in -1..1 of floating point or integer PCM."""
    if audio.is_floating_point():
        return audio.float()
    bits = {
        torch.uint8: 8,
        torch.int8: 8,
        torch.uint16: 16,
        torch.int16: 16,
        torch.uint32: 32,
        torch.int32: 32,
    }
    if audio.dtype not in bits:
        raise _wrong_type(audio.dtype)
    half = 2.0 ** (bits[audio.dtype] - 1)
    middle = 0.0 if audio.dtype.is_signed else half  # where silence is
    return ((audio.double() - middle) / half).float()


def _wrong_type(dtype) -> ValueError:
    name = str(dtype).removeprefix("torch.")
    hint = " Its full scale is unknown: convert it, for instance to int16." if "int64" in name else ""
    return ValueError(
        f"audio has type {name}; expected floating point in -1..1, or integer PCM of 8, 16 or 32 bits.{hint}"
    )


def check_finite(audio: Tensor) -> None:
    """Raises ValueError, with the place of the first one, if `audio` holds NaN or infinite samples."""
    if not torch.isfinite(audio).all():
        bad = (~torch.isfinite(audio)).nonzero()
        raise ValueError(
            f"audio holds {len(bad)} NaN or infinite samples, the first at sample {int(bad[0, -1])}. "
            "Cut them out or replace them by zeros (torch.nan_to_num) first."
        )


def fold_down(channels: Tensor) -> Tensor:
    """Surround sound (channels, N) as stereo (2, N), as ITU-R BS.775 says: the centre and the surrounds go to
    the sides at -3 dB, the low-frequency effects are left out.

    3 channels: left, right, centre. 4: front and back pairs. 5: left, right, centre, back pair. 6: 5.1, with
    the effects fourth. 7: the same with one centre at the back and a side pair. 8: 7.1, back pair and side
    pair. A sum that would exceed full scale is made quieter as a whole. Raises ValueError for more channels.
    """
    layouts = {3: "LRC", 4: "LRlr", 5: "LRClr", 6: "LRC-lr", 7: "LRC-clr", 8: "LRC-lrlr"}
    if len(channels) not in layouts:
        raise ValueError(
            f"audio has {len(channels)} channels; at most 8 are understood: mix it to stereo first."
        )
    less = 0.5**0.5
    gains = {"L": (1, 0), "R": (0, 1), "C": (less, less), "l": (less, 0), "r": (0, less), "c": (0.5, 0.5)}
    gains["-"] = (0, 0)
    matrix = torch.tensor([gains[name] for name in layouts[len(channels)]], dtype=torch.float32)
    stereo = matrix.T @ channels
    return stereo / stereo.abs().max().clamp_min(1.0)


# -- files -------------------------------------------------------------------------------------------------


def read_audio(
    path, seconds: float | None = None, start: float = 0.0, *, last: float | None = None
) -> Tensor:
    """A sound file (WAV, FLAC, OGG, MP3) as ``(2, N)`` float32 at 44.1 kHz.

    seconds, start: read only this stretch, in seconds; None reads to the end. last: read only this many
    seconds at the end. Only what is asked for is kept in memory. Surround sound is folded down, see
    :func:`fold_down`, and a warning says so.
    Raises FileNotFoundError or ValueError (not a sound file, start beyond its end, a length that is none).
    """
    path = Path(path)
    if not (math.isfinite(start) and start >= 0):
        raise ValueError(f"start is {start}; it must be a number of seconds from 0 on.")
    for name, value in (("seconds", seconds), ("last", last)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} is {value}; it must be more than 0 seconds, or None for all.")
    if last is not None and (seconds is not None or start):
        raise ValueError("last reads the end of a file: give it without seconds and start.")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is a folder, not a file" if path.is_dir() else f"no audio file at {path}"
        )
    with _opened(path) as (file, length):
        rate = file.samplerate
        count = math.inf if seconds is None else max(1, round(seconds * rate))
        skip, end = int(start * rate), None if last is None else max(1, round(last * rate))
        if length is not None:
            if skip and skip >= length:
                raise _beyond(path, start)
            skip = max(0, length - end) if end else skip
            file.seek(skip)
            skip = 0
        data = _collect(_pieces(file, count + skip, length is not None), skip, end)  # (n, channels)
    if not len(data):
        raise _beyond(path, start) if start else ValueError(f"{path} is empty: it has no samples.")
    audio = torch.from_numpy(data.T)
    if len(audio) > 2:
        warnings.warn(f"{path.name} has {len(audio)} channels; they are folded down to stereo", stacklevel=2)
        check_finite(audio)
        audio = fold_down(audio)
    return to_stereo(audio, rate)


def _beyond(path: Path, start: float) -> ValueError:
    return ValueError(f"start={start:g} s lies beyond the end of {path.name}")


def _collect(pieces: Iterator[np.ndarray], skip: int, end: int | None) -> np.ndarray:
    """Pieces in one, without the first `skip` frames; end: only this many at the end (None: all)."""
    kept, held = [np.zeros((0, 1), np.float32)], 0
    for piece in pieces:
        kept.append(piece[skip:])
        skip, held = max(0, skip - len(piece)), held + len(kept[-1])
        while end is not None and held - len(kept[0]) >= end:
            held -= len(kept.pop(0))
    kept = [piece for piece in kept if len(piece)] or kept[:1]
    return np.concatenate(kept)[0 if end is None else -end :]


def _pieces(file: soundfile.SoundFile, count: float, known: bool) -> Iterator[np.ndarray]:
    """The next `count` frames as arrays (n, channels), until the file gives no more, whatever its header
    says. known: the length in the header is right."""
    while count > 0:
        out = np.full((int(min(count, 64 * PIECE)), file.channels), np.nan, np.float32)
        try:
            piece = file.read(out=out)
        except soundfile.LibsndfileError:
            if known:
                raise
            piece = out[: int((~np.isnan(out)).all(1).argmin())]  # what came before there was no more
            count = len(piece)
        if not len(piece):
            return
        count -= len(piece)
        yield piece


@contextmanager
def _opened(path: Path) -> Iterator[tuple[soundfile.SoundFile, int | None]]:
    """An audio file and its length in frames; None if its header does not say it (streamed FLAC, and MP3 of
    variable bit rate without one)."""
    if path.suffix.lower() == ".raw":
        raise ValueError(
            f"{path} does not say its sample rate or its channels: convert it to WAV or FLAC first."
        )
    try:
        with path.open("rb") as raw:
            wrong = _wrong_mp3_length(raw)
            raw.seek(0)
            source = str(path) if wrong is None else cast(BinaryIO, _Endless(raw, wrong))
            with soundfile.SoundFile(source) as file:
                yield file, None if wrong is not None or file.frames > 2**60 else file.frames
    except UnicodeEncodeError as error:
        raise ValueError(f"{str(path)!r} cannot be read: its name holds a byte that is no text.") from error
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} is not an audio file that can be read (WAV, FLAC, OGG, MP3): {error}"
        ) from error


def _wrong_mp3_length(file) -> int | None:
    """Whether the length of an MP3 file would be wrong, so that libsndfile would stop too early: a place in
    the file if it would be, None if not or for other files.

    Either no frame says how many follow, and the length is guessed from the bit rate of the beginning; or
    another MP3 was appended to one that says it. The place is that of the mark of the frame that says it,
    which has to be hidden; 0 if there is none.
    """
    head, begin = file.read(10), 0
    if head[:3] == b"ID3":  # a tag before the sound: 4 x 7 bits say how long it is
        begin = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    file.seek(begin)
    head = file.read(4096)
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or b"VBRI" in head:
        return None
    place = max(head.find(b"Xing"), head.find(b"Info"))
    if place < 0:
        return 0
    flags, _, told = (int.from_bytes(head[place + i : place + i + 4], "big") for i in (4, 8, 12))
    if flags & 3 != 3:  # it does not say how many bytes belong to it
        return None
    left = file.seek(0, 2) - begin - told
    file.seek(begin + told)
    after = file.read(4096)
    is_tag = any(mark in after for mark in (b"APETAGEX", b"LYRICSBEGIN"))
    return begin + place if left > 4096 and not is_tag else None


class _Endless(io.RawIOBase):
    """An MP3 file that seems 64 times as long as it is, so that a guess of its length is never too short.

    mark: where four bytes are hidden (0: nowhere).
    """

    def __init__(self, file, mark: int):
        self.file, self.mark, self.asked = file, mark, None

    def seek(self, offset: int, whence: int = 0) -> int:
        place = self.file.seek(offset, whence)
        self.asked = 64 * place if (offset, whence) == (0, 2) else place
        return self.asked

    def tell(self) -> int:
        return self.file.tell() if self.asked is None else self.asked

    def readinto(self, buffer) -> int:
        self.asked, place = None, self.file.tell()
        count = self.file.readinto(buffer)
        begin, end = max(self.mark, place) - place, min(self.mark + 4, place + count) - place
        if self.mark and begin < end:
            buffer[begin:end] = bytes(end - begin)
        return count


def write_audio(path, audio: Tensor) -> Path:
    """Writes ``(2, N)`` audio at 44.1 kHz; the suffix chooses the format (.wav and .flac 16 bit, .ogg, .mp3).

    Peaks beyond full scale would be cut off in the file: then all of it is written more quietly, and a
    warning says so. The file is there when it is whole: if writing fails, an older file stays.
    Raises ValueError for a suffix or for audio that cannot be written, OSError if the disk refuses.
    """
    path = check_format(path)
    audio = _as_stereo(audio)
    if path.suffix.lower() == ".wav" and audio.shape[1] > LONGEST_WAV:
        raise ValueError(
            f"{path.name} would be over 4 GB, which a WAV file cannot hold: choose .flac instead."
        )
    peak = float(audio.abs().max())
    gain = 1.0 if peak <= 1 else 0.999 / peak
    if gain < 1:
        less = -20 * math.log10(gain)
        warnings.warn(
            f"peaks reach {peak:.2f} times full scale, so {path.name} is {less:.1f} dB quieter", stacklevel=2
        )
    kind = path.suffix.lower()[1:].upper()
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(kind, "PCM_16")
    with written_whole(path, (soundfile.LibsndfileError, AssertionError)) as part:
        with soundfile.SoundFile(str(part), "w", SAMPLE_RATE, 2, subtype, format=kind) as file:
            for piece in audio.split(PIECE, 1):
                file.write((gain * piece).T.numpy())
        if soundfile.info(str(part)).frames < audio.shape[1]:  # closing a file on a full disk says nothing
            raise OSError("not all of it could be written")
    return path


def check_format(path) -> Path:
    """`path`, if its suffix names a format that can be written. Raises ValueError."""
    path = Path(path)
    if path.suffix.lower() not in AUDIO_FORMATS:
        what = path.suffix or "a file without suffix"
        raise ValueError(f"cannot write {what} ({path}): use one of {', '.join(AUDIO_FORMATS)}.")
    return path


# -- loudness ----------------------------------------------------------------------------------------------


def loudness(audio: Tensor) -> float:
    """Integrated loudness of ``(2, N)`` audio in LUFS (ITU-R BS.1770-4); -inf for silence."""
    if audio.shape[-1] < int(0.4 * SAMPLE_RATE):  # one gating block
        audio = torch.nn.functional.pad(audio, (0, int(0.4 * SAMPLE_RATE) - audio.shape[-1]))
    if audio.abs().max() < 1e-6:
        return float("-inf")
    value = float(AF.loudness(audio, SAMPLE_RATE))
    return value if np.isfinite(value) else float("-inf")


def normalize_loudness(audio: Tensor, lufs: float = -16.0, peak_db: float = -1.0) -> Tensor:
    """`audio` with one gain applied, so that it reaches `lufs`, or as near as peaks under `peak_db` dBFS
    allow."""
    now = loudness(audio)
    if now == float("-inf"):
        return audio
    gain = 10 ** ((lufs - now) / 20)
    ceiling = 10 ** (peak_db / 20) / float(audio.abs().max())
    return audio * min(gain, ceiling)
