"""Chiptune: square and saw leads, chords as fast arpeggios, a bouncing bass, tight drums, an eight-bar hook.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import STEMS, Chord, Note, Piece, Track
from lmdm_mini.corpus.styles.form import choose_form, finish, lay_sections, vary_repeats
from lmdm_mini.corpus.styles.motifs import Motif, make_motif, new_ending, play_motif, sequence, vary_rhythm
from lmdm_mini.corpus.styles.patterns import CLOSED_HAT, CRASH, KICK, OPEN_HAT, SNARE, bass_riff, fill, hits
from lmdm_mini.corpus.styles.theory import chord_at, loop_chords, nearest, scale_step, voice_lead

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
    sections, length = lay_sections(form)
    mode, a_chords, b_chords, moods = rng.choice(_GAMES)
    key = rng.randrange(12)
    chords: list[Chord] = []
    for section, (name, bars) in zip(sections, form):
        chords += loop_chords(b_chords if name == "B" else a_chords, key, section.start, bars * 4.0)
    home = loop_chords("i" if mode in ("minor", "dorian") else "I", key, length - 4.0, 4.0)
    chords = [
        replace(c, duration=min(c.duration, length - 4.0 - c.start)) for c in chords if c.start < length - 4.0
    ] + home

    stems: dict[str, list[Note]] = {name: [] for name in STEMS}
    tracks: dict[str, dict[str, Track]] = {name: {} for name in STEMS}
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
    arp_step = 0.25
    doubled = rng.choice(("third", "echo", "octave", "none"))
    seen: dict[str, int] = {}
    for section, (name, bars) in zip(sections, form):
        at, beats = section.start, bars * 4.0
        last = section is sections[-1]
        turn = seen[name] = seen.get(name, -1) + 1
        if name in hooks:
            tune = _play_hook(hooks[name], at, beats, chords, key, mode, middle, last)
            stems["lead"] += tune
            how = doubled if turn == 0 and not last else rng.choice(("third", "echo"))
            _double(stems, tune, chords, key, mode, how)
        elif name == "break":
            cell = sequence(hooks["A"][0], -2)
            for k in range(0, int(beats), 8):
                stems["lead"] += play_motif(cell, at + k, middle - 12, chords, key, mode, 60, 84, 84)
        _arpeggios(
            stems,
            chords,
            at,
            beats,
            arp_shape,
            arp_step,
            60 if name != "B" else 64,
            82 if name in hooks else 92,
        )
        if name != "intro" or rng.random() < 0.6:
            gate = rng.choice((0.6, 0.85))
            riff = other_line if name == "B" else line
            stems["bass"] += bass_riff(chords, riff, at, beats, rng, 33, 48, gate=gate)
        if name == "intro" or name == "break":
            hat = hits("x.x.x.x.x.x.x.x." * (bars - 1), CLOSED_HAT, at, 70)
            stems["drums"] += hat + hits("x..............." * (bars - 1), KICK, at, 96)
            roll = 4.0 if bars > 2 else 2.0
            stems["drums"] += fill(rng, at + beats - roll, roll, 90)
        else:
            _drums(rng, stems, at, bars, other_beat if name == "B" else beat)
    _ending(stems, length)
    if rng.random() < 0.5:  # a soft chord layer under the arpeggio
        tracks["chords"]["pad"] = Track(rng.choice((80, 81, 90)), "synth chords", 0.35 * side, 0.35, 0.2)
        for pitches, chord in zip(voice_lead(chords, 55, 72, 3), chords):
            stems["chords"] += [Note(chord.start, chord.duration * 0.96, p, 58, "pad") for p in pitches]
    words = (
        list(rng.sample(moods, 2))
        + [rng.choice(("retro", "8-bit", "arcade"))]
        + (["fast"] if bpm >= 160 else [])
    )
    piece = finish(
        Piece(
            style="chiptune",
            tune_id=f"chiptune/{index:06d}",
            title=f"Chiptune {index}",
            bpm=bpm,
            beats_per_bar=4,
            key_root=key,
            key_mode=mode,
            length=length,
            stems=stems,
            tracks=tracks,
            chords=chords,
            sections=sections,
            moods=words,
        )
    )
    return vary_repeats(piece, rng)


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
    cells: list[Motif], at: float, beats: float, chords, key: int, mode: str, middle: int, last: bool
) -> list[Note]:
    """The cells over the chords: each starts from a chord tone near the last start."""
    anchor = nearest(middle, [key], middle - 8, middle + 4)
    notes: list[Note] = []
    for bar in range(int(beats / 4)):
        cell = cells[bar % len(cells)]
        chord = chord_at(chords, at + bar * 4.0)
        anchor = nearest(
            (anchor + middle - 2) / 2, [chord.root, (chord.root + 7) % 12], middle - 8, middle + 5
        )
        notes += play_motif(cell, at + bar * 4.0, anchor, chords, key, mode, middle - 10, middle + 16, 98)
    if last:  # the tune ends on the tonic, on the first beat of the last bar
        end = at + beats - 4.0
        notes = [n for n in notes if n.start < end]
        notes.append(Note(end, 2.0, nearest(notes[-1].pitch, [key]), 104))
    return [replace(n, duration=min(n.duration, 1.5)) for n in notes]


def _double(stems, tune: list[Note], chords, key: int, mode: str, how: str) -> None:
    """A second voice: thirds below, an echo, or octaves."""
    if how == "echo":
        stems["lead"] += [
            replace(n, start=n.start + 0.75, velocity=round(n.velocity * 0.6), track="echo") for n in tune
        ]
    elif how == "octave":
        stems["lead"] += [
            replace(n, pitch=n.pitch - 12, velocity=n.velocity - 14, track="second") for n in tune
        ]
    elif how == "third":
        for n in tune:
            chord = chord_at(chords, n.start)
            below = scale_step(n.pitch, -2, key, mode)
            if n.start % 1 == 0:  # on the beat the second voice stays inside the chord
                triad = [
                    chord.root,
                    (chord.root + (3 if chord.quality.startswith("min") else 4)) % 12,
                    (chord.root + 7) % 12,
                ]
                below = nearest(below, triad, n.pitch - 9, n.pitch - 3)
            stems["lead"].append(replace(n, pitch=below, velocity=n.velocity - 14, track="second"))


def _arpeggios(
    stems, chords, at: float, beats: float, shape: str, step: float, low: int, velocity: int
) -> None:
    """The console's trick for chords on one channel: their notes one after another in sixteenths."""
    inside = [c for c in chords if c.start < at + beats - 1e-6 and c.start + c.duration > at + 1e-6]
    for pitches, chord in zip(voice_lead(inside, low, low + 16, 3), inside):
        ladder = pitches + [pitches[0] + 12]
        start, end = max(chord.start, at), min(chord.start + chord.duration, at + beats)
        for k in range(round((end - start) / step)):
            pitch = ladder[int(shape[k % len(shape)])]
            stems["chords"].append(
                Note(start + k * step, step * 0.85, pitch, velocity - (0 if k % 4 == 0 else 10), "arp")
            )


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
