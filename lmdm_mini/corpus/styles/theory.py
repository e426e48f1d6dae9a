"""Harmony an arranger knows: scales, chords, voice leading, bass notes and walking bass lines.

Plain functions over MIDI pitches and beats; every random choice comes from the `random.Random` that is
passed in, so a seed decides a piece. Pitches are MIDI numbers (60 = middle C), pitch classes 0..11
(0 = C), times are in beats. What is built on it (motifs, parts, drums, form) is in `patterns.py`.

Notebook: 01_sound_to_latents.
"""

import itertools
import random
import re
from dataclasses import dataclass, replace
from functools import lru_cache

from lmdm_mini.corpus.piece import Chord, Note

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
}

# Intervals above the root. The order matters to `voicing`: triad, then sixth or seventh, then tensions.
QUALITIES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "5": (0, 7),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "m7b5": (0, 3, 6, 10),
    "7sus4": (0, 5, 7, 10),
    "add9": (0, 4, 7, 2),
    "minadd9": (0, 3, 7, 2),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "min9": (0, 3, 7, 10, 2),
    "9sus4": (0, 5, 7, 10, 2),
    "69": (0, 4, 7, 9, 2),
    "13": (0, 4, 7, 10, 9),
    "min11": (0, 3, 7, 10, 5),
    "maj7#11": (0, 4, 7, 11, 6),
    "7b9": (0, 4, 7, 10, 1),
    "7#9": (0, 4, 7, 10, 3),
    "7b13": (0, 4, 7, 10, 8),
}

_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_ROMAN = re.compile(r"^([b#]?)([ivIV]+)(.*?)(?:/([b#]?[ivIV]+))?$")


@dataclass(frozen=True)
class Passage:
    """Where a part plays: `beats` beats from beat `start` on, over the chords of the piece."""

    chords: list[Chord]
    start: float
    beats: float

    @property
    def end(self) -> float:
        return self.start + self.beats

    def later(self, offset: float, beats: float | None = None) -> "Passage":
        """What begins `offset` beats later and lasts `beats` (None: to the end of the passage)."""
        return Passage(self.chords, self.start + offset, self.beats - offset if beats is None else beats)


# --- scales and chords -----------------------------------------------------------------------------


def scale_pitches(root: int, mode: str, low: int, high: int) -> list[int]:
    """Every pitch of the scale between `low` and `high`, both included, rising."""
    members = {(root + step) % 12 for step in SCALES[mode]}
    return [pitch for pitch in range(low, high + 1) if pitch % 12 in members]


def scale_step(pitch: int, steps: int, root: int, mode: str) -> int:
    """The pitch `steps` scale degrees away (a pitch outside the scale is first moved onto it)."""
    ladder = scale_pitches(root, mode, 0, 127)
    here = min(range(len(ladder)), key=lambda i: (abs(ladder[i] - pitch), i))
    return ladder[max(0, min(len(ladder) - 1, here + steps))]


def nearest(pitch: float, pitch_classes, low: int = 0, high: int = 127) -> int:
    """The pitch nearest to `pitch`, in `low`..`high`, whose pitch class is one of `pitch_classes`."""
    wanted = {pc % 12 for pc in pitch_classes}
    return min((p for p in range(low, high + 1) if p % 12 in wanted), key=lambda p: (abs(p - pitch), p))


