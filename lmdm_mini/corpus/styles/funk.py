"""Funk: bands that lock sixteenths together, from tight and bare to horns over a clavinet.

`funk` takes a `random.Random` and an index and writes one whole piece; its taste is in `funk_tables.py`.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import Chord, Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th
from lmdm_mini.corpus.styles.funk_tables import (
    FUNK_CLAVS,
    FUNK_EXTRAS,
    FUNK_FORMS,
    FUNK_GUITARS,
    FUNK_HORN_SOUNDS,
    FUNK_HORNS,
    FUNK_KINDS,
    FUNK_LONG_SOUNDS,
    FUNK_LONG_SYNTHS,
    FUNK_MOODS,
    FUNK_ORGANS,
    FUNK_SOLO_SOUNDS,
    FUNK_SOLO_SYNTHS,
    FUNK_SOLOS,
    TITLE_WORDS,
)


def funk_drums(
    rng: random.Random, groove, bars: int, start: float, name: str, extra: tuple, last: bool
) -> list[Note]:
    """The groove with its ghost notes, a fill into every next section."""
    notes: list[Note] = []
    kick, snare, hat = (part.split("|") for part in groove)
    for bar in range(bars):
        now, half, ending = start + 4 * bar, bar % 2, bar == bars - 1 and not last
        cut = rng.choice((12, 12, 8)) if ending else 16
        for grid, key, velocity in (
            (kick[half], pt.KICK, 108),
            (snare[half], pt.SNARE, 98),
            (hat[half].replace("O", "-"), pt.CLOSED_HAT, 70),
            ("".join("x" if m == "O" else "-" for m in hat[half]), pt.OPEN_HAT, 74),
        ):
            notes += pt.hits(grid[:cut] if key != pt.KICK else grid, key, now, velocity)
        if extra and name in extra[2]:
            notes += pt.hits(extra[1], extra[0], now, 64)
        if ending:
            notes += pt.fill(rng, now + cut / 4, (16 - cut) / 4, 98)
    # Hats breathe: the beat a little stronger than what lies between.
    return [
        replace(n, velocity=max(1, n.velocity - 16)) if n.pitch == pt.CLOSED_HAT and n.start % 0.5 else n
        for n in notes
    ]


def harmonise(notes: list[Note], chords: list[Chord], key: int, mode: str, track: str) -> list[Note]:
    """A second horn under a line: a chord note (under short notes, of its scale), a third or more below."""
    second = []
    for note in notes:
        chord = th.chord_at(chords, note.start)
        usable = th.chord_tones(chord) if note.duration >= 0.5 else th.chord_scale(chord, key, mode)
        clear = [pc for pc in usable if (note.pitch - pc) % 12 not in (0, 1, 2, 6, 11)]
        usable = clear or th.chord_tones(chord)
        pitch = th.nearest(note.pitch - 4, usable, note.pitch - 12, note.pitch - 3)
        second.append(replace(note, pitch=pitch, track=track, velocity=max(1, note.velocity - 8)))
    return second


def funk_sounds(rng: random.Random, kind: str) -> dict[str, tuple[int, str]]:
    """(program, word) of every track that a band may have; a synth band has other keyboards and leads."""
    synth = kind == "synth"
    return {
        "guitar": rng.choice(((27, "clean guitar"), (28, "muted guitar"), (27, "clean guitar"))),
        "rhythm": rng.choice(
            ((7, "clavinet"), (7, "clavinet"), (4, "electric piano"), (5, "electric piano"))
        ),
        "organ": rng.choice(FUNK_LONG_SYNTHS if synth else FUNK_LONG_SOUNDS),
        "horns": rng.choice(FUNK_HORN_SOUNDS),
        "low horns": rng.choice(((66, "saxophone"), (57, "trombone"), (67, "saxophone"), (65, "saxophone"))),
        "solo": rng.choice(FUNK_SOLO_SYNTHS if synth else FUNK_SOLO_SOUNDS),
    }


def stop_together(piece: Piece, chord_track: str) -> None:
    """The band stops together on the one: the very last bar ends on a stab."""
    stems, stab = piece.stems, piece.length - 0.5
    for stem in stems:
        stems[stem] = [n for n in stems[stem] if n.start < stab - 1e-6]
    closing = th.chord_at(piece.chords, stab)
    stems["bass"].append(Note(stab, 0.4, th.bass_note(closing.root, 29, 43), 112))
    stems["drums"] += [
        Note(stab, 0.2, pt.KICK, 112),
        Note(stab, 0.2, pt.SNARE, 106),
        Note(stab, 1.0, pt.CRASH, 98),
    ]
    stems["chords"] += [Note(stab, 0.4, p, 96, chord_track) for p in th.voicing(closing, None, 55, 76)]


def funk(rng: random.Random, index: int) -> Piece:
    """One funk tune: 90 to 122 bpm, all on the one, sixteenth guitar or clavinet, horn riffs, ghost notes."""
    kind = rng.choice(tuple(FUNK_KINDS))
    table = FUNK_KINDS[kind]
    bpm, key, mode = rng.randint(*table["bpm"]), rng.randrange(12), rng.choice(table["modes"])
    form = fm.choose_form(rng, FUNK_FORMS, bpm)
    piece = fm.begin_piece("funk", index, bpm, key, mode, form)
    loop, bridge = rng.choice(table["loops"][mode]), rng.choice(table["bridges"][mode])
    for section, (name, bars) in zip(piece.sections, form):
        piece.chords += th.loop_chords(bridge if name == "B" else loop, key, section.start, bars * 4)

    groove, riffs = rng.choice(table["grooves"]), rng.sample(table["bass"], 2)
    extra = rng.choice(FUNK_EXTRAS)
    guitar, clav, organ = rng.choice(FUNK_GUITARS), rng.choice(FUNK_CLAVS), rng.choice(FUNK_ORGANS)
    sounds = funk_sounds(rng, kind)
    horns_a = mo.make_motif(rng, 8.0, FUNK_HORNS, leap=0.35)
    horn_phrase = [horns_a, rng.choice((horns_a, mo.new_ending(horns_a, rng), mo.sequence(horns_a, 1)))]
    horn_bridge = mo.develop(mo.make_motif(rng, 8.0, FUNK_HORNS, leap=0.2), rng, 2)
    solo_phrase = mo.develop(mo.make_motif(rng, 8.0, FUNK_SOLOS, leap=0.3), rng, 4)
    open_scale = rng.choice(("major pentatonic", "mixolydian"))
    scale = {"major": "major", "mixolydian": open_scale}.get(mode, "minor pentatonic")
    use_guitar, use_rhythm = rng.choice(((True, True), (True, False), (False, True), (True, True)))
    intro_kind = rng.choice(("drums and bass", "build", "all", "rhythm"))
    break_kind = rng.choice(("drums", "drums and bass", "rhythm", "hits"))
    horns_wait = rng.random() < 0.4

    guitar_part = pt.ChordPart("guitar", 60, 79, voices=3)
    clav_part = pt.ChordPart("rhythm", 50, 69, voices=3)
    organ_part = pt.ChordPart("organ", 57, 77)
    keys_hit, horns_hit = pt.ChordPart("rhythm", 57, 76), pt.ChordPart("horns", 62, 81, voices=3)
    hit = "X-------------X-|----------------"
    horns = mo.LeadPart(key, scale, 62, 81, anchor=69, track="horns")
    soloist = mo.LeadPart(key, scale, 60, 84, anchor=70, track="solo")
    stems = piece.stems
    for number, (section, (name, bars)) in enumerate(zip(piece.sections, form)):
        start, beats, last = section.start, bars * 4.0, number == len(form) - 1
        here = th.Passage(piece.chords, start, beats)
        what = {"intro": intro_kind, "break": break_kind}.get(name, "all")
        if what != "rhythm":
            quiet = [p.replace("X", "x") for p in groove] if name == "intro" else groove
            stems["drums"] += funk_drums(rng, quiet, bars, start, name, extra, last)
        else:
            stems["drums"] += pt.hits("x---x---x---x---" * bars, pt.PEDAL_HAT, start, 64)
            stems["drums"] += pt.fill(rng, start + beats - 2, 2.0, 96)
        if number and name in ("A", "B", "solo"):
            stems["drums"] += pt.hits("x", pt.CRASH, start, 92, duration=1.5)
        riff = riffs[name in ("B", "solo")]
        if what in ("drums and bass", "all", "build"):
            stems["bass"] += pt.bass_riff(here, riff, rng, 29, 43, 102)
        elif what == "hits":
            stems["bass"] += pt.bass_riff(here, "R-------------8-|----------------", rng, 29, 43, 104)
            stems["chords"] += pt.comp(here, hit, keys_hit, 92, push=True, gate=0.8)
        if what in ("all", "build", "rhythm"):
            late = here.later(beats / 2) if what == "build" else here
            if use_guitar:
                stems["chords"] += pt.comp(here, guitar, guitar_part, 80, gate=0.7, strum=0.008)
            if use_rhythm:
                stems["chords"] += pt.comp(late, clav, clav_part, 82, gate=0.6)
            if name in ("B", "solo") or not (use_guitar and use_rhythm):
                stems["chords"] += pt.comp(here, organ, organ_part, 66)
        if name in ("A", "B") and not (name == "A" and horns_wait and number <= 1):
            phrase = horn_bridge if name == "B" else horn_phrase
            line = mo.play_phrase(phrase, here, horns, 96)
            stems["lead"] += line + harmonise(line, piece.chords, key, mode, "low horns")
        elif name == "A":
            stems["lead"] += mo.play_phrase(horn_phrase, here.later(beats / 2), horns, 92)
        elif name == "solo":
            stems["lead"] += mo.play_phrase(solo_phrase, here, soloist, 94)
        elif what == "hits":
            stems["lead"] += pt.comp(here, hit, horns_hit, 96, push=True, gate=0.8)
    stop_together(piece, "rhythm" if use_rhythm else "guitar")

    amount = rng.choice((0.0, 0.06, 0.1, 0.16, 0.22)) if kind != "disco" else rng.choice((0.0, 0.05))
    for stem, timing in (("drums", 0.006), ("bass", 0.008), ("chords", 0.008), ("lead", 0.012)):
        stems[stem] = pt.humanise(pt.swing(stems[stem], amount), rng, timing, 5)
    side = rng.choice((-1, 1))
    piece.tracks = {
        "drums": {
            "main": Track(
                rng.choice((0, 8, 0, 16) if kind != "synth" else (0, 24, 16)), "drums", 0.0, 0.95, 0.12
            )
        },
        "bass": {"main": Track(*rng.choice(table["sounds"]), 0.0, 1.0, 0.03)},
        "chords": {
            "guitar": Track(*sounds["guitar"], 0.5 * side, 0.75, 0.15),
            "rhythm": Track(*sounds["rhythm"], -0.45 * side, 0.8, 0.15),
            "organ": Track(*sounds["organ"], -0.2 * side, 0.6, 0.3),
        },
        "lead": {
            "horns": Track(*sounds["horns"], 0.15, 0.85, 0.3),
            "low horns": Track(*sounds["low horns"], -0.2, 0.65, 0.3),
            "solo": Track(*sounds["solo"], 0.05, 0.85, 0.3),
        },
    }
    piece.moods = rng.sample(FUNK_MOODS, rng.randint(2, 4))
    piece.title = fm.title(rng, TITLE_WORDS)
    return fm.vary_repeats(fm.finish(piece), rng)
