"""A fiddle tune as players play it: in their octave, with cuts, rolls, triplets and tremolo.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass

from lmdm_mini.corpus.piece import Note, Piece
from lmdm_mini.corpus.styles.theory import scale_step


@dataclass(frozen=True)
class Instrument:
    """What plays the tune: General MIDI program, word, lowest and highest comfortable pitch."""

    program: int
    word: str
    low: int
    high: int

    @property
    def plucked(self) -> bool:
        return self in (MANDOLIN, HARP, BANJO)


@dataclass(frozen=True)
class Turn:
    """One time through a strain: the beat it starts at, its (start, duration, pitch), how much it is dressed
    up (`ornaments`, 0..1)."""

    at: float
    events: list[tuple[float, float, int]]
    ornaments: float


FIDDLE, FLUTE = Instrument(40, "fiddle", 55, 93), Instrument(73, "wooden flute", 60, 94)
WHISTLE, RECORDER = Instrument(72, "tin whistle", 72, 103), Instrument(74, "recorder", 65, 98)
ACCORDION, CONCERTINA = Instrument(21, "accordion", 53, 93), Instrument(20, "concertina", 55, 93)
MANDOLIN, HARP = Instrument(25, "mandolin", 55, 91), Instrument(46, "harp", 48, 96)
BANJO = Instrument(105, "banjo", 50, 86)
LEADS = [FIDDLE, FIDDLE, FLUTE, WHISTLE, RECORDER, ACCORDION, MANDOLIN, HARP, BANJO, CONCERTINA]
AIR_LEADS = [FIDDLE, FLUTE, WHISTLE, HARP, RECORDER, CONCERTINA]


def play_tune(
    rng: random.Random, piece: Piece, turn: Turn, instrument: Instrument, feel: str, second: bool
) -> list[Note]:
    """One player: the tune in the instrument's octave with cuts, rolls, triplets and small liberties."""
    low, high, track, ornaments = instrument.low, instrument.high, instrument.word, turn.ornaments
    plucked = instrument.plucked
    pitches = [p for _, _, p in turn.events]
    # the octave that leaves fewest notes outside the instrument; those are folded back one by one
    octave = min((0, 12, -12, 24), key=lambda o: sum(not low <= p + o <= high for p in pitches))
    if second and rng.random() < 0.25 and min(pitches) + octave - 12 >= max(low, 50):
        octave -= 12
    folded = [p + octave + 12 * ((p + octave < low) - (p + octave > high)) for p in pitches]

    def step(pitch: int, steps: int) -> int:
        return scale_step(pitch, steps, piece.key_root, piece.key_mode)

    base = 82 if second else 92
    notes = []
    for i, ((start, duration, _), pitch) in enumerate(zip(turn.events, folded)):
        where = turn.at + start
        if where < 0:
            continue
        on_pulse = abs(start - round(start)) < 0.05
        velocity = base + (9 if on_pulse else 0) + (4 if round(start) % 2 == 0 and on_pulse else 0)
        if second and not on_pulse and rng.random() < 0.12:
            continue  # heterophony: the second player leaves out passing notes now and then
        length = duration * (0.9 if rng.random() < 0.75 else 0.75)
        draw = rng.random()
        if duration >= 0.7 and draw < ornaments and not plucked and feel != "air":
            notes += _roll((pitch, step(pitch, 1), step(pitch, -1)), where, duration, velocity, track)
            continue
        if plucked and duration >= 0.9 and draw < ornaments + 0.2:
            strokes = round(duration / 0.25)  # tremolo keeps a plucked string alive
            for n in range(strokes):
                notes.append(Note(where + n * 0.25, 0.24, pitch, velocity - (16 if n % 2 else 6), track))
            continue
        if on_pulse and duration >= 0.3 and draw < ornaments * 0.8 and not plucked:
            notes.append(Note(where, 0.07, step(pitch, 1), velocity - 12, track))
            notes.append(Note(where + 0.07, max(0.1, length - 0.07), pitch, velocity, track))
            continue
        interval = folded[i + 1] - pitch if i + 1 < len(folded) else 0
        if 0.45 <= duration <= 0.55 and abs(interval) in (3, 4) and draw > 1 - ornaments / 2:
            between = step(pitch, 1 if interval > 0 else -1)
            notes.append(Note(where, duration * 0.47, pitch, velocity, track))
            notes.append(Note(where + duration / 2, duration * 0.45, between, velocity - 8, track))
            continue
        if second and feel != "air" and duration >= 0.45 and draw > 0.85:
            pitch = step(pitch, -2)  # a third below for a moment
        notes.append(Note(where, max(0.08, length), pitch, velocity, track))
        if instrument == FIDDLE and duration >= 0.9 and rng.random() < 0.3:  # a third or an open string
            notes.append(Note(where, length, step(pitch, -2), velocity - 16, track))
    return notes


def _roll(
    pitches: tuple[int, int, int], where: float, duration: float, velocity: int, track: str
) -> list[Note]:
    """A long note as note, cut from above, note, tap from below, note; `pitches` are note, cut and tap."""
    main, cut, tap = pitches
    part = duration / 5
    return [
        Note(
            where + n * part, part * (0.55 if n in (1, 3) else 0.95), p, velocity - 14 * (n in (1, 3)), track
        )
        for n, p in enumerate((main, cut, main, tap, main))
    ]
