"""Drum and bass and breakbeat: chopped breaks, a bass in half time, pads and stabs.

`breakbeat` takes a `random.Random` and an index; the tables on top are its taste.

Notebook: 01_sound_to_latents.
"""

import random

from lmdm_mini.corpus.piece import Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th

TITLE_WORDS = (
    ("Rapid", "Night", "Amber", "Shatter", "Velocity", "Liquid", "Shadow", "Urban", "Blue", "Broken"),
    ("Runner", "Rain", "Horizon", "Step", "Current", "Circuit", "Chase", "Skyline", "Pulse", "Mirror"),
)

# Breaks of two bars: (kick, snare with ghosts, hat or ride).
BREAKS = (
    (
        "X-X-------XX----|X-X-------X---X-",
        "----X--o-o--X--o|----X--o-o--X-oo",
        "x-x-x-x-x-x-x-x-|x-x-x-x-x-x-x-x-",
    ),
    (
        "X-X-------XX----|--X-------X-----",
        "----X--o-o--X--o|-o--X--o-o----X-",
        "x-x-x-x-x-x-x-x-|x-x-x-x-x-x-x-xx",
    ),
    (
        "X---------X-----|X---------X-----",
        "----X-------X---|----X-------X-o-",
        "x-xxx-xxx-xxx-xx|x-xxx-xxx-xxx-xx",
    ),
    (
        "X---------X-X---|X-----X---X-----",
        "----X--o----X--o|----X--o-o--X---",
        "x-x-x-x-x-x-x-x-|x-x-x-xxx-x-x-x-",
    ),
    (
        "X--X------X-----|X--X--X---X-----",
        "----X--o-o--X-o-|----X-oo-o--X--o",
        "xxxxxxxxxxxxxxxx|xxxxxxxxxxxxxxxx",
    ),
    (
        "X-----X---X-----|X-X-------X--X--",
        "----X-------X--o|----X--o----X-oo",
        "x-x-x-x-x-x-x-x-|x-x-x-x-x-x-x-x-",
    ),
)
BREAK_KINDS = {
    "liquid": {
        "bpm": (168, 176),
        "modes": ("minor", "dorian", "major"),
        "moods": ("liquid", "soulful", "uplifting", "smooth", "flowing"),
        "loops": {
            "minor": ("i9:8 bVImaj9:8", "iv9 v7 i9 i9", "bVImaj9:8 bVIImaj7:4 v7:4", "i9:8 bIIImaj9:4 iv9:4"),
            "major": ("Imaj9:8 vi9:8", "IVmaj9:8 iii7:4 vi9:4", "ii9:8 IVmaj9:4 V9sus4:4"),
        },
        "bass": (
            "R.......--R.5...|R.......--8.5.a.",
            "R.....R...--R...|R.....R...s...a.",
            "R...--R.....5...|R...--R.8...s...",
        ),
        "leads": (
            (4, "electric piano"),
            (66, "saxophone"),
            (54, "synth voice"),
            (11, "vibraphone"),
            (0, "piano"),
        ),
    },
    "jungle": {
        "bpm": (160, 168),
        "modes": ("minor", "phrygian"),
        "moods": ("frantic", "raw", "nineties", "energetic", "smoky"),
        "loops": {"minor": ("i9:16", "i7:8 bVImaj7:8", "i9:12 bVII9:4", "i11:8 iv9:8")},
        "bass": (
            "R.......R...8...|R.......s...R...",
            "R...R.--8.....R.|R...R.--s.5.....",
            "R.....8...R.....|R.....s...5...a.",
        ),
        "leads": ((98, "synth bell"), (81, "rave lead"), (54, "synth voice"), (62, "synth brass")),
    },
    "tech": {
        "bpm": (170, 176),
        "modes": ("phrygian", "minor"),
        "moods": ("dark", "menacing", "mechanical", "tense", "futuristic"),
        "loops": {"minor": ("i:16", "i:12 bII:4", "i7:8 bVImaj7:8", "i:14 bII:2")},
        "bass": (
            "R.--R.--R...s...|R.--R.--8...R.s.",
            "R..R..R.--R.....|R..R..R.--s.8...",
            "R...--8.R...--s.|R...--8.R.R.R.R.",
        ),
        "leads": ((81, "saw lead"), (80, "square lead"), (84, "synth lead")),
    },
    "big beat": {
        "bpm": (124, 138),
        "modes": ("minor", "dorian"),
        "moods": ("big", "funky", "energetic", "gritty", "playful"),
        "loops": {"minor": ("i7", "i7:8 iv7:4 bVII9:4", "i9:12 bVImaj7:4", "i7 i7 bIIImaj7 IV9")},
        "bass": (
            "R-R---R-s-R-8-R-|R-R---R-5-7-8-a-",
            "R--R--R---R-s-8-|R--R--R---5-7-a-",
            "R-gR--8-R--57-8-|R-g---s-R-gb3-s-",
        ),
        "leads": (
            (81, "saw lead"),
            (16, "organ"),
            (27, "electric guitar"),
            (62, "synth brass"),
            (7, "clavinet"),
        ),
    },
}
STABS = ("--x-----x-------", "x-----x---------", "---x--x-----x---", "x--x--x---------", "----------x--x--")
MELODIES = [
    "x.....x.x.......",
    "x...x...x.......",
    "--x...x...x.x...",
    "x.......x...x...",
    "x..x..x.........",
    "x...............",
    "----x...x.x.....",
]
FORMS = [
    [("intro", 8), ("A", 16), ("break", 8), ("drop", 16)],
    [("intro", 8), ("drop", 16), ("break", 8), ("drop", 16), ("outro", 4)],
    [("intro", 4), ("A", 16), ("B", 8), ("break", 8), ("drop", 16)],
    [("intro", 8), ("A", 8), ("break", 4), ("drop", 16), ("outro", 8)],
    [("intro", 4), ("A", 8), ("break", 4), ("drop", 8), ("B", 8)],
    [("break", 4), ("drop", 16), ("B", 8), ("break", 4), ("drop", 8)],
]


