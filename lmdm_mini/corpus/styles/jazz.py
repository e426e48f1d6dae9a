"""Jazz: a small band with walking bass plays a head, solos and comes home.

`jazz` takes a `random.Random` and an index and writes one whole piece; its taste is in `jazz_tables.py`.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import Chord, Note, Piece, Track
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th
from lmdm_mini.corpus.styles.funk import harmonise
from lmdm_mini.corpus.styles.jazz_tables import (
    BLUES_SEQUENCES,
    BOSSA_COMPS,
    JAZZ_A,
    JAZZ_B,
    JAZZ_BLUES,
    JAZZ_COMPS,
    JAZZ_HEADS,
    JAZZ_KINDS,
    JAZZ_LEADS,
    JAZZ_MOODS,
    JAZZ_REGISTERS,
    JAZZ_SEQUENCES,
    JAZZ_TURN,
    SWING_MOODS,
    TITLE_WORDS,
)


def jazz_form(rng: random.Random, kind: str, bpm: float, metre: int) -> list[tuple[str, int]]:
    sequences, unit = (BLUES_SEQUENCES, 12) if kind == "blues" else (JAZZ_SEQUENCES, 8)
    forms = [
        [("intro", 4)] * intro + [(name, unit) for name in line.split()] + [("tag", 4)] * tag + [("coda", 2)]
        for line in sequences
        for intro in (0, 1)
        for tag in (0, 0, 1)
    ]
    return fm.choose_form(rng, forms, bpm, metre)


def two_feel(chords: list[Chord], rng: random.Random, low: int = 28, high: int = 47) -> list[Note]:
    """Half notes, root and fifth, with a pick-up into some changes: for heads, ballads and waltzes."""
    notes: list[Note] = []
    for index, chord in enumerate(chords):
        root = th.bass_note(chord.root, low, high - 7)
        target = th.bass_note(chords[(index + 1) % len(chords)].root, low, high - 7)
        half = 2.0 if chord.duration != 3 else 3.0
        notes.append(Note(chord.start, min(half, chord.duration) * 0.95, root, 94))
        if chord.duration >= 4:
            fifth = next((s for s in th.QUALITIES[chord.quality] if s in (6, 7, 8)), 7)
            notes.append(
                Note(chord.start + 2, 1.9, root + (fifth if root + fifth <= high else fifth - 12), 86)
            )
        if chord.duration >= 3 and rng.random() < 0.4:
            notes[-1].duration -= 0.5 if chord.duration >= 4 else 1.0
            pick_up = 0.5 if chord.duration >= 4 else 1.0
            notes.append(
                Note(
                    chord.start + chord.duration - pick_up,
                    pick_up * 0.9,
                    th.approach(target, rng, rng.choice(("below", "above"))),
                    80,
                )
            )
    return notes


def solo_line(passage: th.Passage, rng: random.Random, part: mo.LeadPart, busy: float = 0.75) -> list[Note]:
    """An improvised line in eighths: chord tones on the beat, scale or chromatic notes that lead to the
    next one between, phrases of one to three bars with room to breathe."""
    chords, low, high = passage.chords, part.low, part.high
    notes, beat, end = [], passage.start + rng.choice((0.0, 0.5, 1.0)), passage.end
    here, heading = (low + high) / 2 + rng.randint(-4, 4), rng.choice((-1, 1))
    while beat < end - 1.5:
        phrase_end = min(end - 0.5, beat + rng.choice((2.5, 3.5, 4.5, 5.5, 7.5)))
        while beat < phrase_end:
            chord = th.chord_at(chords, beat)
            tones = th.chord_tones(chord)
            guide = tones[1:2] + tones[2:] if rng.random() < 0.7 else tones
            if here > high - 4:
                heading = -1
            elif here < low + 4:
                heading = 1
            elif rng.random() < 0.22:
                heading = -heading
            on_beat = abs(beat % 1) < 1e-6
            step = heading * rng.choice((2, 3, 3, 4, 5))
            if on_beat:
                pitch = th.nearest(here + step / 2, guide, low, high)
            else:
                ahead = th.nearest(
                    here + step, th.chord_tones(th.chord_at(chords, beat + 0.5))[1:], low, high
                )
                between = list(range(min(ahead, int(here)) + 1, max(ahead, int(here))))
                scale = set(th.chord_scale(chord, part.key_root, part.mode))
                inside = [p for p in between if p % 12 in scale]
                leading = (-1, 1, 2 if (ahead + 2) % 12 in scale else 1)
                pitch = rng.choice(inside) if inside else ahead + rng.choice(leading)
            if notes and pitch == notes[-1].pitch:
                usable = th.chord_scale(chord, part.key_root, part.mode)
                pitch = th.nearest(pitch + 2 * heading, usable, low, high)
                if pitch == notes[-1].pitch:
                    pitch += heading if low < pitch < high else 0
            notes.append(Note(beat, 0.48, pitch, 84 + (7 if not on_beat else 0) + rng.choice((0, 0, 8))))
            here, beat = pitch, beat + (0.5 if rng.random() < busy else 1.0)
            if beat % 1 and rng.random() > busy + 0.1:
                beat += 0.5
        landing = th.chord_at(chords, notes[-1].start)
        notes[-1].pitch = th.nearest(notes[-1].pitch, th.chord_tones(landing), low, high)
        notes[-1].duration = rng.choice((0.4, 0.9, 1.4))
        beat = round(beat * 2) / 2 + rng.choice((0.5, 1.0, 1.5, 2.0)) + (0 if busy > 0.6 else 1)
    return notes


def jazz_drums(
    rng: random.Random, kind: str, feel: str, metre: int, bars: int, start: float, name: str
) -> list[Note]:
    """Ride, hat on two and four, feathered kick, chattering snare; or brushes, or bossa sticks, or fours."""
    notes: list[Note] = []
    for bar in range(bars):
        now, ending = start + metre * bar, bar == bars - 1
        if name == "fours" and bar % 8 >= 4:  # four bars of drums alone
            notes += pt.hits("----x-------x---"[: 4 * metre], pt.PEDAL_HAT, now, 66)
            notes += pt.fill(rng, now, metre - (1 if bar % 2 == 0 else 0), 88)
            continue
        if kind == "bossa":
            stick = "x-----x-----x---|----x-----x-----".split("|")[bar % 2]
            notes += pt.hits(stick, pt.SIDE_STICK, now, 80) + pt.hits("x-----x-x-----x-", pt.KICK, now, 74)
            grid, key = ("xo" * 8, pt.SHAKER) if feel == "brushes" else ("x-o-" * 4, pt.CLOSED_HAT)
            notes += pt.hits(grid, key, now, 58)
        elif feel == "brushes":
            sweep = ("x-------x-------" if kind == "ballad" else "x---x---x---x---")[: 4 * metre]
            notes += pt.hits(sweep, pt.BRUSH_SWEEP, now, 66, duration=1.8 if kind == "ballad" else 0.9)
            tap = rng.choice(("x---x-o-x---x-o-", "x---x-o-x---x---", "----x-o-----x-o-"))[: 4 * metre]
            notes += pt.hits(tap, pt.BRUSH_TAP, now, 66)
            notes += pt.hits("----x-------x---"[: 4 * metre], pt.PEDAL_HAT, now, 60)
            kick = "o-------o-------" if kind == "ballad" else "o---o---o---o---"[: 4 * metre]
            notes += pt.hits(kick, pt.KICK, now, 92)
        else:
            rides, feet = ("X---x-o-x-o-", "X---x---x-o-", "X---x-o-x---"), ("----x---x---", "----x-------")
            if metre == 4:
                rides, feet = (
                    (
                        "x---X-o-x---X-o-",
                        "x---X-o-x---X-o-",
                        "x---X---x---X-o-",
                        "x---X-o-x-o-X-o-",
                        "x-o-X-o-x---X-o-",
                    ),
                    ("----x-------x---",),
                )
            notes += pt.hits(rng.choice(rides), pt.RIDE, now, 74 if name != "solo" else 82)
            notes += pt.hits(rng.choice(feet), pt.PEDAL_HAT, now, 68)
            notes += pt.hits("o---o---o---o---"[: 4 * metre], pt.KICK, now, 96)
            for eighth in range(2 * metre):
                chance = rng.random()
                if chance < (0.2 if name in ("solo", "bridge") else 0.12):
                    key = pt.SNARE if chance > 0.03 else pt.KICK
                    notes.append(Note(now + eighth / 2, 0.2, key, rng.choice((38, 46, 62))))
        if ending and rng.random() < 0.75 and name not in ("coda",):
            notes = [n for n in notes if n.start < now + metre - 1.5 or n.pitch in (pt.PEDAL_HAT, pt.RIDE)]
            notes += [
                Note(
                    now + metre - 1.5 + i / 2,
                    0.2,
                    rng.choice((pt.SNARE, pt.SNARE, pt.MID_TOM, pt.HIGH_TOM)),
                    60 + 8 * i,
                )
                for i in range(3)
            ]
    if rng.random() < 0.5 and feel != "brushes":
        notes.append(Note(start, 2.0, pt.CRASH, 64))
    return notes


def on_roots(line: list[Note], chords: list[Chord]) -> list[Note]:
    """A bass line that plays the root wherever a chord starts."""
    roots = {chord.start: th.bass_note(chord.root, 28, 43) for chord in chords}
    return [replace(n, pitch=roots.get(n.start, n.pitch)) for n in line]


def jazz_sounds(rng: random.Random, kind: str) -> tuple[tuple[int, str], tuple[int, str]]:
    """(program, word) of the soloist and of who comps: a pianist alone, a guitarist with other company."""
    lead = rng.choice(JAZZ_LEADS)
    comps = ((0, "piano"), (0, "piano"), (26, "jazz guitar"), (4, "electric piano"), (17, "organ"))
    if lead[0] in (0, 26):
        comps = ((0, "piano"), (11, "vibraphone"), (17, "organ"))[: 1 if lead[0] == 0 else 3]
    comp = rng.choice(comps)
    if kind == "bossa" and rng.random() < 0.6 and lead[0] != 26:
        comp = (24, "nylon guitar")
    return lead, comp


def jazz_themes(rng: random.Random, kind: str, metre: int) -> dict[str, list[mo.Motif]]:
    """The phrases of the head, of A and of B."""
    heads = JAZZ_HEADS[metre]
    grids = [rng.choice(heads) + rng.choice(heads) for _ in range(4)]
    motif = mo.make_motif(rng, 2.0 * metre, grids[:1], leap=0.25)
    themes = {
        "A": mo.develop(motif, rng, 4 if kind != "blues" else 3),
        "B": mo.develop(mo.make_motif(rng, 2.0 * metre, grids[1:2], leap=0.2), rng, 4),
    }
    if kind == "blues" and rng.random() < 0.6:
        themes["A"] = [motif, motif, mo.new_ending(motif, rng)]  # the riff said twice, then answered
    return themes


def coda(piece: Piece, here: th.Passage, comping: pt.ChordPart, lead: mo.LeadPart, cymbal: int) -> None:
    """Everybody holds the last chord."""
    stems, final = piece.stems, piece.chords[-1]
    stems["bass"].append(Note(here.start, here.beats * 0.9, th.bass_note(final.root, 28, 43), 96))
    stems["chords"] += pt.comp(here, "w", comping, 80, strum=0.04, gate=0.9)
    middle = (lead.low + lead.high) / 2
    last_note = th.nearest(middle, th.chord_tones(final)[1:], lead.low, lead.high)
    stems["lead"].append(Note(here.start, here.beats * 0.85, last_note, 88))
    stems["drums"] += [Note(here.start, 0.3, pt.KICK, 84), Note(here.start, 4.0, cymbal, 72)]


def jazz(rng: random.Random, index: int) -> Piece:
    """One jazz tune: swing, up-tempo, blues, bossa, ballad or waltz; head, solo, head, ending."""
    kind = rng.choice(tuple(JAZZ_KINDS))
    (slow, fast), metre = JAZZ_KINDS[kind]
    bpm, key = rng.randint(slow, fast), rng.randrange(12)
    modes = ("major", "major", "minor") + (() if kind in ("blues", "ballad") else ("dorian",))
    mode = rng.choice(modes)
    form = jazz_form(rng, kind, bpm, metre)
    piece = fm.begin_piece("jazz", index, bpm, key, mode, form, metre)

    def pick(pool: tuple[str, ...]) -> str:
        usable = [line for line in pool if metre == 4 or ":h" not in line]
        return rng.choice(usable).replace(":h", f":{metre / 2}")

    a_part = pick(JAZZ_BLUES[mode] if kind == "blues" else JAZZ_A[mode])
    b_part, turn = pick(JAZZ_B[mode]), pick(JAZZ_TURN[mode])
    tonic = {"major": rng.choice(("Imaj9", "I69")), "minor": rng.choice(("i6", "i9")), "dorian": "i9"}[mode]
    if kind == "blues" and mode == "major":
        tonic = "I13"
    for section, (name, bars) in zip(piece.sections, form):
        line = {
            "B": b_part,
            "bridge": b_part,
            "intro": turn,
            "tag": turn,
            "coda": f"{tonic}:{2 * metre}",
        }.get(name, a_part)
        piece.chords += th.loop_chords(line, key, section.start, bars * metre, metre)

    lead_sound, comp_sound = jazz_sounds(rng, kind)
    feel = "brushes" if kind == "ballad" or rng.random() < 0.35 else "sticks"
    alone = lead_sound[0] == 0
    low, high = JAZZ_REGISTERS[lead_sound[0]]
    # Comping keeps out of the soloist's way: below the right hand, below a low horn.
    comp_low, comp_high = (48, 67) if alone else (49, 67) if low < 58 else (52, 72)
    themes = jazz_themes(rng, kind, metre)
    scale, solo_scale = mode, rng.choice(("minor", "dorian")) if mode == "minor" else mode
    if kind == "blues":
        scale = rng.choice(("blues", "mixolydian" if mode == "major" else "dorian"))
        solo_scale = "mixolydian" if mode == "major" else solo_scale
    thirds = rng.random() < 0.3 and lead_sound[0] in (0, 11)
    walking = th.walking_bass(piece.chords, rng, 28, 48)
    halves = two_feel(piece.chords, rng)
    bossa_bass = rng.choice(("R.....5.5.....R.", "R.....l.l.....R.", "R.....5.5.....a."))
    two_on_head = kind in ("ballad", "waltz") or rng.random() < 0.45
    busy = {"ballad": 0.55, "up": 0.85}.get(kind, rng.uniform(0.65, 0.85))
    patterns = JAZZ_COMPS[metre] if kind != "bossa" else BOSSA_COMPS
    favourites = rng.sample(patterns, 2 if kind == "bossa" else 3)

    comping = pt.ChordPart("main", comp_low, comp_high)
    singer = mo.LeadPart(key, scale, low, high, anchor=(low + high) // 2)
    soloist = replace(singer, mode=solo_scale)
    stems = piece.stems
    intro_parts = rng.choice(
        ({"chords"}, {"chords", "drums"}, {"bass", "drums"}, {"chords", "bass", "drums"}, {"bass", "chords"})
    )
    for section, (name, bars) in zip(piece.sections, form):
        start, beats = section.start, float(bars * metre)
        here = th.Passage(piece.chords, start, beats)
        if name == "coda":
            coda(piece, here, comping, singer, pt.CRASH if feel == "sticks" else pt.RIDE)
            continue
        parts = intro_parts if name == "intro" else {"chords", "bass", "drums", "lead"}
        if "drums" in parts:
            stems["drums"] += jazz_drums(rng, kind, feel, metre, bars, start, name)
        silent = []
        if name == "fours":
            silent = [(start + metre * bar, start + metre * (bar + 4)) for bar in range(4, bars, 8)]
        if "bass" in parts:
            if kind == "bossa":
                line = on_roots(pt.bass_riff(here, bossa_bass, rng, 28, 43, 94), piece.chords)
            else:
                line = halves if two_on_head and name in ("A", "B", "head", "intro", "tag") else walking
                line = [n for n in line if start - 1e-6 <= n.start < start + beats - 1e-6]
            stems["bass"] += line
        if "chords" in parts:
            grid = "".join(rng.choice(favourites) for _ in range((bars + 1) // 2))
            if kind == "ballad" and rng.random() < 0.6:
                grid = "x.......x.......|x.......x..x...." if rng.random() < 0.5 else "w"
            player = replace(comping, voices=3 if alone and kind != "ballad" else 4)
            strum = 0.02 if kind == "ballad" else 0.0
            stems["chords"] += pt.comp(here, grid, player, 70, push=kind != "ballad", strum=strum, gate=0.9)
        if "lead" in parts and name in ("solo", "bridge", "fours"):
            stems["lead"] += solo_line(here, rng, soloist, busy)
        elif "lead" in parts:
            shift = rng.choice((-2, 0, 2)) * (name == "tag")
            theme = themes["B" if name in ("B", "tag") else "A"]
            line = mo.play_phrase(theme, here, replace(singer, anchor=singer.anchor + shift), 88)
            stems["lead"] += line
            if thirds and name == "B":
                stems["lead"] += harmonise(line, piece.chords, key, mode, "main")
        for stem in ("bass", "chords", "lead"):
            stems[stem] = [n for n in stems[stem] if not any(a <= n.start < b for a, b in silent)]

    least, most = {"bossa": (0.0, 0.0), "up": (0.1, 0.2), "ballad": (0.22, 0.33)}.get(kind, (0.24, 0.36))
    amount = rng.uniform(least, most)
    for stem, timing in (("drums", 0.01), ("bass", 0.01), ("chords", 0.015), ("lead", 0.022)):
        stems[stem] = pt.humanise(pt.swing(stems[stem], amount, 0.5), rng, timing * bpm / 140, 6)
    side = rng.choice((-1, 1))
    brushed = feel == "brushes" and kind != "bossa"
    kit = (40, "brushed drums") if brushed else (rng.choice((32, 0, 32)), "drums")
    piece.tracks = {
        "drums": {"main": Track(*kit, 0.1 * side, 0.85, 0.25)},
        "bass": {"main": Track(32, "acoustic bass", -0.05 * side, 1.0, 0.12)},
        "chords": {"main": Track(*comp_sound, -0.3 * side, 0.75, 0.3)},
        "lead": {"main": Track(*lead_sound, 0.2 * side, 0.95, 0.35)},
    }
    piece.title = fm.title(rng, TITLE_WORDS)
    piece.moods = rng.sample(JAZZ_MOODS.get(kind, SWING_MOODS), rng.randint(2, 4))
    return fm.finish(piece)
