"""Form: how long a piece lasts, which sections it has, how they differ when they come again, its end.

Lengths of sections are in bars, starts in beats. Random choices come from the `random.Random` passed in.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import replace

from lmdm_mini.corpus.piece import STEMS, Piece, Section

ENDINGS = ("outro", "tag", "coda")  # sections that only come last
SHORT, LONG, LONG_SHARE = (65.0, 108.0), (131.0, 190.0), 0.27  # seconds; more than a fifth are long


def wanted_seconds(rng: random.Random) -> tuple[float, float]:
    """The shortest and the longest that a piece may last: a good minute, or for some over two minutes."""
    return LONG if rng.random() < LONG_SHARE else SHORT


def extended(form: list[tuple[str, int]], rounds: int, skip: int) -> list[tuple[str, int]]:
    """A form whose middle comes `rounds` times, from the second time on without its first `skip` sections.

    The opening (intro) and the ending (outro, tag, coda) come once.
    """
    begin = next((i for i, (name, _) in enumerate(form) if name != "intro"), 0)
    end = len(form) - next((i for i, (name, _) in enumerate(form[::-1]) if name not in ENDINGS), 0)
    middle = form[begin:end]
    return form[:end] + (middle[skip:] or middle) * (rounds - 1) + form[end:]


def choose_form(
    rng: random.Random, forms: list[list[tuple[str, int]]], bpm: float, beats_per_bar: int = 4
) -> list[tuple[str, int]]:
    """One of the forms (lists of (section name, bars)), its middle repeated until the length is right.

    The length is drawn by `wanted_seconds`. ValueError when no number of repeats fits.
    """
    shortest, longest = wanted_seconds(rng)

    def seconds(form):
        return sum(bars for _, bars in form) * beats_per_bar * 60.0 / bpm

    grown = [extended(form, rounds, skip) for form in forms for rounds in range(1, 9) for skip in (0, 1)]
    fitting = [form for form in grown if shortest <= seconds(form) <= longest]
    if not fitting:
        raise ValueError(f"No form lasts {shortest:g} to {longest:g} s at {bpm:g} bpm; offer other forms.")
    fewest = min(len(form) for form in fitting)
    return rng.choice([form for form in fitting if len(form) <= 2 * fewest])


def vary_repeats(piece: Piece, rng: random.Random) -> Piece:
    """Lets sections that come again differ from their first time: a part rests and comes back, the lead goes
    up an octave, everybody plays louder or softer. Motifs, chords and drums stay what they are."""
    seen: dict[str, int] = {}
    ends = [section.start for section in piece.sections[1:]] + [piece.length]
    for section, end in zip(piece.sections, ends):
        seen[section.name] = turn = seen.get(section.name, 0) + 1
        start, middle = section.start, section.start + (end - section.start) / 2
        if turn == 1 or end - start < 2 * piece.beats_per_bar:
            continue

        def rest(stem: str, first: float, last: float) -> None:
            stays = [n for n in piece.stems[stem] if not first - 0.05 <= n.start < last - 0.05]
            piece.stems[stem] = stays or piece.stems[stem]

        def change(stem: str, by_pitch: int, by_velocity: int) -> None:
            piece.stems[stem] = [
                replace(n, pitch=n.pitch + by_pitch, velocity=max(1, min(127, n.velocity + by_velocity)))
                if start - 0.05 <= n.start < end - 0.05
                else n
                for n in piece.stems[stem]
            ]

        lead = [n.pitch for n in piece.stems["lead"] if start - 0.05 <= n.start < end - 0.05]
        kind = rng.choice(
            (
                "same",
                "lead rests",
                "lead later",
                "chords later",
                "drums later",
                "bass later",
                "octave",
                "dynamics",
            )
        )
        if kind == "lead rests" and turn % 2 == 0:
            rest("lead", start, end)
        elif kind.endswith("later"):
            rest(kind.split()[0], start, middle)
        elif kind == "octave" and lead and max(lead) + 12 <= 91:
            change("lead", 12, -6)
        elif kind == "dynamics":
            louder = rng.choice((-10, 8))
            for stem in piece.stems:
                change(stem, 0, louder)
    return piece


def title(rng: random.Random, words: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """A first and a second word, such as "Rainy Tram"."""
    first, second = words
    return f"{rng.choice(first)} {rng.choice(second)}"


def lay_sections(form: list[tuple[str, int]], beats_per_bar: int = 4) -> tuple[list[Section], float]:
    """Sections with their start beats, and the length of the piece in beats."""
    sections, now = [], 0.0
    for name, bars in form:
        sections.append(Section(now, name))
        now += bars * beats_per_bar
    return sections, now


def begin_piece(
    style: str,
    index: int,
    bpm: float,
    key: int,
    mode: str,
    form: list[tuple[str, int]],
    beats_per_bar: int = 4,
) -> Piece:
    """A piece of this form in which nobody plays yet: the arranger adds chords, notes, tracks and words."""
    sections, length = lay_sections(form, beats_per_bar)
    return Piece(
        style=style,
        tune_id=f"{style}/{index:06d}",
        title=f"{style.capitalize()} {index}",
        bpm=bpm,
        beats_per_bar=beats_per_bar,
        key_root=key,
        key_mode=mode,
        length=length,
        stems={stem: [] for stem in STEMS},
        tracks={stem: {} for stem in STEMS},
        chords=[],
        sections=sections,
    )


def finish(piece: Piece, tail: float = 1.0) -> Piece:
    """Sorts the notes, drops tracks nobody plays, and keeps every note inside the piece: none starts
    after the end, none sounds more than `tail` beats past it."""
    for stem, notes in piece.stems.items():
        kept = [
            replace(n, duration=min(n.duration, piece.length + tail - n.start))
            for n in notes
            if 0 <= n.start < piece.length - 1e-6
        ]
        piece.stems[stem] = sorted(kept, key=lambda n: (n.start, n.pitch))
        used = {n.track for n in kept}
        piece.tracks[stem] = {
            name: track for name, track in piece.tracks.get(stem, {}).items() if name in used
        }
    return piece
