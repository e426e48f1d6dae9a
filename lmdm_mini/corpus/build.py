"""Build the corpus: plan pieces, render them on all cores, write audio, descriptions and a manifest.

    <out>/audio/<style>/<id>.flac   eight channels, 16 bit: drums L R, bass L R, chords L R, lead L R
    <out>/meta/<id>.json            style, key, tempo, chords, beats, captions ... of one piece
    <out>/manifest.json             all of them, with the settings of the build

The plan depends on seed, styles and sound fonts alone: more hours only add pieces at its end, and a build
that was stopped goes on where it was. Pieces are rendered style by style in turn, so that a corpus that is
half done is a balanced one.

Notebook: 01_sound_to_latents.
"""

import json
import os
import random
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from lmdm_mini.audio import SAMPLE_RATE, loudness
from lmdm_mini.corpus.captions import captions, instruments
from lmdm_mini.corpus.data import show_corpus  # noqa: F401 - building and showing belong together
from lmdm_mini.corpus.files import check_room, check_writable, make_all, write_json, write_stems
from lmdm_mini.corpus.fonts import draw_fonts, find_soundfont, installed_soundfonts
from lmdm_mini.corpus.piece import STEMS, Chord, Piece
from lmdm_mini.corpus.render import render
from lmdm_mini.corpus.scores import read_scores, tune_group
from lmdm_mini.corpus.styles import STYLES

MIN_SECONDS = 64.0
VERSION = 2  # raise it when the same plan should sound different: finished pieces are then rendered again