def chopped(rng: random.Random, grids: tuple[str, str, str], bar: int, amount: float) -> tuple[str, ...]:
    """One bar of a break, its quarters now and then in another order, as a sampler would play it."""
    halves = [grid.split("|")[bar % 2] for grid in grids]
    order = [0, 1, 2, 3]
    if rng.random() < amount:
        order[rng.choice((2, 3))] = rng.randrange(4)
    return tuple("".join(grid[4 * i : 4 * i + 4] for i in order) for grid in halves)


def break_drums(rng, name: str, bars: int, start: float, kit: dict) -> list[Note]:
    """The break, chopped more often towards the end of four bars; fills, crashes, an intro of hats."""
    notes: list[Note] = []
    for bar in range(bars):
        now, ending = start + 4 * bar, bar % 8 == 7 or bar == bars - 1
        kick, snare, hat = chopped(rng, kit["break"], bar, 0.55 if bar % 4 == 3 else 0.12)
        if name == "break":
            notes += pt.hits(hat, kit["hat_key"], now, 48)
            if bar == bars - 1:
                notes += [Note(now + 2 + i / 4, 0.2, pt.SNARE, 60 + 6 * i) for i in range(8)]
            continue
        if name == "intro" and bar < bars // 2:
            notes += pt.hits(hat, kit["hat_key"], now, 58)
            notes += pt.hits("------------x---", pt.SIDE_STICK, now, 70)
            continue
        notes += pt.hits(hat, kit["hat_key"], now, 66)
        if ending and rng.random() < 0.7:
            cut = 12
            kick, snare = kick[:cut] + "----", snare[:cut] + rng.choice(("x-xx", "xoxo", "xxxx", "-xox"))
        notes += pt.hits(kick, pt.KICK, now, 104)
        notes += pt.hits(snare, kit["snare_key"], now, 100)
        if kit["open"] and bar % 2:
            notes += pt.hits("------x---------", pt.OPEN_HAT, now, 74)
        if kit["shake"] and name in ("drop", "B"):
            notes += pt.hits("oxoxoxoxoxoxoxox", pt.SHAKER, now, 56)
    if name in ("A", "B", "drop"):
        notes += pt.hits("x", pt.CRASH, start, 92, duration=2.0)
    return notes


