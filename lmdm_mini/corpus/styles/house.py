"""House: four on the floor; deep, piano, French or tech.

`house` takes a `random.Random` and an index and writes one whole piece; the tables on top are its taste.

Notebook: 01_sound_to_latents.
"""

import random

from lmdm_mini.corpus.piece import Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th

TITLE_WORDS = (
    ("Neon", "Midnight", "Deep", "Glass", "Velvet", "Electric", "Solar", "Basement", "Silver", "Open"),
    ("Floor", "Signal", "Motion", "Avenue", "Garden", "Machine", "Sunrise", "Circle", "Tide", "Room"),
)

# Each kind: tempo range, keys and modes, sounds, rhythms. "w" in a rhythm holds the chord.
HOUSE_KINDS = {
    "deep": {
        "bpm": (116, 124),
        "modes": ("minor", "dorian"),
        "moods": ("deep", "smooth", "nocturnal", "hypnotic", "warm", "sensual"),
        "loops": (
            "i9 i9 iv9 iv9",
            "i9 bVImaj9 iv9 v7",
            "iv9 v7 i9 i9",
            "i9 bVII9 bVImaj9 bVII9",
            "bVImaj9 bVII9 i9 i9",
            "i9:8 bIIImaj9:4 iv9:4",
            "i11 iv9 i11 bVII9sus4",
        ),
        "comps": (
            "x--x--x---x-x---",
            "--x---x---x---x-",
            "---x--x----x--x-",
            "x--x----x--x--x-",
            "--x--x----x--x--",
        ),
        "bass": (
            "--R---R---R---R-",
            "R--R--8---R--R5-",
            "R-----R---R-s---",
            "R--R--R---s-R-8-",
            "--R-R-8---R-R-5-",
        ),
        "keys": (
            (4, "electric piano"),
            (16, "organ"),
            (17, "organ"),
            (5, "electric piano"),
            (50, "synth strings"),
        ),
        "pads": ((89, "warm pad"), (95, "synth pad"), (88, "synth pad"), (91, "choir pad")),
        "leads": (
            (11, "vibraphone"),
            (80, "synth lead"),
            (66, "saxophone"),
            (73, "flute"),
            (54, "synth voice"),
            (12, "marimba"),
        ),
    },
    "piano": {
        "bpm": (120, 128),
        "modes": ("major",),
        "moods": ("uplifting", "joyful", "bright", "euphoric", "energetic", "sunny"),
        "loops": (
            "IVmaj7 V vi7 iii7",
            "vi7 IVmaj7 Iadd9 V",
            "I V6 vi7 IVmaj7",
            "IVmaj7 iii7 vi7 V",
            "ii7 iii7 IVmaj7 V9sus4",
            "vi9 V IVmaj9 IVmaj9",
            "I:6 bVII:2 IV:8",
        ),
        "comps": (
            "x--x--x--x--x-x-",
            "x-xx-xx-x-xx-x--",
            "x--x--xx--x-x-x-",
            "x--x--x---x--x--",
            "x-x--x--x-x--x--",
        ),
        "bass": (
            "--R---R---R---R-",
            "--R8--R8--R8--R8",
            "R--R--R---R-R-5-",
            "R-8-R-8-R-8-R-8-",
            "--R---R---R-5-8-",
        ),
        "keys": ((1, "piano"), (0, "piano"), (2, "piano"), (1, "piano")),
        "pads": ((48, "strings"), (50, "synth strings"), (52, "choir"), (90, "synth pad")),
        "leads": (
            (81, "saw lead"),
            (53, "voice"),
            (61, "brass section"),
            (80, "synth lead"),
            (50, "synth strings"),
            (98, "synth bell"),
        ),
    },
    "french": {
        "bpm": (118, 126),
        "modes": ("minor", "dorian", "major"),
        "moods": ("funky", "groovy", "glossy", "energetic", "playful", "filtered"),
        "loops": (
            "IVmaj7 V7 iii7 vi7",
            "ii7 V7 Imaj7 VI7",
            "vi7 ii7 iii7 IVmaj7",
            "Imaj7 vi7 ii7 V9sus4",
            "IVmaj9 iii7 ii9 Imaj7",
        ),
        "comps": (
            "x.x-x.--x.x---x.",
            "x-x--xx-x-x--x--",
            "--x.--x.--x.--x.",
            "x..x..x.--x.x.--",
            "xx-xx-x-xx-xx-x-",
        ),
        "bass": (
            "R-8-R-8-R-8-R-8-",
            "R--R8-R-s-R-5-8-",
            "R-R8-R-8R-58-Rs-",
            "R-.-8-R-5-R-8-a-",
            "R--8R--8R--8R-58",
        ),
        "keys": (
            (4, "electric piano"),
            (28, "muted guitar"),
            (27, "clean guitar"),
            (62, "synth brass"),
            (7, "clavinet"),
        ),
        "pads": ((50, "synth strings"), (48, "strings"), (51, "synth strings")),
        "leads": (
            (81, "saw lead"),
            (62, "synth brass"),
            (80, "synth lead"),
            (61, "brass section"),
            (54, "synth voice"),
        ),
    },
    "tech": {
        "bpm": (122, 130),
        "modes": ("minor", "phrygian", "dorian"),
        "moods": ("driving", "dark", "hypnotic", "minimal", "tense", "mechanical"),
        "loops": (
            "i7:16",
            "i9:8 bVIImaj7:8",
            "i7:12 bIImaj7:4",
            "i11:8 bVImaj7:8",
            "i7:8 iv7:8",
            "i9:12 v7:4",
        ),
        "comps": (
            "---x-----x------",
            "--x--x----------",
            "x--x--x---------",
            "------x--x------",
            "--x---x--x----x-",
        ),
        "bass": (
            "--RR--RR--RR--RR",
            "R-R-8-R-R-s-R-8-",
            "-RRR-RRR-RRR-RRs",
            "R--R-R--R--R-Rs-",
            "--R-bR----R-sR--",
        ),
        "keys": ((81, "synth stab"), (90, "synth pad"), (16, "organ"), (62, "synth brass"), (12, "marimba")),
        "pads": ((95, "synth pad"), (94, "synth pad"), (89, "warm pad"), (92, "glassy pad")),
        "leads": (
            (80, "square lead"),
            (81, "saw lead"),
            (98, "synth bell"),
            (12, "marimba"),
            (84, "synth lead"),
            (13, "xylophone"),
        ),
    },
}
SLOW_SOUNDS = {50, 52, 53, 54, 61, 62, 66, 73, 84}  # programs whose notes need time to speak
HOUSE_HATS = ("--x---x---x---x-", "--X-o-X-o-X-o-Xo", "o-X-o-X-o-X-o-X-", "--x---x---x---xo")
HOUSE_SHAKES = ("xoxoxoxoxoxoxoxo", "x-oxx-oxx-oxx-ox", "oxXooxXooxXooxXo", "x-xxx-xxx-xxx-xx")
HOUSE_PERCUSSION = (
    "---x--x----x--x-",
    "--x--x--x--x--x-",
    "x--x----x-x-----",
    "------x--x----xx",
    "---x----x--x----",
)
HOUSE_SNARES = ("----x-------x---", "----x-------x--o", "----x--o----x---", "----x----o--x-o-")
HOUSE_MELODIES = [
    "x--x--x---x-x---",
    "x-x-x--x--x-----",
    "--x-x-x---x.x...",
    "x..x..x..x..x.x.",
    "x...--x.x...--x.",
    "x-xx-x-x--------",
    "x.......x.x.x...",
    "----x-x-x--x--x-",
]
HOUSE_FORMS = [
    [("intro", 4), ("A", 8), ("break", 4), ("drop", 8)],
    [("intro", 4), ("A", 8), ("break", 4), ("drop", 8), ("outro", 4)],
    [("intro", 4), ("A", 4), ("B", 8), ("break", 4), ("drop", 8)],
    [("intro", 8), ("A", 8), ("break", 4), ("drop", 8)],
    [("intro", 4), ("A", 8), ("break", 8), ("drop", 8), ("outro", 4)],
    [("A", 8), ("break", 4), ("drop", 8), ("B", 4)],
    [("intro", 4), ("A", 8), ("B", 8), ("break", 4), ("drop", 8)],
    [("break", 4), ("drop", 8), ("A", 8), ("drop", 8)],
    [("intro", 8), ("A", 8), ("B", 4), ("break", 4), ("drop", 8), ("outro", 4)],
]