def score_cache() -> Path:
    """Where scores read from music21 are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lmdm_mini" / "scores"


@dataclass(frozen=True)
class Job:
    """One piece of the plan. `tune` is an index, or the id of a score; `take` counts its arrangements."""

    id: str
    style: str
    tune: int | str
    take: int
    group: str  # pieces of one group share a melody and a split
    split: str
    seconds: float  # of music; the audio has a tail of 2 s more
    soundfonts: tuple[str, ...]  # of each stem
    seed: int

    @property
    def recipe(self) -> str:
        fonts = " ".join(self.soundfonts)
        return f"v{VERSION} seed {self.seed} {self.style} {self.tune} take {self.take} on {fonts}"


@lru_cache(maxsize=3)
def _scores(collections: tuple[str, ...]) -> dict:
    return {score.tune_id: score for score in read_scores(score_cache(), collections)}


def arrange(style: str, tune: int | str, take: int, seed: int) -> Piece:
    """The piece that this style makes of this tune; the same for the same arguments, on any machine."""
    chosen = STYLES[style]
    material = _scores(chosen.collections)[tune] if chosen.collections else tune
    return chosen.arranger(random.Random(f"{seed} {style} {tune} {take}"), material)


def _chorale_tunes() -> set[str]:
    """Fiddle tunes that share their melody with a chorale: those stay with the chorales and their splits."""
    groups = tune_group(list(_scores(("bach", "ryan", "oneill")).values()))
    of_chorales = {group for tune_id, group in groups.items() if tune_id.startswith("bach/")}
    return {tune_id for tune_id, group in groups.items() if group in of_chorales}


def _tunes(style: str, seed: int):
    """Endless (group number, group, tune, take) of a style: every group once before any comes again."""
    collections = STYLES[style].collections
    if not collections:
        index = 0
        while True:
            yield index, f"{style}/{index:06d}", index, 0
            index += 1
    groups = defaultdict(list)
    for tune_id, group in sorted(tune_group(list(_scores(collections).values())).items()):
        groups[group].append(tune_id)
    names = sorted(groups)
    random.Random(f"{seed} {style} order").shuffle(names)
    left_out = _chorale_tunes() if style == "folk" else set()
    turn = 0
    while True:
        for number, group in enumerate(names):
            members = groups[group]
            if left_out.isdisjoint(members):
                yield number, group, members[turn % len(members)], turn // len(members)
        turn += 1


def _split(number: int, style: str, seed: int) -> str:
    """Of twenty groups in a row one is valid and one is test; of the first twenty, within the first six."""
    rng = random.Random(f"{seed} {style} split {number // 20}")
    valid, test = rng.sample(range(6 if number < 20 else 20), 2)
    return {valid: "valid", test: "test"}.get(number % 20, "train")


def plan_corpus(
    hours: float, seed: int = 0, styles=None, soundfonts=("csound", "fluid", "musescore", "opl3")
) -> list[Job]:
    """The pieces of a corpus of at least `hours`, in rendering order (styles in turn). Renders nothing."""
    styles = _check_styles(styles)
    if not 0 < hours < 10_000:
        raise ValueError(f"hours must be above 0 (and below 10,000), not {hours}")
    if not soundfonts:
        raise ValueError("no sound font named: choose fluid, musescore or several")
    order = []
    for style in styles:
        wanted, total, count, too_short = hours * 3600 / len(styles), 0.0, 0, 0
        for number, group, tune, take in _tunes(style, seed):
            if total >= wanted:
                break
            seconds = arrange(style, tune, take, seed).seconds
            if seconds < MIN_SECONDS:
                too_short += 1
                if too_short > 1000 and not count:
                    raise ValueError(f"the arranger of {style} makes only pieces under {MIN_SECONDS} s")
                continue
            name = f"{style}_{count:05d}"
            rng = random.Random(f"{seed} {name} fonts")
            fonts = draw_fonts(rng, STYLES[style].fonts, STYLES[style].kits, usable=soundfonts)
            job = Job(name, style, tune, take, group, _split(number, style, seed), seconds, fonts, seed)
            order.append((total / wanted, style, job))
            total, count = total + seconds, count + 1
    return [job for _, _, job in sorted(order, key=lambda row: row[:2])]


def _check_styles(styles) -> list[str]:
    styles = list(STYLES) if styles is None else list(dict.fromkeys(styles))
    unknown = [style for style in styles if style not in STYLES]
    if unknown or not styles:
        raise ValueError(f"unknown style {', '.join(unknown) or '(none)'}: choose from {', '.join(STYLES)}")
    return styles


def describe(job: Job, piece: Piece, stems: torch.Tensor) -> dict:
    """What is known about a rendered piece, as JSON data. Times in seconds; a chord: [start, end, name]."""
    mix, beat, samples = stems.sum(0), 60.0 / piece.bpm, stems.shape[-1]
    chords = [
        [round(chord.start * beat, 4), round((chord.start + chord.duration) * beat, 4), chord.name]
        for chord in piece.chords
    ]
    return asdict(job) | {
        "tune_id": piece.tune_id,
        "title": piece.title,
        "source": piece.source,
        "bpm": piece.bpm,
        "beats_per_bar": piece.beats_per_bar,
        "key": Chord.NAMES[piece.key_root % 12],
        "mode": piece.key_mode,
        "moods": list(piece.moods),
        "instruments": {s: instruments(piece, s) for s in STEMS if piece.stems[s]},
        "chords": chords,
        "beat_times": [round(time, 4) for time in piece.beat_times],
        "bar_times": [round(time, 4) for time in piece.bar_times],
        "sections": [[round(s.start * beat, 4), s.name] for s in piece.sections],
        "captions": captions(piece, random.Random(f"{job.recipe} captions")),
        "audio": f"audio/{job.style}/{job.id}.flac",
        "samples": samples,
        "seconds": round(samples / SAMPLE_RATE, 6),
        "music_seconds": round(piece.seconds, 6),
        "tracks": {s: [asdict(t) for t in piece.tracks[s].values()] for s in STEMS if piece.stems[s]},
        "peak_db": round(20 * np.log10(mix.abs().max().item()), 2),
        "loudness_lufs": round(loudness(mix), 2),
        "recipe": job.recipe,
    }


def _make(arguments: tuple[Path, Job]) -> Job:
    """Render one piece; the description is written last and says that the audio is whole."""
    out, job = arguments
    torch.set_num_threads(1)  # the pool has a process a core
    check_room(out)
    piece = arrange(job.style, job.tune, job.take, job.seed)
    stems = render(piece, job.soundfonts)
    write_stems(out / "audio" / job.style / f"{job.id}.flac", stems)
    write_json(out / "meta" / f"{job.id}.json", describe(job, piece, stems))
    return job


def _finished(out: Path, job: Job) -> dict | None:
    """The description of a piece that is there already and was made by the same recipe."""
    path = out / "meta" / f"{job.id}.json"
    if not path.is_file() or not (out / "audio" / job.style / f"{job.id}.flac").is_file():
        return None
    entry = json.loads(path.read_text())
    return entry | {"split": job.split, "group": job.group} if entry["recipe"] == job.recipe else None


def build_corpus(
    out, hours: float = 12.0, seed: int = 0, workers: int = 2, styles=None, soundfonts=None
) -> dict:
    """Plan and render a corpus of at least `hours` into folder `out`; returns the manifest.

    `styles` and `soundfonts` (names, default: all installed) narrow it. Pieces that are there are kept. When
    interrupted, the manifest lists what is done. Raises ValueError or FileNotFoundError for what cannot be.
    """
    out = Path(out)
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    fonts = list(soundfonts) if soundfonts else installed_soundfonts() or ["fluid"]
    for font in fonts:
        find_soundfont(font)
    check_writable(out)
    print(f"planning {hours:g} hours (the first time, reading the scores takes some minutes)")
    jobs = plan_corpus(hours, seed, styles, fonts)
    todo = [(out, job) for job in jobs if _finished(out, job) is None]
    print(
        f"{len(jobs)} pieces, {sum(j.seconds for j in jobs) / 3600:.2f} hours; "
        f"{len(jobs) - len(todo)} are there already; sound fonts: {', '.join(fonts)}"
    )
    try:
        make_all(_make, todo, workers=workers, what="rendering")
    finally:
        entries = [entry for entry in (_finished(out, job) for job in jobs) if entry]
        manifest = {
            "hours": hours,
            "seed": seed,
            "soundfonts": fonts,
            "version": VERSION,
            "stems": list(STEMS),
            "sample_rate": SAMPLE_RATE,
            "complete": len(entries) == len(jobs),
            "pieces": entries,
        }
        write_json(out / "manifest.json", manifest)
    return manifest
