"""Motifs: short cells that are stated, varied, answered and played over the chords of a piece.

Every random choice comes from the `random.Random` passed in. Times are in beats.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass, replace

from lmdm_mini.corpus.piece import Chord, Note
from lmdm_mini.corpus.styles.theory import Passage, chord_at, chord_scale, chord_tones, nearest, scale_step


@dataclass(frozen=True)
class Motif:
    """A short cell. `onsets` and `durations` in beats, `steps` in scale degrees from the anchor note."""

    onsets: tuple[float, ...]
    durations: tuple[float, ...]
    steps: tuple[int, ...]
    beats: float


def make_motif(
    rng: random.Random, beats: float = 4.0, rhythms: list[str] | None = None, leap: float = 0.25
) -> Motif:
    """A new cell. `rhythms`: grids such as "x..x..x.x.----" ('x' starts a note, '-' is a rest)."""
    grid = rng.choice(
        rhythms
        or [
            "x.x.x...x.x.----",
            "x..x..x.x...----",
            "x...x.x...x.----",
            "--x.x.x.x...x...",
            "x.....x.x.x.----",
            "x.xxx...x...----",
        ]
    )
    step = beats / len(grid)
    onsets, durations = [], []
    for i, mark in enumerate(grid):
        if mark == "x":
            onsets.append(i * step)
            durations.append(step)
        elif mark == "." and durations:
            durations[-1] += step
    steps, now, direction = [], 0, rng.choice((-1, 1))
    for _ in onsets:
        steps.append(now)
        if rng.random() < 0.3 or abs(now) > 4:
            direction = -1 if now > 0 else 1
        now += direction * (rng.choice((2, 3, 4)) if rng.random() < leap else rng.choice((1, 1, 1, 0)))
    return Motif(tuple(onsets), tuple(durations), tuple(steps), beats)


def sequence(motif: Motif, steps: int) -> Motif:
    """The same shape, `steps` scale degrees higher."""
    return replace(motif, steps=tuple(s + steps for s in motif.steps))


def invert(motif: Motif) -> Motif:
    """Up becomes down, around the first note."""
    return replace(motif, steps=tuple(2 * motif.steps[0] - s for s in motif.steps))


def new_ending(motif: Motif, rng: random.Random) -> Motif:
    """The cell, its last third of notes led elsewhere, the last one held: the answer to a question."""
    keep = max(1, len(motif.steps) * 2 // 3)
    steps = list(motif.steps[:keep])
    while len(steps) < len(motif.steps):
        steps.append(steps[-1] + rng.choice((-2, -1, -1, 1)))
    ends = list(motif.durations)
    ends[-1] = max(ends[-1], min(2.0, motif.beats - motif.onsets[-1]))
    return replace(motif, steps=tuple(steps), durations=tuple(ends))


def vary_rhythm(motif: Motif, rng: random.Random) -> Motif:
    """Splits one long note in two or drops one short note; the outline stays."""
    onsets, durations, steps = list(motif.onsets), list(motif.durations), list(motif.steps)
    long = [i for i, d in enumerate(durations) if d >= 1.0]
    if long and rng.random() < 0.6:
        i = rng.choice(long)
        half = durations[i] / 2
        durations[i] = half
        onsets.insert(i + 1, onsets[i] + half)
        durations.insert(i + 1, half)
        steps.insert(i + 1, steps[i] + rng.choice((-1, 1)))
    elif len(onsets) > 3:
        i = rng.randrange(1, len(onsets))
        durations[i - 1] += durations[i] if onsets[i - 1] + durations[i - 1] >= onsets[i] - 1e-6 else 0.0
        del onsets[i], durations[i], steps[i]
    return Motif(tuple(onsets), tuple(durations), tuple(steps), motif.beats)


def develop(motif: Motif, rng: random.Random, count: int = 4) -> list[Motif]:
    """A phrase of `count` cells that a listener hears as one idea: statement, variant, statement, answer."""
    variants = [
        lambda m: sequence(m, rng.choice((-2, -1, 1, 2))),
        lambda m: vary_rhythm(m, rng),
        lambda m: invert(m),
        lambda m: new_ending(m, rng),
    ]
    cells = [motif]
    while len(cells) < count:
        if len(cells) % 4 == 2:
            cells.append(motif)
        elif len(cells) == count - 1:
            cells.append(new_ending(motif, rng))
        else:
            cells.append(rng.choice(variants)(motif))
    return cells


@dataclass(frozen=True)
class LeadPart:
    """An instrument that plays a melody: its key and scale, its register, and the note that step 0
    of a motif stands for (`anchor`; all MIDI pitches)."""

    key_root: int
    mode: str
    low: int
    high: int
    anchor: int
    track: str = "main"


def play_motif(
    motif: Motif, start: float, chords: list[Chord], part: LeadPart, velocity: int = 90
) -> list[Note]:
    """The motif as notes: chord tones on strong beats, elsewhere tensions and the scale of the chord."""
    notes, previous = [], None
    for onset, duration, steps in zip(motif.onsets, motif.durations, motif.steps):
        chord = chord_at(chords, start + onset)
        pitch = scale_step(part.anchor, steps, part.key_root, part.mode)
        tones, scale = chord_tones(chord), chord_scale(chord, part.key_root, part.mode)
        allowed = scale
        if onset % 2 == 0 or onset % 1 == 0 and duration >= 1.0:
            allowed = tones
        elif duration >= 0.75:  # long off the beat: tensions, but none a semitone above a chord tone
            allowed = tones + [pc for pc in scale if (pc - 1) % 12 not in tones]
        while pitch > part.high:
            pitch -= 12
        while pitch < part.low:
            pitch += 12
        pitch = nearest(pitch, allowed, part.low, part.high)
        if previous is not None and abs(pitch - previous) > 9:
            pitch = nearest((pitch + previous) / 2, allowed, part.low, part.high)
        accent = 8 if onset % 1 == 0 else 0
        notes.append(Note(start + onset, duration * 0.95, pitch, velocity + accent - 6, part.track))
        previous = pitch
    return notes


def play_phrase(cells: list[Motif], passage: Passage, part: LeadPart, velocity: int = 90) -> list[Note]:
    """The cells of a phrase (see `develop`) one after another, again and again, to the end of the passage."""
    notes, now, i = [], passage.start, 0
    while now < passage.end - 1e-6:
        cell = cells[i % len(cells)]
        notes += play_motif(cell, now, passage.chords, part, velocity)
        now, i = now + cell.beats, i + 1
    return [
        replace(n, duration=min(n.duration, passage.end + 0.5 - n.start))
        for n in notes
        if n.start < passage.end
    ]
