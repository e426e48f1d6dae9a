"""Techno: a straight kick at 126 to 142 bpm, a machine's sequence, a chord or two, filters that open.

`techno` takes a `random.Random` and an index; the tables on top are its taste. The filter that opens and the
kick that ducks the rest belong to the mix and are made after rendering.

Notebook: 01_sound_to_latents.
"""

import random

from lmdm_mini.corpus.piece import Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th

TITLE_WORDS = (
    ("Concrete", "Static", "Iron", "Pressure", "Orbital", "Carbon", "Signal", "Grey", "Phase", "Turbine"),
    ("Loop", "Field", "Sector", "Engine", "Drift", "Vector", "Tunnel", "State", "Relay", "Matter"),
)

# Sequences are grids of scale steps above the root: a digit plays, "." holds, "-" rests.
TECHNO_KINDS = {
    "acid": {
        "bpm": (128, 140),
        "modes": ("minor", "phrygian"),
        "moods": ("acidic", "squelchy", "hypnotic", "restless", "raw"),
        "loops": ("i:16", "i:12 bVII:4", "i:8 bII:8", "i:14 iv:2"),
        "lines": ("0070-30-0-7-0420", "0-7030-00-70-247", "00-0700-0240-070", "0.7-03-0.07-2-4-"),
        "leads": ((81, "acid synth"), (80, "acid synth"), (87, "acid synth")),
        "stabs": ((62, "synth stab"), (81, "synth stab"), (16, "organ stab")),
    },
    "dub": {
        "bpm": (120, 128),
        "modes": ("minor", "dorian"),
        "moods": ("deep", "foggy", "submerged", "hypnotic", "spacious"),
        "loops": ("i9:16", "i11:16", "i9:12 iv9:4", "i9:8 bVIImaj7:8"),
        "lines": ("0---7---0-----4-", "0-----4---7-----", "0---------7---4-"),
        "leads": ((98, "synth bell"), (88, "synth pad"), (12, "marimba")),
        "stabs": ((4, "electric piano chord"), (89, "dub chord"), (16, "organ chord"), (90, "dub chord")),
    },
    "driving": {
        "bpm": (132, 142),
        "modes": ("minor", "phrygian"),
        "moods": ("driving", "dark", "relentless", "industrial", "tense"),
        "loops": ("i:16", "i:12 bII:4", "i:8 bVI:8", "i:15 bII:1"),
        "lines": ("0-0-0-0-0-0-0-3-", "0--0--0--0--0-2-", "0-00-00-00-00-1-", "00-00-00-00-0-3-"),
        "leads": ((81, "saw synth"), (80, "square synth"), (84, "synth lead")),
        "stabs": ((62, "synth stab"), (90, "synth stab"), (95, "metallic pad")),
    },
    "detroit": {
        "bpm": (124, 132),
        "modes": ("minor", "dorian"),
        "moods": ("soulful", "futuristic", "melancholic", "warm", "cosmic"),
        "loops": ("i9:8 bVImaj9:8", "i9 iv9 bVImaj9 v7", "i9:8 bVIImaj7:4 iv9:4", "i11:8 bIIImaj9:8"),
        "lines": ("0-2-4-7-4-2-0-2-", "0--4--7--4--2-4-", "0-4-7-2-0-4-7-9-", "4-2-0-4-7-4-2-0-"),
        "leads": ((81, "synth lead"), (11, "vibraphone"), (98, "synth bell"), (80, "square synth")),
        "stabs": ((50, "synth strings"), (62, "synth brass"), (4, "electric piano")),
    },
}
KICKS = ("X---X---X---X---", "X---X---X---X--o", "X---X--oX---X---")
HATS = ("--x---x---x---x-", "--X-o-X-o-X-o-X-", "--x---x---x---xo")
TICKS = ("xoxoxoxoxoxoxoxo", "oxoXoxoXoxoXoxoX", "--------------xx", "x-o-x-o-x-o-x-o-")
CLAPS = ("----x-------x---", "------------x---", "----x-------x--o", "----------------")
TOMS = ("---x-----x----x-", "--x--x----x--x--", "------x--------x", "x-----x---x-----", "---x--x---x---x-")
STABS = ("---x--x---------", "--x-------x-----", "x--x--x---------", "------x---------", "--x---x---x-----")
RUMBLES = ("-RRR-RRR-RRR-RRR", "--R---R---R---R-", "-R-R-R-R-R-R-R-R", "--RR--RR--RR--RR", "-RR--RR--RR--RRs")
FORMS = [
    [("intro", 8), ("A", 16), ("break", 8), ("drop", 16)],
    [("intro", 8), ("A", 8), ("B", 8), ("break", 8), ("drop", 16)],
    [("A", 16), ("break", 8), ("drop", 16), ("outro", 8)],
    [("intro", 8), ("A", 8), ("break", 4), ("drop", 16), ("outro", 8)],
    [("intro", 4), ("A", 16), ("B", 16), ("outro", 4)],
    [("break", 8), ("drop", 16), ("B", 8), ("drop", 8)],
]


