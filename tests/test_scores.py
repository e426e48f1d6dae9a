"""Scores, tune groups, and the arrangers that start from a score or from nothing (ambient, chiptune)."""

import random
from dataclasses import replace

import pytest

from lmdm_mini.corpus.piece import STEMS
from lmdm_mini.corpus.score import Score
from lmdm_mini.corpus.scores import read_scores, tune_group
from lmdm_mini.corpus.styles.ambient import ambient
from lmdm_mini.corpus.styles.chiptune import chiptune
from lmdm_mini.corpus.styles.chorale import chorale
from lmdm_mini.corpus.styles.folk import folk
from lmdm_mini.corpus.styles.quartet import quartet
from lmdm_mini.corpus.styles.theory import QUALITIES, SCALES, chord_at, chord_tones, nearest


def line(seed: int, count: int, pitches=(60, 62, 64, 65, 67, 69, 71, 72, 74, 76)) -> list[int]:
    """A wandering melody, different for every seed."""
    rng = random.Random(seed)
    place, found = rng.randrange(len(pitches)), []
    for _ in range(count):
        place = max(0, min(len(pitches) - 1, place + rng.choice((-2, -1, -1, 1, 1, 2, 3))))
        found.append(pitches[place])
    return found


def hymn(
    seed: int, tune_id: str = "bach/test", shift: int = 0, harmony: int = 0, decorate: bool = False
) -> Score:
    """Sixteen bars in four voices; `harmony` picks other lower voices, `decorate` adds passing notes."""
    melody = line(seed, 64)
    soprano = []
    for beat, pitch in enumerate(melody):
        soprano.append((float(beat), 0.5 if decorate and beat % 3 == 0 else 1.0, pitch + shift))
        if decorate and beat % 3 == 0:
            soprano.append((beat + 0.5, 0.5, pitch + 2 + shift))
    lower = [
        [
            (float(beat), 1.0, nearest(centre, [melody[beat] + (harmony * voice * 5) % 12], 36, 70) + shift)
            for beat in range(64)
        ]
        for voice, centre in enumerate((62, 56, 47), start=1)
    ]
    return Score(
        tune_id,
        f"hymn {tune_id}",
        "4/4",
        shift % 12,
        "major",
        64.0,
        0.0,
        [soprano, *lower],
        phrase_ends=[16.0, 32.0, 48.0, 64.0],
        kind="chorale",
    )


def fiddle(
    seed: int, tune_id: str = "ryan/test", signature: str = "2/4", kind: str = "reel", shift: int = 0
) -> Score:
    """A A B B of eight bars each: sixteenths in 2/4, eighths in 6/8 and 2/2."""
    over, under = map(int, signature.split("/"))
    bar, step = over * 4 / under, 0.25 if signature == "2/4" else 0.5
    count = round(8 * bar / step)
    strains = [line(seed * 2 + k, count) for k in (0, 1)]
    voice = [
        (turn * 8 * bar + i * step, step, p + shift)
        for turn, k in enumerate((0, 0, 1, 1))
        for i, p in enumerate(strains[k])
    ]
    sections = [(turn * 8 * bar, name) for turn, name in enumerate("AABB")]
    return Score(
        tune_id,
        f"tune {tune_id}",
        signature,
        shift % 12,
        "major",
        32 * bar,
        0.0,
        [voice],
        sections,
        kind=kind,
    )


def movement(seed: int, tune_id: str = "quartet/haydn-opus1no1-movement1#0", bars: int = 60) -> Score:
    """Four parts in 4/4 with dynamics; the cello plucks the second half."""
    parts = [
        [(beat / 2, 0.5, p + 12 * (1 - k)) for beat, p in enumerate(line(seed + k, 8 * bars))]
        for k in range(4)
    ]
    return Score(
        tune_id,
        "haydn opus1no1 movement1",
        "4/4",
        0,
        "major",
        4.0 * bars,
        0.0,
        parts,
        kind="quartet",
        bpm=120.0,
        loudness=[[(0.0, 0.4), (2.0 * bars, 0.9)]] * 4,
        plucked=[[], [], [], [(2.0 * bars, 4.0 * bars)]],
    )


