"""The band behind a fiddle tune: strummed or vamped chords, drones, bass, bodhran.

`feel` is "reel", "jig", "waltz" or "air"; beats are the pulse a foot taps (see `folk.py`).

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import Chord, Note, Piece, Track
from lmdm_mini.corpus.styles.patterns import FLOOR_TOM, LOW_CONGA, MUTE_CONGA, SHAKER, TAMBOURINE
from lmdm_mini.corpus.styles.theory import bass_note, voicing

_STRUMS = {  # feel -> patterns of (offset in beats, what, level) for one bar of two or three beats
    "reel": [
        [(0, "low", 1.0), (0.5, "chord", 0.85), (1, "fifth", 0.92), (1.5, "chord", 0.85)],
        [
            (0, "chord", 1.0),
            (0.5, "up", 0.7),
            (0.75, "up", 0.6),
            (1, "chord", 0.9),
            (1.5, "up", 0.75),
            (1.75, "up", 0.6),
        ],
        [
            (0, "low", 1.0),
            (0.5, "chord", 0.8),
            (0.75, "up", 0.55),
            (1, "fifth", 0.9),
            (1.5, "chord", 0.85),
            (1.75, "up", 0.6),
        ],
        [(0, "chord", 1.0), (0.75, "up", 0.75), (1.5, "chord", 0.9)],
    ],
    "jig": [
        [(0, "low", 1.0), (2 / 3, "chord", 0.8), (1, "fifth", 0.92), (5 / 3, "chord", 0.8)],
        [
            (0, "chord", 1.0),
            (1 / 3, "up", 0.55),
            (2 / 3, "chord", 0.72),
            (1, "chord", 0.92),
            (4 / 3, "up", 0.55),
            (5 / 3, "chord", 0.72),
        ],
        [(0, "chord", 1.0), (2 / 3, "up", 0.7), (1, "chord", 0.9), (5 / 3, "up", 0.7)],
    ],
    "waltz": [
        [(0, "low", 1.0), (1, "chord", 0.78), (2, "chord", 0.74)],
        [(0, "low", 1.0), (1, "chord", 0.8), (1.5, "up", 0.5), (2, "chord", 0.78), (2.5, "up", 0.55)],
    ],
}
_CHORDERS = [
    (25, "steel guitar", 0.22),
    (25, "steel guitar", 0.22),
    (24, "nylon guitar", 0.25),
    (0, "piano", 0.25),
    (26, "acoustic guitar", 0.25),
    (15, "dulcimer", 0.3),
    (21, "accordion chords", 0.25),
]


def accompany(rng: random.Random, piece: Piece, feel: str, compound: bool, lead_in: float) -> None:
    """Chords in a strum or vamp, perhaps a drone, and a bass; the pattern may change at half time.

    `compound`: the pulse divides into three. `lead_in`: beats of introduction.
    """
    chords, bar = piece.chords, piece.beats_per_bar
    program, word, reverb = rng.choice(
        _CHORDERS
        if feel != "air"
        else [(46, "harp", 0.45), (24, "nylon guitar", 0.35), (0, "piano", 0.4), (25, "steel guitar", 0.35)]
    )
    piece.tracks["chords"]["main"] = Track(program, word, rng.choice((-0.4, 0.4)), 0.85, reverb)
    bass_program, bass_word = rng.choice(
        [
            (32, "acoustic bass"),
            (32, "acoustic bass"),
            (42, "cello"),
            (33, "bass guitar"),
            (45, "plucked cello"),
        ]
    )
    if feel == "air":
        bass_program, bass_word = rng.choice([(42, "cello"), (32, "acoustic bass"), (43, "contrabass")])
    piece.tracks["bass"]["main"] = Track(bass_program, bass_word, rng.uniform(-0.1, 0.1), 1.0, 0.18)
    patterns = rng.sample(_STRUMS.get(feel, _STRUMS["waltz"]), 2)
    strummed = program in (24, 25, 26, 15)
    previous = None
    bars = round(piece.length / bar)
    bass_enters = rng.choice((0.0, lead_in))
    for index in range(bars):
        at, last = index * bar, index == bars - 1
        if feel == "air":
            previous = _air_bar(rng, piece, at, compound, previous, last)
        else:
            pattern = patterns[0] if index < bars / 2 else patterns[1]
            if last:
                pattern = [(0, "low", 1.0), (0.02, "chord", 1.0)]
            hold = bar * 0.95 if last else {"reel": 0.42, "jig": 0.3}.get(feel, 0.85)
            for offset, what, level in _bar_steps(pattern, bar, feel):
                chord = _at(chords, at + offset)
                previous = voicing(chord, previous, 52, 72, 4 if strummed else 3)
                loud = round(72 * level + rng.uniform(-3, 3))
                stroke = Note(at + offset, hold, 0, loud)
                piece.stems["chords"] += _stroke(stroke, what, chord, previous, strummed)
        if at >= bass_enters:
            piece.stems["bass"] += _bass_bar(rng, chords, at, bar, feel, bass_program, last)
    if rng.random() < (0.5 if feel == "air" else 0.2):
        _drone(rng, piece, feel)


def _stroke(stroke: Note, what: str, chord: Chord, voices: list[int], strummed: bool) -> list[Note]:
    """The notes of one stroke: the root ("low"), the "fifth", the whole "chord", or its top ("up")."""
    if what in ("low", "fifth"):
        root = bass_note(chord.root, 40, 52)
        pitch = root if what == "low" else root + 7 if root + 7 <= 54 else root - 5
        return [replace(stroke, pitch=pitch, velocity=stroke.velocity + 4)]
    up, lag = what == "up", 0.014 if strummed else 0.0
    return [
        replace(
            stroke,
            start=stroke.start + n * lag,
            duration=stroke.duration * (0.8 if up else 1.0),
            pitch=pitch,
            velocity=stroke.velocity - 2 * n,
        )
        for n, pitch in enumerate(reversed(voices[-3:]) if up else voices)
    ]


def _drone(rng: random.Random, piece: Piece, feel: str) -> None:
    """Tonic and fifth held all through, four bars at a time."""
    sounds = [(20, "concertina drone"), (42, "cello drone"), (48, "strings"), (109, "bagpipe drone")]
    program, word = rng.choice(sounds[: 3 if feel == "air" else 4])
    piece.tracks["chords"]["drone"] = Track(program, word, rng.choice((-0.2, 0.2)), 0.45, 0.45)
    root = bass_note(piece.key_root, 48, 59)
    for start in range(0, int(piece.length), piece.beats_per_bar * 4):
        hold = min(piece.beats_per_bar * 4, piece.length - start)
        piece.stems["chords"] += [
            Note(start, hold * 0.99, root, 52, "drone"),
            Note(start, hold * 0.99, root + 7, 48, "drone"),
        ]


def _bar_steps(pattern, bar: int, feel: str):
    """Patterns are written for two beats (three in a waltz); other bars repeat or cut them."""
    own = 3 if feel == "waltz" else 2
    return [
        (offset + k * own, what, level)
        for k in range(-(-bar // own))
        for offset, what, level in pattern
        if offset + k * own < bar - 1e-6
    ]


def _air_bar(rng: random.Random, piece: Piece, at: int, compound: bool, previous, last: bool) -> list[int]:
    """A slow broken chord in half beats (thirds in compound time), ringing to the end of the bar."""
    bar, chord, notes = piece.beats_per_bar, _at(piece.chords, at), piece.stems["chords"]
    previous = voicing(chord, previous, 50, 74, 4)
    if last:
        for n, pitch in enumerate(previous):
            notes.append(Note(at + n * 0.09, bar - n * 0.09, pitch, 66 - 2 * n))
        return previous
    order = rng.choice(([0, 1, 2, 3, 2, 1], [0, 2, 1, 3, 2, 1], [0, 1, 2, 1, 3, 2]))
    parts = 3 if compound else 2
    for step in range(bar * parts):
        where = step / parts
        here = _at(piece.chords, at + where)
        if (here.root, here.quality) != (chord.root, chord.quality):
            chord, previous = here, voicing(here, previous, 50, 74, 4)
        if step % parts and rng.random() < 0.2:
            continue
        pitch = previous[order[step % 6] % len(previous)]
        notes.append(Note(at + where, min(2.0, bar - where), pitch, 70 if step == 0 else 56))
    return previous


def _bass_bar(rng, chords, at, bar, feel, program, last) -> list[Note]:
    """Root and fifth on the beats (root alone in slow time), now and then a step towards the next root."""
    notes = []
    bowed = program in (42, 43)
    chord = _at(chords, at)
    root = bass_note(chord.root, 33, 46)
    if last or feel == "air" or (feel == "waltz" and not bowed and rng.random() < 0.7):
        return [Note(at, bar * (0.97 if bowed or last else 0.8), root, 88)]
    for beat in range(bar):
        here = _at(chords, at + beat)
        root = bass_note(here.root, 33, 46)
        fresh = abs(here.start - at - beat) < 0.01 or beat == 0
        pitch = root if fresh else root - 5 if root - 5 >= 31 else root + 7
        if beat == bar - 1 and not fresh and rng.random() < 0.3:
            target = bass_note(_at(chords, at + bar).root, 33, 46)
            if target != root:
                pitch = target + (-2 if target > root else 2)
        notes.append(Note(at + beat, 0.9 if bowed else 0.7, pitch, 92 if beat == 0 else 82))
    return notes


_HANDS = {  # two-beat grids; reels in sixteenths, jigs in triplets; X accent, x hit, o touch
    "reel": ["Xoxo Xoxo", "Xoox Xoxo", "X.xo X.xx", "Xooo xooo"],
    "jig": ["Xox Xox", "Xoo Xox", "X.x X.x"],
    "waltz": ["X.x.x.", "X.xox."],
}


def percussion(rng: random.Random, piece: Piece, feel: str) -> None:
    """Bodhran (low drum, accents and touches), with or without tambourine or shaker, or nothing."""
    if feel == "air" or rng.random() < 0.3:
        return
    bar, length = piece.beats_per_bar, piece.length
    step = {"reel": 0.25, "jig": 1 / 3, "waltz": 0.5}[feel]
    own = 3 if feel == "waltz" else 2
    grids = [g.replace(" ", "") for g in rng.sample(_HANDS[feel], 2)]
    drum = rng.random() < 0.8
    rattle = rng.choice((TAMBOURINE, SHAKER, None)) if drum else rng.choice((TAMBOURINE, SHAKER))
    piece.tracks["drums"]["main"] = Track(
        0,
        "bodhran" if drum else "tambourine" if rattle == TAMBOURINE else "shaker",
        rng.uniform(-0.2, 0.2),
        0.75,
        0.25,
    )
    enters = rng.choice([s.start for s in piece.sections if s.start <= length / 2] or [0.0])
    notes = piece.stems["drums"]
    for index in range(round(length / bar)):
        at = index * bar
        if at < enters:
            continue
        if index == round(length / bar) - 1:
            notes.append(Note(at, 0.3, FLOOR_TOM if drum or rattle is None else rattle, 88))
            continue
        grid = grids[(index // 8) % 2]
        turn = index % 8 == 7
        for k in range(round(bar / step)):
            mark = grid[k % len(grid)] if k * step < own * -(-bar // own) else "."
            if turn and mark == "." and rng.random() < 0.6:
                mark = "x"
            level = {"X": 92, "x": 72, "o": 46}.get(mark)
            if level is None:
                continue
            if drum:
                key = FLOOR_TOM if mark == "X" else LOW_CONGA if mark == "x" else MUTE_CONGA
                notes.append(Note(at + k * step, 0.15, key, level))
            if rattle and (k * step) % 1 >= 0.45 and mark != ".":
                notes.append(Note(at + k * step, 0.1, rattle, 56 if (k * step) % 1 < 0.55 else 40))
            elif rattle and not drum and mark == "X":
                notes.append(Note(at + k * step, 0.1, rattle, 70))


def _at(chords: list[Chord], beat: float) -> Chord:
    found = chords[0]
    for chord in chords:
        if chord.start > beat + 1e-6:
            break
        found = chord
    return found
