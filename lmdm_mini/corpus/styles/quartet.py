"""Classical string quartets: a stretch of a real movement, bar line to bar line, by four players or more.

The notes are the composer's; tempo, key, seating, phrasing and who plays (a quartet or a small string
orchestra) are drawn.

Notebook: 01_sound_to_latents.
"""

import random

from lmdm_mini.corpus.piece import STEMS, Chord, Note, Piece, Section, Track
from lmdm_mini.corpus.score import Event, Score
from lmdm_mini.corpus.styles.chorale import merge_chords, sounding_chords
from lmdm_mini.corpus.styles.form import finish, wanted_seconds

PARTS = (
    ("lead", "first violin", -0.4),
    ("chords", "second violin", -0.15),
    ("chords", "viola", 0.2),
    ("bass", "cello", 0.4),
)
SOLO = ((40, "violin"), (40, "violin"), (41, "viola"), (42, "cello"))
ENSEMBLES = (48, 48, 48, 48), (49, 49, 49, 49), (48, 49, 49, 48)
PIZZICATO = 45
MOODS = {
    "slow": ("tender", "lyrical", "serene", "intimate"),
    "middle": ("elegant", "graceful", "courtly", "poised"),
    "fast": ("lively", "brilliant", "spirited", "witty"),
}


def quartet(rng: random.Random, score: Score) -> Piece:
    """One to three minutes of a movement; a shorter movement is played again from its start."""
    if len(score.voices) != 4:
        raise ValueError(f"{score.tune_id} has {len(score.voices)} voices; a quartet needs four.")
    scale, beats = _pulse(score)
    bpm = round(min(200.0, max(40.0, score.bpm * scale * rng.uniform(0.92, 1.08))))
    bar = score.bar_length
    shortest, longest = wanted_seconds(rng)
    bar_seconds = beats * 60 / bpm
    fewest, most = -(-shortest // bar_seconds), longest // bar_seconds
    total = round(score.length / bar)
    first, count, rounds = _window(rng, score, total, int(fewest), int(most))
    begin, length = first * bar, count * bar
    shift = rng.choice((-2, -1, 0, 0, 0, 1, 2))
    voices = [
        [
            (s - begin, min(d, begin + length - s), p + shift)
            for s, d, p in voice
            if begin - 1e-6 <= s < begin + length - 1e-6
        ]
        for voice in score.voices
    ]
    orchestra = rng.random() < 0.3
    stems: dict[str, list[Note]] = {name: [] for name in STEMS}
    tracks: dict[str, dict[str, Track]] = {name: {} for name in STEMS}
    ensemble, side = rng.choice(ENSEMBLES), rng.choice((1, 1, -1))
    chords, sections = [], []
    once = sounding_chords(voices, length)
    for turn in range(rounds):
        at = turn * length
        sections.append(Section(at * scale, "A" if turn == 0 else "again"))
        chords += [Chord((c.start + at) * scale, c.duration * scale, c.root, c.quality) for c in once]
        softer = rng.choice((0, -10, -16)) if turn % 2 else 0
        for voice, (stem, part, pan) in enumerate(PARTS):
            program, word = (ensemble[voice], "string orchestra") if orchestra else SOLO[voice]
            tracks[stem].setdefault(part, Track(program, word, pan * side, rng.uniform(0.85, 1.0), 0.5))
            tracks[stem].setdefault(
                f"{part} pizzicato", Track(PIZZICATO, "pizzicato strings", pan * side, 0.9, 0.5)
            )
            for note in _bow(rng, score, voice, voices[voice], begin, softer):
                note.start, note.duration = (note.start + at) * scale, note.duration * scale
                note.track = part + note.track
                stems[stem].append(note)
    if orchestra and rng.random() < 0.6:  # a double bass an octave below the cellos
        tracks["bass"]["bass"] = Track(43, "double bass", 0.45 * side, 0.6, 0.5)
        stems["bass"] += [
            Note(n.start, n.duration, n.pitch - 12, max(1, n.velocity - 8), "bass")
            for n in stems["bass"]
            if n.pitch - 12 >= 28 and n.track == "cello"
        ]
    pace = "slow" if bpm < 76 else "middle" if bpm < 120 else "fast"
    moods = rng.sample(MOODS[pace], 2) + ["bright" if score.key_mode == "major" else "dramatic"]
    composer = score.tune_id.split("/")[1].split("-")[0].title()
    return finish(
        Piece(
            style="quartet",
            tune_id=score.tune_id,
            title=f"{composer}, {score.title.split(' ', 1)[-1]}, from bar {first + 1}",
            bpm=float(bpm),
            beats_per_bar=beats,
            key_root=(score.key_root + shift) % 12,
            key_mode=score.key_mode,
            length=rounds * length * scale,
            stems=stems,
            tracks=tracks,
            chords=merge_chords(chords, rounds * length * scale),
            sections=sections,
            moods=moods,
            source=f"string quartet by {composer} (music21)",
        )
    )


def _pulse(score: Score) -> tuple[float, int]:
    """(beats for a quarter note of the score, beats in a bar): dotted quarters in 6/8, eighths in 3/8."""
    over, under = map(int, score.time_signature.split("/"))
    if under == 8:
        return (1 / 1.5, over // 3) if over % 3 == 0 and over > 3 else (2.0, over)
    if under == 16:
        return 4.0, over
    return 1.0, round(score.bar_length)


def _window(rng: random.Random, score: Score, total: int, fewest: int, most: int) -> tuple[int, int, int]:
    """(first bar, bars, times) that last the wanted time; of some windows, the one with the best borders."""
    if total < fewest:
        rounds = -(-fewest // total)
        return 0, total, rounds
    bar = score.bar_length

    def rests(beat: float) -> int:  # voices that are silent, or begin anew, at this bar line
        return sum(all(not s < beat - 1e-6 < s + d - 1e-6 for s, d, _ in voice) for voice in score.voices)

    def held(beat: float) -> bool:  # a long note before the bar line: a cadence more often than not
        return any(d >= bar / 2 and abs(s + d - beat) < 0.1 for s, d, _ in score.voices[0])

    best = (-1, 0, 0)
    for _ in range(12):
        count = rng.randint(fewest, min(most, total))
        first = 0 if rng.random() < 0.1 else rng.randint(0, total - count)
        end = (first + count) * bar
        tonic = any(p % 12 == score.key_root and abs(s + d - end) < bar for s, d, p in score.voices[3])
        value = rests(first * bar) + rests(end) + 2 * held(end) + 2 * tonic + rng.random()
        best = max(best, (value, first, count))
    return best[1], best[2], 1


def _bow(rng, score: Score, voice: int, events: list[Event], begin: float, softer: int) -> list[Note]:
    """A player's notes: dynamics of the score, slurs of a bow's length, small swells, a plucked stretch."""
    marks = score.loudness[voice] if voice < len(score.loudness) else [(0.0, 0.6)]
    plucked = score.plucked[voice] if voice < len(score.plucked) else []
    notes, place = [], 0
    marks = sorted(marks) or [(0.0, 0.6)]
    for start, duration, pitch in events:
        when = start + begin
        while place + 1 < len(marks) and marks[place + 1][0] <= when + 1e-6:
            place += 1
        level = 34 + 84 * max(0.0, marks[place][1]) + softer
        level += (6 if start % score.bar_length < 1e-6 else 0) + (4 if voice == 0 else 0) + rng.gauss(0, 4)
        track = " pizzicato" if any(a - 1e-6 <= when < b for a, b in plucked) else ""
        onset = max(0.0, start + rng.gauss(0, 0.008))
        held = duration * (0.97 if duration > 0.4 else 0.92)
        notes.append(Note(onset, max(0.06, held), pitch, max(24, min(122, round(level))), track))
    return notes
