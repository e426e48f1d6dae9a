"""Rooms and microphones: an impulse response of a room, and a stem as a microphone in one hears it.

Plain numpy and scipy. Audio is (2, N) float32 at 44.1 kHz; every random choice comes from the `random.Random`
that is passed in.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, oaconvolve, sosfilt

from lmdm_mini.audio import SAMPLE_RATE


def room_response(seconds: float, brightness: float, *, near: float, seed: int) -> np.ndarray:
    """The response of a room without its direct sound: (2, n) float32, energy 1 a channel.

    `seconds`: until low frequencies are 60 dB down; high ones die up to five times sooner, less so with
    `brightness` (0 to 1). `near`: seconds until the first reflection (a small room 0.003, a hall 0.03).
    """
    rng = np.random.default_rng(seed)
    count = int(seconds * 1.1 * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    response = np.zeros((2, count))
    edges = (40, 250, 1000, 4000, 16000)
    for band, (low, high) in enumerate(zip(edges, edges[1:])):
        noise = rng.standard_normal((2, count))
        noise = sosfilt(butter(1, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos"), noise)
        decay = seconds * (0.2 + 0.8 * brightness) ** (band / 3)
        response += noise * 10 ** (-3 * time / decay) * (1.0, 1.0, 0.9, 0.6 + 0.4 * brightness)[band]
    response *= np.clip(time / (4 * near), 0, 1) ** 0.5  # the diffuse part grows while reflections thicken
    for _ in range(8):  # early reflections, left and right apart
        place = int(near * rng.uniform(1, 6) * SAMPLE_RATE)
        if place < count:
            response[rng.integers(2), place] += rng.choice((-1, 1)) * rng.uniform(2, 5)
    return (response / np.sqrt((response**2).sum(1, keepdims=True) + 1e-12)).astype(np.float32)


def reverberated(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """What the room adds to (2, N): the reflections alone, (2, N)."""
    return oaconvolve(audio, response, axes=1)[:, : audio.shape[1]].astype(np.float32)


@dataclass(frozen=True)
class Microphone:
    """How a microphone hears a player: level and noises in dB, frequencies in Hz, the room in seconds."""

    level_db: float  # -18 to +6, against the stem itself
    low_cut: float
    high_cut: float
    presence_hz: float
    presence_db: float
    room_seconds: float
    room_share: float  # 0 (near) to 0.6 (across the room): amplitude of reflections against direct sound
    hum_hz: float  # 50 or 60
    hum_db: float  # against full scale
    hiss_db: float
    seed: int


def draw_microphone(rng: random.Random) -> Microphone:
    """A microphone, a distance, a room and a mains hum."""
    return Microphone(
        level_db=rng.uniform(-18.0, 6.0),
        low_cut=rng.uniform(40, 180),
        high_cut=rng.choice((5000, 8000, 11_000, 14_000, 16_000)),
        presence_hz=rng.uniform(800, 5000),
        presence_db=rng.uniform(-6, 6),
        room_seconds=rng.uniform(0.15, 0.7),
        room_share=rng.choice((0.0, rng.uniform(0.05, 0.6))),
        hum_hz=rng.choice((50.0, 60.0)),
        hum_db=rng.uniform(-75, -48),
        hiss_db=rng.uniform(-80, -58),
        seed=rng.randrange(2**31),
    )


def heard(stem: np.ndarray, microphone: Microphone) -> np.ndarray:
    """The stem (2, N) as this microphone hears it: (2, N) float32, the same on both channels, as long as the
    stem, not delayed, clipped at full scale as a converter would.

    Raises ValueError for another shape.
    """
    if stem.ndim != 2 or stem.shape[0] != 2 or stem.shape[1] < 1:
        raise ValueError(f"a stem has the shape (2, N), not {tuple(stem.shape)}")
    rng = np.random.default_rng(microphone.seed)
    sound = np.repeat(stem.mean(0, keepdims=True), 2, 0).astype(np.float32)
    if microphone.room_share:
        near = 0.002 + 0.02 * microphone.room_seconds
        response = room_response(microphone.room_seconds, 0.4, near=near, seed=microphone.seed)
        sound = sound + microphone.room_share * reverberated(sound, response).mean(0, keepdims=True)
    cut = butter(2, microphone.low_cut, "highpass", fs=SAMPLE_RATE, output="sos")
    dull = butter(2, microphone.high_cut, "lowpass", fs=SAMPLE_RATE, output="sos")
    bell = peak_filter(microphone.presence_hz, microphone.presence_db, 0.9)
    # pyrefly: ignore [no-matching-overload]  # scipy's types do not know what output="sos" gives
    sound = sosfilt(np.concatenate([cut, dull, bell]), sound, axis=1)
    time = np.arange(stem.shape[1]) / SAMPLE_RATE
    hum = sum(
        np.sin(2 * np.pi * microphone.hum_hz * k * time + phase) / k
        for k, phase in zip((1, 2, 3, 5), rng.uniform(0, 6, 4))
    )
    noise = 10 ** (microphone.hum_db / 20) * hum + 10 ** (microphone.hiss_db / 20) * rng.standard_normal(
        len(time)
    )
    return np.clip(10 ** (microphone.level_db / 20) * sound + noise, -1.0, 1.0).astype(np.float32)


def peak_filter(hz: float, db: float, q: float) -> np.ndarray:
    """A bell equaliser as one second-order section (1, 6) for `scipy.signal.sosfilt`."""
    gain, omega = 10 ** (db / 40), 2 * np.pi * hz / SAMPLE_RATE
    alpha = np.sin(omega) / (2 * q)
    b = np.array([1 + alpha * gain, -2 * np.cos(omega), 1 - alpha * gain])
    a = np.array([1 + alpha / gain, -2 * np.cos(omega), 1 - alpha / gain])
    return np.concatenate([b, a])[None] / a[0]


def shelf_filter(hz: float, db: float, *, high: bool) -> np.ndarray:
    """A shelf equaliser (above `hz` where `high`, else below) as one second-order section (1, 6)."""
    gain, omega = 10 ** (db / 40), 2 * np.pi * hz / SAMPLE_RATE
    cos, sign = np.cos(omega), 1 if high else -1
    root = 2 * np.sqrt(gain) * np.sin(omega) / np.sqrt(2)
    up, down = gain + 1, gain - 1
    b = gain * np.array(
        [up + sign * down * cos + root, -sign * 2 * (down + sign * up * cos), up + sign * down * cos - root]
    )
    a = np.array(
        [up - sign * down * cos + root, sign * 2 * (down - sign * up * cos), up - sign * down * cos - root]
    )
    return np.concatenate([b, a])[None] / a[0]
