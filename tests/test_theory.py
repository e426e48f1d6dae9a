"""The arranger's craft: harmony, voice leading, timing, and whole pieces of four styles."""

import random
from dataclasses import replace

import pytest

from lmdm_mini.corpus.piece import STEMS, Chord, Note
from lmdm_mini.corpus.styles import form as fm
from lmdm_mini.corpus.styles import motifs as mo
from lmdm_mini.corpus.styles import patterns as pt
from lmdm_mini.corpus.styles import theory as th
from lmdm_mini.corpus.styles.breakbeat import breakbeat
from lmdm_mini.corpus.styles.funk import funk
from lmdm_mini.corpus.styles.house import house
from lmdm_mini.corpus.styles.jazz import jazz
from lmdm_mini.corpus.styles.lofi import lofi
from lmdm_mini.corpus.styles.reggae import reggae
from lmdm_mini.corpus.styles.rock import rock
from lmdm_mini.corpus.styles.techno import techno

STYLES = (lofi, house, funk, jazz, rock, reggae, techno, breakbeat)
SEEDS = range(8)


def test_roman_numerals():
    assert th.roman("ii9", 0) == (2, "min9")
    assert th.roman("V7b9/vi", 0) == (4, "7b9")
    assert th.roman("bVIImaj7", 2) == (0, "maj7")
    assert th.roman("viim7b5", 0) == (11, "m7b5")
    assert th.roman("#ivdim7", 7) == (1, "dim7")
    for wrong in ("H7", "Iwrong", ""):
        with pytest.raises(ValueError):
            th.roman(wrong, 0)


def test_progressions_fill_their_time():
    chords = th.loop_chords("ii7:2 V7:2 Imaj7", 5, start=8.0, length=18.0)
    assert chords[0].start == 8.0 and sum(c.duration for c in chords) == 18.0
    assert all(a.start + a.duration == b.start for a, b in zip(chords, chords[1:]))


def test_voice_leading_moves_little_and_stays_in_range():
    for key in range(12):
        chords = th.progression("ii9 V13 Imaj9 VI7b9 iv6 bVII9 iii7 bIImaj7 V9sus4 i9", key)
        voicings = th.voice_lead(chords, 50, 74, 4)
        for chord, pitches in zip(chords, voicings):
            assert pitches == sorted(pitches) and len(pitches) == 4 and 50 <= pitches[0] and pitches[-1] <= 74
            assert {p % 12 for p in pitches} <= set(th.chord_tones(chord))
        moves = [abs(a - b) for one, two in zip(voicings, voicings[1:]) for a, b in zip(one, two)]
        assert sum(moves) / len(moves) < 2.5 and max(moves) <= 7


def test_walking_bass_starts_chords_on_their_roots():
    chords = th.progression("iii7:2 VI7:2 ii7 V7 Imaj7", 10)
    line = th.walking_bass(chords, random.Random(1), 28, 50)
    assert [n.start for n in line] == [float(beat) for beat in range(16)]
    assert all(27 <= n.pitch <= 52 for n in line)
    for chord in chords:
        assert next(n for n in line if n.start == chord.start).pitch % 12 == chord.root


def test_swing_moves_only_the_off_beats():
    notes = [Note(beat / 4, 0.25, 60, 90) for beat in range(16)]
    swung = pt.swing(notes, 1 / 3)
    assert all(abs(a.start - b.start) < 1e-9 for a, b in zip(notes[::2], swung[::2]))
    assert all(abs(b.start - a.start - 0.25 / 3) < 1e-9 for a, b in zip(notes[1::2], swung[1::2]))


def test_motifs_come_back_and_fit_the_chord():
    rng = random.Random(3)
    motif = mo.make_motif(rng, 4.0, ["x...x.x.x......."])
    cells = mo.develop(motif, rng, 4)
    assert cells[0] == cells[2] == motif and cells[3].steps[0] == motif.steps[0]
    chords = [Chord(0.0, 16.0, 9, "min7")]
    part = mo.LeadPart(0, "major", 60, 84, anchor=69)
    notes = mo.play_phrase(cells, th.Passage(chords, 0.0, 16.0), part)
    assert all(60 <= n.pitch <= 84 for n in notes)
    assert all(n.pitch % 12 in th.chord_tones(chords[0]) for n in notes if n.start % 2 == 0)


