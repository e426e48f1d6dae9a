"""Reggae and dub: the drums leave the first beat open, the chords stand on the off-beats, the bass sings.

`reggae` takes a `random.Random` and an index; the tables on top are its taste. One beat here is the quarter
note that the skank answers, so a piece runs at 124 to 166 bpm halved: 62 to 83.

Notebook: 01_sound_to_latents.
"""

import random

from lmdm_mini.corpus.piece import Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th

TITLE_WORDS = (
    ("Sunny", "Island", "Roots", "Golden", "Rising", "Easy", "Harbour", "Mango", "Steady", "Deep"),
    ("Version", "Shore", "Lion", "Morning", "River", "Dub", "Season", "Road", "Vibration", "Town"),
)
REGGAE_KINDS = {
    "roots": {
        "bpm": (66, 80),
        "modes": ("minor", "dorian"),
        "moods": ("heavy", "conscious", "meditative", "warm", "earthy"),
        "loops": ("i:8 iv:8", "i bVII", "i:8 bVII:4 iv:4", "i iv bVII i", "i:8 v:4 bVII:4"),
        "bridges": ("bVI bVII i i", "iv iv i i", "bVI:8 bVII:8"),
    },
    "lovers": {
        "bpm": (68, 83),
        "modes": ("major",),
        "moods": ("sweet", "romantic", "sunny", "gentle", "relaxed"),
        "loops": ("I vi IV V", "I iii IV V", "Imaj7 IVmaj7", "I:8 ii:4 V:4", "I V vi IV"),
        "bridges": ("IV V I I", "ii V iii vi", "vi:8 IV:4 V:4"),
    },
    "dub": {
        "bpm": (62, 76),
        "modes": ("minor", "dorian"),
        "moods": ("spacious", "echoing", "heavy", "hazy", "hypnotic"),
        "loops": ("i:16", "i:8 iv:8", "i:12 bVII:4", "i bVII i iv"),
        "bridges": ("iv:8 i:8", "bVII:8 i:8"),
    },
    "steppers": {
        "bpm": (68, 80),
        "modes": ("minor", "phrygian"),
        "moods": ("marching", "militant", "driving", "dark", "proud"),
        "loops": ("i:8 bVII:8", "i:12 bVI:4", "i bVI bVII i"),
        "bridges": ("bVI bVII i i", "iv:8 bVII:8"),
    },
}
# (kick, snare or stick, hat) in sixteenths of a bar of four beats
DRUMS = {
    "one drop": ("--------X-------", "--------X-------", "x-x-x-x-x-x-x-x-"),
    "one drop, busy": ("--------X-----o-", "--------X---o---", "x-xxx-x-x-xxx-x-"),
    "rockers": ("X---o---X---o---", "--------X-------", "x-x-x-x-x-x-x-x-"),
    "steppers": ("X---X---X---X---", "--------X------o", "x-xxx-xxx-xxx-xx"),
}
SKANKS = ("----x-------x---", "----x-------x-x-", "----xx------x---", "----X-------X---")
BUBBLES = ("--x.--x.--x.--x.", "--xx--x.--xx--x.", "-xx.-xx.-xx.-xx.")
BASS = (
    "R..R--5.8...--5.|R..R--5.3...--a.",
    "R...--R.5.8.....|R...--s.R.5.....",
    "--R.R...5...R...|--R.R...8...5.a.",
    "R.R.--3.5.....--|R.R.--5.3.R...--",
    "R.....5.8.--8.5.|R.....5.3.--R...",
    "R..5--8.--..5.R.|R..5--8.--..s.a.",
)
MELODIES = [
    "x...x.x.x.......",
    "x.x...x.x.......",
    "x.......x.x.x...",
    "x...x...x.x.x...",
    "x.x.x...x.......",
    "--x.x...x.......",
    "x.....x.x...----",
]
FORMS = [
    [("intro", 4), ("A", 8), ("B", 4), ("A", 4)],
    [("intro", 2), ("A", 8), ("dub", 4), ("A", 8)],
    [("A", 8), ("B", 8), ("dub", 4), ("A", 4)],
    [("intro", 4), ("A", 8), ("B", 4), ("dub", 8), ("A", 4), ("outro", 2)],
    [("intro", 4), ("A", 8), ("solo", 8), ("A", 4)],
    [("intro", 4), ("dub", 8), ("A", 8), ("B", 4)],
    [("intro", 2), ("A", 4), ("B", 4), ("solo", 4), ("A", 4)],
]


def reggae_drums(rng: random.Random, name: str, bars: int, start: float, kit: dict, last: bool) -> list[Note]:
    """The pattern with its drop on three; a roll announces every section, a dub section loses its hats."""
    notes: list[Note] = []
    kick, snare, hat = kit["pattern"]
    for bar in range(bars):
        now, ending = start + 4 * bar, bar == bars - 1
        if name == "intro" and bar == 0 and bars > 2:
            notes += pt.fill(rng, now + 2, 2.0, 96)
            continue
        notes += pt.hits(kick, pt.KICK, now, 106)
        notes += pt.hits(snare, kit["snare_key"], now, 98)
        if name != "dub" or bar % 4 > 1:
            notes += pt.hits(hat, pt.CLOSED_HAT, now, 70)
            if rng.random() < 0.3:
                notes += pt.hits("--------------x-", pt.OPEN_HAT, now, 74)
        if kit["extra"]:
            notes += pt.hits(kit["extra"][1], kit["extra"][0], now, 62)
        if name == "dub" and rng.random() < 0.4:
            notes += pt.hits(
                rng.choice(("---------x--x---", "------------x-xx", "----x--x--------")),
                pt.SIDE_STICK,
                now,
                84,
            )
        if ending and not last:
            notes = [n for n in notes if n.start < now + 3 or n.pitch == pt.CLOSED_HAT]
            notes += pt.fill(rng, now + 3, 1.0, 98)
    if name in ("A", "B"):
        notes += pt.hits("x", pt.CRASH, start, 80, duration=2.0)
    return notes