MAKERS = {
    "chorale": lambda seed: chorale(random.Random(seed), hymn(seed)),
    "reel": lambda seed: folk(random.Random(seed), fiddle(seed)),
    "jig": lambda seed: folk(random.Random(seed), fiddle(seed, signature="6/8", kind="jig")),
    "waltz": lambda seed: folk(random.Random(seed), fiddle(seed, signature="3/4", kind="waltz")),
    "air": lambda seed: folk(random.Random(seed), fiddle(seed, signature="4/4", kind="air")),
    "quartet": lambda seed: quartet(random.Random(seed), movement(seed)),
    "ambient": lambda seed: ambient(random.Random(seed), seed),
    "chiptune": lambda seed: chiptune(random.Random(seed), seed),
}


@pytest.mark.parametrize("name", MAKERS)
def test_pieces_are_valid_and_come_from_the_seed(name):
    for seed in (1, 2, 3):
        piece = MAKERS[name](seed)
        assert piece == MAKERS[name](seed)
        assert 64 <= piece.seconds <= 195
        assert piece.length % piece.beats_per_bar == 0
        assert set(piece.stems) == set(STEMS) == set(piece.tracks)
        assert piece.stems["lead"] and piece.stems["chords"] and piece.stems["bass"]
        assert piece.key_mode in SCALES and 0 <= piece.key_root < 12
        assert 2 <= len(piece.moods) <= 4
        for stem, notes in piece.stems.items():
            for note in notes:
                assert note.track in piece.tracks[stem]
                assert 0 <= note.start < piece.length and note.duration > 0
                assert 12 <= note.pitch <= 108 and 1 <= note.velocity <= 127
        assert piece.chords[0].start == 0 and all(c.quality in QUALITIES for c in piece.chords)
        assert sum(c.duration for c in piece.chords) == pytest.approx(piece.length)
        starts = [s.start for s in piece.sections]
        assert (
            starts[0] == 0 and starts == sorted(starts) and all(s % piece.beats_per_bar == 0 for s in starts)
        )


def test_other_seeds_give_other_pieces():
    score = fiddle(5)
    assert folk(random.Random(1), score) != folk(random.Random(2), score)
    assert chiptune(random.Random(1), 0).stems != chiptune(random.Random(2), 0).stems


def test_chorale_keeps_the_notes_and_finds_their_chords():
    triads = [[(float(b), 1.0, p) for b in range(64)] for p in (72, 67, 64, 48)]
    score = replace(hymn(1), voices=triads)
    piece = chorale(random.Random(0), score)
    shift = piece.key_root
    assert {n.pitch % 12 for n in piece.stems["lead"]} == {shift % 12}
    assert {(c.root, c.quality) for c in piece.chords} == {(shift % 12, "maj")}


def test_quartets_follow_the_score():
    score = movement(1, bars=40)  # 80 s at the usual tempo
    for seed in range(6):
        piece = quartet(random.Random(seed), score)
        first = piece.stems["lead"]
        assert len({n.pitch % 12 for n in first}) <= 7 and not piece.stems["drums"]
        begin = (int(piece.title.split("bar ")[1]) - 1) * 4.0
        once = [n for n in first if n.start < piece.sections[1].start] if len(piece.sections) > 1 else first
        assert len(once) == sum(begin <= s < begin + len(once) / 2 for s, _, _ in score.voices[0])
        soft = [n.velocity for n in once if n.start + begin < 79]
        loud = [n.velocity for n in once if n.start + begin > 81]
        if len(soft) > 20 and len(loud) > 20:
            assert sum(loud) / len(loud) > sum(soft) / len(soft) + 20
            assert "cello pizzicato" in {n.track for n in piece.stems["bass"]}
    with pytest.raises(ValueError, match="needs four"):
        quartet(random.Random(0), fiddle(1))


