"""Chiptune: square and saw leads, chords as fast arpeggios, a bouncing bass, tight drums, an eight-bar hook.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import Note, Piece, Track
from lmdm_mini.corpus.styles.form import begin_piece, choose_form, finish, vary_repeats
from lmdm_mini.corpus.styles.motifs import (
    LeadPart,
    Motif,
    make_motif,
    new_ending,
    play_motif,
    sequence,
    vary_rhythm,
)
from lmdm_mini.corpus.styles.patterns import CLOSED_HAT, CRASH, KICK, OPEN_HAT, SNARE, bass_riff, fill, hits
from lmdm_mini.corpus.styles.theory import Passage, chord_at, loop_chords, nearest, scale_step, voice_lead

_GAMES = [  # (mode, A, B, moods): four or eight chords for eight bars
    ("major", "I V vi IV", "IV V iii vi IV V I I", ("heroic", "bright", "cheerful")),
    ("major", "IVmaj7 V iii vi", "ii V I vi ii V I I", ("nostalgic", "catchy", "bright")),
    ("major", "I IV V I", "vi iii IV I ii V I V", ("playful", "happy", "bouncy")),
    ("major", "I bVII IV I", "bVI bVII I I bVI bVII V V", ("heroic", "adventurous", "bold")),
    ("major", "I vi ii V", "IV iv I vi ii V I I", ("playful", "sweet", "bouncy")),
    ("minor", "i bVI bVII i", "bVI bVII i i bVI bVII V V", ("epic", "driving", "tense")),
    ("minor", "i bVII bVI V", "iv i V i iv i bVI V", ("dramatic", "dark", "driving")),
    ("minor", "i bVI bIII bVII", "bVI bVII bIII i bVI bVII i V", ("determined", "epic", "energetic")),
    ("minor", "i i iv V", "bVI bIII iv V bVI bIII V V", ("spooky", "tense", "urgent")),
    ("dorian", "i IV i bVII", "bIII bVII i IV bIII bVII IV i", ("adventurous", "cool", "energetic")),
    ("dorian", "i bVII IV i", "bVII IV i i bVII IV v v", ("groovy", "cool", "driving")),
    ("mixolydian", "I bVII IV I", "v bVII IV I v bVII I I", ("bold", "sunny", "adventurous")),
    ("lydian", "I II I II", "iii vi II V iii vi II II", ("dreamy", "floating", "curious")),
]
_FORMS = [
    [("A", 8), ("B", 8), ("A", 8)],
    [("intro", 2), ("A", 8), ("B", 8), ("A", 8)],
    [("intro", 4), ("A", 8), ("B", 8), ("A", 8)],
    [("A", 8), ("A", 8), ("B", 8), ("A", 8)],
    [("intro", 4), ("A", 8), ("A", 8), ("B", 8), ("A", 8)],
    [("intro", 4), ("A", 8), ("B", 8), ("break", 4), ("A", 8), ("B", 8)],
    [("A", 8), ("B", 8), ("break", 4), ("A", 8)],
    [("intro", 2), ("A", 8), ("A", 8), ("B", 8), ("break", 4), ("A", 8), ("B", 8)],
    [("A", 8), ("B", 8), ("A", 8), ("B", 8)],
]
_LEADS = [
    (80, "square lead"),
    (80, "square lead"),
    (81, "saw lead"),
    (82, "calliope lead"),
    (87, "bass and lead synth"),
    (83, "chiff lead"),
]
_ARPS = [
    (80, "square arpeggio"),
    (81, "saw arpeggio"),
    (82, "calliope arpeggio"),
    (80, "square arpeggio"),
    (7, "clavinet arpeggio"),
]
_BASSES = [(38, "synth bass"), (39, "synth bass"), (80, "square bass"), (38, "synth bass"), (81, "saw bass")]
_CELLS = [
    "x.x.x.xxx.x.x...",
    "x..x..x.x.x.x...",
    "x.xxx.x.x..x..x.",
    "x...x.x.x..x..x.",
    "x.x.x...x.x.x...",
    "xxx.x.x.x...x...",
    "x..x..x.x..x..x.",
    "x.x.xxx.x.x.x.x.",
    "--x.x.x.x.x.x...",
    "x.....x.x.x.xxx.",
]
_CALM = ["x...x...x.......", "x.....x.x.......", "x...x.x.x.......", "x..x..x........."]
_BASS_LINES = [
    "R.8.R.8.R.8.R.8.",
    "R.R.R.R.R.R.R.R.",
    "R..R..8.R..R..5.",
    "R.R.8.R.R.R.8.5.",
    "R.-.R.8.R.-.5.8.",
    "R...5...R...5...",
    "RR8.RR8.RR8.R.5.",
    "R.5.8.5.R.5.8.5.",
]
_BEATS = [  # kick, snare, hat in sixteenths
    ("x...x...x...x...", "....x.......x...", "x.x.x.x.x.x.x.x."),
    ("x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x."),
    ("x.....x.x.......", "....x.......x...", "xoxoxoxoxoxoxoxo"),
    ("x..x..x...x.....", "....x.......x..x", "x.x.x.x.x.x.x.xo"),
    ("x...x...x...x...", "....x.......x...", "..x...x...x...x."),
    ("x...x...x..x..x.", "....x.......x...", "xxxxxxxxxxxxxxxx"),
]


def chiptune(rng: random.Random, index: int) -> Piece:
    """A chiptune at 120 to 180 bpm."""
    bpm = float(rng.randint(120, 180))
    form = choose_form(rng, _FORMS, bpm)
    mode, a_chords, b_chords, moods = rng.choice(_GAMES)
    key = rng.randrange(12)
    piece = begin_piece("chiptune", index, bpm, key, mode, form)
    for section, (name, bars) in zip(piece.sections, form):
        piece.chords += loop_chords(b_chords if name == "B" else a_chords, key, section.start, bars * 4.0)
    last_bar = piece.length - 4.0
    home = loop_chords("i" if mode in ("minor", "dorian") else "I", key, last_bar, 4.0)
    before = [c for c in piece.chords if c.start < last_bar]
    piece.chords = [replace(c, duration=min(c.duration, last_bar - c.start)) for c in before] + home

    stems, tracks = piece.stems, piece.tracks
    (lead, lead_word), (second, second_word) = rng.sample(_LEADS, 2)
    side = rng.choice((-1, 1))
    tracks["lead"]["main"] = Track(lead, lead_word, 0.12 * side, 1.0, 0.12)
    tracks["lead"]["second"] = Track(second, second_word, -0.45 * side, 0.6, 0.12)
    tracks["lead"]["echo"] = Track(lead, lead_word, 0.6 * side, 0.45, 0.2)
    arp, arp_word = rng.choice(_ARPS)
    tracks["chords"]["arp"] = Track(arp, arp_word, -0.5 * side, 0.8, 0.12)
    bass, bass_word = rng.choice(_BASSES)
    tracks["bass"]["main"] = Track(bass, bass_word, 0.0, 1.0, 0.03)
    tracks["drums"]["main"] = Track(rng.choice((0, 24, 25, 8)), "drum machine", 0.0, 0.9, 0.06)

    middle = rng.choice((70, 72, 74, 76))
    hooks = {name: _hook(rng, contrast=name == "B") for name in ("A", "B")}
    beat, other_beat = rng.sample(_BEATS, 2)
    line, other_line = rng.sample(_BASS_LINES, 2)
    arp_shape = rng.choice(("012", "0121", "210", "0123", "02132", "01231032"))
    doubled = rng.choice(("third", "echo", "octave", "none"))
    low_voice = LeadPart(key, mode, 60, 84, anchor=middle - 12)
    seen: dict[str, int] = {}
    for section, (name, bars) in zip(piece.sections, form):
        at, beats = section.start, bars * 4.0
        here = Passage(piece.chords, at, beats)
        last = section is piece.sections[-1]
        turn = seen[name] = seen.get(name, -1) + 1
        if name in hooks:
            tune = _play_hook(hooks[name], here, key, mode, middle, last)
            stems["lead"] += tune
            how = doubled if turn == 0 and not last else rng.choice(("third", "echo"))
            _double(piece, tune, how)
        elif name == "break":
            cell = sequence(hooks["A"][0], -2)
            for k in range(0, int(beats), 8):
                stems["lead"] += play_motif(cell, at + k, piece.chords, low_voice, 84)
        stems["chords"] += _arpeggios(
            here, arp_shape, low=64 if name == "B" else 60, velocity=82 if name in hooks else 92
        )
        if name != "intro" or rng.random() < 0.6:
            gate = rng.choice((0.6, 0.85))
            riff = other_line if name == "B" else line
            stems["bass"] += bass_riff(here, riff, rng, 33, 48, gate=gate)
        if name == "intro" or name == "break":
            hat = hits("x.x.x.x.x.x.x.x." * (bars - 1), CLOSED_HAT, at, 70)
            stems["drums"] += hat + hits("x..............." * (bars - 1), KICK, at, 96)
            roll = 4.0 if bars > 2 else 2.0
            stems["drums"] += fill(rng, at + beats - roll, roll, 90)
        else:
            _drums(rng, stems, at, bars, other_beat if name == "B" else beat)
    _ending(stems, piece.length)
    if rng.random() < 0.5:  # a soft chord layer under the arpeggio
        tracks["chords"]["pad"] = Track(rng.choice((80, 81, 90)), "synth chords", 0.35 * side, 0.35, 0.2)
        for pitches, chord in zip(voice_lead(piece.chords, 55, 72, 3), piece.chords):
            stems["chords"] += [Note(chord.start, chord.duration * 0.96, p, 58, "pad") for p in pitches]
    piece.moods = (
        list(rng.sample(moods, 2))
        + [rng.choice(("retro", "8-bit", "arcade"))]
        + (["fast"] if bpm >= 160 else [])
    )
    return vary_repeats(finish(piece), rng)


# Outlines a player whistles after one hearing, in scale steps from the anchor; rhythm cells stretch them.
_OUTLINES = [
    (0, 2, 4, 7, 6, 4, 5, 4),
    (4, 4, 5, 4, 2, 0, 2, 4),
    (7, 6, 4, 2, 4, 2, 1, 0),
    (0, 4, 2, 4, 7, 4, 6, 4),
    (0, 7, 6, 4, 5, 4, 2, 4),
    (0, 0, 4, 4, 5, 5, 4, 2),
    (4, 2, 0, 2, 4, 7, 9, 7),
    (0, 1, 2, 4, 2, 4, 7, 4),
    (7, 7, 4, 7, 9, 7, 4, 2),
    (2, 4, 7, 4, 2, 4, 0, 2),
    (0, 4, 7, 11, 9, 7, 4, 7),
    (4, 5, 7, 4, 2, 4, 5, 2),
    (0, -1, 0, 4, 2, 0, -1, -3),
    (7, 4, 0, 4, 7, 9, 11, 9),
]


def _cell(rng: random.Random, rhythms: list[str]) -> Motif:
    """A bar of melody: a rhythm cell carrying one of the outlines, upright or turned round in time."""
    motif = make_motif(rng, 4.0, rhythms)
    outline = rng.choice(_OUTLINES)
    if rng.random() < 0.25:
        outline = outline[::-1]
    first = outline[0] if outline[0] < 7 else 4
    steps = tuple(outline[k % len(outline)] for k in range(len(motif.steps)))
    return replace(motif, steps=(steps[0] if outline[0] < 9 else first,) + steps[1:])


def _hook(rng: random.Random, contrast: bool) -> list[Motif]:
    """Eight one-bar cells, A A' B A: question, answer, a contrast that climbs, an ending."""
    ask = _cell(rng, _CELLS)
    reply = _cell(rng, _CELLS if contrast else _CALM)
    climb = sequence(_cell(rng, _CELLS), rng.choice((1, 2)))
    if contrast:
        ask, climb = sequence(ask, 2), sequence(_cell(rng, _CALM), 3)
    ending = new_ending(reply, rng)
    return [
        ask,
        reply,
        rng.choice((ask, vary_rhythm(ask, rng))),
        new_ending(reply, rng),
        climb,
        sequence(climb, rng.choice((-1, 1))),
        ask,
        ending,
    ]


