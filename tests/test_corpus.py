"""The corpus: stems add up, splits keep tunes apart, builds repeat exactly and go on where they stopped."""

import json
import os
import random
import re
import shutil
from dataclasses import replace

import pytest
import soundfile
import torch

from lmdm_mini.audio import SAMPLE_RATE, loudness
from lmdm_mini.corpus import build, data, files, fonts, render
from lmdm_mini.corpus.captions import captions
from lmdm_mini.corpus.piece import STEMS, Chord, Note, Piece, Section, Track
from lmdm_mini.corpus.sampler import play_kit
from lmdm_mini.corpus.scores import CACHE_VERSION, COLLECTIONS
from lmdm_mini.corpus.styles import STYLES, USUAL_BPM, Style
from lmdm_mini.corpus.styles.words import PARAPHRASES, WORDS

CEILING = 10 ** (-1 / 20)


def toy_piece(
    rng: random.Random, index: int, style: str = "lofi", seconds: float = 65.0, drums: bool = True
) -> Piece:
    """A beat, a bass, a chord and a scale: enough of a piece to be rendered and described."""
    bpm = rng.choice((90.0, 120.0))
    beats = int(seconds * bpm / 60) + 1
    root = rng.randrange(12)
    stems = {stem: [] for stem in STEMS}
    for beat in range(0, beats, 4):
        stems["drums"] += [Note(beat, 0.5, 36, 120), Note(beat + 2, 0.5, 38, 120)] if drums else []
        stems["bass"].append(Note(beat, 3.5, 36 + root, 90))
        stems["chords"] += [Note(beat, 3.8, 60 + root + step, 70) for step in (0, 4, 7)]
        stems["lead"].append(Note(beat + 1, 1.0, 72 + rng.choice((0, 2, 4)), 90))
    tracks = {
        "drums": {"main": Track(0, "drums")},
        "bass": {"main": Track(33, "bass guitar")},
        "chords": {"main": Track(4, "electric piano", pan=-0.3)},
        "lead": {"main": Track(73, "flute", pan=0.3)},
    }
    return Piece(
        style,
        f"{style}/{index:06d}",
        "Toy",
        bpm,
        4,
        root,
        "major",
        beats,
        stems,
        tracks,
        [Chord(0, beats, root, "maj")],
        [Section(0, "A")],
        ["mellow", "warm"],
    )


@pytest.fixture
def font():
    """The name of a sound font; without FluidSynth or a font there is nothing to listen to."""
    pytest.importorskip("fluidsynth", reason="apt install libfluidsynth3", exc_type=ImportError)
    names = [name for name in fonts.installed_soundfonts() if fonts.FONTS[name].melodic]
    if not names:
        pytest.skip("needs a sound font: apt install fluid-soundfont-gm")
    return names[0]


@pytest.fixture
def toy_styles(monkeypatch):
    """The styles of the corpus, each with the toy arranger: planning needs no scores, rendering is short."""

    def arranger(style):
        return lambda rng, index: toy_piece(rng, index, style)

    toys = {style: replace(STYLES[style], arranger=arranger(style), collections=()) for style in STYLES}
    monkeypatch.setattr(build, "STYLES", toys)


# --- rendering -------------------------------------------------------------------------------------


def test_mix_is_the_sum_of_stems_at_the_right_level(font):
    stems = render.render(toy_piece(random.Random(0), 0, seconds=8), font)
    mix = stems.sum(0)
    assert stems.shape[:2] == (4, 2) and stems.dtype == torch.float32
    assert mix.abs().max() < CEILING
    assert abs(loudness(mix) + 16) < 1.0
    assert all(stem.abs().max() > 0.01 for stem in stems)


def test_rendering_does_not_depend_on_what_came_before(font):
    piece = toy_piece(random.Random(1), 1, seconds=6)
    first = render.render(piece, font)
    render.render(toy_piece(random.Random(2), 2, seconds=5), font)
    assert torch.equal(first, render.render(piece, font))