def house_drums(rng: random.Random, name: str, bars: int, start: float, kit: dict, last: bool) -> list[Note]:
    """Four on the floor and what sits on it; a break builds up with a snare roll, others end in a fill."""
    notes: list[Note] = []
    for bar in range(bars):
        now, ending = start + 4 * bar, bar == bars - 1
        kick = {"break": "----------------", "intro": "x---x---x---x---"}.get(name, "X---x---X---x---")
        if ending and not last and name != "break":
            kick = rng.choice(("X---x---X-------", "X---x---X---x-x-", "X---------------"))
        notes += pt.hits(kick, pt.KICK, now, 108)
        if name == "break":
            notes += pt.hits(kit["shake"], kit["shake_key"], now, 52)
            if bar >= bars - 2:  # the roll: quarters, eighths, sixteenths, always louder
                early = "x---x---x---x---" if bars > 4 else "x-x-x-x-x-x-x-x-"
                grid = "x-x-x-x-xxxxxxxx" if ending else early
                roll_start = start + 4 * (bars - 2)
                notes += [
                    Note(n.start, n.duration, n.pitch, min(120, 45 + round(9 * (n.start - roll_start))))
                    for n in pt.hits(grid, pt.SNARE, now, 80)
                ]
            continue
        full = name in ("A", "B", "drop")
        if full or bar >= bars // 2:
            notes += pt.hits(kit["hat"], pt.OPEN_HAT, now, 78, duration=0.15)
        if full or name == "outro":
            notes += pt.hits(kit["snare"], kit["clap_key"], now, 96)
            notes += pt.hits(kit["shake"], kit["shake_key"], now, 56)
        if name in ("B", "drop") or (name == "intro" and kit["early"]):
            notes += pt.hits(kit["percussion"], kit["percussion_key"], now, 68)
        if name == "drop":
            notes += pt.hits("x---x---x---x---", pt.RIDE, now, 54)
        if ending and not last:
            notes += pt.fill(rng, now + 3, 1.0, 92)
    if name in ("A", "drop", "B", "break"):
        notes += pt.hits("x", pt.CRASH, start, 88, duration=2.0)
    return notes


