"""Rock: two electric guitars left and right, bass, drums, a lead; riffs, power chords, a blues now and then.

`rock` takes a `random.Random` and an index; the tables on top are its taste. Guitars are written for an
amplifier (`Track.amp`) and rendered clean: its distortion is made afterwards.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th

TITLE_WORDS = (
    ("Gravel", "Thunder", "Highway", "Broken", "Wild", "Red", "Midnight", "Rusty", "Loud", "Burning"),
    ("Road", "Heart", "Engine", "Hound", "Sky", "Motel", "Wire", "Mile", "Tooth", "Ground"),
)
ROCK_KINDS = {
    "riff": {
        "bpm": (104, 142),
        "modes": ("minor", "dorian", "mixolydian"),
        "moods": ("heavy", "driving", "gritty", "powerful", "loud"),
        "verses": ("I:8 bVII:4 IV:4", "I:12 bVII:2 IV:2", "I I bVII IV", "I:8 bIII:4 IV:4"),
        "choruses": ("I bVII IV I", "bVI bVII I I", "IV bVII I I", "bIII bVII IV I"),
        "swing": (0.0, 0.05),
    },
    "blues": {
        "bpm": (88, 132),
        "modes": ("mixolydian",),
        "moods": ("bluesy", "swaggering", "gritty", "laid-back", "raw"),
        "verses": ("I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7", "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7"),
        "choruses": ("I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7",),
        "swing": (0.26, 0.36),
    },
    "garage": {
        "bpm": (150, 182),
        "modes": ("major", "mixolydian"),
        "moods": ("fast", "raw", "reckless", "energetic", "noisy"),
        "verses": ("I I IV V", "I V IV IV", "I bVII IV I", "I:8 IV:4 V:4"),
        "choruses": ("IV V I I", "vi IV I V", "I V vi IV", "IV I V V"),
        "swing": (0.0, 0.0),
    },
    "anthem": {
        "bpm": (76, 104),
        "modes": ("major", "minor"),
        "moods": ("anthemic", "soaring", "melancholic", "wide", "emotional"),
        "verses": ("I V vi IV", "vi IV I V", "I iii vi IV", "I:8 vi:4 IV:4"),
        "choruses": ("IV I V vi", "I V IV IV", "vi V IV IV", "IV V vi I"),
        "swing": (0.0, 0.04),
    },
}
CHUGS = (
    "XoxoXoxoXoxoXoxo",
    "X-xxX-xxX-xxX-xx",
    "X-x-X-x-X-x-X-x-",
    "X--xX--xX-xxX---",
    "X-xxx-xxX-xxx-x-",
    "X.....x.X...x.x.",
)
OPEN_CHORDS = (
    "X.......x...x...",
    "X...x...X...x.x.",
    "X.....x.X.......",
    "X...............",
    "X.x.X.x.X.x.X.x.",
)
RIFFS = [
    "x.xx--x.x.xx--x.",
    "x.x.--x.x.x.x...",
    "x...x.x.--x.x.x.",
    "xx.xx.x.xx.xx.x.",
    "x..x..x.x.x.x...",
    "x.x.x...--x.xxx.",
]
# (kick, snare, hat or ride)
BEATS = (
    ("X-----x-X-x-----", "----X-------X---", "X-x-X-x-X-x-X-x-"),
    ("X---x---X-x---x-", "----X-------X---", "X-x-X-x-X-x-X-x-"),
    ("X-x-----X-x---x-", "----X-------X--o", "X---X---X---X---"),
    ("X-----x---x-----", "----X-------X---", "X-x-X-x-X-x-X-x-"),
    ("X-X---x-X-X---x-", "----X--o----X---", "X-X-X-X-X-X-X-X-"),
)
FAST_BEATS = (
    ("X---X---X---X---", "--x---x---x---x-", "X-x-X-x-X-x-X-x-"),
    ("X-----x-X-----x-", "----X-------X---", "X-X-X-X-X-X-X-X-"),
    ("X---x-x-X---x-x-", "----X-------X---", "X-X-X-X-X-X-X-X-"),
)
MELODIES = [
    "x...x...x.x.....",
    "x.x.x.......x...",
    "--x.x.x.x.......",
    "x.....x.x...x...",
    "x...x.x.x...x.x.",
]
LICKS = ["x.x.xxx.x.x.x...", "xxx.x.x.xxx.x...", "x..x..x.x.xxx...", "xxxxx.x.x.......", "--xxx.x.x.x.x.x."]
FORMS = [
    [("intro", 4), ("verse", 8), ("chorus", 8), ("verse", 8), ("chorus", 8)],
    [("intro", 4), ("verse", 8), ("chorus", 8), ("solo", 8), ("chorus", 8)],
    [("intro", 4), ("verse", 8), ("chorus", 4), ("break", 4), ("solo", 8), ("chorus", 4), ("coda", 2)],
    [("verse", 8), ("chorus", 8), ("solo", 8), ("chorus", 8), ("coda", 2)],
    [("intro", 8), ("verse", 8), ("solo", 8), ("verse", 8), ("coda", 2)],
]
BLUES_FORMS = [
    [("intro", 4), ("verse", 12), ("solo", 12), ("verse", 12), ("coda", 2)],
    [("verse", 12), ("verse", 12), ("solo", 12), ("coda", 2)],
    [("intro", 2), ("verse", 12), ("solo", 12), ("coda", 2)],
    [("verse", 12), ("solo", 12), ("solo", 12), ("verse", 12)],
]


def power_chords(passage: th.Passage, pattern: str, gate: float, velocity: int) -> list[Note]:
    """Root, fifth and octave, low on the strings, by both guitars; "o" in the pattern is a muted stroke."""
    notes = []
    for onset, duration, mark in pt.grid_events(pattern, passage.start, passage.beats):
        chord = th.chord_at(passage.chords, onset)
        root = th.bass_note(chord.root, 40, 51)
        muted = mark == "o"
        loud = round(velocity * {"X": 1.1, "o": 0.72}.get(mark, 1.0))
        fifth = 6 if chord.quality in ("dim", "m7b5") else 7
        for pitch in (root,) if muted else (root, root + fifth, root + 12):
            for track in ("left", "right"):
                notes.append(Note(onset, 0.12 if muted else duration * gate, pitch, min(127, loud), track))
    return notes


def boogie(passage: th.Passage, velocity: int) -> list[Note]:
    """The shuffle of the blues: root with fifth, sixth and seventh by turns, in eighths."""
    notes = []
    for i in range(round(passage.beats * 2)):
        onset = passage.start + i / 2
        root = th.bass_note(th.chord_at(passage.chords, onset).root, 40, 51)
        top = (7, 7, 9, 9, 10, 10, 9, 9)[i % 8]
        for pitch in (root, root + top):
            for track in ("left", "right"):
                notes.append(Note(onset, 0.42, pitch, velocity + (8 if i % 2 == 0 else -8), track))
    return notes


def rock_drums(rng: random.Random, name: str, bars: int, start: float, beat: tuple, last: bool) -> list[Note]:
    """A beat with crashes where sections begin, fills where they end, an open ride under chorus and solo."""
    notes: list[Note] = []
    kick, snare, hat = beat
    for bar in range(bars):
        now, ending = start + 4 * bar, bar == bars - 1
        if name == "coda":
            if bar == 0:
                notes += [
                    Note(now, 0.3, pt.KICK, 112),
                    Note(now, 3.0, pt.CRASH, 110),
                    Note(now, 0.3, pt.SNARE, 104),
                ]
            continue
        if name == "intro" and bar < bars // 2:
            notes += pt.hits("x---x---x---x---", pt.PEDAL_HAT, now, 80)
            if bar == bars // 2 - 1:
                notes += pt.fill(rng, now + 2, 2.0, 100)
            continue
        if name == "break":
            notes += pt.hits("X-------X-------", pt.KICK, now, 100)
            notes += pt.hits("x-x-x-x-x-x-x-x-", pt.CLOSED_HAT, now, 66)
        else:
            notes += pt.hits(kick, pt.KICK, now, 112) + pt.hits(snare, pt.SNARE, now, 112)
            key = {"chorus": pt.CRASH if rng.random() < 0.15 else pt.RIDE, "solo": pt.RIDE}.get(
                name, pt.CLOSED_HAT
            )
            notes += pt.hits(hat, key, now, 84 if key != pt.CRASH else 72)
        if ending and not last or bar % 4 == 3 and rng.random() < 0.4:
            beats = rng.choice((1.0, 1.0, 2.0)) if ending else 1.0
            notes = [n for n in notes if n.start < now + 4 - beats]
            notes += pt.fill(rng, now + 4 - beats, beats, 108)
    if name in ("verse", "chorus", "solo"):
        notes += pt.hits("x", pt.CRASH, start, 104, duration=2.0)
    return notes


def rock(rng: random.Random, index: int) -> Piece:
    """One rock piece: a riff, a blues, a fast one or an anthem."""
    kind = rng.choice(tuple(ROCK_KINDS))
    table = ROCK_KINDS[kind]
    bpm, mode = rng.randint(*table["bpm"]), rng.choice(table["modes"])
    key = rng.choice((4, 4, 9, 2, 7, 0, 11, 5))  # guitars like E, A, D, G
    form = fm.choose_form(rng, BLUES_FORMS if kind == "blues" else FORMS, bpm)
    piece = fm.begin_piece("rock", index, bpm, key, mode, form)
    verse, chorus = rng.choice(table["verses"]), rng.choice(table["choruses"])
    if mode in ("minor", "dorian"):  # spelled in major; the third of the tonic is minor here
        verse, chorus = (" ".join(_minor(symbol) for symbol in line.split()) for line in (verse, chorus))
    home = "i" if mode in ("minor", "dorian") else "I7" if kind == "blues" else "I"
    for section, (name, bars) in zip(piece.sections, form):
        line = {"chorus": chorus, "coda": home, "intro": verse, "break": home}.get(name, verse)
        piece.chords += th.loop_chords(line, key, section.start, bars * 4)
    beat = rng.choice(FAST_BEATS if kind == "garage" else BEATS)
    chug, open_chord = rng.choice(CHUGS), rng.choice(OPEN_CHORDS)
    motif = mo.make_motif(rng, 4.0, RIFFS, leap=0.2)
    riff = [motif, motif, motif, mo.new_ending(motif, rng)]
    melody = mo.develop(mo.make_motif(rng, 4.0, MELODIES, leap=0.25), rng, 4)
    solo = mo.develop(mo.make_motif(rng, 4.0, LICKS, leap=0.35), rng, 8)
    scale = "blues" if kind == "blues" else "major pentatonic" if mode == "major" else "minor pentatonic"
    lead = rng.choice(
        (
            (27, "electric guitar"),
            (26, "electric guitar"),
            (28, "electric guitar"),
            (27, "lead guitar"),
            (18, "rock organ"),
        )
    )
    if kind == "blues" and rng.random() < 0.4:
        lead = (22, "harmonica")
    low = 62 if kind != "blues" else 60
    rooted = rng.choice(("R-R-R-R-R-R-R-R-", "R--RR--RR--RR-R-", "RRRRRRRRRRRRRRRR", "R-R-R-R-R-R-5-8-"))
    riffer = mo.LeadPart(key, "minor pentatonic", 40, 57, anchor=47, track="left")
    soloist = mo.LeadPart(key, scale, low, low + 24, anchor=low + 10)
    singer = mo.LeadPart(key, scale, low, low + 19, anchor=low + 5)
    stems = piece.stems
    for number, (section, (name, bars)) in enumerate(zip(piece.sections, form)):
        start, last = section.start, number == len(form) - 1
        here = th.Passage(piece.chords, start, bars * 4.0)
        stems["drums"] += rock_drums(rng, name, bars, start, beat, last)
        riffing = kind == "riff" and name in ("intro", "verse") or kind == "blues" and name == "break"
        if name == "coda":
            stroke, final = here.later(0, 4.0), piece.chords[-1]
            stems["chords"] += power_chords(stroke, "X...............", 1.4, 112)
            stems["bass"] += pt.bass_riff(stroke, "R...............", rng, 28, 40, 108)
            stems["lead"].append(Note(start, 4.5, th.nearest(low + 7, th.chord_tones(final)), 96))
            continue
        if kind == "blues":
            stems["chords"] += boogie(here, 92)
            shuffle = rng.choice(("R.R.3.3.5.5.6.5.", "R.3.5.6.7.6.5.3.", "R.R.5.5.6.6.5.5."))
            stems["bass"] += pt.bass_riff(here, shuffle, rng, 28, 43, 102)
        elif riffing:
            line = mo.play_phrase(riff, here, riffer, 96)
            stems["chords"] += line + [replace(n, track="right") for n in line]
            if name != "intro" or bars > 4:
                stems["bass"] += [replace(n, pitch=n.pitch - 12, track="main") for n in line]
        else:
            big = name in ("chorus", "solo") and kind != "garage"
            pattern = (
                open_chord if big or kind == "anthem" else chug if kind != "garage" else "X-x-X-x-X-x-X-x-"
            )
            stems["chords"] += power_chords(here, pattern, 1.02 if big else 0.9, 98)
            stems["bass"] += pt.bass_riff(here, rooted, rng, 28, 40, 104)
        if name == "solo":
            stems["lead"] += mo.play_phrase(solo, here, soloist, 100)
        elif name in ("chorus",) or (name == "verse" and (kind in ("blues", "anthem") or rng.random() < 0.4)):
            line = mo.play_phrase(melody, here, singer, 94)
            stems["lead"] += pt.legato(line, 1.5)
    amount = rng.uniform(*table["swing"])
    for stem, timing in {"drums": 0.008, "bass": 0.01, "chords": 0.008, "lead": 0.016}.items():
        swung = pt.swing(stems[stem], amount, 0.5 if kind == "blues" else 0.25)
        stems[stem] = pt.humanise(swung, rng, timing, 5.0)  # left and right are two takes, never the same
    guitars = rng.sample(((27, "electric guitar"), (28, "electric guitar"), (26, "electric guitar")), 2)
    piece.tracks = {
        "drums": {"main": Track(rng.choice((16, 0, 16, 8)), "drums", 0.0, 1.0, 0.3)},
        "bass": {"main": Track(*rng.choice(((34, "picked bass"), (33, "bass guitar"))), 0.0, 1.0, 0.03)},
        "chords": {
            "left": Track(*guitars[0], -1.0, 0.9, 0.2, amp=True),
            "right": Track(*guitars[1], 1.0, 0.9, 0.2, amp=True),
        },
        "lead": {"main": Track(*lead, 0.0, 0.95, 0.35, amp=lead[0] != 18)},
    }
    piece.title = fm.title(rng, TITLE_WORDS)
    piece.moods = rng.sample(table["moods"], rng.randint(2, 4))
    return fm.vary_repeats(fm.finish(piece), rng)


def _minor(symbol: str) -> str:
    """The tonic chord, and only that, in minor: "I:8" -> "i:8"."""
    return symbol.replace("I", "i", 1) if symbol.split(":")[0] == "I" else symbol