def test_a_note_starts_when_it_should_and_empty_stems_are_silent(font):
    piece = toy_piece(random.Random(3), 3, seconds=6, drums=False)
    for stem in STEMS:
        piece.stems[stem] = []
    piece.stems["lead"] = [Note(4.0, 1.0, 72, 110)]
    piece.tracks["lead"] = {"main": Track(13, "xylophone")}  # a sharp attack
    stems = render.render(piece, font)
    onset = stems[3].abs().amax(0).gt(1e-3).nonzero()[0].item() / SAMPLE_RATE
    assert abs(onset - 4 * 60 / piece.bpm) < 0.02
    assert stems[:3].abs().max() == 0


def test_limiter_holds_any_peak_and_leaves_soft_music_alone():
    audio = torch.randn(2, 64 * 500) * 0.1
    audio[0, 10_000] = 3.0
    audio[1, 20_001:20_060] = -2.0
    gain = render.limiter_gain(audio, 0.8)
    assert gain.shape == (64 * 500,)
    assert (audio * gain).abs().max() <= 0.8 + 1e-6
    assert gain[:9000].eq(1).all()
    assert gain.diff().abs().max() < 0.01  # no clicks


def test_repeated_and_overlapping_notes_do_not_cut_each_other():
    notes = [Note(0, 2, 60, 90), Note(1, 1, 60, 80), Note(1, 1, 60, 100)]
    events = render._events(notes, {"main": 0}, 60.0)
    assert [(e.frame % render.GRID, e.velocity) for e in events] == [(0, 90), (0, 0), (0, 100), (0, 0)]
    assert events[1].frame == events[2].frame


def test_a_silent_piece_and_missing_fonts_are_refused(font, monkeypatch):
    piece = toy_piece(random.Random(4), 4, seconds=2)
    piece.stems = {stem: [] for stem in STEMS}
    with pytest.raises(ValueError, match="silent"):
        render.render(piece, font)
    with pytest.raises(ValueError, match="unknown sound font"):
        fonts.find_soundfont("gravis")
    monkeypatch.setattr(fonts, "FOLDERS", ())
    with pytest.raises(FileNotFoundError, match="apt install .*fluid-soundfont-gm"):
        fonts.find_soundfont("fluid")


def test_stems_are_dry(font):
    piece = toy_piece(random.Random(5), 5, seconds=6)
    piece.tracks["lead"] = {"main": Track(13, "xylophone", reverb=1.0)}
    other = replace(piece, tracks=piece.tracks | {"lead": {"main": Track(13, "xylophone", reverb=0.0)}})
    assert torch.equal(render.render(piece, font), render.render(other, font))


def test_a_kit_of_one_shots_plays_in_time_and_chokes_its_hats():
    if "club" not in fonts.installed_soundfonts():
        pytest.skip("apt install sonic-pi-samples")
    alone = play_kit([(4410, 46, 100)], "club", 44100)
    choked = play_kit([(4410, 46, 100), (8820, 42, 100)], "club", 44100)
    assert alone.shape == (2, 44100) and abs(alone[:, :4410]).max() == 0 < abs(alone[:, 4410:5000]).max()
    assert abs(alone[:, 30_000:35_000]).max() > 10 * abs(choked[:, 30_000:35_000]).max()
    soft, loud = (abs(play_kit([(0, 36, v)], "club", 4410)).max() for v in (60, 120))
    assert 0 < soft < loud / 2


def test_keys_that_a_kit_lacks_are_played_by_the_font_of_the_chords(font):
    if "club" not in fonts.installed_soundfonts():
        pytest.skip("apt install sonic-pi-samples")
    piece = toy_piece(random.Random(6), 6, seconds=4)
    piece.stems["drums"] = [Note(0, 0.5, 81, 110)]  # a triangle
    stems = render.render_raw(piece, ("club", font, font, font))
    assert stems[0].abs().max() > 0