def test_more_than_a_fifth_of_the_forms_are_long_and_endings_come_once():
    forms = [[("intro", 4), ("A", 8), ("B", 8), ("outro", 4)], [("A", 8), ("break", 4), ("A", 8)]]
    lengths = []
    for seed in range(300):
        form = fm.choose_form(random.Random(seed), forms, 100.0)
        names = [name for name, _ in form]
        assert names.count("intro") <= 1 and names.count("outro") <= 1 and names[-1] in ("outro", "A")
        lengths.append(sum(bars for _, bars in form) * 2.4)
    assert all(fm.SHORT[0] <= s <= fm.SHORT[1] or fm.LONG[0] <= s <= fm.LONG[1] for s in lengths)
    assert 0.2 < sum(s > 130 for s in lengths) / len(lengths) < 0.35
    with pytest.raises(ValueError, match="offer other forms"):
        fm.choose_form(random.Random(0), [[("A", 1000)]], 100.0)


def test_sections_that_come_again_differ():
    piece = funk(random.Random(3), 3)
    before = {stem: list(notes) for stem, notes in piece.stems.items()}
    changed = [fm.vary_repeats(replace(piece, stems=dict(before)), random.Random(k)).stems for k in range(8)]
    assert sum(stems != before for stems in changed) >= 4
    first_end = piece.sections[1].start - 0.1
    for stems in changed:  # the first time stays as it was
        for stem, notes in stems.items():
            assert [n for n in notes if n.start < first_end] == [
                n for n in before[stem] if n.start < first_end
            ]


def test_guitars_of_rock_are_two_and_meant_for_an_amplifier():
    piece = rock(random.Random(1), 1)
    assert {t.pan for t in piece.tracks["chords"].values()} == {-1.0, 1.0}
    assert all(t.amp for t in piece.tracks["chords"].values()) and not piece.tracks["bass"]["main"].amp


@pytest.mark.parametrize("style", STYLES, ids=lambda f: f.__name__)
def test_pieces_are_whole(style):
    for seed in SEEDS:
        piece = style(random.Random(seed), seed)
        assert piece.style == style.__name__ and piece.tune_id == f"{style.__name__}/{seed:06d}"
        assert 64.0 <= piece.seconds <= 195.0 and piece.length % piece.beats_per_bar == 0
        assert set(piece.stems) == set(STEMS) and 2 <= len(piece.moods) <= 4 and len(piece.sections) >= 2
        assert sum(c.duration for c in piece.chords) == pytest.approx(piece.length)
        for stem, notes in piece.stems.items():
            assert notes, f"{piece.tune_id}: the {stem} never play"
            assert {n.track for n in notes} == set(piece.tracks[stem])
            for note in notes:
                assert 0 <= note.pitch <= 127 and 1 <= note.velocity <= 127 and note.duration > 0
                assert (
                    0 <= note.start < piece.length and note.start + note.duration <= piece.length + 1.0 + 1e-6
                )


@pytest.mark.parametrize("style", STYLES, ids=lambda f: f.__name__)
def test_a_seed_decides_a_piece(style):
    assert style(random.Random("a"), 1) == style(random.Random("a"), 1)
    assert style(random.Random("a"), 1).stems != style(random.Random("b"), 1).stems


@pytest.mark.long
@pytest.mark.parametrize("style", STYLES, ids=lambda f: f.__name__)
def test_bass_plays_roots_where_chords_start(style):
    on_root = []
    for seed in SEEDS:
        piece = style(random.Random(seed), seed)
        for chord in piece.chords:
            first = next(
                (n for n in piece.stems["bass"] if chord.start - 0.1 <= n.start < chord.start + 0.9), None
            )
            if first:
                on_root.append(first.pitch % 12 == chord.root)
    assert len(on_root) > 20 and sum(on_root) / len(on_root) > 0.85


@pytest.mark.long
@pytest.mark.parametrize("style", STYLES, ids=lambda f: f.__name__)
def test_melodies_agree_with_the_harmony(style):
    """Of the time the lead sounds, most is on chord tones and hardly any outside key and chord."""
    inside = outside = on_chord = 0.0
    for seed in SEEDS:
        piece = style(random.Random(seed), seed)
        for note in piece.stems["lead"]:
            chord = th.chord_at(piece.chords, round(note.start * 4) / 4)
            fits = note.pitch % 12 in th.chord_scale(chord, piece.key_root, piece.key_mode)
            inside, outside = inside + note.duration * fits, outside + note.duration * (not fits)
            on_chord += note.duration * (note.pitch % 12 in th.chord_tones(chord))
    assert outside < 0.06 * inside and on_chord > 0.7 * (inside + outside)
