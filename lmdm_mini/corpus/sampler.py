"""Drum kits of recorded one-shots: every note starts a sample, an open hi-hat is choked by a closed one.

Notebook: 01_sound_to_latents.
"""

from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.corpus.fonts import FONTS, find_soundfont

# One-shots are stored at full scale. In a kit a hi-hat is softer than a kick (dB), and stands to one side.
LEVEL_DB = {
    36: 0, 35: 0, 38: -3, 40: -3, 37: -9, 39: -6, 42: -13, 44: -15, 46: -12, 49: -9, 57: -9, 51: -15, 53: -15,
    55: -10, 45: -5, 47: -5, 50: -5, 43: -5, 54: -13, 56: -12, 60: -11, 61: -11, 62: -11, 63: -10, 64: -10,
    69: -15, 75: -12, 82: -15,
}  # fmt: skip
PAN = {
    42: 0.25,
    44: 0.25,
    46: 0.25,
    50: -0.3,
    47: 0.0,
    45: 0.2,
    43: 0.4,
    49: -0.4,
    51: 0.4,
    82: -0.35,
    69: -0.35,
}
HATS = (42, 44, 46)
FADE = 220  # samples in which a choked sound dies: 5 ms


@cache
def _sample(path: Path) -> np.ndarray:
    """(n, 2) float32 at 44.1 kHz, peak 1, at most 4 s."""
    audio, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    if rate != SAMPLE_RATE:
        audio = soxr.resample(audio, rate, SAMPLE_RATE)
    audio = np.repeat(audio, 2, 1)[:, :2] if audio.shape[1] == 1 else audio[:, :2]
    audio = audio[: 4 * SAMPLE_RATE]
    return audio / max(1e-6, np.abs(audio).max())


def play_kit(hits: list[tuple[int, int, int]], kit: str, frames: int) -> np.ndarray:
    """Hits (first sample, key, velocity), in order of time, on the kit of this name: (2, frames) float32.

    Where a key has several samples, they run from soft to hard. Keys that the kit lacks raise KeyError.
    """
    folder, samples = find_soundfont(kit), FONTS[kit].samples
    audio = np.zeros((2, frames), np.float32)
    hats = [start for start, key, _ in hits if key in HATS] + [frames]
    following = 0
    for start, key, velocity in hits:
        layers = samples[key]
        sound = _sample(folder / layers[min(len(layers) - 1, velocity * len(layers) // 128)])
        length = min(len(sound), frames - start)
        if key in HATS:
            while hats[following] <= start:
                following += 1
            length = min(length, hats[following] - start + FADE)
        if length <= 0:
            continue
        pan, gain = PAN.get(key, 0.0), 10 ** (LEVEL_DB.get(key, -8) / 20) * (velocity / 127) ** 1.7
        part = sound[:length].T * gain
        if length < len(sound):
            fade = min(FADE, length)
            part[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        audio[0, start : start + length] += part[0] * min(1.0, 1 - pan)
        audio[1, start : start + length] += part[1] * min(1.0, 1 + pan)
    return audio