def test_fonts_are_drawn_from_what_a_style_and_the_machine_have():
    rng = random.Random(0)
    weights, kits = {"fluid": 3, "musescore": 3, "opl3": 0}, {"club": 1, "fluid": 1}
    drawn = [fonts.draw_fonts(rng, weights, kits, usable=("fluid", "opl3", "club")) for _ in range(50)]
    assert {row[0] for row in drawn} == {"club", "fluid"} and {f for row in drawn for f in row[1:]} == {
        "fluid"
    }
    with pytest.raises(ValueError, match="plays melodies"):
        fonts.draw_fonts(rng, weights, kits, usable=("club",))
    for style in STYLES.values():
        assert set(style.fonts) | set(style.kits) <= set(fonts.FONTS)
        assert all(fonts.FONTS[name].melodic for name in style.fonts)


# --- captions --------------------------------------------------------------------------------------


def test_captions_cover_mix_and_stems_and_vary():
    piece = toy_piece(random.Random(0), 0)
    found = captions(piece, random.Random(7))
    assert found == captions(piece, random.Random(7)) != captions(piece, random.Random(8))
    assert set(found) == {"mix", *STEMS}
    assert 6 <= len(found["mix"]) <= 8 and all(2 <= len(found[stem]) <= 3 for stem in STEMS)
    assert "drums" not in captions(toy_piece(random.Random(0), 0, drums=False), random.Random(7))
    everything = " ".join(found["mix"])
    assert "bpm" in everything.lower() and "flute" in everything


@pytest.mark.parametrize("style", list(STYLES))
def test_held_out_wording_is_in_no_caption(style):
    assert set(WORDS) == set(STYLES) == set(USUAL_BPM)
    seen = ""
    for index in range(40):
        piece = toy_piece(random.Random(index), index, style)
        seen += " ".join(sum(captions(piece, random.Random(index)).values(), [])).lower()
    assert all(phrase.lower() not in seen for phrase in WORDS[style].held_out)
    assert set(WORDS[style].stems) == set(STEMS)


def test_paraphrases_do_not_know_the_held_out_words():
    def words(phrases):
        return {word for phrase in phrases for word in re.findall("[a-z]+", phrase.lower())}

    assert set(PARAPHRASES) == set(WORDS) and all(len(set(some)) >= 20 for some in PARAPHRASES.values())
    known = set().union(*(words([*w.names, *w.uses, *w.moods]) for w in WORDS.values())) | {"and"}
    for w in WORDS.values():
        assert not (words(w.held_out) - known) & words(sum(PARAPHRASES.values(), []))


# --- planning --------------------------------------------------------------------------------------


def test_no_group_stands_in_two_splits_in_twelve_hours(toy_styles):
    jobs = build.plan_corpus(12.0, seed=0)
    assert sum(job.seconds for job in jobs) >= 12 * 3600
    splits = {}
    for job in jobs:
        assert job.seconds >= build.MIN_SECONDS
        assert splits.setdefault(job.group, job.split) == job.split
    share = 12 / len(STYLES)
    for style in STYLES:
        of_style = [job for job in jobs if job.style == style]
        assert {job.split for job in of_style} == set(data.SPLITS)
        assert 0.85 < sum(job.split == "train" for job in of_style) / len(of_style) < 0.95
        assert share <= sum(job.seconds for job in of_style) / 3600 < share + 0.05
    assert len({job.id for job in jobs}) == len(jobs)
    assert {job.style for job in jobs[: len(STYLES)]} == set(STYLES)  # styles take turns


def test_tunes_of_one_group_share_a_split_through_all_takes(monkeypatch):
    names = {f"bach/{k:02d}": f"bach/{k // 3 * 3:02d}" for k in range(60)}  # groups of three tunes
    monkeypatch.setattr(build, "_scores", lambda collections: {name: name for name in names})
    monkeypatch.setattr(build, "tune_group", lambda found: {name: names[name] for name in found})

    def arranger(rng, score):
        return toy_piece(rng, 0, "chorale")

    monkeypatch.setattr(build, "STYLES", {"chorale": Style(arranger, 82.0, ("bach",))})
    jobs = build.plan_corpus(3.4, seed=1)  # about 190 pieces of 60 tunes: every tune comes again
    splits = {}
    for job in jobs:
        assert job.group == names[job.tune]
        assert splits.setdefault(job.group, job.split) == job.split
    assert len({job.tune for job in jobs}) == 60 and max(job.take for job in jobs) >= 2
    assert len({(job.tune, job.take) for job in jobs}) == len(jobs)
    assert set(splits.values()) == set(data.SPLITS)