def techno_drums(rng: random.Random, name: str, bars: int, start: float, kit: dict) -> list[Note]:
    """Kick, hats and what turns around them; a layer joins every four bars, the break has no kick."""
    notes: list[Note] = []
    for bar in range(bars):
        now, last = start + 4 * bar, bar == bars - 1
        if name == "break":
            notes += pt.hits(kit["tick"], kit["tick_key"], now, 50)
            if last:  # a roll into the drop
                notes += [
                    Note(now + i / 4, 0.2, pt.SNARE, 50 + 4 * i) for i in range(16) if i > 7 or i % 2 == 0
                ]
            continue
        kick = "X---X---X-------" if last and name in ("A", "B") and rng.random() < 0.6 else kit["kick"]
        notes += pt.hits(kick, pt.KICK, now, 110)
        layers = bar // 4 + {"intro": 0, "A": 1, "B": 2, "drop": 3, "outro": 2}[name]
        if name == "outro":
            layers = max(0, layers - 2 * (bar // 4))
        if layers >= 1:
            notes += pt.hits(kit["hat"], pt.OPEN_HAT, now, 80, duration=0.12)
        if layers >= 2:
            notes += pt.hits(kit["tick"], kit["tick_key"], now, 58)
            notes += pt.hits(kit["clap"], kit["clap_key"], now, 92)
        if layers >= 3:
            notes += pt.hits(kit["tom"], kit["tom_key"], now, 72)
        if layers >= 4 and kit["ride"]:
            notes += pt.hits("x---x---x---x---", pt.RIDE, now, 62)
    if name in ("drop", "B"):
        notes += pt.hits("x", pt.CRASH, start, 84, duration=2.0)
    return notes


def sequence(line: str, chord_root: int, mode: str, start: float, rng: random.Random, accents: set[int]):
    """One bar of a sixteenths sequence: scale steps above a root, accents where the machine has them."""
    notes = []
    for onset, duration, mark in pt.grid_events(line, start, 4.0):
        step = round((onset - start) * 4)
        pitch = th.scale_step(chord_root, int(mark), chord_root % 12, mode)
        octave = 12 if rng.random() < 0.06 else 0
        loud = 104 if step in accents else 82
        notes.append(
            Note(onset, duration * (1.3 if step in accents else 0.7), pitch + octave, loud, "sequence")
        )
    return notes


def techno(rng: random.Random, index: int) -> Piece:
    """One techno track: acid, dub, driving or in the manner of Detroit."""
    kind = rng.choice(tuple(TECHNO_KINDS))
    table = TECHNO_KINDS[kind]
    bpm, key, mode = rng.randint(*table["bpm"]), rng.randrange(12), rng.choice(table["modes"])
    form = fm.choose_form(rng, FORMS, bpm)
    loop = rng.choice(table["loops"])
    piece = fm.begin_piece("techno", index, bpm, key, mode, form)
    for section, (_, bars) in zip(piece.sections, form):
        piece.chords += th.loop_chords(loop, key, section.start, bars * 4)
    kit = {
        "kick": rng.choice(KICKS),
        "hat": rng.choice(HATS),
        "tick": rng.choice(TICKS),
        "tick_key": rng.choice((pt.CLOSED_HAT, pt.CLOSED_HAT, pt.SHAKER, pt.CABASA)),
        "clap": rng.choice(CLAPS),
        "clap_key": rng.choice((pt.CLAP, pt.CLAP, pt.SNARE, pt.ELECTRIC_SNARE)),
        "tom": rng.choice(TOMS),
        "tom_key": rng.choice((pt.LOW_TOM, pt.LOW_CONGA, pt.HIGH_CONGA, pt.CLAVES, pt.COWBELL, pt.FLOOR_TOM)),
        "ride": rng.random() < 0.6,
    }
    lines = rng.sample(table["lines"], 2)
    accents = set(rng.sample(range(16), rng.randint(3, 6)))
    rumble, stab = rng.choice(RUMBLES), rng.choice(STABS)
    high = rng.choice((12, 12, 24)) if kind != "acid" else 0
    root = th.bass_note(key, 38, 50)
    answer = "".join(m if m in "-." or rng.random() < 0.7 else "0" for m in lines[0])
    stabs, pad = pt.ChordPart("stab", 52, 74, voices=3, rootless=False), pt.ChordPart("pad", 55, 79, voices=3)
    stems = piece.stems
    for section, (name, bars) in zip(piece.sections, form):
        start = section.start
        here = th.Passage(piece.chords, start, bars * 4.0)
        stems["drums"] += techno_drums(rng, name, bars, start, kit)
        if name not in ("break", "intro") or (name == "intro" and kind == "driving"):
            stems["bass"] += pt.bass_riff(here, rumble, rng, 26, 38, 100, gate=0.8)
        elif name == "break":
            stems["bass"] += pt.bass_riff(here, "R...............", rng, 26, 38, 84)
        if name in ("B", "drop", "A"):
            stems["chords"] += pt.comp(here, stab, stabs, 84, gate=1.2)
        if name in ("break", "B", "outro") or (kind in ("detroit", "dub") and name == "drop"):
            stems["chords"] += pt.comp(here, "w", pad, 64)
        enters = {"intro": bars // 2, "A": 0, "B": 0, "break": 0, "drop": 0, "outro": bars}[name]
        for bar in range(enters, bars):
            line = lines[1] if name == "B" else answer if bar % 4 == 3 else lines[0]
            chord = th.chord_at(piece.chords, start + 4 * bar)
            here = th.nearest(root + high, [chord.root], root + high - 5, root + high + 7)
            notes = sequence(line, here, mode, start + 4 * bar, rng, accents)
            fitting = th.chord_scale(chord, key, mode)
            for note in notes:
                note.pitch = th.nearest(note.pitch, fitting)
            stems["lead"] += notes
    for stem in stems:
        stems[stem] = pt.humanise(pt.swing(stems[stem], rng.choice((0.0, 0.0, 0.06))), rng, 0.002, 3.0)
    side = rng.choice((-1, 1))
    piece.tracks = {
        "drums": {"main": Track(rng.choice((24, 25, 25)), "drum machine", 0.0, 1.0, 0.15)},
        "bass": {
            "main": Track(
                *rng.choice(((38, "synth bass"), (39, "synth bass"), (87, "synth bass"))), 0.0, 1.0, 0.1
            )
        },
        "chords": {
            "stab": Track(*rng.choice(table["stabs"]), 0.2 * side, 0.85, 0.6),
            "pad": Track(
                *rng.choice(((89, "warm pad"), (95, "synth pad"), (94, "dark pad"))), -0.2 * side, 0.6, 0.6
            ),
        },
        "lead": {"sequence": Track(*rng.choice(table["leads"]), 0.0, 0.9, 0.3)},
    }
    piece.title = fm.title(rng, TITLE_WORDS)
    piece.moods = rng.sample(table["moods"], rng.randint(2, 4))
    return fm.vary_repeats(fm.finish(piece), rng)