def roman(symbol: str, key_root: int) -> tuple[int, str]:
    """`"bVII7"`, `"ii9"`, `"V7b9/ii"` in a key -> (root pitch class, quality).

    Degrees count from the major scale, also in minor keys ("bVI", "bVII"). Lower case means minor: "ii9"
    is min9; "ii" with "m7b5", "dim" or "dim7" keeps that quality. Raises ValueError for other spellings."""
    match = _ROMAN.match(symbol)
    if not match or match[2].lower() not in _NUMERALS:
        raise ValueError(f"Cannot read the chord {symbol!r}; write it like 'ii9', 'V7/vi' or 'bVIImaj7'.")
    accidental, numeral, suffix, of = match.groups()
    base = roman(of, key_root)[0] if of else key_root
    root = (base + _NUMERALS[numeral.lower()] + {"b": -1, "#": 1, "": 0}[accidental]) % 12
    if numeral.islower():
        quality = suffix if suffix.startswith(("m7b5", "dim")) else "min" + suffix
    else:
        quality = suffix or "maj"
    if quality not in QUALITIES:
        raise ValueError(f"Unknown chord quality {quality!r} in {symbol!r}; known: {', '.join(QUALITIES)}.")
    return root, quality


def progression(symbols: str, key_root: int, start: float = 0.0, beats: float = 4.0) -> list[Chord]:
    """`"ii9 V13:2 V7b9:2 Imaj9"` -> chords one after another, each `beats` long unless `:n` says else."""
    chords, now = [], start
    for item in symbols.split():
        symbol, _, length = item.partition(":")
        root, quality = roman(symbol, key_root)
        chords.append(Chord(now, float(length or beats), root, quality))
        now += chords[-1].duration
    return chords


def loop_chords(symbols: str, key_root: int, start: float, length: float, beats: float = 4.0) -> list[Chord]:
    """The progression again and again from `start` until `length` beats are filled (the last one is cut)."""
    chords, now = [], start
    while now < start + length - 1e-9:
        once = progression(symbols, key_root, now, beats)
        chords += once
        now = once[-1].start + once[-1].duration
    chords = [c for c in chords if c.start < start + length - 1e-9]
    return [replace(c, duration=min(c.duration, start + length - c.start)) for c in chords]


def chord_tones(chord: Chord) -> list[int]:
    """Pitch classes of the chord, root first."""
    return [(chord.root + step) % 12 for step in QUALITIES[chord.quality]]


def chord_at(chords: list[Chord], beat: float) -> Chord:
    """The chord that sounds at `beat` (the last one when beat is past the end)."""
    sounding = [c for c in chords if c.start <= beat + 1e-6]
    return sounding[-1] if sounding else chords[0]


def chord_scale(chord: Chord, key_root: int, mode: str) -> list[int]:
    """Pitch classes a melody may use over the chord: the key's scale, bent where the chord says so."""
    tones = chord_tones(chord)
    diatonic = [(key_root + step) % 12 for step in SCALES[mode]]
    bent = [tone for tone in tones if tone not in diatonic]
    kept = [pc for pc in diatonic if all((pc - b) % 12 not in (1, 11) for b in bent)]
    return sorted(set(kept) | set(tones))


# --- voice leading ---------------------------------------------------------------------------------


def _voicing_tones(chord: Chord, voices: int, rootless: bool) -> list[int]:
    tones = chord_tones(chord)
    root, third, fifth, rest = tones[0], tones[1:2], tones[2:3], tones[3:]
    altered = [t for t in fifth if (t - root) % 12 != 7]
    plain_fifth = [t for t in fifth if (t - root) % 12 == 7]
    order = third + altered + rest + ([] if rootless else [root]) + plain_fifth + ([root] if rootless else [])
    return order[:voices]


def voicing(
    chord: Chord,
    previous: list[int] | None = None,
    low: int = 50,
    high: int = 74,
    voices: int = 4,
    rootless: bool = False,
) -> list[int]:
    """Pitches (rising) for a chord: third and seventh first, then tensions, root, fifth; the placement in
    `low`..`high` that moves least from `previous` and avoids low clusters and bare minor ninths.
    Raises ValueError when the register is too small."""
    pitches = _place(tuple(_voicing_tones(chord, voices, rootless)), tuple(previous or ()), low, high, voices)
    if not pitches:
        raise ValueError(f"No room for {chord.name} in {low}..{high}; widen it or ask for fewer voices.")
    return list(pitches)


