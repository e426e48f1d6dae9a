"""Lo-fi hip hop: slow, swung, warm chords under a lazy tune.

`lofi` takes a `random.Random` and an index and writes one whole piece; the tables on top are its taste.

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
    ("Rainy", "Paper", "Late", "Dusty", "Slow", "Amber", "Quiet", "Window", "Corner", "Faded", "Winter"),
    (
        "Notebook",
        "Tram",
        "Coffee",
        "Study",
        "Lamp",
        "Rooftop",
        "Tape",
        "Sunday",
        "Letter",
        "Train",
        "Balcony",
    ),
)

LOFI_MAJOR = (
    "ii9 V13 Imaj9 vi9",
    "IVmaj9 iii7 ii9 Imaj9",
    "IVmaj7 III7 vi9 v7:2 I9:2",
    "Imaj9 vi9 ii9 V9",
    "IVmaj9 iv6 iii7 VI7b9",
    "ii9 bII7 Imaj9 VI7b13",
    "Imaj7 iii7 IVmaj9 iv6",
    "IVmaj9 V9sus4 iii7 vi9",
    "Imaj9 IVmaj9 iii7 vi9:2 V13:2",
    "vi9 ii9 V13 Imaj9",
    "IVmaj9 IVmaj9 iii7 VI7b9",
)
LOFI_MINOR = (
    "i9 iv9 bVII13 bIIImaj9",
    "iim7b5 V7b9 i9 i9",
    "bVImaj9 V7#9 i9 bVII13",
    "i9 bVImaj9 iv9 V7b13",
    "iv9 v7 i9 i9",
    "bVImaj9 bVII9 i9 v7",
    "i9 i9 iv9 v7",
    "bVImaj9 v7 iv9 i9",
    "i9 bIIImaj9 bVImaj9 V7#9",
)
LOFI_DRUMS = (  # kick, snare, hat over two bars of sixteenths
    (
        "x-----x---x-----|x------xx-x-----",
        "----x-------x---|----x-------x--o",
        "x-x-x-x-x-x-x-x-|x-x-x-x-x-xox-x-",
    ),
    (
        "x--x----x-x-----|x--x------x---x-",
        "----X--o-o--X---|----X--o----X-o-",
        "x-x-x-xox-x-x-x-|x-x-xox-x-x-x-x-",
    ),
    (
        "x---------x-----|x-----x---x-----",
        "----x-------x---|----x-------x---",
        "x---x---x---x-o-|x---x---x---x---",
    ),
    (
        "x------x--x-----|x-x----x--------",
        "----x--o----x--o|----x-------x-o-",
        "xoxoxoxoxoxoxoxo|xoxoxoxoxoxxxoxo",
    ),
    (
        "x-x-------xx----|x-x----x--x-----",
        "----x----o--x---|----x----o--x---",
        "--x---x---x---x-|--x---x---x-x-x-",
    ),
    (
        "x-------x-x----o|x-----x-----x---",
        "----x-------x---|----x-----o-x--o",
        "x-x-x-x-x-x-x-x-|x-x-xxx-x-x-x---",
    ),
)
LOFI_COMPS = (
    "w",
    "x.....x.....x...",
    "x.....x---x.....",
    "x..x....--x.x---",
    "x.......--x.....",
    "--x...x...x.--x.",
    "x.......x.....x.",
)
LOFI_ARPS = ("0-1-2-3-4-3-2-1-", "0.2.1.3.--2.1.2.", "0--2--3-1--2--4-", "0.1.2.3.....2...")
LOFI_BASS = (
    "R.........l.....|R.....R...5...a.",
    "R.....--R.5.....|R.....--R.8.--a.",
    "R.......--R.R.5.|R.......--5.R.a.",
    "R...............|R.........5...a.",
    "R..R....--R.....|R..R....--8.5.a.",
    "R.....5.8.....5.|R.....5.3...a...",
)
LOFI_MELODIES = [
    "x..x..x.x.......",
    "--x.x.x.....x...",
    "x.....x.x...x...",
    "x.x.x.......----",
    "----x.x.x.x.....",
    "x..x..x...------",
    "x.......x.x.x...",
    "--x...x...x.....",
    "x.x.x...x.x.x...",
]
LOFI_FORMS = [
    [("intro", 4), ("A", 8), ("outro", 2)],
    [("intro", 4), ("A", 8), ("B", 4)],
    [("intro", 4), ("A", 8), ("B", 4), ("outro", 2)],
    [("intro", 2), ("A", 8), ("B", 8)],
    [("intro", 4), ("A", 4), ("B", 4), ("A", 4)],
    [("A", 4), ("B", 4), ("break", 4), ("A", 4)],
    [("intro", 4), ("A", 8), ("break", 4), ("A", 4)],
    [("intro", 4), ("A", 8), ("B", 4), ("A", 4)],
    [("intro", 2), ("A", 8), ("B", 4), ("break", 2), ("A", 4)],
    [("intro", 4), ("A", 8), ("B", 8), ("outro", 4)],
    [("intro", 4), ("A", 4), ("B", 4), ("break", 4), ("A", 4), ("outro", 4)],
    [("intro", 4), ("A", 8), ("break", 4), ("B", 4), ("A", 4)],
]
LOFI_CHORD_SOUNDS = (
    (4, "electric piano"),
    (4, "electric piano"),
    (5, "electric piano"),
    (0, "piano"),
    (1, "piano"),
    (26, "jazz guitar"),
    (4, "electric piano"),
    (11, "vibraphone"),
)
LOFI_SECOND_SOUNDS = (
    (26, "jazz guitar"),
    (24, "nylon guitar"),
    (89, "warm pad"),
    (48, "strings"),
    (88, "synth pad"),
    (91, "choir pad"),
    (27, "clean guitar"),
)
LOFI_BASS_SOUNDS = (
    (33, "bass guitar"),
    (32, "acoustic bass"),
    (35, "fretless bass"),
    (39, "synth bass"),
    (33, "bass guitar"),
    (38, "synth bass"),
)
LOFI_LEAD_SOUNDS = (
    (11, "vibraphone"),
    (28, "muted guitar"),
    (26, "jazz guitar"),
    (73, "flute"),
    (10, "music box"),
    (108, "kalimba"),
    (66, "saxophone"),
    (12, "marimba"),
    (4, "electric piano"),
    (59, "muted trumpet"),
    (79, "ocarina"),
    (0, "piano"),
    (82, "synth lead"),
)


def lofi_drums(
    rng: random.Random, name: str, bars: int, start: float, kit: dict, full: bool, last: bool
) -> list[Note]:
    """Hat, kick and a snare that drags; without `full` the hat alone. A fill leads to the next section."""
    drums: list[Note] = []
    kick, snare, hat = (part.split("|") for part in kit["pattern"])
    for bar in range(bars):
        now, half = start + 4 * bar, bar % 2
        ending = bar == bars - 1 and not last
        drums += pt.hits(hat[half], pt.CLOSED_HAT, now, 62)
        if kit["shaker"] and name == "B":
            drums += pt.hits("o-x-o-x-o-x-o-x-", kit["shaker"], now, 52)
        if not full:
            continue
        drums += pt.hits(kick[half], pt.KICK, now, 100)
        # A snare that drags behind the hat is half of the style's feel.
        beats_kept = snare[half][:12] + "----" if ending else snare[half]
        late = pt.hits(beats_kept, kit["snare_key"], now, 88)
        drums += [replace(n, start=n.start + 0.035) for n in late]
        if ending:
            drums += pt.fill(rng, now + 3, 1.0, 80)
        elif rng.random() < 0.25:
            drums += pt.hits("--------------x-", pt.OPEN_HAT, now, 55)
    return drums


def lofi(rng: random.Random, index: int) -> Piece:
    """One lo-fi hip hop piece: 62 to 94 bpm, swung sixteenths, ninth chords, a drowsy melody, dusty drums."""
    bpm, key = rng.randint(62, 94), rng.randrange(12)
    mode = rng.choice(("major", "major", "minor", "dorian"))
    pool = LOFI_MAJOR if mode == "major" else LOFI_MINOR
    loops = rng.sample(pool, 2)
    form = fm.choose_form(rng, LOFI_FORMS, bpm)
    piece = fm.begin_piece("lofi", index, bpm, key, mode, form)
    for section, (name, bars) in zip(piece.sections, form):
        piece.chords += th.loop_chords(loops[name == "B"], key, section.start, bars * 4)

    comps, arps, bass_lines = rng.sample(LOFI_COMPS, 2), rng.choice(LOFI_ARPS), rng.sample(LOFI_BASS, 2)
    pattern = rng.choice(LOFI_DRUMS)
    if rng.random() < 0.5:  # kick and snare of one groove with the hat of another: more grooves than listed
        pattern = (*pattern[:2], rng.choice(LOFI_DRUMS)[2])
    kit = {
        "pattern": pattern,
        "snare_key": rng.choice((pt.SNARE, pt.SNARE, pt.SIDE_STICK, pt.ELECTRIC_SNARE)),
        "shaker": rng.choice((None, pt.SHAKER, pt.CABASA, pt.TAMBOURINE)),
    }
    kit_program = rng.choice((0, 8, 25, 32, 0))
    chord_sound, second = rng.choice(LOFI_CHORD_SOUNDS), rng.choice(LOFI_SECOND_SOUNDS)
    lead_sound = rng.choice(LOFI_LEAD_SOUNDS)
    bass_sound = rng.choice(LOFI_BASS_SOUNDS)
    is_pad = second[0] >= 48
    motif = mo.make_motif(rng, 4.0, LOFI_MELODIES)
    themes = {"A": mo.develop(motif, rng, 4), "B": mo.develop(mo.sequence(mo.invert(motif), 2), rng, 4)}
    lead_low = rng.choice((60, 64, 67)) if lead_sound[0] not in (26, 28, 66, 59) else 57
    scale = rng.choice((mode, mode, "major pentatonic" if mode == "major" else "minor pentatonic"))
    strum = rng.choice((0.0, 0.02, 0.045))
    intro_parts = rng.choice(
        ({"chords"}, {"chords", "second"}, {"chords", "lead"}, {"chords", "hat"}, {"chords", "bass", "hat"})
    )
    break_parts = rng.choice(
        (
            {"chords", "lead"},
            {"second", "lead", "bass", "chords"},
            {"chords", "drums"},
            {"chords", "second", "hat"},
        )
    )
    first_a_without_lead, drums_to_the_end = rng.random() < 0.4, rng.random() < 0.5

    keys = pt.ChordPart("keys", 53, 75)
    pad, guitar = pt.ChordPart("pad", 55, 79, voices=3), pt.ChordPart("guitar", 52, 74, rootless=False)
    singer = mo.LeadPart(key, scale, lead_low, lead_low + 19, anchor=lead_low + 7)
    stems = piece.stems
    drums = stems["drums"]
    for number, (section, (name, bars)) in enumerate(zip(piece.sections, form)):
        start, last = section.start, number == len(form) - 1
        here = th.Passage(piece.chords, start, bars * 4.0)
        parts = {
            "intro": intro_parts,
            "break": break_parts,
            "outro": {"chords", "lead", "second"} | ({"drums"} if drums_to_the_end else set()),
            "A": {"drums", "bass", "chords", "lead"} | ({"second"} if number > 1 else set()),
            "B": {"drums", "bass", "chords", "lead", "second"},
        }[name]
        if name == "A" and number <= 1 and first_a_without_lead and bars <= 4:
            parts = parts - {"lead"}
        if "drums" in parts or "hat" in parts:
            drums += lofi_drums(rng, name, bars, start, kit, "drums" in parts, last)
            if number and "drums" in parts and rng.random() < 0.6:
                drums += pt.hits("x", pt.RIDE if rng.random() < 0.4 else pt.CRASH, start, 58)
        if "bass" in parts:
            stems["bass"] += pt.bass_riff(here, bass_lines[name == "B"], rng, 29, 43, 96)
        if "chords" in parts:
            player = replace(keys, rootless=rng.random() < 0.8)
            stems["chords"] += pt.comp(here, comps[name == "B"], player, 74, strum=strum, gate=1.0)
        if "second" in parts:
            if is_pad:
                stems["chords"] += pt.comp(here, "w", pad, 52)
            else:
                stems["chords"] += pt.arpeggio(here, arps, guitar, 62, ring=3.0)
        if "lead" in parts:
            theme = themes["B" if name == "B" else "A"]
            until_end = here.later(0, here.beats - 4) if last and name == "outro" else here
            stems["lead"] += mo.play_phrase(theme, until_end, singer, 84)
    if form[-1][0] == "outro":
        final = th.chord_at(piece.chords, piece.length - 0.1)
        stems["bass"].append(Note(piece.length - 4, 3.8, th.bass_note(final.root, 29, 43), 84))

    amount = rng.uniform(0.08, 0.34)
    for stem, timing in (("drums", 0.008), ("bass", 0.012), ("chords", 0.012), ("lead", 0.02)):
        stems[stem] = pt.humanise(pt.swing(stems[stem], amount), rng, timing, 5)
    side = rng.choice((-1, 1))
    piece.tracks = {
        "drums": {"main": Track(kit_program, "drums", 0.0, 0.9, 0.15)},
        "bass": {"main": Track(*bass_sound, 0.0, 0.95, 0.05)},
        "chords": {
            "keys": Track(*chord_sound, -0.2 * side, 0.85, 0.35),
            "pad": Track(*second, 0.35 * side, 0.6, 0.5),
            "guitar": Track(*second, 0.45 * side, 0.7, 0.35),
        },
        "lead": {"main": Track(*lead_sound, 0.15 * side, 0.85, 0.45)},
    }
    piece.moods = rng.sample(
        ("mellow", "nostalgic", "relaxed", "dreamy", "warm", "rainy", "lazy", "cosy", "sleepy", "hazy"),
        rng.randint(2, 4),
    )
    piece.title = fm.title(rng, TITLE_WORDS)
    return fm.vary_repeats(fm.finish(piece), rng)
