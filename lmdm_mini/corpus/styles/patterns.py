"""What arrangers build on harmony: parts laid over chords, drums, a player's timing.

Plain functions over notes and beats, like those of `theory.py`. Rhythms are written as grids, one mark a
sixteenth: "x..x--x." (see `grid_events`). Every random choice comes from the `random.Random` passed in.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass, replace

from lmdm_mini.corpus.piece import Note
from lmdm_mini.corpus.styles.theory import QUALITIES, Passage, approach, bass_note, chord_at, voice_lead

# General MIDI drum keys.
KICK, SNARE, SIDE_STICK, CLAP, ELECTRIC_SNARE = 36, 38, 37, 39, 40
CLOSED_HAT, PEDAL_HAT, OPEN_HAT, CRASH, RIDE, RIDE_BELL, SPLASH = 42, 44, 46, 49, 51, 53, 55
LOW_TOM, MID_TOM, HIGH_TOM, FLOOR_TOM = 45, 47, 50, 43
TAMBOURINE, COWBELL, SHAKER, CABASA = 54, 56, 82, 69
HIGH_CONGA, LOW_CONGA, MUTE_CONGA, HIGH_BONGO, LOW_BONGO, CLAVES = 63, 64, 62, 60, 61, 75
BRUSH_SWEEP, BRUSH_TAP, BRUSH_SLAP = 40, 38, 39  # what these keys sound like on the brush kit (program 40)


# --- parts: a pattern laid over chords -------------------------------------------------------------


@dataclass(frozen=True)
class ChordPart:
    """An instrument that plays chords: its register (MIDI pitches), how many voices, with the root or not."""

    track: str
    low: int
    high: int
    voices: int = 4
    rootless: bool = True

    def voicings(self, chords) -> list[list[int]]:
        """The pitches of each chord, led smoothly from one to the next."""
        return voice_lead(chords, self.low, self.high, self.voices, self.rootless)


def grid_events(pattern: str, start: float, beats: float, step: float = 0.25) -> list[tuple]:
    """Reads a grid again and again for `beats`: (onset, duration, mark). A letter starts a note,
    '.' holds it, '-' is silence; spaces and '|' are for the eye."""
    marks = pattern.replace(" ", "").replace("|", "")
    events: list[tuple[float, float, str]] = []
    for i in range(round(beats / step)):
        mark = marks[i % len(marks)]
        if mark == "." and events and abs(events[-1][0] + events[-1][1] - start - i * step) < 1e-6:
            events[-1] = (events[-1][0], events[-1][1] + step, events[-1][2])
        elif mark not in ".-":
            events.append((start + i * step, step, mark))
    return events


def comp(
    passage: Passage,
    pattern: str,
    part: ChordPart,
    velocity: int,
    push: bool = False,
    strum: float = 0.0,
    gate: float = 0.95,
) -> list[Note]:
    """Chords struck in a rhythm (`grid_events`; 'X' accent, 'x' normal, 'o' soft), voicings led smoothly.
    `push`: a stroke in the last half beat before a change plays the next chord. `strum`: beats between
    the notes of one stroke. `pattern` "w" holds every chord for its whole length."""
    chords, start, end = passage.chords, passage.start, passage.end
    voicings = part.voicings(chords)
    events = (
        grid_events(pattern, start, passage.beats)
        if pattern != "w"
        else [
            (max(c.start, start), min(c.start + c.duration, end) - max(c.start, start), "x")
            for c in chords
            if c.start < end - 1e-6 and c.start + c.duration > start + 1e-6
        ]
    )
    notes = []
    for onset, duration, mark in events:
        when = onset + 0.5 if push and onset + 0.5 < end else onset
        index = max((i for i, c in enumerate(chords) if c.start <= when + 1e-6), default=0)
        loud = {"X": 1.16, "o": 0.7}.get(mark, 1.0) * velocity
        for voice, pitch in enumerate(voicings[index]):
            notes.append(
                Note(
                    onset + voice * strum,
                    max(0.06, duration * gate - voice * strum),
                    pitch,
                    min(127, round(loud - 3 * (voice < len(voicings[index]) - 1))),
                    part.track,
                )
            )
    return notes


def arpeggio(passage: Passage, pattern: str, part: ChordPart, velocity: int, ring: float = 1.0) -> list[Note]:
    """Broken chords: a digit of the grid is the voice it plays, 0 the lowest (`ring` lengthens the notes)."""
    chords, voicings = passage.chords, part.voicings(passage.chords)
    notes = []
    for onset, duration, mark in grid_events(pattern, passage.start, passage.beats):
        index = max((i for i, c in enumerate(chords) if c.start <= onset + 1e-6), default=0)
        voice = int(mark)
        pitches = voicings[index]
        pitch = pitches[voice % len(pitches)] + 12 * (voice // len(pitches))
        until_change = chords[index].start + chords[index].duration - onset
        notes.append(
            Note(
                onset,
                max(duration, min(duration * ring, until_change)) * 0.98,
                pitch,
                velocity + (6 if onset % 1 == 0 else 0),
                part.track,
            )
        )
    return notes


def bass_riff(
    passage: Passage,
    pattern: str,
    rng: random.Random,
    low: int = 28,
    high: int = 43,
    velocity: int = 98,
    gate: float = 0.92,
) -> list[Note]:
    """A bass figure that moves with the chords. Marks: R root, 8 octave, 5 fifth, 3 third, 7 seventh,
    6 sixth, 4 fourth, 2 ninth, l fifth below, s seventh below, b blue third, a leads into the next root,
    g ghost (dead note)."""
    notes = []
    for onset, duration, mark in grid_events(pattern, passage.start, passage.beats):
        chord = chord_at(passage.chords, onset)
        root = bass_note(chord.root, low, high)
        steps = QUALITIES[chord.quality]
        third = next((s for s in steps if s in (3, 4)), 5)
        fifth = next((s for s in steps if s in (6, 7, 8)), 7)
        seventh = next((s for s in steps[3:] if s in (9, 10, 11)), 10 if third == 3 else 9)
        offset = {
            "R": 0,
            "8": 12,
            "5": fifth,
            "3": third,
            "7": seventh,
            "6": 9,
            "4": 5,
            "2": 2,
            "l": fifth - 12,
            "s": seventh - 12,
            "b": 3,
            "g": 0,
            "a": 0,
        }[mark]
        pitch = root + offset
        if mark == "a":
            target = bass_note(chord_at(passage.chords, onset + duration + 0.01).root, low, high)
            pitch = root + fifth - 12
            if target != root:
                pitch = approach(target, rng, rng.choice(("below", "above")))
        if pitch < low - 4:
            pitch += 12
        level = {"g": 0.5, "8": 1.08, "R": 1.04}.get(mark, 0.95)
        length = 0.1 if mark == "g" else duration * gate
        notes.append(Note(onset, length, pitch, min(127, round(velocity * level))))
    return notes


# --- drums, timing ---------------------------------------------------------------------------


def hits(
    pattern: str,
    key: int,
    start: float,
    velocity: int = 100,
    step: float = 0.25,
    track: str = "main",
    duration: float = 0.2,
) -> list[Note]:
    """A drum pattern from a grid of sixteenths: 'X' accent, 'x' hit, 'o' ghost note, anything else a rest."""
    level = {"X": 1.15, "x": 1.0, "o": 0.42}
    marks = pattern.replace(" ", "").replace("|", "")
    return [
        Note(start + i * step, duration, key, max(1, min(127, round(velocity * level[m]))), track)
        for i, m in enumerate(marks)
        if m in level
    ]


def fill(
    rng: random.Random, start: float, beats: float = 1.0, velocity: int = 92, track: str = "main"
) -> list[Note]:
    """A drum fill: snare and toms in sixteenths, falling and growing, over `beats`."""
    count = round(beats * 4)
    ladder = rng.choice(
        (
            [SNARE, HIGH_TOM, MID_TOM, FLOOR_TOM],
            [SNARE, SNARE, MID_TOM, FLOOR_TOM],
            [SNARE, SNARE, SNARE, SNARE],
            [HIGH_TOM, MID_TOM, LOW_TOM, FLOOR_TOM],
        )
    )
    notes = []
    for i in range(count):
        if i and rng.random() < 0.22:
            continue
        key = ladder[i * len(ladder) // count]
        notes.append(Note(start + i / 4, 0.2, key, round(velocity * (0.7 + 0.35 * (i + 1) / count)), track))
    return notes


def humanise(
    notes: list[Note], rng: random.Random, timing_beats: float = 0.015, velocity: float = 6.0
) -> list[Note]:
    """Small errors of a player's hand: normal timing (standard deviation `timing_beats`) and velocity."""
    return [
        replace(
            n,
            start=max(0.0, n.start + max(-2.5, min(2.5, rng.gauss(0, 1))) * timing_beats),
            velocity=max(1, min(127, round(n.velocity + rng.gauss(0, velocity)))),
        )
        for n in notes
    ]


def swing(notes: list[Note], amount: float, unit: float = 0.25) -> list[Note]:
    """Delays every second `unit` (0.25: sixteenths, 0.5: eighths). `amount`: 0 straight, 1/3 triplet."""

    def warp(beat: float) -> float:
        pair, inside = divmod(beat, 2 * unit)
        x, middle = inside / (2 * unit), 0.5 * (1 + amount)
        x = x * 2 * middle if x < 0.5 else middle + (x - 0.5) * 2 * (1 - middle)
        return (pair + x) * 2 * unit

    return [
        replace(n, start=warp(n.start), duration=max(0.05, warp(n.start + n.duration) - warp(n.start)))
        for n in notes
    ]


def legato(notes: list[Note], longest: float = 1.0) -> list[Note]:
    """Every note held to the next start, `longest` beats at most: for sounds that speak slowly."""
    starts = sorted({n.start for n in notes})
    following = dict(zip(starts, starts[1:]))
    gaps = {n.start: following.get(n.start, n.start + longest) - n.start for n in notes}
    return [replace(n, duration=max(n.duration, min(longest, gaps[n.start]))) for n in notes]