def test_stretches_of_one_movement_are_one_group():
    scores = [
        movement(1),
        movement(5, "quartet/haydn-opus1no1-movement1#1"),
        movement(9, "quartet/mozart-k80-movement1#0"),
    ]
    group = tune_group(scores)
    assert len(set(group.values())) == 2 and group[scores[0].tune_id] == group[scores[1].tune_id]
    runs = replace(
        fiddle(3, "ryan/runs"), voices=[movement(1).voices[0][:120]]
    )  # what a movement runs through
    assert len(set(tune_group([movement(1), runs]).values())) == 2


def test_folk_harmony_fits_the_tune():
    piece = folk(random.Random(3), fiddle(3))
    on_beat = [n for n in piece.stems["lead"] if abs(n.start - round(n.start)) < 0.05 and n.duration > 0.1]
    fitting = [n for n in on_beat if n.pitch % 12 in chord_tones(chord_at(piece.chords, n.start + 0.1))]
    assert len(fitting) > 0.6 * len(on_beat)


def test_tune_group_finds_the_same_tune_in_disguise():
    scores = [
        hymn(1, "bach/a"),
        hymn(1, "bach/b", shift=-3),
        hymn(1, "bach/c", harmony=1),
        hymn(1, "bach/d", 2, 1, True),
        hymn(2, "bach/other"),
        fiddle(7, "ryan/x"),
        fiddle(7, "oneill/0001", signature="2/2", shift=5),
        fiddle(8, "ryan/y"),
        fiddle(9, "ryan/z", signature="6/8", kind="jig"),
    ]
    group = tune_group(scores)
    assert len({group[t] for t in ("bach/a", "bach/b", "bach/c", "bach/d")}) == 1
    assert group["ryan/x"] == group["oneill/0001"]
    assert len({group[t] for t in ("bach/a", "bach/other", "ryan/x", "ryan/y", "ryan/z")}) == 5


def test_one_name_is_one_group():
    scores = [
        replace(fiddle(1, "ryan/a"), title="The Rakes of Mallow Reel"),
        replace(fiddle(2, "oneill/0002"), title="Rakes of Mallow"),
    ]
    assert len(set(tune_group(scores).values())) == 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="Unknown score collections"):
        read_scores("nowhere", ("essen",))
    with pytest.raises(ValueError, match="needs four"):
        chorale(random.Random(0), fiddle(1))
    with pytest.raises(ValueError, match="strains"):
        folk(random.Random(0), hymn(1))


@pytest.mark.long
def test_reading_real_scores():
    music21 = pytest.importorskip("music21")
    from lmdm_mini.corpus.score_reading import _chorale, _fiddle_tune

    bach = _chorale(music21.corpus.parse("bach/bwv66.6"), "bwv66.6", "bwv66.6")
    assert len(bach.voices) == 4 and (bach.key_root, bach.key_mode) == (6, "minor") and bach.pickup == 1.0
    assert bach.length % 4 == 0 and len(bach.phrase_ends) >= 4
    tune = _fiddle_tune(
        music21.converter.parse(
            "X:1\nT:Test\nM:C|\nL:1/8\nK:D\nA2|:"
            + "d2fd Adfd|e2ed cdef|" * 3
            + "d2fd Adfd|1 d2d2 d2A2:|2 d2d2 d4|]\n",
            format="abc",
        ),
        "ryan/Test",
    )
    assert [name for _, name in tune.sections] == ["A", "A"] and tune.length == 68 and tune.pickup == 1.0
    assert tune.sections[0][0] == 4.0 and tune.voices[0][0] == (3.0, 1.0, 69)
    assert max(s + d for s, d, _ in tune.voices[0]) == 68.0
