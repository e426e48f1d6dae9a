"""A folk session: real fiddle tunes with ornaments, unison and heterophony, chords that fit, and a groove.

The beat of a piece is the pulse a foot taps (half a bar of a reel, a dotted quarter of a jig), so reels,
jigs and waltzes have the tempo a listener would name.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass

from lmdm_mini.corpus.piece import STEMS, Chord, Piece, Section, Track
from lmdm_mini.corpus.score import Score
from lmdm_mini.corpus.styles.folk_band import accompany, percussion
from lmdm_mini.corpus.styles.folk_tune import AIR_LEADS, LEADS, Instrument, Turn, play_tune
from lmdm_mini.corpus.styles.form import finish, wanted_seconds
from lmdm_mini.corpus.styles.patterns import humanise


@dataclass(frozen=True)
class Dance:
    """How a kind of tune is played: tempo range of the pulse, and its feel."""

    tempo: tuple[int, int]
    feel: str  # "reel", "jig", "waltz", "march", "air"
    moods: tuple[str, ...]


DANCES = {
    "reel": Dance((96, 116), "reel", ("driving", "lively", "joyful")),
    "hornpipe": Dance((76, 92), "reel", ("bouncy", "cheerful", "playful")),
    "clog": Dance((78, 92), "reel", ("bouncy", "playful", "jaunty")),
    "strathspey": Dance((62, 76), "reel", ("proud", "snappy", "stately")),
    "fling": Dance((72, 88), "reel", ("jaunty", "snappy", "proud")),
    "polka": Dance((112, 128), "reel", ("lively", "cheerful", "bright")),
    "march": Dance((84, 102), "reel", ("proud", "steady", "stately")),
    "jig": Dance((104, 122), "jig", ("lilting", "joyful", "lively")),
    "slip jig": Dance((104, 120), "jig", ("lilting", "graceful", "light")),
    "slide": Dance((112, 128), "jig", ("lilting", "driving", "joyful")),
    "waltz": Dance((112, 142), "waltz", ("graceful", "nostalgic", "gentle")),
    "slow jig": Dance((48, 66), "air", ("wistful", "tender", "rocking")),
    "air": Dance((60, 84), "air", ("wistful", "tender", "calm")),
}


_DEGREES = {  # (semitones above the tonic, quality, liking)
    "major": [
        (0, "maj", 0.5),
        (7, "maj", 0.35),
        (5, "maj", 0.3),
        (9, "min", 0.1),
        (2, "min", 0.05),
        (4, "min", -0.15),
    ],
    "minor": [
        (0, "min", 0.5),
        (10, "maj", 0.35),
        (3, "maj", 0.2),
        (5, "min", 0.15),
        (8, "maj", 0.1),
        (7, "min", 0.05),
    ],
    "dorian": [(0, "min", 0.5), (10, "maj", 0.4), (5, "maj", 0.15), (3, "maj", 0.15), (7, "min", 0.1)],
    "mixolydian": [(0, "maj", 0.5), (10, "maj", 0.4), (5, "maj", 0.25), (7, "min", 0.0), (2, "min", 0.0)],
}


def folk(rng: random.Random, score: Score) -> Piece:
    """A fiddle tune as a session piece of one to three minutes, in a key, tempo and line-up of its own."""
    if not score.sections:
        raise ValueError(f"{score.tune_id} has no strains; folk() needs a fiddle tune with sections.")
    dance = DANCES[
        "slow jig" if score.kind == "air" and score.time_signature in ("6/8", "9/8", "12/8") else score.kind
    ]
    scale, bar = _pulse_scale(score)
    bpm, intro_bars, plan = _plan(rng, score, dance, scale, bar)
    leads = rng.sample(AIR_LEADS if dance.feel == "air" else LEADS, 3)
    leads = (
        list(dict.fromkeys(leads))[: rng.choice((1, 2, 2, 3))]
        if dance.feel != "air"
        else leads[: rng.choice((1, 2))]
    )
    pitches = [e[2] for e in score.voices[0]]
    shift = rng.choice([s for s in range(-4, 6) if min(pitches) + s >= 54 and max(pitches) + s <= 90] or [0])
    key = (score.key_root + shift) % 12

    strains = _strain_notes(score, scale, shift, _swing_map(rng, score, dance))
    turns, sections, chords = [], [], []
    now = intro_bars * bar
    taste = {}  # each strain keeps its chords, but every second time round one of them may change colour
    for turn, (index, name) in enumerate(plan):
        events, length = strains[index]
        flavour = taste.setdefault((index, turn // 4), {d: rng.uniform(-0.12, 0.12) for d in range(12)})
        chords += _harmonise(events, length, now, bar, key, score.key_mode, flavour, turn == len(plan) - 1)
        turns.append(Turn(now, events, ornaments=0.25 + 0.25 * (turn % 2)))  # a repeat is dressed up more
        sections.append(Section(now, name))
        now += length
    if intro_bars:  # the band plays the chords of the last bars alone, as sessions do
        lead_in = intro_bars * bar
        sections.insert(0, Section(0.0, "intro"))
        tail = [c for c in chords if c.start >= now - lead_in - 1e-6]
        chords = [Chord(c.start - (now - lead_in), c.duration, c.root, c.quality) for c in tail] + chords
    book = "Ryan's Mammoth Collection" if score.tune_id.startswith("ryan/") else "O'Neill's Music of Ireland"
    piece = Piece(
        style="folk",
        tune_id=score.tune_id,
        title=score.title,
        bpm=bpm,
        beats_per_bar=bar,
        key_root=key,
        key_mode=score.key_mode,
        length=now,
        stems={name: [] for name in STEMS},
        tracks={name: {} for name in STEMS},
        chords=_merge(chords, now),
        sections=sections,
        source=f"{book} (music21)",
    )
    _lead(rng, piece, turns, leads, dance.feel)
    accompany(rng, piece, dance.feel, compound=scale == 1 / 1.5, lead_in=intro_bars * bar)
    percussion(rng, piece, dance.feel)
    for stem in STEMS:
        piece.stems[stem] = humanise(piece.stems[stem], rng, 0.010, 4.0)
    colour = "dark" if score.key_mode in ("minor", "dorian") else "sunny"
    piece.moods = rng.sample(dance.moods, 2) + [colour] * rng.choice((0, 1))
    return finish(piece)


def _lead(rng: random.Random, piece: Piece, turns: list[Turn], leads: list[Instrument], feel: str) -> None:
    """The tune: players take turns, two strains each; from half way on they also play together."""
    tracks = piece.tracks["lead"]
    for number, turn in enumerate(turns):
        one = number // 2 % len(leads)
        together = number >= len(turns) / 2 and number % 8 < 4 or number == len(turns) - 1
        for who, instrument in enumerate(leads if together else leads[one : one + 1]):
            piece.stems["lead"] += play_tune(rng, piece, turn, instrument, feel, second=who > 0)
            track = Track(instrument.program, instrument.word, 0.0, 1.0, rng.uniform(0.2, 0.4))
            tracks.setdefault(instrument.word, track)
    for track, pan in zip(tracks.values(), rng.sample((-0.35, 0.1, 0.4), len(tracks))):
        track.pan = pan


# --- time ------------------------------------------------------------------------------------------


def _pulse_scale(score: Score) -> tuple[float, int]:
    """(beats for a quarter note of the score, beats in a bar)."""
    over, under = map(int, score.time_signature.split("/"))
    if under == 8 and over % 3 == 0 and over > 3:
        return 1 / 1.5, over // 3
    if under == 8:
        return 2.0, over
    if over in (2, 4) and score.bar_length == 4 and DANCES[score.kind].feel != "air":
        return 0.5, 2
    return 4 / under if under != 2 else 1.0, round(score.bar_length)


def _plan(rng: random.Random, score: Score, dance: Dance, scale: float, bar: int):
    """(bpm, bars of introduction, [(section index, name), ...]) that last the wanted seconds.

    Twice through when it fits, otherwise once, or without repeats; slow tunes may take some strains only.
    """
    names = [name for _, name in score.sections]
    ends = [start for start, _ in score.sections[1:]] + [score.length]
    sizes = [round((end - start) * scale / bar) * bar for (start, _), end in zip(score.sections, ends)]
    full = list(range(len(names)))
    single = [i for i in full if i == 0 or names[i] != names[i - 1]]
    orders = [
        full + full,
        full + single,
        single * 3,
        single + single,
        full,
        single,
        full[:4],
        full[:3],
        single[:2],
        full[:2],
        full * 3,
        full * 4,
        single * 4,
        single * 6,
        full * 6,
        single * 9,
        full * 9,
        [0] * 4,
        [0] * 8,
    ]
    shortest, longest = wanted_seconds(rng)
    plans = []
    for bpm in range(dance.tempo[0], dance.tempo[1] + 1):
        for rank, order in enumerate(orders):
            for intro in (0, 2, 4):
                seconds = (intro * bar + sum(sizes[i] for i in order)) * 60 / bpm
                if shortest <= seconds <= longest:
                    plans.append((rank, float(bpm), intro, [(i, names[i]) for i in order]))
    if not plans:
        raise ValueError(
            f"{score.tune_id} ({score.kind}, {score.time_signature}) fits no plan of "
            f"{shortest:g} to {longest:g} s."
        )
    best = min(p[0] for p in plans)
    _, bpm, intro, order = rng.choice([p for p in plans if p[0] <= best + 1])
    return bpm, intro, order


def _swing_map(rng: random.Random, score: Score, dance: Dance):
    """A function beat -> beat. Hornpipes swing; dotted pairs become the softer 2:1 a fiddler plays."""
    if score.kind not in ("hornpipe", "clog", "fling", "reel", "polka") or dance.feel != "reel":
        return lambda beat: beat
    scale, _ = _pulse_scale(score)
    inside = [round(s * scale % 0.5, 3) for s, _, _ in score.voices[0]]
    dotted, straight = inside.count(0.375), inside.count(0.25)
    if dotted > straight:
        source, target = 0.75, rng.uniform(0.66, 0.72)
    elif score.kind in ("hornpipe", "clog"):
        source, target = 0.5, rng.uniform(0.58, 0.65)
    else:
        source, target = 0.5, rng.uniform(0.5, 0.535)

    def warp(beat: float) -> float:
        pair, x = divmod(beat, 0.5)
        x /= 0.5
        x = x / source * target if x < source else target + (x - source) / (1 - source) * (1 - target)
        return pair * 0.5 + x * 0.5

    return warp


def _strain_notes(score: Score, scale: float, shift: int, warp) -> list[tuple[list, float]]:
    """Every strain as ([(start, duration, pitch)], beats), starts relative to its bar line (pickup < 0)."""
    bounds = [start for start, _ in score.sections] + [score.length]
    bar_quarters = score.bar_length
    result = []
    for start, end in zip(bounds, bounds[1:]):
        length = round((end - start) / bar_quarters) * bar_quarters * scale
        events = []
        for s, d, p in score.voices[0]:
            if start - score.pickup - 1e-6 <= s < end - score.pickup - 1e-6:
                a, b = warp((s - start) * scale + 64) - 64, warp((s + d - start) * scale + 64) - 64
                events.append((a, max(0.08, b - a), p + shift))
        result.append((events, length))
    return result


# --- harmony ---------------------------------------------------------------------------------------


def _harmonise(
    events, length: float, at: float, bar: int, key: int, mode: str, flavour: dict, last: bool
) -> list[Chord]:
    """One chord each half bar (each bar in three-time) by dynamic programming: melody fit, liking,
    few changes, a dominant before the end and the tonic at the end."""
    unit = bar if bar % 2 else bar / 2
    count = round(length / unit)
    options = _DEGREES[mode]
    final = options[0]
    best: list[dict[int, tuple[float, int | None]]] = []
    for i in range(count):
        lo, hi = i * unit, (i + 1) * unit
        weight = [0.0] * 12
        for s, d, p in events:
            share = min(s + d, hi) - max(s, lo)
            if share > 0:
                weight[p % 12] += share * (1.6 if abs(s - lo) < 0.05 else 1.0)
        total = sum(weight) or 1.0
        column: dict[int, tuple[float, int | None]] = {}
        for o, (degree, quality, liking) in enumerate(options):
            tones = [(key + degree + step) % 12 for step in ((0, 4, 7) if quality == "maj" else (0, 3, 7))]
            fit = 2.2 * sum(weight[t] for t in tones) / total + 0.5 * liking + flavour[degree]
            if i == count - 1:
                fit += (1.2 if (degree, quality) == final[:2] else 0.0) * (2 if last else 1)
            if i == 0 and (degree, quality) == final[:2]:
                fit += 0.4
            if i in (count - 2, count // 2 - 1) and degree in (7, 10):
                fit += 0.25
            if not best:
                column[o] = (fit, None)
                continue
            weak = i % 2 == 1 and not bar % 2
            previous = max(
                best[-1], key=lambda q: best[-1][q][0] - (0.0 if q == o else 0.55 if weak else 0.15)
            )
            cost = 0.0 if previous == o else 0.55 if weak else 0.15
            column[o] = (best[-1][previous][0] - cost + fit, previous)
        best.append(column)
    path = [max(best[-1], key=lambda o: best[-1][o][0])]
    for column in reversed(best[1:]):
        previous = column[path[-1]][1]
        assert previous is not None  # but for the first, which is not walked
        path.append(previous)
    path.reverse()
    return [Chord(at + i * unit, unit, (key + options[o][0]) % 12, options[o][1]) for i, o in enumerate(path)]


def _merge(chords: list[Chord], length: float) -> list[Chord]:
    merged: list[Chord] = []
    for chord in sorted(chords, key=lambda c: c.start):
        if not merged or (merged[-1].root, merged[-1].quality) != (chord.root, chord.quality):
            merged.append(chord)
    ends = [c.start for c in merged[1:]] + [length]
    return [Chord(c.start, end - c.start, c.root, c.quality) for c, end in zip(merged, ends)]