def _play_hook(
    cells: list[Motif], passage: Passage, key: int, mode: str, middle: int, last: bool
) -> list[Note]:
    """The cells over the chords: each starts from a chord tone near the last start."""
    anchor = nearest(middle, [key], middle - 8, middle + 4)
    part = LeadPart(key, mode, middle - 10, middle + 16, anchor)
    notes: list[Note] = []
    for bar in range(int(passage.beats / 4)):
        cell, at = cells[bar % len(cells)], passage.start + bar * 4.0
        chord = chord_at(passage.chords, at)
        stable = [chord.root, (chord.root + 7) % 12]
        part = replace(part, anchor=nearest((part.anchor + middle - 2) / 2, stable, middle - 8, middle + 5))
        notes += play_motif(cell, at, passage.chords, part, 98)
    if last:  # the tune ends on the tonic, on the first beat of the last bar
        end = passage.end - 4.0
        notes = [n for n in notes if n.start < end]
        notes.append(Note(end, 2.0, nearest(notes[-1].pitch, [key]), 104))
    return [replace(n, duration=min(n.duration, 1.5)) for n in notes]


def _double(piece: Piece, tune: list[Note], how: str) -> None:
    """A second voice: thirds below, an echo, or octaves."""
    lead = piece.stems["lead"]
    if how == "echo":
        lead += [
            replace(n, start=n.start + 0.75, velocity=round(n.velocity * 0.6), track="echo") for n in tune
        ]
    elif how == "octave":
        lead += [replace(n, pitch=n.pitch - 12, velocity=n.velocity - 14, track="second") for n in tune]
    elif how == "third":
        for n in tune:
            chord = chord_at(piece.chords, n.start)
            below = scale_step(n.pitch, -2, piece.key_root, piece.key_mode)
            if n.start % 1 == 0:  # on the beat the second voice stays inside the chord
                triad = [
                    chord.root,
                    (chord.root + (3 if chord.quality.startswith("min") else 4)) % 12,
                    (chord.root + 7) % 12,
                ]
                below = nearest(below, triad, n.pitch - 9, n.pitch - 3)
            lead.append(replace(n, pitch=below, velocity=n.velocity - 14, track="second"))