def test_a_tune_of_a_chorale_is_not_played_by_the_folk_band(monkeypatch):
    names = [f"ryan/{k:02d}" for k in range(60)]
    monkeypatch.setattr(
        build,
        "_scores",
        lambda collections: {name: name for name in names + ["bach/00"] * ("bach" in collections)},
    )
    monkeypatch.setattr(
        build,
        "tune_group",
        lambda found: {
            name: "bach/00" if name == "ryan/07" and "bach/00" in found else name for name in found
        },
    )

    def arranger(rng, score):
        return toy_piece(rng, 0, "folk")

    monkeypatch.setattr(build, "STYLES", {"folk": Style(arranger, 99.0, ("ryan", "oneill"))})
    assert {job.tune for job in build.plan_corpus(1.6)} == set(names) - {"ryan/07"}


@pytest.mark.long
def test_the_real_plan_of_twelve_hours_keeps_tunes_apart(monkeypatch):
    wanted = [build.score_cache() / f"scores_{name}_v{CACHE_VERSION}.json" for name in COLLECTIONS]
    if not all(path.is_file() for path in wanted):
        pytest.skip("reading the scores takes minutes: 'python -m lmdm_mini corpus build' does it once")
    styles = [style for style in STYLES if STYLES[style].collections]  # the others never use a tune again
    quick = {
        s: replace(STYLES[s], arranger=lambda rng, score: toy_piece(rng, 0, seconds=100)) for s in styles
    }
    monkeypatch.setattr(build, "STYLES", quick)  # the plan is real, the pieces need not be
    jobs = build.plan_corpus(1.5 * len(styles), styles=styles)
    splits = {}
    for job in jobs:
        assert splits.setdefault(job.group, job.split) == job.split
    groups = build.tune_group(list(build._scores(tuple(COLLECTIONS)).values()))
    of_tune = {}  # judged again by the melodies of all collections together, whatever the plan says
    for job in jobs:
        if job.tune in groups:
            assert of_tune.setdefault(groups[job.tune], job.split) == job.split
    for style in styles:
        assert {job.split for job in jobs if job.style == style} == set(data.SPLITS)


def test_plans_are_deterministic_and_grow_at_their_end(toy_styles):
    short, long = build.plan_corpus(0.5, seed=3), build.plan_corpus(2.0, seed=3)
    assert short == build.plan_corpus(0.5, seed=3)
    assert set(short) <= set(long)
    assert {job.recipe for job in short}.isdisjoint(job.recipe for job in build.plan_corpus(0.5, seed=4))
    assert build.arrange("lofi", 5, 0, 3) == build.arrange("lofi", 5, 0, 3) != build.arrange("lofi", 5, 1, 3)


# --- building and reading --------------------------------------------------------------------------


def build_toy(out, hours=0.02):
    return build.build_corpus(
        out, hours, seed=0, workers=1, styles=["lofi"], soundfonts=fonts.installed_soundfonts()[:1]
    )


