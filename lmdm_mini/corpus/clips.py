"""The short clips the repository ships: two of every style, cut from the test split of a built corpus.

Notebook: 00_start_here.
"""

import json
from pathlib import Path

import torch

from lmdm_mini.audio import SAMPLE_RATE, write_audio
from lmdm_mini.corpus.data import load_manifest, pieces, read_piece

CLIPS = Path(__file__).resolve().parents[2] / "data" / "clips"


def loudest_start(mix: torch.Tensor, seconds: float) -> float:
    """Where the loudest stretch of `seconds` begins, in seconds, looked for every half second."""
    energy = mix.square().mean(0).cumsum(0)
    length, hop = int(seconds * SAMPLE_RATE), SAMPLE_RATE // 2
    starts = torch.arange(0, max(1, mix.shape[1] - length), hop)
    return float(starts[(energy[starts + length - 1] - energy[starts]).argmax()]) / SAMPLE_RATE


def write_clips(corpus, out=CLIPS, each: int = 2, seconds: float = 6.0) -> list[Path]:
    """Writes `each` clips of every style as FLAC, and clips.json with style, caption, tempo and key of each.

    The clips come from different test pieces where there are enough of them. Raises ValueError for a style
    without a test piece.
    """
    manifest, rows, paths = load_manifest(corpus), [], []
    for style in sorted({piece["style"] for piece in manifest["pieces"]}):
        tests = pieces(manifest, "test", style)
        if not tests:
            raise ValueError(f"the corpus has no test piece of style {style!r}: build more hours.")
        for number in range(each):
            piece = tests[number % len(tests)]
            mix = read_piece(piece)["mix"]
            half = mix.shape[1] // 2  # a second clip of one piece comes from its other half
            part = mix if len(tests) > number else mix[:, :half]
            start = loudest_start(part, seconds)
            clip = mix[:, int(start * SAMPLE_RATE) :][:, : int(seconds * SAMPLE_RATE)].clone()
            fade = torch.linspace(0, 1, SAMPLE_RATE // 50)
            clip[:, : len(fade)] *= fade
            clip[:, -len(fade) :] *= fade.flip(0)
            path = Path(out) / f"{style}-{number + 1}.flac"
            paths.append(write_audio(path, clip))
            rows.append(
                {
                    "file": path.name,
                    "style": style,
                    "piece": piece["id"],
                    "start": round(start, 2),
                    "bpm": piece["bpm"],
                    "key": f"{piece['key']} {piece['mode']}",
                    "caption": piece["captions"]["mix"][0],
                }
            )
    (Path(out) / "clips.json").write_text(json.dumps(rows, indent=1) + "\n")
    return paths
