"""Ambient: slow pads over a drone, modal harmony, a sparse motif that comes back with its own echoes.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import STEMS, Chord, Note, Piece, Track
from lmdm_mini.corpus.styles.form import begin_piece, finish, wanted_seconds
from lmdm_mini.corpus.styles.motifs import LeadPart, make_motif, new_ending, play_motif, sequence
from lmdm_mini.corpus.styles.patterns import humanise
from lmdm_mini.corpus.styles.theory import bass_note, chord_scale, nearest, progression, voicing

# mode -> progressions in degrees of the major scale; four chords or two, each lasting `hold` beats
_HARMONY = {
    "major": [
        "Imaj9 IVmaj9",
        "Iadd9 vi9 IVmaj9 Vsus4",
        "Imaj7 iii7 IVmaj9 IVmaj9",
        "IVmaj9 Iadd9 IVmaj9 vi9",
        "Iadd9 Vsus2 vi9 IVmaj9",
    ],
    "lydian": ["Imaj9 IIadd9", "Imaj7#11 IIadd9 Imaj9 vii7", "Imaj9 vi9 IIadd9 Imaj9"],
    "mixolydian": ["Iadd9 bVIIadd9", "Iadd9 v7 bVIImaj9 IVmaj9", "Isus2 bVIImaj9 IVmaj9 Iadd9"],
    "dorian": ["i9 IVadd9", "i9 bVIIadd9 IVadd9 i11", "i11 ii7 bIIImaj9 IVadd9"],
    "minor": [
        "i9 bVImaj9",
        "iadd9 bVImaj9 bIIImaj9 bVIIadd9",
        "i9 iv9 bVImaj9 v7",
        "i11 bVImaj9 iv9 bVIIsus4",
    ],
}
_MOODS = {
    "major": ("peaceful", "warm", "hopeful"),
    "lydian": ("dreamy", "luminous", "floating"),
    "mixolydian": ("open", "drifting", "warm"),
    "dorian": ("mysterious", "cool", "drifting"),
    "minor": ("melancholy", "dark", "nocturnal"),
}
_PADS = [
    (89, "warm pad"),
    (89, "warm pad"),
    (88, "new age pad"),
    (91, "choir pad"),
    (94, "halo pad"),
    (95, "sweep pad"),
    (90, "polysynth pad"),
    (92, "bowed glass pad"),
    (93, "metallic pad"),
]
_HALOS = [
    (48, "strings"),
    (49, "slow strings"),
    (52, "choir"),
    (53, "choir voices"),
    (54, "synth voices"),
    (50, "synth strings"),
    (94, "halo pad"),
]
_VOICES = [
    (0, "piano", 55, 86),
    (11, "vibraphone", 58, 86),
    (46, "harp", 55, 88),
    (8, "celesta", 67, 96),
    (10, "music box", 67, 96),
    (9, "glockenspiel", 72, 98),
    (4, "electric piano", 55, 84),
    (108, "kalimba", 60, 86),
    (79, "ocarina", 62, 86),
    (73, "flute", 62, 88),
    (98, "crystal bells", 60, 88),
    (75, "pan flute", 62, 86),
    (24, "nylon guitar", 52, 78),
    (60, "french horn", 48, 70),
    (42, "cello", 45, 67),
]
_BASSES = [
    (89, "warm pad bass"),
    (43, "contrabass"),
    (39, "synth bass"),
    (35, "fretless bass"),
    (42, "cello"),
    (95, "sweep pad bass"),
]
_RHYTHMS = [
    "x.......x.......",
    "x...x...x.......",
    "--x...x...x.....",
    "x.....x.....x...",
    "----x...x.......",
    "x.x.....x.......",
    "x...........x...",
]

# Wide, quiet shapes in scale steps: a few tones with air between them.
_OUTLINES = [
    (0, 4, 2, 7, 4, 2),
    (4, 2, 0, -3, 0, 2),
    (0, 4, 8, 7, 4, 2),
    (7, 4, 5, 2, 4, 0),
    (0, -3, 2, 4, 0, -3),
    (2, 4, 8, 4, 7, 4),
    (4, 7, 9, 7, 4, 2),
    (0, 2, 4, 8, 7, 4),
    (8, 7, 4, 2, 4, 0),
]


def ambient(rng: random.Random, index: int) -> Piece:
    """An ambient piece of one to three minutes."""
    bpm = float(rng.randint(50, 80))
    shortest, longest = wanted_seconds(rng)
    bars = rng.choice([b for b in range(14, 80, 2) if shortest <= b * 240 / bpm <= longest])
    mode = rng.choice(list(_HARMONY))
    key = rng.randrange(12)
    hold = rng.choice((4.0, 8.0, 8.0)) if bars >= 16 else rng.choice((4.0, 8.0))
    quarter, outro_bars = bars // 4, max(2, bars // 4 - 1)
    form = [("intro", quarter), ("A", quarter), ("B", bars - 2 * quarter - outro_bars), ("outro", outro_bars)]
    piece = begin_piece("ambient", index, bpm, key, mode, form)
    piece.chords = _chords(rng, mode, key, hold, piece.length)
    a, b, outro = (section.start for section in piece.sections[1:])

    _pads(rng, piece, a, outro)
    _bass(rng, piece, rng.choice((0.0, a)), outro)
    enters = rng.choice((a, a, a / 2 // 4 * 4))
    _lead(rng, piece, enters, b, outro)
    if rng.random() < 0.6:
        _shimmer(rng, piece, rng.choice((a, b)), outro)
    if rng.random() < 0.25:
        _pulse(rng, piece, b, outro)
    for stem in STEMS:
        piece.stems[stem] = humanise(piece.stems[stem], rng, 0.012, 3.0)
    piece.moods = rng.sample(_MOODS[mode], 2) + rng.sample(
        ("spacious", "slow", "calm", "sparse", "meditative"), rng.choice((1, 2))
    )
    return finish(piece)


def _chords(rng: random.Random, mode: str, key: int, hold: float, length: float) -> list[Chord]:
    """Two progressions of the mode, the first coming back, and home at the end."""
    first, second = rng.sample(_HARMONY[mode], 2)
    chords, now = [], 0.0
    for number in range(64):
        once = progression(
            (first, first, second, first)[number % 4] if hold == 4 else (first, second)[number % 2],
            key,
            now,
            hold,
        )
        chords += once
        now = once[-1].start + once[-1].duration
        if now >= length:
            break
    chords = [replace(c, duration=min(c.duration, length - c.start)) for c in chords if c.start < length]
    home = progression(first.split()[0], key)[0]
    if (chords[-1].root, chords[-1].quality) != (home.root, home.quality):
        chords[-1] = replace(chords[-1], root=home.root, quality=home.quality)
    merged = [chords[0]]
    for chord in chords[1:]:
        if (chord.root, chord.quality) == (merged[-1].root, merged[-1].quality):
            merged[-1] = replace(merged[-1], duration=merged[-1].duration + chord.duration)
        else:
            merged.append(chord)
    return merged


def _pads(rng: random.Random, piece: Piece, a: float, outro: float) -> None:
    """A pad all through and a higher, thinner layer that joins at A; common tones are held over changes."""
    (pad, pad_word), (halo, halo_word) = rng.choice(_PADS), rng.choice(_HALOS)
    side = rng.choice((-1, 1))
    tracks, notes = piece.tracks["chords"], piece.stems["chords"]
    tracks["pad"] = Track(pad, pad_word, -0.3 * side, 0.9, rng.uniform(0.6, 0.85))
    tracks["halo"] = Track(halo, halo_word, 0.4 * side, 0.6, rng.uniform(0.7, 0.95))
    low = rng.choice((46, 48, 50))
    for track, bottom, top, voices, base, begins in (
        ("pad", low, low + 24, 4, 66, 0.0),
        ("halo", 64, 84, 3, 54, a),
    ):
        previous, held = None, {}
        for chord in piece.chords:
            if chord.start + chord.duration <= begins + 1e-6:
                continue
            previous = voicing(chord, previous, bottom, top, voices, rootless=track == "halo")
            level = base + 10 * min(1.0, chord.start / max(4.0, a)) - (12 if chord.start >= outro else 0)
            start = max(chord.start, begins)
            for pitch in [p for p in held if p not in previous]:
                notes.append(held.pop(pitch))
            for n, pitch in enumerate(previous):
                # held tones flow on, but a pad that never moves goes stale: half of them sound again
                if pitch in held and rng.random() < 0.5:
                    held[pitch].duration = chord.start + chord.duration - held[pitch].start + 0.3
                    continue
                if pitch in held:
                    notes.append(held.pop(pitch))
                slow = rng.choice((0.0, 0.0, 0.5, 1.0)) if n else 0.0
                held[pitch] = Note(
                    start + slow,
                    chord.start + chord.duration - start - slow + 0.3,
                    pitch,
                    round(level + rng.uniform(-6, 6)),
                    track,
                )
        notes += held.values()
    for note in notes:
        note.duration = max(0.5, min(note.duration, piece.length + 1.0 - note.start))


def _bass(rng: random.Random, piece: Piece, enters: float, outro: float) -> None:
    """Long roots, or a drone on the tonic with its fifth."""
    program, word = rng.choice(_BASSES)
    piece.tracks["bass"]["main"] = Track(program, word, 0.0, 1.0, 0.35)
    notes = piece.stems["bass"]
    if rng.random() < 0.3:
        root = bass_note(piece.key_root, 31, 43)
        for start in range(int(enters), int(piece.length), 16):
            hold = min(16.0, piece.length - start)
            notes.append(Note(start, hold + 0.4, root, 78))
            if start > enters and root + 7 <= 50 and start < outro:
                notes.append(Note(start, hold, root + 7, 58))
        return
    near = None
    for chord in piece.chords:
        if chord.start + chord.duration <= enters + 1e-6:
            continue
        start = max(enters, chord.start)
        root = bass_note(chord.root, 29, 45, near)
        near, hold = root, chord.start + chord.duration - start
        notes.append(Note(start, hold, root, 78))
        if hold >= 8 and start < outro and rng.random() < 0.5:
            notes[-1].duration = hold / 2
            notes.append(Note(start + hold / 2, hold / 2, rng.choice((root + 12, root, root + 7)), 66))


def _lead(rng: random.Random, piece: Piece, enters: float, b: float, outro: float) -> None:
    """A motif, long rests, the motif answered; every note returns softly on the other side, a tape echo."""
    program, word, low, high = rng.choice(_VOICES)
    sustained = program in (79, 73, 75, 60, 42)
    reverb = rng.uniform(0.65, 0.95)
    main = Track(program, word, rng.uniform(-0.3, 0.3), 1.0, reverb)
    echo = Track(program, word, -0.7 if main.pan > 0 else 0.7, 0.8, min(1.0, reverb + 0.1))
    piece.tracks["lead"] = {"main": main, "echo": echo}
    key = piece.key_root
    anchor = nearest((low + high) / 2, [key, (key + 7) % 12], low, high)
    part = LeadPart(key, piece.key_mode, low, high, anchor)
    motif = make_motif(rng, 8.0 if rng.random() < 0.6 else 4.0, rhythms=_RHYTHMS, leap=0.4)
    motif = replace(motif, steps=rng.choice(_OUTLINES)[: len(motif.steps)])
    answer = new_ending(motif, rng)
    notes: list[Note] = []
    now, turn = enters, 0
    while now < piece.length - 6:
        cell = (motif, answer, motif, sequence(motif, rng.choice((-2, 1, 2))))[turn % 4]
        lift = 12 if now >= b and turn % 4 == 3 and anchor + 16 <= high else 0
        lifted = replace(part, anchor=anchor + lift)
        notes += play_motif(cell, now, piece.chords, lifted, rng.randint(68, 84))
        turn += 1
        rest = rng.choice((0.0, 4.0, 4.0, 8.0)) if now < outro else 8.0
        now = (now + cell.beats + rest) // 4 * 4
    ring = 1.0 if sustained else rng.choice((2.0, 3.0))
    notes = [replace(n, duration=max(n.duration * ring, 1.0)) for n in notes]
    delay, feedback = rng.choice(((0.75, 3), (1.0, 2), (1.5, 2), (0.75, 2)))
    echoes = [
        replace(
            n,
            start=n.start + delay * k,
            velocity=round(n.velocity * 0.58**k),
            duration=min(n.duration, 1.5),
            track="echo",
        )
        for n in notes
        for k in range(1, feedback + 1)
    ]
    piece.stems["lead"] += notes + [e for e in echoes if e.velocity >= 14]


def _shimmer(rng: random.Random, piece: Piece, begins: float, ends: float) -> None:
    """High single notes of the chord, drifting like a slow arpeggio that forgets some of its notes."""
    program, word = rng.choice(
        [
            (46, "harp"),
            (11, "vibraphone"),
            (8, "celesta"),
            (0, "piano"),
            (10, "music box"),
            (4, "electric piano"),
            (108, "kalimba"),
            (99, "atmosphere synth"),
        ]
    )
    piece.tracks["chords"]["shimmer"] = Track(program, word, rng.choice((-0.55, 0.55)), 0.6, 0.85)
    step = rng.choice((0.5, 1.0, 1.0, 1.5))
    density = rng.uniform(0.45, 0.8)
    shape = rng.sample(range(5), 5)
    now, k = begins, 0
    while now < ends:
        chord = max((c for c in piece.chords if c.start <= now + 1e-6), key=lambda c: c.start)
        tones = sorted(
            {
                nearest(
                    66 + 4 * i,
                    chord_scale(chord, chord.root, "major pentatonic")
                    if chord.quality.startswith("maj")
                    else [(chord.root + s) % 12 for s in (0, 3, 7, 10)]
                    if chord.quality.startswith("min")
                    else [(chord.root + s) % 12 for s in (0, 2, 7)],
                    62,
                    90,
                )
                for i in range(5)
            }
        )
        if rng.random() < density:
            pitch = tones[shape[k % 5] % len(tones)]
            piece.stems["chords"].append(Note(now, 2.5, pitch, rng.randint(40, 58), "shimmer"))
        now, k = now + step, k + 1


def _pulse(rng: random.Random, piece: Piece, begins: float, ends: float) -> None:
    """Barely a beat: a soft low drum like a heart, or a few brushed and rung metals."""
    piece.tracks["drums"]["main"] = Track(40, "soft percussion", 0.0, 0.6, 0.7)
    kind, notes = rng.choice(("heart", "metal", "shaker")), piece.stems["drums"]
    for bar in range(round((ends - begins) / 4)):
        at = begins + bar * 4
        if kind == "heart":
            notes += [Note(at, 0.5, 36, 44), Note(at + rng.choice((0.75, 2.5)), 0.5, 36, 32)]
        elif kind == "metal":
            if bar % 2 == 0:
                notes.append(
                    Note(at + rng.choice((0.0, 1.0, 2.5)), 2.0, rng.choice((81, 51, 53)), rng.randint(26, 40))
                )
        else:
            notes += [Note(at + k, 0.2, 82, 34 if k % 2 else 24) for k in range(4)]