@pytest.mark.long
def test_build_resume_and_read(font, toy_styles, tmp_path, monkeypatch, capsys):
    manifest = build_toy(tmp_path)
    assert manifest["complete"] and len(manifest["pieces"]) == 2
    assert not list(tmp_path.rglob("*.part"))
    loaded = data.load_manifest(tmp_path)
    entry = loaded["pieces"][0]
    for key in (
        "style",
        "tune_id",
        "group",
        "split",
        "title",
        "bpm",
        "key",
        "mode",
        "moods",
        "instruments",
        "chords",
        "beat_times",
        "sections",
        "captions",
        "seconds",
        "soundfonts",
        "samples",
        "bar_times",
        "tracks",
        "source",
        "peak_db",
        "loudness_lufs",
    ):
        assert key in entry
    assert abs(entry["beat_times"][1] - 60 / entry["bpm"]) < 1e-3
    assert entry["peak_db"] < -1 and abs(entry["loudness_lufs"] + 16) < 1

    # the file is what was rendered, in eight channels of 16 bits
    info = soundfile.info(str(tmp_path / entry["audio"]))
    assert (info.channels, info.subtype, info.samplerate) == (8, "PCM_16", SAMPLE_RATE)
    assert info.frames == entry["samples"] and abs(entry["seconds"] - info.frames / SAMPLE_RATE) < 1e-6
    assert abs(entry["seconds"] - entry["music_seconds"] - render.TAIL_SECONDS) < 0.01
    stems = render.render(build.arrange("lofi", entry["tune"], 0, 0), font)
    whole = data.read_stems(entry)
    assert (whole - stems).abs().max() <= 1.01 / 32768
    stretch = data.read_piece(entry, start=10.0, seconds=2.0)
    assert torch.equal(stretch["mix"], sum(stretch[stem] for stem in STEMS))
    assert torch.equal(stretch["bass"], whole[1][:, 441_000 : 441_000 + 88_200])
    assert stretch["mix"].abs().max() < CEILING

    # a second call renders nothing; a lost piece, and only that, comes back as it was
    made = []
    monkeypatch.setattr(build, "_make", lambda item, make=build._make: made.append(item[1].id) or make(item))
    assert build_toy(tmp_path) == manifest and made == []
    lost = tmp_path / manifest["pieces"][1]["audio"]
    before = lost.read_bytes()
    lost.unlink()
    build_toy(tmp_path)
    assert made == [manifest["pieces"][1]["id"]] and lost.read_bytes() == before

    text = build.show_corpus(tmp_path)
    assert "2 pieces" in text and "lofi" in text and "bpm" in text and "major" in text


@pytest.mark.long
def test_an_interrupted_build_leaves_a_manifest_of_what_is_done(font, toy_styles, tmp_path, monkeypatch):
    count, make = [], build._make

    def stop_at_second(item):
        count.append(item)
        if len(count) == 2:
            raise KeyboardInterrupt
        return make(item)

    monkeypatch.setattr(build, "_make", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        build_toy(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert not manifest["complete"] and len(manifest["pieces"]) == 1


@pytest.mark.long
def test_a_full_disk_ends_with_what_to_do_and_leaves_whole_pieces(font, toy_styles, tmp_path, monkeypatch):
    build_toy(tmp_path)
    whole = sorted(path.name for path in tmp_path.rglob("*.flac"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: usage._replace(free=10))
    (tmp_path / "meta" / f"{whole[0][:-5]}.json").unlink()
    with pytest.raises(OSError, match="is full: make room .* same command again"):
        build_toy(tmp_path)
    monkeypatch.undo()
    assert not json.loads((tmp_path / "manifest.json").read_text())["complete"]


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def half(path, *args, **kwargs):
        open(path, "wb").write(b"half")
        raise RuntimeError("no space left")

    monkeypatch.setattr(files.soundfile, "write", half)
    with pytest.raises(RuntimeError):
        files.write_stems(tmp_path / "a.flac", torch.zeros(4, 2, 64))
    assert list(tmp_path.iterdir()) == []


def test_a_lost_worker_is_said():
    with pytest.raises(OSError, match="ended from outside"):
        files.make_all(os._exit, [1, 1, 1], workers=2, what="test")


def test_bad_arguments_are_refused(toy_styles, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "find_soundfont", lambda name: name)
    monkeypatch.setattr(build, "installed_soundfonts", lambda: ["fluid"])
    for hours in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="hours must be above 0"):
            build.build_corpus(tmp_path, hours)
    with pytest.raises(ValueError, match="unknown style polka: choose from chorale"):
        build.build_corpus(tmp_path, 1, styles=["polka"])
    with pytest.raises(ValueError, match="workers"):
        build.build_corpus(tmp_path, 1, workers=0)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ValueError, match="cannot write into .*--out"):
        build.build_corpus(tmp_path / "file" / "corpus", 1)
    with pytest.raises(FileNotFoundError, match="corpus build"):
        data.load_manifest(tmp_path / "nowhere")
