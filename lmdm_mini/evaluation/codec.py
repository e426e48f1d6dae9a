"""The codec judged, clip by clip against the original, in one table next to Opus and MP3.

The metrics are in `metrics.py`, the other codecs in `other_codecs.py`, what is asked of latents in
`latent_health.py`; here are the clips and the table. How a model is judged is in `text.py`.

Notebook: 01_sound_to_latents draws the table from `data/results/codec.json`.
"""

import hashlib
import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE, read_audio
from lmdm_mini.checkpoints import DATA
from lmdm_mini.codec.codec import LATENT_RATE
from lmdm_mini.codec.spectrum import HOP, N_FFT, overlap_add, spectral_features, stft, synthesise
from lmdm_mini.evaluation.latent_health import latent_health
from lmdm_mini.evaluation.metrics import all_scores, as_long_as, check_pair
from lmdm_mini.evaluation.other_codecs import OTHER_CODECS, through_ffmpeg
from lmdm_mini.files import write_text

# --- the table ----------------------------------------------------------------------------------------------

METRICS = ("visqol", "stereo_level_db", "stereo_correlation", "stft", "mel")
DEFINITION = "1"  # part of every cache key: raise it when a metric's definition changes


def test_clips(
    corpus_dir="runs/produced", recordings_dir="runs/recordings", seconds: float = 10.0, *, per_style: int = 3
) -> tuple[dict[str, list[tuple[str, Tensor]]], str]:
    """Clips to judge a codec on: ``({"test": [(name, audio (2, N)), ...], "real": [...]}, their source)``.

    "test": `per_style` pieces of each style from the corpus' test split, from the middle of each; "real": the
    recordings of the test split, those of at least 2.5 s. What has not been built or fetched is replaced by
    the shorter set shipped in ``data/``, and the second value says so.
    Raises FileNotFoundError if neither is there.
    """
    from lmdm_mini.corpus.data import load_manifest, pieces, read_piece
    from lmdm_mini.corpus.recordings import list_recordings, recording_path

    clips, sources = {"test": [], "real": []}, []
    if (Path(corpus_dir) / "manifest.json").is_file():
        entries = pieces(load_manifest(corpus_dir), "test")
        for style in sorted({entry["style"] for entry in entries}):
            alike = sorted((e for e in entries if e["style"] == style), key=lambda e: e["id"])
            for entry in alike[:per_style]:
                start = max(0.0, (entry["samples"] / SAMPLE_RATE - seconds) / 2)
                clips["test"].append((entry["id"], read_piece(entry, start, seconds)["mix"]))
        sources.append(f"test: {per_style} pieces of each style of the corpus' test split")
    if not clips["test"]:
        shipped = sorted((DATA / "clips").glob("*.flac"))
        clips["test"] = [(path.stem, read_audio(path, seconds=seconds)) for path in shipped]
        sources.append("test: the clips shipped in data/clips (no corpus built here)")

    paths = [recording_path(row, recordings_dir) for row in list_recordings("test")]
    source = "real: recordings of the test split"
    if not any(path.is_file() for path in paths):
        names = {path.stem for path in paths}
        paths = sorted(path for path in (DATA / "recordings").glob("*.flac") if path.stem in names)
        source = "real: the recordings shipped in data/recordings (none fetched here)"
    for path in filter(Path.is_file, paths):
        audio = read_audio(path)
        if audio.shape[1] >= 2.5 * SAMPLE_RATE:
            start = max(0, (audio.shape[1] - round(seconds * SAMPLE_RATE)) // 2)
            clips["real"].append((path.stem, audio[:, start : start + round(seconds * SAMPLE_RATE)].clone()))
    sources.append(source)
    missing = [name for name, found in clips.items() if not found]
    if missing:
        raise FileNotFoundError(
            f"no clips for {' and '.join(missing)}: build the corpus with `python -m lmdm_mini corpus "
            "build` or "
            "restore data/clips and data/recordings."
        )
    return clips, "; ".join(sources)


def tell_features(audio: Tensor) -> Tensor:
    """Returns the true features (1, F, FEATURES) of audio (1, 2, N).

    With :func:`draw_features`, this is copy synthesis: a codec whose networks make no error. What is lost
    then is lost because phases are not coded.
    """
    rest = -audio.shape[-1] % HOP
    spectrum = stft(F.pad(audio, (N_FFT, N_FFT + rest)))
    return spectral_features(spectrum.real, spectrum.imag)


def draw_features(features: Tensor) -> Tensor:
    """Returns the sound (1, 2, N) of the features of :func:`tell_features`, up to a frame longer."""
    return overlap_add(synthesise(features, {})[0], None)[0][
        ..., N_FFT - HOP :
    ]  # the first frame has no features


def _score(job: tuple) -> dict:
    """Scores one job of the pool: (original, degraded or the name of another codec, cache folder). Sounds are
    numpy arrays."""
    samples, other, cache = job
    audio = torch.from_numpy(samples)
    if not isinstance(other, str):
        return all_scores(audio, torch.from_numpy(other))
    content = audio.numpy().tobytes() + f"{OTHER_CODECS[other]} {DEFINITION}".encode()
    path = Path(cache) / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    decoded, facts = through_ffmpeg(audio, other)
    scores = {**all_scores(audio, decoded), **facts}
    write_text(path, json.dumps(scores))
    return scores


def _start_worker() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(10)  # a training that runs beside keeps its pace


def _score_all(jobs: list[tuple], workers: int, progress: bool) -> list[dict]:
    bar: dict[str, Any] = {"total": len(jobs), "desc": "scoring", "unit": "clip"}
    bar |= {"disable": not progress, "file": sys.stderr}
    if workers <= 1:
        return list(tqdm(map(_score, jobs), **bar))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        return list(tqdm(pool.map(_score, jobs), **bar))


def _row(name: str, scores: list[dict], **facts) -> dict:
    """Mean, median and worst of each metric over clips, next to facts about the codec."""
    row = {"name": name, **facts}
    for metric in METRICS:
        values = np.array([score[metric] for score in scores])
        worst = values.min() if metric == "visqol" else values.max()
        row[metric] = {
            "mean": values.mean().item(),
            "median": np.median(values).item(),
            "worst": worst.item(),
        }
    row["clips"] = [{metric: score[metric] for metric in METRICS} for score in scores]
    return row


@dataclass
class Scoring:
    """How clips are scored.

    other_codecs: names out of `OTHER_CODECS` that get a row, too. cache: the folder that keeps their scores,
    by the content of the clip, since they never change. workers: processes that score; 1 stays in this one.
    progress: whether a bar is shown.
    """

    other_codecs: tuple[str, ...] = tuple(OTHER_CODECS)
    cache: str | Path = "runs/codec_references"
    workers: int = 2
    progress: bool = True


def evaluate_codec(
    codec,
    clips_by_set: dict[str, list[tuple[str, Tensor]]],
    out=None,
    *,
    scoring: Scoring | None = None,
    source: str = "",
    health: bool = True,
    rvq=None,
) -> dict:
    """Judges a codec on sets of clips, next to Opus and MP3; returns the table as a dict that JSON can hold.

    codec: `lmdm_mini.codec.codec.Codec`. clips_by_set: ``{"test": [(name, audio (2, N) of about 10 s), ...],
        "real": ...}``. out: where the table is written (``codec.json``; the same as Markdown goes next to
        it); None writes nothing. scoring: see :class:`Scoring`; None is its defaults. source: a sentence
        about the clips. health: whether the latents are judged, too (`latent_health`). rvq:
        `lmdm_mini.discrete.rvq.RVQ`, for a row of the same codec with quantised latents.

    The row "features alone" says how much of the distance no network could avoid, see `tell_features`.

    ``table["sets"][set]["rows"]`` holds per codec ``{"name", metric: {"mean", "median", "worst"}, "clips",
    "kbps", "parameters", "encode_times_real_time", "decode_times_real_time"}``.
    Raises ValueError without clips, on NaN.
    """
    from lmdm_mini.complexity.timing import rtf, threads

    if not clips_by_set or not all(clips_by_set.values()):
        raise ValueError("every set needs at least one clip to be judged on; test_clips() gives some.")
    scoring = scoring or Scoring()
    names = scoring.other_codecs
    # ways: from audio (1, 2, N) to what is coded of it, and back
    ways, kbps = {"ours": (codec.encode, codec.decode)}, {}
    if rvq is not None:
        in_codes = f"ours, {rvq.n_q} codes"
        ways[in_codes] = (
            lambda x: rvq.encode(codec.encode(x)),
            lambda codes: codec.decode(rvq.decode(codes)),
        )
        kbps[in_codes] = LATENT_RATE * rvq.n_q * math.log2(rvq.config.codebook_size) / 1000
    ways["features alone"] = (tell_features, draw_features)
    jobs, labels, speeds = [], [], {way: {name: [] for name in ways} for way in ("encode", "decode")}
    with threads(2):
        for set_name, clips in clips_by_set.items():
            for _, audio in clips:
                seconds = audio.shape[1] / SAMPLE_RATE
                for name, (encode, decode) in ways.items():
                    start = time.perf_counter()
                    coded = encode(audio[None])
                    middle = time.perf_counter()
                    decoded = as_long_as(audio, decode(coded)[0])
                    speeds["encode"][name].append(rtf(middle - start, seconds))
                    speeds["decode"][name].append(rtf(time.perf_counter() - middle, seconds))
                    check_pair(audio, decoded)
                    jobs.append((audio.numpy(), decoded.numpy(), str(scoring.cache)))
                    labels.append((set_name, name, seconds))
                jobs += [(audio.numpy(), name, str(scoring.cache)) for name in names]
                labels += [(set_name, name, seconds) for name in names]
    scores = _score_all(jobs, scoring.workers, scoring.progress)

    table = {"title": "The codec next to Opus and MP3", "source": source, "sets": {}}
    for set_name, clips in clips_by_set.items():
        rows = []
        for name in (*ways, *names):
            pairs = zip(scores, labels, strict=True)
            mine = [(score, label[2]) for score, label in pairs if label[:2] == (set_name, name)]
            if name in ways:
                size = sum(p.numel() for p in codec.parameters()) if name.startswith("ours") else 0
                facts = {"kbps": kbps.get(name), "parameters": size}
                facts |= {
                    f"{way}_times_real_time": 1 / float(np.median(taken[name]))
                    for way, taken in speeds.items()
                }
            else:
                facts = {"kbps": float(np.mean([s["kbps"] for s, _ in mine])), "parameters": None}
                for way in ("encode", "decode"):
                    factors = [rtf(s[f"{way}_seconds"], seconds) for s, seconds in mine]
                    facts[f"{way}_times_real_time"] = 1 / float(np.median(factors))
            rows.append(_row(name, [s for s, _ in mine], **facts))
        table["sets"][set_name] = {"clips": [clip for clip, _ in clips], "rows": rows}
    if health:
        audios = [audio for clips in clips_by_set.values() for _, audio in clips]
        table["latents"] = latent_health(codec, audios)
    if out is not None:
        write_text(out, json.dumps(table, indent=1) + "\n")
        write_text(Path(out).with_suffix(".md"), markdown(table))
    return table


def markdown(table: dict) -> str:
    """The table of `evaluate_codec` as Markdown: one part a set, then how the latents behave."""
    head = (
        "codec",
        "kbit/s",
        "ViSQOL",
        "median",
        "worst",
        "level error, dB",
        "correlation error",
        "STFT distance",
        "mel distance",
        "mel, worst",
        "parameters",
        "encode",
        "decode",
    )
    lines = [f"# {table['title']}", ""]
    if table["source"]:
        lines += [f"Clips: {table['source']}.", ""]
    for set_name, part in table["sets"].items():
        lines += [f"## {set_name}: {len(part['clips'])} clips", ""]
        lines += [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
        for row in part["rows"]:
            mean = {metric: row[metric]["mean"] for metric in METRICS}
            cells = (
                row["name"],
                "" if row["kbps"] is None else f"{row['kbps']:.{int(row['kbps'] < 10)}f}",
                f"{mean['visqol']:.2f}",
                f"{row['visqol']['median']:.2f}",
                f"{row['visqol']['worst']:.2f}",
                f"{mean['stereo_level_db']:.2f}",
                f"{mean['stereo_correlation']:.3f}",
                f"{mean['stft']:.2f}",
                f"{mean['mel']:.2f}",
                f"{row['mel']['worst']:.2f}",
                f"{row['parameters'] / 1e6:.1f} M" if row["parameters"] else "",
                f"{row['encode_times_real_time']:.0f}x",
                f"{row['decode_times_real_time']:.0f}x",
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "Means over clips. ViSQOL in audio mode hears the mean of left and right, 1 to 4.73 (identical). "
        "The level and correlation errors are of the stereo image and are 0 for a perfect one. kbit/s "
        "is what "
        "was really used. 'Features alone': the spectral features that the codec draws, true instead of "
        "drawn. "
        "Speeds are multiples of real time on two threads (ours) or one, program start included "
        "(ffmpeg).",
    ]
    if "latents" in table:
        latents = table["latents"]
        lines += [
            "",
            "## Latents",
            "",
            f"- mean of a channel: {min(latents['mean']):.2f} to {max(latents['mean']):.2f}; "
            f"standard deviation: {min(latents['std']):.2f} to {max(latents['std']):.2f}",
            f"- decoding z + 0.1 noise costs {latents['robustness']['drop']:.3f} ViSQOL "
            f"({latents['robustness']['clean']:.2f} to {latents['robustness']['noisy']:.2f})",
            f"- look-ahead in latent frames: encoder {latents['look_ahead']['encoder']:.2f}, "
            f"decoder {latents['look_ahead']['decoder']:.2f}",
        ]
    return "\n".join(lines) + "\n"