def _arpeggios(passage: Passage, shape: str, low: int, velocity: int, step: float = 0.25) -> list[Note]:
    """The console's trick for chords on one channel: their notes one after another in sixteenths."""
    begin, end = passage.start, passage.end
    inside = [c for c in passage.chords if c.start < end - 1e-6 and c.start + c.duration > begin + 1e-6]
    notes: list[Note] = []
    for pitches, chord in zip(voice_lead(inside, low, low + 16, 3), inside):
        ladder = pitches + [pitches[0] + 12]
        start, until = max(chord.start, begin), min(chord.start + chord.duration, end)
        for k in range(round((until - start) / step)):
            pitch = ladder[int(shape[k % len(shape)])]
            loud = velocity - (0 if k % 4 == 0 else 10)
            notes.append(Note(start + k * step, step * 0.85, pitch, loud, "arp"))
    return notes


def _drums(rng, stems, at: float, bars: int, beat: tuple[str, str, str]) -> None:
    kick, snare, hat = beat
    for bar in range(bars):
        start = at + bar * 4.0
        closing = bar % 8 == 7 or (bar % 4 == 3 and rng.random() < 0.3)
        cut = 12 if closing else 16
        stems["drums"] += hits(kick[:cut], KICK, start, 108) + hits(snare[:cut], SNARE, start, 102)
        stems["drums"] += hits(hat[:cut], CLOSED_HAT, start, 74)
        if closing:
            stems["drums"] += fill(rng, start + 3.0, 1.0, 96)
        elif bar % 2 and rng.random() < 0.5:
            stems["drums"].append(Note(start + 3.5, 0.3, OPEN_HAT, 76))
        if bar == 0:
            stems["drums"].append(Note(start, 1.0, CRASH, 88))


def _ending(stems, length: float) -> None:
    """Everybody stops on the first beat of the last bar; only the arpeggio runs out."""
    last = length - 4.0
    for stem in ("drums", "bass"):
        stems[stem] = [n for n in stems[stem] if n.start < last + 1e-6]
    stems["drums"] += [Note(last, 0.3, KICK, 112), Note(last, 2.0, CRASH, 96)]
    stems["chords"] = [n for n in stems["chords"] if n.start < last + 2.0]
    for note in stems["bass"]:
        if abs(note.start - last) < 1e-6:
            note.duration = 2.0
