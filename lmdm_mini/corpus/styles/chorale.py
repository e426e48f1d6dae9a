"""Bach's four-part chorales in changing registrations: choir, organ, strings, brass, woodwinds.

The notes are Bach's; key, tempo, instruments, dynamics and breath are drawn anew for every piece.
Soprano -> lead, alto and tenor -> chords, bass -> bass; there are no drums.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass, replace

from lmdm_mini.corpus.piece import STEMS, Chord, Note, Piece, Section, Track
from lmdm_mini.corpus.score import Event, Score
from lmdm_mini.corpus.styles.form import finish, wanted_seconds

# What a chord of a chorale may be, in semitones above the root.
_TEMPLATES = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "min7": (0, 3, 7, 10),
    "dim": (0, 3, 6),
    "m7b5": (0, 3, 6, 10),
    "maj7": (0, 4, 7, 11),
    "sus4": (0, 5, 7),
}
_RARITY = {
    "maj": 0.0,
    "min": 0.0,
    "7": 0.12,
    "min7": 0.16,
    "dim": 0.15,
    "m7b5": 0.2,
    "maj7": 0.24,
    "sus4": 0.26,
}


@dataclass(frozen=True)
class Registration:
    """Programs and words for soprano, alto, tenor and bass; `pedal` doubles the bass an octave down;
    `support` is a second, softer instrument under all four voices."""

    name: str
    voices: tuple[tuple[int, str], tuple[int, str], tuple[int, str], tuple[int, str]]
    moods: tuple[str, ...]
    reverb: float
    attack: float  # velocity offset: struck and blown instruments need less than pads
    pedal: tuple[int, str] | None = None
    support: tuple[int, str] | None = None


def _same(program: int, word: str) -> tuple:
    return ((program, word),) * 4


REGISTRATIONS = [
    Registration("choir", _same(52, "choir"), ("reverent", "serene"), 0.75, 4),
    Registration("choir", _same(53, "choir voices"), ("reverent", "warm"), 0.75, 4),
    Registration(
        "choir",
        ((52, "choir"), (53, "choir voices"), (53, "choir voices"), (52, "choir")),
        ("serene", "sacred"),
        0.8,
        4,
    ),
    Registration(
        "organ", _same(19, "church organ"), ("majestic", "sacred"), 0.7, 0, pedal=(19, "church organ pedal")
    ),
    Registration("organ", _same(20, "reed organ"), ("devout", "plain"), 0.45, 0),
    Registration(
        "organ",
        ((19, "church organ"), (20, "reed organ"), (20, "reed organ"), (19, "church organ")),
        ("solemn", "sacred"),
        0.6,
        0,
        pedal=(19, "church organ pedal"),
    ),
    Registration("strings", _same(48, "string ensemble"), ("warm", "solemn"), 0.55, 2),
    Registration("strings", _same(49, "slow strings"), ("tender", "solemn"), 0.6, 8),
    Registration(
        "quartet",
        ((40, "violin"), (40, "violin"), (41, "viola"), (42, "cello")),
        ("intimate", "warm"),
        0.45,
        0,
    ),
    Registration(
        "brass",
        ((56, "trumpet"), (60, "french horn"), (57, "trombone"), (57, "trombone")),
        ("majestic", "bright"),
        0.5,
        -6,
    ),
    Registration(
        "brass",
        ((60, "french horn"), (60, "french horn"), (57, "trombone"), (58, "tuba")),
        ("noble", "warm"),
        0.55,
        -4,
    ),
    Registration(
        "woodwinds",
        ((73, "flute"), (68, "oboe"), (71, "clarinet"), (70, "bassoon")),
        ("gentle", "pastoral"),
        0.45,
        0,
    ),
    Registration(
        "woodwinds",
        ((68, "oboe"), (69, "english horn"), (71, "clarinet"), (70, "bassoon")),
        ("plaintive", "gentle"),
        0.45,
        0,
    ),
    Registration(
        "recorders",
        ((74, "recorder"), (74, "recorder"), (71, "clarinet"), (70, "bassoon")),
        ("gentle", "plain"),
        0.45,
        0,
    ),
    Registration(
        "choir and organ",
        _same(52, "choir"),
        ("majestic", "reverent"),
        0.75,
        4,
        pedal=(19, "church organ pedal"),
        support=(19, "church organ"),
    ),
    Registration(
        "choir and strings",
        _same(52, "choir"),
        ("warm", "reverent"),
        0.65,
        4,
        support=(48, "string ensemble"),
    ),
    Registration(
        "oboe and organ",
        ((68, "oboe"), (19, "church organ"), (19, "church organ"), (19, "church organ")),
        ("tender", "sacred"),
        0.6,
        0,
    ),
    Registration(
        "trumpet and organ",
        ((56, "trumpet"), (19, "church organ"), (19, "church organ"), (19, "church organ")),
        ("festive", "majestic"),
        0.6,
        -4,
        pedal=(19, "church organ pedal"),
    ),
]
_PARTS = (
    ("lead", "soprano", -0.25),
    ("chords", "alto", 0.3),
    ("chords", "tenor", -0.35),
    ("bass", "bass", 0.12),
)  # stem, part, pan


def chorale(rng: random.Random, score: Score) -> Piece:
    """A chorale of one to three minutes: verses in other registrations, a long one cut at a phrase end."""
    if len(score.voices) != 4:
        raise ValueError(f"{score.tune_id} has {len(score.voices)} voices; a chorale needs four.")
    bar = score.bar_length
    bpm, length, step, verses = _plan(rng, score)
    voices = [[e for e in voice if e[0] < length - 1e-6] for voice in score.voices]
    top, bottom = max(e[2] for e in voices[0]), min(e[2] for e in voices[3])
    shifts = [s for s in range(-4, 5) if top + s <= 81 and bottom + s >= 36] or [0]
    shift = rng.choice(shifts)
    voices = [[(start, duration, pitch + shift) for start, duration, pitch in voice] for voice in voices]

    choices = rng.sample(REGISTRATIONS, verses)
    if verses > 2 and rng.random() < 0.5:
        choices[-1] = choices[0]
    pan_side = rng.choice((-1, 1))
    stems: dict[str, list[Note]] = {name: [] for name in STEMS}
    tracks: dict[str, dict[str, Track]] = {name: {} for name in STEMS}
    chords, sections = [], []
    loud = rng.choice((64, 72, 80))
    once = sounding_chords(voices, length)
    for verse, registration in enumerate(choices):
        at = verse * step
        sections.append(Section(at, f"verse {verse + 1}"))
        chords += [
            Chord(c.start + at, c.duration, c.root, c.quality)
            for c in once
            if not (verse and c.start < bar - score.pickup - 1e-6)
        ]
        phrases = _phrase_levels(rng, score, length, loud + (8 if verse == verses - 1 and verses > 1 else 0))
        for voice, (stem, part, pan) in enumerate(_PARTS):
            layers = [(registration.voices[voice], 0, part, 1.0)]
            if voice == 3 and registration.pedal:
                layers.append((registration.pedal, -12, "pedal", 0.75))
            if registration.support:
                layers.append((registration.support, 0, f"{part} support", 0.6))
            for (program, word), octave, name, volume in layers:
                track = f"{name} {verse + 1}"
                width = 0.4 if program in (19, 20) else 1.0  # an organ stands in one place
                tracks[stem][track] = Track(
                    program,
                    word,
                    pan * pan_side * width,
                    volume * rng.uniform(0.85, 1.0),
                    min(1.0, registration.reverb * rng.uniform(0.85, 1.15)),
                )
                stems[stem] += _sing(
                    rng,
                    voices[voice],
                    at,
                    octave,
                    track,
                    phrases,
                    registration.attack,
                    4 if voice == 0 else 0,
                )
    chords = merge_chords(chords, (verses - 1) * step + length)
    moods = list(dict.fromkeys([m for r in choices for m in r.moods]))
    moods = (
        rng.sample(moods, min(2, len(moods)))
        + (["bright"] if score.key_mode in ("major", "mixolydian") else ["grave"])
        + (["slow"] if bpm < 70 else [])
    )
    piece = Piece(
        style="chorale",
        tune_id=score.tune_id,
        title=score.title,
        bpm=bpm,
        beats_per_bar=round(bar),
        key_root=(score.key_root + shift) % 12,
        key_mode=score.key_mode,
        length=(verses - 1) * step + length,
        stems=stems,
        tracks=tracks,
        chords=chords,
        sections=sections,
        moods=list(dict.fromkeys(moods))[:4],
        source="Bach chorales (music21)",
    )
    return finish(piece)


def _plan(rng: random.Random, score: Score) -> tuple[float, float, float, int]:
    """(bpm, beats of one verse, beats from verse to verse, verses) that fit the wanted seconds."""
    bar = score.bar_length
    shortest, longest = wanted_seconds(rng)
    ends = sorted({-(-end // bar) * bar for end in score.phrase_ends} | {score.length})
    lengths = [score.length] + [end for end in reversed(ends) if end < score.length]
    for length in lengths:
        sounding = max(s + d for voice in score.voices for s, d, _ in voice if s < length - 1e-6)
        # a short last bar and the pickup of the next verse share one bar, as in the hymn book
        shares = score.pickup > 0 and min(sounding, length) <= length - score.pickup + 1e-6
        step = length - bar if shares else length
        plans = []
        for bpm in range(60, 97):
            for verses in range(1, 8):
                seconds = ((verses - 1) * step + length) * 60 / bpm
                if shortest <= seconds <= longest:
                    plans.append((float(bpm), length, step, verses))
        if plans:
            return rng.choice(plans)
    raise ValueError(f"{score.tune_id} has no phrase end that fits {shortest:g} to {longest:g} s.")


def _phrase_levels(
    rng: random.Random, score: Score, length: float, loud: float
) -> list[tuple[float, float, float]]:
    """[(start, end, velocity)] of every phrase: an arch over the verse with a will of its own."""
    ends = sorted(e for e in set(score.phrase_ends) if e < length - 1e-6) + [length]
    levels, start = [], 0.0
    for i, end in enumerate(ends):
        arch = 1 - abs((i + 0.5) / len(ends) - 0.6)
        levels.append((start, end, loud + 18 * arch + rng.uniform(-6, 6)))
        start = end
    return levels


def _sing(
    rng: random.Random,
    voice: list[Event],
    at: float,
    octave: int,
    track: str,
    phrases: list[tuple[float, float, float]],
    attack: float,
    accent: float,
) -> list[Note]:
    """A voice with a swell in every phrase and a breath at its end."""
    notes = []
    for index, (start, duration, pitch) in enumerate(voice):
        begin, end, level = next((p for p in phrases if start < p[1] - 1e-6), phrases[-1])
        inside = (start - begin) / max(1.0, end - begin)
        swell = 10 * (1 - abs(2 * inside - 1.1)) - 4
        last = abs(start + duration - end) < 0.26
        again = index + 1 < len(voice) and voice[index + 1][2] == pitch
        held = max(0.2, duration - 0.3) if last else duration * (0.9 if again else 0.99)
        velocity = level + swell + attack + accent + (3 if start % 1 == 0 else -3) + rng.gauss(0, 2.5)
        onset = max(0.0, at + start + rng.gauss(0, 0.008))
        notes.append(Note(onset, held, pitch + octave, max(30, min(118, round(velocity))), track))
    return notes


def sounding_chords(voices: list[list[Event]], length: float) -> list[Chord]:
    """The chord of every beat: the template that best explains what sounds, bass and beat counting more."""
    found = []
    for beat in range(int(length)):
        weight = [0.0] * 12
        bass = None
        for index, voice in enumerate(voices):
            for start, duration, pitch in voice:
                share = min(start + duration, beat + 1) - max(start, beat)
                if share > 0:
                    on_beat = start <= beat + 1e-6
                    weight[pitch % 12] += share * (1.4 if on_beat else 0.7)
                    if index == 3 and on_beat:
                        bass = pitch % 12
        total = sum(weight)
        if total < 0.5:
            continue
        best = max(
            (
                (
                    sum(weight[(root + s) % 12] for s in steps) / total
                    - 0.12 * sum(weight[(root + s) % 12] < 0.05 * total for s in steps)
                    + 0.12 * (root == bass)
                    - _RARITY[quality],
                    root,
                    quality,
                )
                for root in range(12)
                for quality, steps in _TEMPLATES.items()
            ),
            key=lambda item: item[0],
        )
        found.append(Chord(float(beat), 1.0, best[1], best[2]))
    return found


def merge_chords(chords: list[Chord], length: float) -> list[Chord]:
    """Equal neighbours become one chord, every chord lasts until the next, the first starts at 0."""
    merged: list[Chord] = []
    for chord in chords:
        if not merged or (merged[-1].root, merged[-1].quality) != (chord.root, chord.quality):
            merged.append(chord)
    merged[0] = replace(merged[0], start=0.0)  # the silence before a pickup
    ends = [c.start for c in merged[1:]] + [length]
    return [Chord(c.start, end - c.start, c.root, c.quality) for c, end in zip(merged, ends)]
