"""Latency and quality of many settings side by side: the points of the complexity lab, each with a sound.

For every point: the time to the first sound and of a later block, measured; FD over single seconds of
roll-outs from nothing, as in `rollouts.py`; and the same eight seconds of music, to be heard.

Notebook: 08_complexity_lab.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE, write_audio
from lmdm_mini.checkpoints import LATENTS, RESULTS, how_to_restore
from lmdm_mini.codec.codec import load_codec
from lmdm_mini.complexity.timing import rtf, time_to_first_audio
from lmdm_mini.evaluation.judges import load_clap
from lmdm_mini.evaluation.real_music import load_reference
from lmdm_mini.evaluation.rollouts import floor, judge_rollouts, prefixes
from lmdm_mini.files import write_text
from lmdm_mini.latents.packed import read_packed
from lmdm_mini.models import generate, load, stream

SOUNDS = RESULTS.parent / "lab"
PROMPT, SECONDS = "funk with slap bass and drums, 106 bpm", 8.0
POINTS = (  # model, latent frames a block, denoising steps (the discrete model has none)
    ("bidirectional", 48, 8),
    ("enc_dec", 48, 8),
    ("block_causal", 48, 2),
    ("block_causal", 48, 4),
    ("block_causal", 48, 8),
    ("block_causal", 48, 50),
    ("block_causal", 12, 8),
    ("lmm", 48, 0),
)


LMM_SAMPLING = {
    "temperature": 0.9,
    "top_k": 1024,
    "cfg_scale": 1.5,
}  # the best of ten by 16 roll-outs of each, a noisy measure


def time_stream(begin, repeats: int = 5) -> dict[str, float]:
    """Of streams that `begin()` starts: "ttff" in seconds, "rtf" of later blocks; medians, after one that is
    not counted."""
    next(begin())
    first = statistics.median(time_to_first_audio(begin) for _ in range(repeats))
    playing = begin()
    while playing.context.shape[-1] < playing.context_latents:  # until the context is full
        next(playing)
    blocks = [next(playing) for _ in range(repeats)]
    return {
        "ttff": first,
        "rtf": statistics.median(
            rtf(block.seconds_to_make, block.audio.shape[-1] / SAMPLE_RATE) for block in blocks
        ),
    }


def evaluate_lab(
    points=POINTS,
    rollouts: int = 24,
    cfg_scale: float = 2.0,
    *,
    seed: int = 0,
    out: Path = RESULTS / "lab.json",
    sounds: Path = SOUNDS,
) -> list[dict]:
    """Judges all `points`, writes the table to `out` and a sound of each into `sounds`; returns the rows."""
    codec, clap = load_codec(), load_clap()
    reference = load_reference(clap, codec)
    given = prefixes(read_packed(LATENTS / "test.safetensors", codec.fingerprint), rollouts)
    rows = []
    for name, block, steps in tqdm(points, desc="points"):
        model = load(name)
        settings: dict[str, Any] = {"block_latents": block} | (
            LMM_SAMPLING if name == "lmm" else {"steps": steps, "cfg_scale": cfg_scale}
        )
        key = f"{name}-{block}" + (f"-{steps}" if steps else "")
        label = f"block {block}" + (f", K = {steps}" if steps else "")
        times = time_stream(lambda: stream(model, PROMPT, seed=seed, **settings))
        judged = judge_rollouts(model, clap, reference, given, primed=False, seed=seed, **settings)
        write_audio(
            sounds / f"{key}.mp3", 0.7 * generate(model, PROMPT, SECONDS, seed=seed, **settings)
        )  # an MP3's peaks are higher
        rows.append({"key": key, "system": name, "label": label, **times, **judged})
    table = {
        "rollouts": rollouts,
        "cfg_scale": cfg_scale,
        "seed": seed,
        "prompt": PROMPT,
        "floor": floor(reference, rollouts),
        "points": rows,
    }
    write_text(out, json.dumps(table, indent=1) + "\n")
    return rows


def read_points(table: Path = RESULTS / "lab.json", sounds: Path = SOUNDS) -> list[dict]:
    """The rows of a table, each with "floor" (FD CLAP of real music) and its "sound" (a path);
    FileNotFoundError says what is missing."""
    if not table.is_file():
        raise FileNotFoundError(
            f"no table at {table}: `python -m lmdm_mini evaluate lab` makes it. {how_to_restore()}"
        )
    content = json.loads(table.read_text())
    rows = [
        row | {"floor": content["floor"]["fd_clap"], "sound": sounds / f"{row['key']}.mp3"}
        for row in content["points"]
    ]
    missing = [row["sound"].name for row in rows if not row["sound"].is_file()]
    if missing:
        raise FileNotFoundError(f"{sounds} lacks {', '.join(missing)}. {how_to_restore()}")
    return rows