@lru_cache(maxsize=4096)  # loops ask for the same change again and again
def _place(
    tones: tuple[int, ...], previous: tuple[int, ...], low: int, high: int, voices: int
) -> tuple[int, ...]:
    doubled = (tones * 2)[:voices] if len(tones) < voices else tones
    places = [[p for p in range(low, high + 1) if p % 12 == tone] for tone in doubled]
    centre = (low + high) / 2
    best, best_cost = [], 1e9
    for pitches in itertools.product(*places):
        pitches = sorted(set(pitches))
        if len(pitches) < len(set(tones)):
            continue
        gaps = [b - a for a, b in zip(pitches, pitches[1:])]
        cost = 0.25 * abs(sum(pitches) / len(pitches) - centre) + 0.12 * (pitches[-1] - pitches[0])
        cost += 4 * (voices - len(pitches)) + sum(3 for g in gaps if g > 9)
        cost += sum(4 for p, g in zip(pitches, gaps) if g < 3 and p < 53) + sum(2 for g in gaps if g == 1)
        cost += sum(6 for a, b in itertools.combinations(pitches, 2) if b - a == 13)
        if gaps and gaps[-1] == 1:
            cost += 3  # a semitone under the top note hides the tune of the chords
        if previous:
            cost += sum(min(abs(p - q) for q in previous) for p in pitches)
            cost += sum(min(abs(p - q) for p in pitches) for q in previous)
            cost += 1.5 * abs(pitches[-1] - previous[-1])
        if cost < best_cost:
            best, best_cost = pitches, cost
    return tuple(best)


def voice_lead(
    chords: list[Chord], low: int = 50, high: int = 74, voices: int = 4, rootless: bool = False
) -> list[list[int]]:
    """One voicing a chord, each near the one before."""
    result, previous = [], None
    for chord in chords:
        previous = voicing(chord, previous, low, high, voices, rootless)
        result.append(previous)
    return result


# --- bass ------------------------------------------------------------------------------------------


def bass_note(pitch_class: int, low: int = 28, high: int = 45, near: float | None = None) -> int:
    """The pitch class in the bass register, nearest to `near` (default: the lower middle of the register)."""
    return nearest(low + 0.4 * (high - low) if near is None else near, [pitch_class], low, high)


def approach(target: int, rng: random.Random, kind: str | None = None) -> int:
    """A note that leads into `target`: a semitone or tone off, or the fifth above it."""
    kind = kind or rng.choice(("below", "above", "tone", "fifth"))
    return target + {"below": -1, "above": 1, "tone": -2, "fifth": 7}[kind]


def walking_bass(chords: list[Chord], rng: random.Random, low: int = 28, high: int = 50) -> list[Note]:
    """Quarter notes: the root where a chord starts, chord tones between, an approach before a change."""
    notes, here = [], float(bass_note(chords[0].root, low, high))
    for index, chord in enumerate(chords):
        following = chords[index + 1] if index + 1 < len(chords) else chords[0]
        root = bass_note(chord.root, low, high, near=here)
        target = bass_note(following.root, low, high, near=root)
        tones = chord_tones(chord)
        count, line = max(1, round(chord.duration)), [root]
        for beat in range(1, count):
            if beat == count - 1:
                step = -1 if target >= line[-1] else 1
                last = target + step * rng.choice((1, 1, 2))
                line.append(
                    last
                    if low <= last <= high and last != line[-1]
                    else nearest(line[-1], tones[1:3], low, high)
                )
                continue
            aim = line[-1] + (target - line[-1]) / (count - beat) + rng.choice((-4, 4, 3, -3))
            choices = [p for p in range(low, high + 1) if p % 12 in tones[:4] and p != line[-1]]
            line.append(min(choices, key=lambda p: abs(p - aim) + 0.5 * max(0, abs(p - line[-1]) - 7)))
        for beat, pitch in enumerate(line):
            notes.append(Note(chord.start + beat, 0.92, pitch, 96 if beat % 2 == 0 else 90))
        here = line[-1]
    return notes
