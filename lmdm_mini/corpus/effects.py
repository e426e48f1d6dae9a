"""Effects of one stem: amplifier, equaliser, compressor, saturation, chorus, moving filter, echo, room.

`StemEffects` says what a stem goes through, `apply` sends it through. The amplifier, the compressor and the
chorus are those of `pedalboard` (extra `corpus`). Audio is (2, N) float32 at 44.1 kHz; nothing is delayed.

Notebook: 01_sound_to_latents.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.corpus.rooms import peak_filter, reverberated, room_response, shelf_filter

SWEEP_SAMPLES = 1024  # the moving filter is set anew so often


@dataclass(frozen=True)
class Room:
    """A room or a plate of one piece. `seconds`: until the sound is 60 dB down."""

    kind: str  # "dry", "room", "hall", "plate"
    seconds: float
    brightness: float
    near: float
    seed: int


@dataclass(frozen=True)
class StemEffects:
    """What one stem goes through, in this order. Zero, or one for `ratio` and `width`, leaves out."""

    amp_db: float = 0.0  # gain into an amplifier
    cabinet_hz: float = 5000.0  # its loudspeaker's upper end
    low_db: float = 0.0  # shelf at 150 Hz
    bell_hz: float = 1000.0
    bell_db: float = 0.0
    high_db: float = 0.0  # shelf at 5 kHz
    ratio: float = 1.0  # of the compressor
    threshold_db: float = -20.0  # below the stem's playing level
    drive_db: float = 0.0  # saturation
    chorus: float = 0.0  # share
    sweep_bars: float = 0.0  # bars in which the moving filter opens and closes
    duck_db: float = 0.0  # how far a kick pushes the stem down
    echo_beats: float = 0.0
    echo_share: float = 0.0
    echo_feedback: float = 0.4
    width: float = 1.0  # of the sides against the middle
    room: float = 0.0  # amplitude of the reflections


@dataclass(frozen=True)
class Clock:
    """Times that effects keep: tempo, beats in a bar, kicks in seconds."""

    bpm: float
    beats_per_bar: int
    kicks: Sequence[float] = ()


def _pedalboard():
    try:
        import pedalboard
    except ImportError as error:
        raise ImportError("Effects need pedalboard: pip install 'lmdm-mini[corpus]'.") from error
    return pedalboard


def playing_level(audio: np.ndarray) -> float:
    """Root mean square of the blocks of 0.4 s that are less than 30 dB under the loudest; 0 for silence."""
    block = int(0.4 * SAMPLE_RATE)
    count = max(1, audio.shape[1] // block)
    power = (audio[:, : count * block] ** 2).reshape(len(audio), count, -1).mean((0, 2))
    loud = power[power >= power.max() * 1e-3]
    return float(np.sqrt(loud.mean())) if power.max() > 1e-12 else 0.0


def amplifier(audio: np.ndarray, gain_db: float, cabinet_hz: float) -> np.ndarray:
    """A guitar amplifier: lows tightened, driven into its valves, through a loudspeaker, as loud as before.

    Left and right go through amplifiers of their own, so two guitars do not blur each other.
    """
    level = playing_level(audio)
    if level == 0.0:
        return audio
    tight = sosfilt(butter(1, 110, "highpass", fs=SAMPLE_RATE, output="sos"), audio / level * 0.2, axis=1)
    driven = tight * 10 ** (gain_db / 20)
    driven = np.tanh(driven + 0.15) - math.tanh(0.15)  # slightly uneven, so even harmonics sound too
    # pyrefly: ignore [no-matching-overload]  # scipy's types do not know what output="sos" gives
    speaker = np.concatenate(
        [
            butter(2, 75, "highpass", fs=SAMPLE_RATE, output="sos"),
            peak_filter(2400, 5.0, 0.8),
            peak_filter(400, -3.0, 0.7),
            butter(4, cabinet_hz, "lowpass", fs=SAMPLE_RATE, output="sos"),
        ]
    )
    sound = sosfilt(speaker, driven, axis=1)
    # pyrefly: ignore [bad-argument-type]  # likewise
    return (sound * level / max(1e-9, playing_level(sound))).astype(np.float32)


def duck(audio: np.ndarray, kicks: Sequence[float], *, depth_db: float, release: float) -> np.ndarray:
    """Every kick (seconds) pushes the sound down by `depth_db`; it is back after `release` seconds."""
    if not len(kicks) or not depth_db:
        return audio
    count = audio.shape[1]
    starts = np.unique((np.asarray(kicks) * SAMPLE_RATE).astype(int))
    starts = starts[starts < count]
    place = np.searchsorted(starts, np.arange(count), side="right") - 1
    since = (np.arange(count) - starts[np.maximum(place, 0)]) / SAMPLE_RATE
    gain_db = -depth_db * np.clip(1 - since / release, 0, 1) ** 2 * np.clip(since / 0.004, 0, 1)
    gain_db[place < 0] = 0.0
    return (audio * 10 ** (gain_db / 20)).astype(np.float32)


def sweep(audio: np.ndarray, seconds: float, *, low: float = 250.0, high: float = 9000.0) -> np.ndarray:
    """A low-pass filter of 24 dB an octave that opens and closes once in `seconds`."""
    board = _pedalboard()
    ladder = board.LadderFilter(board.LadderFilter.Mode.LPF24, cutoff_hz=low, resonance=0.25, drive=1.0)
    parts = []
    for start in range(0, audio.shape[1], SWEEP_SAMPLES):
        turn = start / SAMPLE_RATE / seconds
        ladder.cutoff_hz = low * (high / low) ** (0.5 - 0.5 * math.cos(2 * math.pi * turn))
        parts.append(ladder(audio[:, start : start + SWEEP_SAMPLES], SAMPLE_RATE, reset=start == 0))
    return np.concatenate(parts, 1)


def echo(audio: np.ndarray, seconds: float, *, feedback: float, share: float) -> np.ndarray:
    """The sound and its repeats, `seconds` apart, from side to side, each duller and softer by `feedback`."""
    step = int(seconds * SAMPLE_RATE)
    dull = butter(1, 3500, "lowpass", fs=SAMPLE_RATE, output="sos")
    out, repeat, gain = audio.copy(), audio, share
    for _ in range(8):
        if step < 1 or step >= audio.shape[1] or gain < 0.02:
            break
        repeat = sosfilt(dull, np.pad(repeat[::-1], ((0, 0), (step, 0)))[:, : audio.shape[1]], axis=1)
        out = out + gain * repeat
        gain *= feedback
    return out.astype(np.float32)


def apply(audio: np.ndarray, effects: StemEffects, *, room: Room, clock: Clock) -> np.ndarray:
    """The stem (2, N) after its effects: (2, N) float32. Silence stays silence; the playing level stays about
    what it was, so that the balance of the stems is kept."""
    level = playing_level(audio)
    if level == 0.0:
        return audio.astype(np.float32)
    sound = audio.astype(np.float32)
    if effects.amp_db:
        sound = amplifier(sound, effects.amp_db, effects.cabinet_hz)
    bands = (
        shelf_filter(150, effects.low_db, high=False),
        peak_filter(effects.bell_hz, effects.bell_db, 0.8),
        shelf_filter(5000, effects.high_db, high=True),
    )
    sound = sosfilt(np.concatenate(bands), sound, axis=1).astype(np.float32)
    beat = 60 / clock.bpm
    if effects.ratio > 1:
        threshold = 20 * math.log10(level) + effects.threshold_db
        sound = _pedalboard().Compressor(threshold, effects.ratio, 8.0, 120.0)(sound, SAMPLE_RATE)
    if effects.drive_db:
        unit = level * 10 ** (-effects.drive_db / 20) * 6
        sound = (np.tanh(sound / unit) * unit).astype(np.float32)
    if effects.chorus:
        sound = _pedalboard().Chorus(0.8, 0.25, 8.0, 0.0, effects.chorus)(sound, SAMPLE_RATE)
    if effects.sweep_bars:
        sound = sweep(sound, effects.sweep_bars * clock.beats_per_bar * beat)
    sound = duck(sound, clock.kicks, depth_db=effects.duck_db, release=0.8 * beat)
    if effects.echo_share:
        sound = echo(
            sound,
            effects.echo_beats * beat,
            feedback=effects.echo_feedback,
            share=effects.echo_share,
        )
    if effects.width != 1:
        middle, side = sound.mean(0), (sound[0] - sound[1]) / 2 * effects.width
        sound = np.stack([middle + side, middle - side])
    if effects.room and room.kind != "dry":
        response = room_response(room.seconds, room.brightness, near=room.near, seed=room.seed)
        sound = sound + effects.room * reverberated(sound, response)
    return (sound * level / max(1e-9, playing_level(sound))).astype(np.float32)