def breakbeat(rng: random.Random, index: int) -> Piece:
    """One piece: liquid, jungle or tech drum and bass at 160 to 176 bpm, or big beat at 124 to 138."""
    kind = rng.choice(tuple(BREAK_KINDS))
    table = BREAK_KINDS[kind]
    bpm, key, mode = rng.randint(*table["bpm"]), rng.randrange(12), rng.choice(table["modes"])
    form = fm.choose_form(rng, FORMS, bpm)
    piece = fm.begin_piece("breakbeat", index, bpm, key, mode, form)
    loops = table["loops"]
    loop = rng.choice(loops.get(mode, loops["minor"]))
    second = rng.choice(loops.get(mode, loops["minor"]))
    for section, (name, bars) in zip(piece.sections, form):
        piece.chords += th.loop_chords(second if name == "B" else loop, key, section.start, bars * 4)
    kit = {
        "break": rng.choice(BREAKS),
        "hat_key": rng.choice((pt.CLOSED_HAT, pt.CLOSED_HAT, pt.RIDE)),
        "snare_key": rng.choice((pt.SNARE, pt.SNARE, pt.ELECTRIC_SNARE)),
        "open": rng.random() < 0.5,
        "shake": rng.random() < 0.4,
    }
    if rng.random() < 0.4:  # kick and snare of one break under the hat of another
        kit["break"] = (*kit["break"][:2], rng.choice(BREAKS)[2])
    lines = rng.sample(table["bass"], 2)
    stab = rng.choice(STABS)
    motif = mo.make_motif(rng, 8.0, [m + n for m in MELODIES for n in MELODIES[:3]], leap=0.3)
    theme = mo.develop(motif, rng, 4)
    low = rng.choice((64, 67, 69))
    scale = mode if kind == "liquid" else "minor pentatonic"
    rolling = rng.choice(("0-2-1-3-0-2-1-3-", "0.1.2.3.2.1.2.1.", "0--1--2--3--2-1-"))
    arp = kind in ("liquid", "jungle") and rng.random() < 0.6
    pad, stabs = pt.ChordPart("pad", 53, 77), pt.ChordPart("stab", 55, 78)
    bells = pt.ChordPart("arpeggio", 66, 86, rootless=False)
    hook = mo.LeadPart(key, scale, low, low + 19, anchor=low + 5, track="hook")
    stems = piece.stems
    for section, (name, bars) in zip(piece.sections, form):
        here = th.Passage(piece.chords, section.start, bars * 4.0)
        stems["drums"] += break_drums(rng, name, bars, section.start, kit)
        if name in ("A", "B", "drop", "outro"):
            stems["bass"] += pt.bass_riff(here, lines[name == "B"], rng, 26, 40, 108, gate=0.97)
        if name in ("intro", "break", "outro", "A") or kind == "liquid":
            stems["chords"] += pt.comp(here, "w", pad, 68)
        if name in ("drop", "B", "A") and kind != "liquid" or name == "drop":
            stems["chords"] += pt.comp(here, stab, stabs, 86, gate=1.1)
        if name in ("drop", "B", "break") or (name == "A" and rng.random() < 0.5):
            stems["lead"] += mo.play_phrase(theme, here, hook, 76 if name == "break" else 90)
        if arp and name in ("intro", "A", "break"):
            stems["lead"] += pt.arpeggio(here, rolling, bells, 60)
    amount = 0.0 if kind != "big beat" else rng.choice((0.0, 0.12, 0.2))
    for stem, timing in {"drums": 0.006, "bass": 0.005, "chords": 0.006, "lead": 0.01}.items():
        stems[stem] = pt.humanise(pt.swing(stems[stem], amount), rng, timing, 4.0)
    side = rng.choice((-1, 1))
    basses = ((38, "synth bass"), (39, "sub bass"), (87, "reese bass"), (38, "sub bass"))
    lead = rng.choice(table["leads"])
    piece.tracks = {
        "drums": {"main": Track(rng.choice((0, 16, 25, 8)), "breakbeat drums", 0.0, 1.0, 0.2)},
        "bass": {
            "main": Track(
                *(rng.choice(basses) if kind != "big beat" else (34, "picked bass")), 0.0, 1.0, 0.03
            )
        },
        "chords": {
            "pad": Track(
                *rng.choice(((89, "warm pad"), (50, "synth strings"), (91, "choir pad"), (95, "synth pad"))),
                -0.2 * side,
                0.7,
                0.6,
            ),
            "stab": Track(
                *rng.choice(((4, "electric piano"), (62, "synth stab"), (81, "rave stab"), (16, "organ"))),
                0.25 * side,
                0.8,
                0.35,
            ),
        },
        "lead": {
            "hook": Track(*lead, 0.1 * side, 0.9, 0.5, amp=lead[0] == 27),
            "arpeggio": Track(
                *rng.choice(((98, "synth bell"), (12, "marimba"), (80, "synth sequence"))),
                -0.4 * side,
                0.6,
                0.5,
            ),
        },
    }
    piece.title = fm.title(rng, TITLE_WORDS)
    piece.moods = rng.sample(table["moods"], rng.randint(2, 4))
    return fm.vary_repeats(fm.finish(piece), rng)
