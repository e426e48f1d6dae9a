"""Sound in and out: read, write, check, resample, measure loudness.

Everywhere in this package audio is float32, ``(2, N)`` (or ``(B, 2, N)`` in a batch), 44,100 Hz,
nominally within -1..1. This module is the door: whatever comes in is turned into that shape or
refused with a sentence that says what was wrong.

Notebook: 01_sound_to_latents.
"""

import warnings
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional as AF
from torch import Tensor

SAMPLE_RATE = 44100
AUDIO_FORMATS = (".wav", ".flac", ".ogg", ".mp3")  # that can be written


def to_stereo(audio, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Any sound as ``(2, N)`` float32 at 44.1 kHz.

    audio: numpy array or tensor, ``(N,)`` mono or ``(channels, N)`` with one or two channels; float of
        any width in -1..1, or integer PCM, which is scaled to -1..1.
    sample_rate: of `audio`, in Hz. Another rate than 44,100 is resampled, and a warning says so.

    Raises ValueError for an unreadable shape, no samples, or NaN or infinite values.
    Clipped audio passes with a warning: it can be listened to, but not repaired.
    """
    audio = torch.as_tensor(np.asarray(audio) if not isinstance(audio, Tensor) else audio)
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
    if audio.is_complex() or audio.dtype == torch.bool:
        raise ValueError(f"audio has type {audio.dtype}; expected floating point in -1..1 or integer PCM.")
    if audio.dtype == torch.uint8:
        audio = (audio.float() - 128) / 128
    elif not audio.is_floating_point():
        audio = audio.double() / -float(torch.iinfo(audio.dtype).min)
    audio = audio.float()
    check_finite(audio)
    if sample_rate <= 0:
        raise ValueError(f"sample_rate is {sample_rate}; it must be positive, in Hz.")
    if sample_rate != SAMPLE_RATE:
        warnings.warn(f"resampled from {sample_rate} to {SAMPLE_RATE} Hz", stacklevel=2)
        audio = AF.resample(audio, int(sample_rate), SAMPLE_RATE)
    if audio.shape[0] == 1:
        audio = audio.repeat(2, 1)  # mono is heard from the middle
    at_ceiling = (audio.abs() >= 0.9999).float().mean().item()
    if at_ceiling > 1e-3:
        warnings.warn(
            f"{at_ceiling:.1%} of the samples are at full scale: the audio is clipped", stacklevel=2
        )
    return audio.contiguous()


def check_finite(audio: Tensor) -> None:
    """Raises ValueError, with the place of the first one, if `audio` holds NaN or infinite samples."""
    if not torch.isfinite(audio).all():
        bad = (~torch.isfinite(audio)).nonzero()
        raise ValueError(
            f"audio holds {len(bad)} NaN or infinite samples, the first at sample {int(bad[0, -1])}. "
            "Cut them out or replace them by zeros (torch.nan_to_num) first."
        )


def read_audio(path, seconds: float | None = None, start: float = 0.0) -> Tensor:
    """A sound file (WAV, FLAC, OGG, MP3) as ``(2, N)`` float32 at 44.1 kHz.

    seconds, start: read only this stretch, in seconds; None reads to the end.
    Raises FileNotFoundError or ValueError (not a sound file, start beyond its end).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no audio file at {path}")
    try:
        with soundfile.SoundFile(str(path)) as file:
            first = int(start * file.samplerate)
            if first and first >= file.frames:
                raise ValueError(
                    f"start={start} s lies beyond the end of {path.name} ({file.frames / file.samplerate:.1f} s)"
                )
            file.seek(first)
            count = -1 if seconds is None else int(round(seconds * file.samplerate))
            data = file.read(count, dtype="float32", always_2d=True)  # (N, channels)
            rate = file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{path} is not an audio file that can be read (WAV, FLAC, OGG, MP3): {error}"
        ) from error
    if data.shape[1] > 2:
        warnings.warn(f"{path.name} has {data.shape[1]} channels; the first two are used", stacklevel=2)
        data = data[:, :2]
    return to_stereo(data.T, rate)


def write_audio(path, audio: Tensor) -> Path:
    """Writes ``(2, N)`` audio at 44.1 kHz; the suffix chooses the format (.wav and .flac 16 bit, .ogg,
    .mp3)."""
    path = Path(path)
    audio = to_stereo(audio)
    path.parent.mkdir(parents=True, exist_ok=True)
    lossless = path.suffix.lower() in (".wav", ".flac")
    if path.suffix.lower() not in AUDIO_FORMATS:
        raise ValueError(
            f"cannot write {path.suffix or 'a file without suffix'}; use one of {', '.join(AUDIO_FORMATS)}"
        )
    soundfile.write(
        str(path), audio.clamp(-1, 1).T.cpu().numpy(), SAMPLE_RATE, subtype="PCM_16" if lossless else None
    )
    return path


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
