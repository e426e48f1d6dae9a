"""The codec judged, clip by clip against the original, in one table next to Opus and MP3.

The metrics are in `metrics.py`, the reference codecs in `reference_codecs.py`; here are the clips, the table,
what is asked of latents, and the shell. How a model is judged is in `evaluate_text.py`.

Notebook: 01_sound_to_latents draws the table from `data/results/codec.json`.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE, read_audio
from lmdm_mini.checkpoints import DATA
from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_RATE
from lmdm_mini.codec.spectrum import HOP, N_FFT, overlap_add, spectral_features, stft, synthesise
from lmdm_mini.evaluation.metrics import all_scores, check_pair, visqol
from lmdm_mini.evaluation.other_codecs import QUICK_REFERENCES, REFERENCE_CODECS, through_ffmpeg

# --- the table ----------------------------------------------------------------------------------------------

METRICS = ("visqol", "stereo_level_db", "stereo_correlation", "stft", "mel")
DEFINITION = "1"  # part of every cache key: raise it when a metric's definition changes


def test_clips(
    corpus_dir="runs/corpus", recordings_dir="runs/recordings", seconds: float = 10.0, per_style: int = 3
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
                start = max(0.0, (entry["frames"] / SAMPLE_RATE - seconds) / 2)
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
            f"no clips for {' and '.join(missing)}: build the corpus with `python -m lmdm_mini corpus build` or "
            "restore data/clips and data/recordings."
        )
    return clips, "; ".join(sources)


def as_long_as(audio: Tensor, decoded: Tensor) -> Tensor:
    """`decoded` cut or padded to the length of `audio`, both ``(2, N)``."""
    return F.pad(decoded[:, : audio.shape[1]], (0, max(0, audio.shape[1] - decoded.shape[1])))


def tell_features(audio: Tensor) -> Tensor:
    """The features (1, F, FEATURES) of audio (1, 2, N), as they are: with :func:`draw_features`, what a codec
    would do whose networks made no error at all (copy synthesis). What is lost then is lost for want of
    phases."""
    rest = -audio.shape[-1] % HOP
    spectrum = stft(F.pad(audio, (N_FFT, N_FFT + rest)))
    return spectral_features(spectrum.real, spectrum.imag)


def draw_features(features: Tensor) -> Tensor:
    """The sound of :func:`tell_features`, (1, 2, N), and up to a frame more."""
    return overlap_add(synthesise(features, {})[0], None)[0][
        ..., N_FFT - HOP :
    ]  # the first frame has no features


def _score(job: tuple) -> dict:
    """One job of the pool: (reference, degraded or name of a reference codec, cache folder), as numpy
    arrays."""
    audio, other, cache = job
    audio = torch.from_numpy(audio)
    if not isinstance(other, str):
        return all_scores(audio, torch.from_numpy(other))
    content = audio.numpy().tobytes() + f"{REFERENCE_CODECS[other]} {DEFINITION}".encode()
    path = Path(cache) / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
    if path.is_file():
        return json.loads(path.read_text())
    decoded, facts = through_ffmpeg(audio, other)
    scores = {**all_scores(audio, decoded), **facts}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(scores))
    part.replace(path)
    return scores


def _start_worker() -> None:
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(10)  # a training that runs beside keeps its pace


def _score_all(jobs: list[tuple], workers: int, progress: bool) -> list[dict]:
    bar = dict(total=len(jobs), desc="scoring", unit="clip", disable=not progress, file=sys.stderr)
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


def evaluate_codec(
    codec,
    clips_by_set: dict[str, list[tuple[str, Tensor]]],
    out=None,
    references: bool | tuple = True,
    source: str = "",
    cache="runs/codec_references",
    workers: int = 2,
    health: bool = True,
    progress: bool = True,
    rvq=None,
) -> dict:
    """Judges a codec on sets of clips, next to Opus and MP3; returns the table as a dict that JSON can hold.

    codec: `lmdm_mini.codec.codec.Codec`. rvq: `lmdm_mini.discrete.rvq.RVQ`: a row more, of the same codec
        with latents told in codes. A row "features alone" says how much of the distance no network could
        avoid, see `tell_features`. clips_by_set: ``{"test": [(name, audio (2, N) of about 10 s), ...],
        "real": ...}``. out: where to write it (``codec.json``; the same as Markdown goes next to it); None
        writes nothing. references: all of `REFERENCE_CODECS`, none (False) or a tuple of names. Their scores
        never change and are kept in folder `cache`, by the content of the clip. workers: processes that
        score; 1 stays in this one. health: look at the latents, too (`latent_health`).

    ``table["sets"][set]["rows"]`` holds per codec ``{"name", metric: {"mean", "median", "worst"}, "clips",
    "kbps", "parameters", "encode_times_real_time", "decode_times_real_time"}``.
    Raises ValueError without clips, on NaN.
    """
    from lmdm_mini.complexity.timing import rtf, threads

    if not clips_by_set or not all(clips_by_set.values()):
        raise ValueError("every set needs at least one clip to be judged on; test_clips() gives some.")
    names = tuple(REFERENCE_CODECS) if references is True else tuple(references or ())
    # ways: from audio (1, 2, N) to what is told of it, and back
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
            for clip, audio in clips:
                seconds = audio.shape[1] / SAMPLE_RATE
                for name, (encode, decode) in ways.items():
                    start = time.perf_counter()
                    told = encode(audio[None])
                    middle = time.perf_counter()
                    decoded = as_long_as(audio, decode(told)[0])
                    speeds["encode"][name].append(rtf(middle - start, seconds))
                    speeds["decode"][name].append(rtf(time.perf_counter() - middle, seconds))
                    check_pair(audio, decoded)
                    jobs.append((audio.numpy(), decoded.numpy(), str(cache)))
                    labels.append((set_name, name, seconds))
                jobs += [(audio.numpy(), name, str(cache)) for name in names]
                labels += [(set_name, name, seconds) for name in names]
    scores = _score_all(jobs, workers, progress)

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
        out = Path(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(table, indent=1) + "\n")
        out.with_suffix(".md").write_text(markdown(table))
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
        "The level and correlation errors are of the stereo image and are 0 for a perfect one. kbit/s is what "
        "was really used. 'Features alone': the spectral features that the codec draws, true instead of drawn. "
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


# --- latents ------------------------------------------------------------------------------------------------


def latent_health(codec, clips: list[Tensor]) -> dict:
    """Are the latents good to diffuse? Per-channel mean and standard deviation over `clips`, each ``(2, N)``,
    `robustness` on up to 6 of them, `look_ahead`."""
    latents = torch.cat([codec.encode(audio[None])[0] for audio in clips], dim=1)  # (64, frames of all clips)
    return {
        "mean": latents.mean(1).tolist(),
        "std": latents.std(1).tolist(),
        "robustness": robustness(codec, clips[:: max(1, len(clips) // 6)][:6]),
        "look_ahead": look_ahead(codec),
    }


def robustness(codec, clips: list[Tensor], amount: float = 0.1, seed: int = 0) -> dict[str, float]:
    """ViSQOL lost by decoding ``z + amount * noise``, mean over clips: ``{"drop", "clean", "noisy"}``."""
    generator = torch.Generator().manual_seed(seed)
    clean, noisy = [], []
    for audio in clips:
        latents = codec.encode(audio[None])
        shaken = latents + amount * torch.randn(latents.shape, generator=generator)
        clean.append(visqol(audio, as_long_as(audio, codec.decode(latents)[0])))
        noisy.append(visqol(audio, as_long_as(audio, codec.decode(shaken)[0])))
    before, after = float(np.mean(clean)), float(np.mean(noisy))
    return {"drop": before - after, "clean": before, "noisy": after}


def look_ahead(codec, frames: int = 24) -> dict[str, float]:
    """How far the codec hears into the future, in latent frames: ``{"encoder": ..., "decoder": ...}``.

    The future is changed from the middle on, and the first output that differs is found. 0 is strictly
    causal; the encoder's is a whole number, the decoder's is counted in samples.
    """
    generator = torch.Generator().manual_seed(0)
    middle = frames // 2
    audio = 0.1 * torch.randn(1, 2, frames * FRAME_SAMPLES, generator=generator)
    latents = codec.encode(audio)
    changed_audio, changed_latents = audio.clone(), latents.clone()
    changed_audio[..., middle * FRAME_SAMPLES :] *= -0.5
    changed_latents[..., middle:] += 1.0

    def first_difference(a: Tensor, b: Tensor) -> int:
        gap = (a - b).abs().amax(dim=(0, 1))
        return int((gap > 1e-5 * float(a.abs().max())).nonzero()[0])

    frame = first_difference(latents, codec.encode(changed_audio))
    sample = first_difference(codec.decode(latents), codec.decode(changed_latents))
    return {"encoder": float(max(0, middle - frame)), "decoder": max(0.0, middle - sample / FRAME_SAMPLES)}


# --- the shell ----------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``python -m lmdm_mini evaluate codec|text|rollouts|hearing|lab|reference``."""
    kinds = parser.add_subparsers(dest="what", required=True)
    codec = kinds.add_parser("codec", help="next to Opus and MP3")
    codec.add_argument("--corpus", default="runs/corpus", help="folder of the corpus (default: %(default)s)")
    codec.add_argument(
        "--recordings", default="runs/recordings", help="real recordings (default: %(default)s)"
    )
    codec.add_argument("--checkpoint", default=None, help="codec checkpoint (default: the shipped one)")
    codec.add_argument("--quick", action="store_true", help="8 clips, 2 reference points, nothing written")
    codec.add_argument("--no-references", action="store_true", help="without Opus and MP3: needs no ffmpeg")
    codec.add_argument("--out", default=None, help="the table (default: data/results/codec.json)")
    text = kinds.add_parser("text", help="a text-to-music model: FD, KL, CLAP score, tempo, novelty")
    text.add_argument("--steps", type=int, default=16, help="denoising steps (default: %(default)s)")
    rollouts = kinds.add_parser(
        "rollouts", help="long performances: drift, seams, and how fast a new prompt is followed"
    )
    rollouts.add_argument("--rollouts", type=int, default=64, help="roll-outs of 20 s (default: %(default)s)")
    rollouts.add_argument(
        "--long",
        type=int,
        default=16,
        help="roll-outs of two minutes, and changes of the prompt; 0: none (default: %(default)s)",
    )
    rollouts.add_argument(
        "--steps", type=int, nargs="+", default=[8, 50], help="denoising steps a block (default: %(default)s)"
    )
    hearing = kinds.add_parser("hearing", help="a live session: does it play what it hears?")
    hearing.add_argument(
        "--clips", type=int, default=20, help="recordings that play along (default: %(default)s)"
    )
    hearing.add_argument("--seconds", type=float, default=20.0, help="of each (default: %(default)s)")
    hearing.add_argument("--model", default="block_causal")
    hearing.add_argument(
        "--checkpoint",
        help="weights of it (default: the shipped ones); the table is then only written to --out",
    )
    hearing.add_argument("--out", default=None, help="the table (default: data/results/hearing_<model>.json)")
    for kind in (text, rollouts):
        kind.add_argument("--model", default="bidirectional")
        kind.add_argument(
            "--checkpoint",
            help="weights of it (default: the shipped ones); the table is then only written to --out",
        )
        kind.add_argument(
            "--cfg-scale", type=float, default=2.0, help="guidance; 1 = none (default: %(default)s)"
        )
        kind.add_argument(
            "--temperature",
            type=float,
            default=1.1,
            help="of the discrete model, instead of steps (default: %(default)s)",
        )
        kind.add_argument(
            "--top-k",
            type=int,
            default=40,
            help="likewise: how many of the likeliest codes may be drawn (default: %(default)s)",
        )
        kind.add_argument("--out", default=None, help="the table (default: data/results/<what>_<model>.json)")
    reference = kinds.add_parser(
        "reference", help="what real music scores: needed again when codec, judge or corpus change"
    )
    reference.add_argument(
        "--corpus", default="runs/corpus", help="folder of the corpus (default: %(default)s)"
    )
    reference.add_argument(
        "--clips", type=int, default=256, help="clips of 11 s to compare with (default: %(default)s)"
    )
    lab = kinds.add_parser(
        "lab", help="latency and quality of many settings side by side, with sounds, for the complexity lab"
    )
    lab.add_argument(
        "--rollouts", type=int, default=24, help="roll-outs of 20 s a setting (default: %(default)s)"
    )
    lab.add_argument("--cfg-scale", type=float, default=2.0, help="guidance; 1 = none (default: %(default)s)")
    for kind in (text, rollouts, hearing, lab, reference):
        kind.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> dict:
    """Runs ``evaluate`` with parsed arguments and prints the table."""
    if args.what != "codec":
        from lmdm_mini.evaluation import (
            hearing as evaluate_hearing,
        )
        from lmdm_mini.evaluation import (
            lab as evaluate_lab,
        )
        from lmdm_mini.evaluation import (
            rollouts as evaluate_rollouts,
        )
        from lmdm_mini.evaluation import (
            text as evaluate_text,
        )

        return {"rollouts": evaluate_rollouts, "hearing": evaluate_hearing, "lab": evaluate_lab}.get(
            args.what, evaluate_text
        ).run(args)
    from lmdm_mini.codec.codec import load_codec
    from lmdm_mini.discrete.rvq import load_rvq

    codec = load_codec(args.checkpoint)
    clips, source = test_clips(args.corpus, args.recordings, per_style=1 if args.quick else 3)
    if args.quick:
        clips = {name: some[:: max(1, len(some) // 4)][:4] for name, some in clips.items()}
        source += "; quick: four clips of each"
    references = False if args.no_references else QUICK_REFERENCES if args.quick else True
    out = args.out or (None if args.quick else DATA / "results" / "codec.json")
    table = evaluate_codec(codec, clips, out, references, source, health=not args.quick, rvq=load_rvq())
    print(markdown(table))
    if out is not None:
        print(f"written to {out} and {Path(out).with_suffix('.md')}")
    return table