def house(rng: random.Random, index: int) -> Piece:
    """One house track: 116 to 130 bpm, four on the floor; deep, piano, French or tech house."""
    kind = rng.choice(tuple(HOUSE_KINDS))
    table = HOUSE_KINDS[kind]
    bpm, key, mode = rng.randint(*table["bpm"]), rng.randrange(12), rng.choice(table["modes"])
    form = fm.choose_form(rng, HOUSE_FORMS, bpm)
    loop = rng.choice(table["loops"])
    if kind in ("piano", "french"):  # these loops are spelled in the major key, whose relative minor is felt
        mode = "major"
    piece = fm.begin_piece("house", index, bpm, key, mode, form)
    for section, (_, bars) in zip(piece.sections, form):
        piece.chords += th.loop_chords(loop, key, section.start, bars * 4)

    kit = {
        "hat": rng.choice(HOUSE_HATS),
        "shake": rng.choice(HOUSE_SHAKES),
        "snare": rng.choice(HOUSE_SNARES),
        "percussion": rng.choice(HOUSE_PERCUSSION),
        "clap_key": rng.choice((pt.CLAP, pt.CLAP, pt.SNARE, pt.ELECTRIC_SNARE)),
        "shake_key": rng.choice((pt.SHAKER, pt.CABASA, pt.CLOSED_HAT, pt.TAMBOURINE)),
        "percussion_key": rng.choice(
            (pt.HIGH_CONGA, pt.MUTE_CONGA, pt.HIGH_BONGO, pt.COWBELL, pt.SIDE_STICK, pt.CLAVES, pt.LOW_CONGA)
        ),
        "early": rng.random() < 0.5,
    }
    comps, bass_line = rng.sample(table["comps"], 2), rng.choice(table["bass"])
    gate = rng.choice((0.7, 0.95, 1.4))
    motif = mo.make_motif(rng, 4.0, HOUSE_MELODIES, leap=0.3)
    # A hook repeats: the cell twice, a variant, an answer.
    hook = mo.develop(motif, rng, 4)
    if rng.random() < 0.6:
        hook = [motif, motif, mo.vary_rhythm(motif, rng), mo.new_ending(motif, rng)]
    keys_sound, pad_sound = rng.choice(table["keys"]), rng.choice(table["pads"])
    lead_sound = rng.choice(table["leads"])
    bass_sounds = ((38, "synth bass"), (39, "synth bass"), (38, "synth bass"), (81, "synth bass"))
    if kind in ("french", "deep"):
        bass_sounds = (
            (38, "synth bass"),
            (39, "synth bass"),
            (87, "synth bass"),
            (33, "bass guitar"),
            (37, "slap bass"),
        )
    bass_sound = rng.choice(bass_sounds)
    rolling = rng.choice(
        ("0.1.2.3.2.1.2.1.", "0-1-2-0-1-2-0-1-", "012301230123012-", "0--1--2--3--2-1-", "3-2-1-0-3-2-1-0-")
    )
    low = rng.choice((64, 67, 70, 72))
    scale = mode if rng.random() < 0.5 else ("major pentatonic" if mode == "major" else "minor pentatonic")
    arp_in_drop, intro_bass, lead_in_a = rng.random() < 0.5, rng.random() < 0.5, rng.random() < 0.4
    # A pad that ducks under the kick.
    pumped = "-.x.-.x.-.x.-.x." if rng.random() < 0.5 else "-x..-x..-x..-x.."
    stabs = pt.ChordPart("stabs", 53, 76, rootless=kind != "piano")
    pad, sequencer = pt.ChordPart("pad", 55, 79, voices=3), pt.ChordPart("sequence", 64, 84, rootless=False)
    lead = mo.LeadPart(key, scale, low, low + 17, anchor=low + 7, track="hook")
    stems = piece.stems
    for number, (section, (name, bars)) in enumerate(zip(piece.sections, form)):
        start, last = section.start, number == len(form) - 1
        here = th.Passage(piece.chords, start, bars * 4.0)
        stems["drums"] += house_drums(rng, name, bars, start, kit, last)
        if name in ("A", "B", "drop", "outro") or (name == "intro" and intro_bass):
            stems["bass"] += pt.bass_riff(here, bass_line, rng, 29, 43, 104)
        if name in ("A", "drop", "B"):
            stems["chords"] += pt.comp(here, comps[name == "B"], stabs, 88, push=kind == "piano", gate=gate)
        elif name == "intro" and not intro_bass or name == "break":
            held = "x......." if name == "break" and rng.random() < 0.4 else comps[0]
            stems["chords"] += pt.comp(here, held, stabs, 74, gate=0.9)
        if name in ("break", "outro", "B"):
            stems["chords"] += pt.comp(here, "w", pad, 62)
        elif name == "drop":
            stems["chords"] += pt.comp(here, pumped, pad, 64, gate=1.0)
        if name in ("drop", "B", "break") or (name == "A" and lead_in_a):
            line = mo.play_phrase(hook, here, lead, 80 if name == "break" else 92)
            stems["lead"] += pt.legato(line, 0.75) if lead_sound[0] in SLOW_SOUNDS else line
        elif name == "A":  # a taste of the hook: its cell, once every four bars
            for bar in range(2, bars, 4):
                line = mo.play_phrase([motif], here.later(4 * bar, 4.0), lead, 78)
                stems["lead"] += pt.legato(line, 0.75) if lead_sound[0] in SLOW_SOUNDS else line
        if name == "drop" and arp_in_drop or name == "outro" and not last:
            stems["lead"] += pt.arpeggio(here, rolling, sequencer, 66)
    amount = rng.choice((0.0, 0.0, 0.08, 0.16, 0.22)) if kind != "tech" else rng.choice((0.0, 0.05, 0.1))
    timings = {"drums": 0.003, "bass": 0.004, "chords": 0.005, "lead": 0.006}  # machines hardly err
    for stem, timing in timings.items():
        stems[stem] = pt.humanise(pt.swing(stems[stem], amount), rng, timing, 3.5)
    side = rng.choice((-1, 1))
    piece.tracks = {
        "drums": {"main": Track(rng.choice((0, 24, 25, 24, 16)), "drum machine", 0.0, 1.0, 0.12)},
        "bass": {"main": Track(*bass_sound, 0.0, 0.95, 0.03)},
        "chords": {
            "stabs": Track(*keys_sound, 0.15 * side, 0.85, 0.35),
            "pad": Track(*pad_sound, -0.2 * side, 0.65, 0.5),
        },
        "lead": {
            "hook": Track(*lead_sound, 0.1 * side, 0.8, 0.45),
            "sequence": Track(rng.choice((81, 80, 12, 98)), "synth sequence", -0.4 * side, 0.55, 0.4),
        },
    }
    piece.title = fm.title(rng, TITLE_WORDS)
    piece.moods = rng.sample(table["moods"], rng.randint(2, 4))
    return fm.vary_repeats(fm.finish(piece), rng)