def reggae(rng: random.Random, index: int) -> Piece:
    """One reggae piece: roots, lovers rock, dub or steppers; 62 to 83 bpm."""
    kind = rng.choice(tuple(REGGAE_KINDS))
    table = REGGAE_KINDS[kind]
    bpm, key, mode = rng.randint(*table["bpm"]), rng.randrange(12), rng.choice(table["modes"])
    form = fm.choose_form(rng, FORMS, bpm)
    piece = fm.begin_piece("reggae", index, bpm, key, mode, form)
    loop, bridge = rng.choice(table["loops"]), rng.choice(table["bridges"])
    for section, (name, bars) in zip(piece.sections, form):
        piece.chords += th.loop_chords(bridge if name == "B" else loop, key, section.start, bars * 4)
    pattern = "steppers" if kind == "steppers" else rng.choice(("one drop", "one drop, busy", "rockers"))
    kit = {
        "pattern": DRUMS[pattern],
        "snare_key": rng.choice((pt.SIDE_STICK, pt.SIDE_STICK, pt.SNARE)),
        "extra": rng.choice(
            (
                None,
                (pt.TAMBOURINE, "----x-------x---"),
                (pt.HIGH_CONGA, "--x---xo--x---x-"),
                (pt.SHAKER, "x-o-x-o-x-o-x-o-"),
            )
        ),
    }
    skank, bubble, lines = rng.choice(SKANKS), rng.choice(BUBBLES), rng.sample(BASS, 2)
    with_organ = rng.random() < 0.75
    motif = mo.make_motif(rng, 4.0, MELODIES, leap=0.2)
    themes = {
        "A": mo.develop(motif, rng, 4),
        "B": mo.develop(mo.sequence(motif, rng.choice((2, 3, -2))), rng, 4),
    }
    solo = mo.develop(mo.vary_rhythm(motif, rng), rng, 8)
    lead = rng.choice(
        (
            (22, "melodica", 62),
            (22, "melodica", 62),
            (57, "trombone", 52),
            (61, "horn section", 58),
            (66, "saxophone", 57),
            (56, "trumpet", 60),
            (73, "flute", 67),
            (27, "electric guitar", 55),
        )
    )
    low, scale = lead[2], rng.choice((mode, "minor pentatonic" if mode != "major" else "major pentatonic"))
    guitar = pt.ChordPart("skank", 55, 76, voices=3, rootless=False)
    organ = pt.ChordPart("organ", 50, 70, voices=3, rootless=False)
    singer = mo.LeadPart(key, scale, low, low + 19, anchor=low + 8)
    stems = piece.stems
    for number, (section, (name, bars)) in enumerate(zip(piece.sections, form)):
        start, last = section.start, number == len(form) - 1
        here = th.Passage(piece.chords, start, bars * 4.0)
        stems["drums"] += reggae_drums(rng, name, bars, start, kit, last)
        if name != "intro" or bars > 2:
            enters = here.later(4) if name == "intro" else here
            stems["bass"] += pt.bass_riff(enters, lines[name == "B"], rng, 28, 43, 104, gate=0.85)
        if name != "dub":
            stems["chords"] += pt.comp(here, skank, guitar, 84, gate=0.55)
            if with_organ and name != "intro":
                stems["chords"] += pt.comp(here, bubble, organ, 62, gate=0.6)
        else:  # single strokes that an echo will repeat
            for bar in range(0, bars, 2):
                grid = rng.choice(("----x-----------", "------------x---", "----x-------x---"))
                stems["chords"] += pt.comp(here.later(4 * bar, 4.0), grid, guitar, 92, gate=0.5)
        if name in ("A", "B", "solo", "outro"):
            cells = solo if name == "solo" else themes["B" if name == "B" else "A"]
            stems["lead"] += mo.play_phrase(cells, here, singer, 92)
        elif name == "dub":
            for bar in range(1, bars, 4):
                stems["lead"] += mo.play_phrase([motif], here.later(4 * bar, 4.0), singer, 84)
    amount = rng.uniform(0.08, 0.3)
    for stem, timing in {"drums": 0.008, "bass": 0.012, "chords": 0.008, "lead": 0.015}.items():
        stems[stem] = pt.humanise(pt.swing(stems[stem], amount), rng, timing, 5.0)
    side = rng.choice((-1, 1))
    skanks = ((27, "electric guitar"), (28, "muted guitar"), (0, "piano"), (26, "electric guitar"))
    piece.tracks = {
        "drums": {"main": Track(rng.choice((0, 8, 16)), "drums", 0.0, 1.0, 0.25)},
        "bass": {
            "main": Track(
                *rng.choice(
                    ((33, "bass guitar"), (33, "bass guitar"), (38, "synth bass"), (35, "fretless bass"))
                ),
                0.0,
                1.0,
                0.03,
            )
        },
        "chords": {
            "skank": Track(*rng.choice(skanks), 0.3 * side, 0.9, 0.3),
            "organ": Track(
                *rng.choice(((16, "organ"), (17, "organ"), (18, "organ"))), -0.3 * side, 0.65, 0.3
            ),
        },
        "lead": {"main": Track(lead[0], lead[1], 0.1 * side, 0.95, 0.45)},
    }
    piece.title = fm.title(rng, TITLE_WORDS)
    piece.moods = rng.sample(table["moods"], rng.randint(2, 4))
    return fm.vary_repeats(fm.finish(piece), rng)
