"""Long performances judged: does a stream stay music, do its blocks join, and how fast does it follow a new
prompt?

- Roll-outs of 20 s, from nothing and primed with nine seconds of real music of the test split: FD over single
  seconds in both embeddings, of the whole and of the first block alone; CLAP score and style as in
  `text.py`; KL of the tagger's posteriors to what real clips of the style get; the seam ratio.
- Drift: roll-outs of two minutes, FD over single seconds in bins of ten.
- A change of the prompt: the CLAP score with the new one, half a second after half a second.

Distances of few sounds come out too large, so every floor is real music in the same numbers: as many pieces,
as many seconds of each.

Notebook: 06_block_causal. Paper: section 4.
"""

import json
import math
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import LATENTS
from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_RATE, load_codec
from lmdm_mini.diffusion.stream import Stream
from lmdm_mini.evaluation.judges import Clap, embed_audio, embed_prompts, load_clap
from lmdm_mini.evaluation.metrics import frechet_distance, seam_ratio
from lmdm_mini.evaluation.real_music import Reference, embed, load_reference
from lmdm_mini.files import write_text
from lmdm_mini.latents.packed import ENDING, LatentPiece, read_packed
from lmdm_mini.models import Model, described, stream

CONTEXT_LATENTS = 192
BIN = 10  # seconds of the drift curve that are looked at together


def prefixes(test: list[LatentPiece], count: int) -> list[tuple[Tensor, str, str]]:
    """Returns `count` prefixes for roll-outs, styles in turn. Each has latents (1, 64, CONTEXT_LATENTS) from
    the middle of a piece, a caption and the style."""
    styles = sorted({piece.style for piece in test})
    by_style = [[piece for piece in test if piece.style == style] for style in styles]
    chosen = [
        by_style[i % len(styles)][i // len(styles) % len(by_style[i % len(styles)])] for i in range(count)
    ]
    found = []
    for i, piece in enumerate(chosen):
        room = piece.latents.shape[-1] - ENDING - CONTEXT_LATENTS
        start = max(0, room) * (1 + i // len(styles)) // (1 + count // len(styles))
        found.append(
            (
                piece.latents[None, :, start : start + CONTEXT_LATENTS].float(),
                piece.captions[i % len(piece.captions)],
                piece.style,
            )
        )
    return found


def start(model: Model, prompt: str, seed: int, context: Tensor | None = None, **settings) -> Stream:
    """Returns a stream that continues context latents (1, 64, T); settings as
    :func:`lmdm_mini.models.stream`. It attends to CONTEXT_LATENTS frames unless they say otherwise."""
    settings.setdefault("context_latents", CONTEXT_LATENTS)
    playing = stream(model, prompt, seed=seed, **settings)
    if context is not None:
        playing.set_context(context)
    return playing


def perform(playing: Stream, seconds: float) -> Tensor:
    """Returns the next `seconds` of a stream, (2, N)."""
    blocks = math.ceil(seconds * LATENT_RATE / playing.block_latents)
    return torch.cat([next(playing).audio for _ in range(blocks)], -1)[:, : int(seconds * SAMPLE_RATE)]


def split_seconds(audio: Tensor) -> Tensor:
    """Splits audio (2, N) into its whole seconds, (n, 2, SAMPLE_RATE)."""
    return (
        audio[:, : audio.shape[1] // SAMPLE_RATE * SAMPLE_RATE]
        .unflatten(1, (-1, SAMPLE_RATE))
        .transpose(0, 1)
    )


def distances(clap: Clap, reference: Reference, seconds: Tensor) -> dict[str, float]:
    """Returns the FD of single seconds (n, 2, SAMPLE_RATE) to those of the train split, in both
    embeddings."""
    parts = [embed(clap, some) for some in seconds.split(32)]
    return {
        f"fd_{name}": frechet_distance(torch.cat([part[name] for part in parts]), real.flatten(0, 1))
        for name, real in reference.train_seconds.items()
    }


def floor(reference: Reference, count: int, each: int = 4) -> dict[str, float]:
    """Returns the same distances for real music of valid and test: `each` seconds, at most 4, of `count`
    clips."""
    found = {}
    for name, real in reference.real_seconds.items():
        rows = torch.linspace(0, len(real) - 1, min(count, len(real))).round().long()
        found[f"fd_{name}"] = frechet_distance(
            real[rows, :each].flatten(0, 1), reference.train_seconds[name].flatten(0, 1)
        )
    return found


# -- three questions ---------------------------------------------------------------------------------


def judge_rollouts(
    model: Model,
    clap: Clap,
    reference: Reference,
    given: list,
    primed: bool,
    seconds: float = 20.0,
    seed: int = 0,
    **settings,
) -> dict:
    """Returns one row of the table. given: of :func:`prefixes`. settings: as
    :func:`lmdm_mini.models.stream`."""
    made, seams = [], []
    for i, (context, prompt, _) in enumerate(
        tqdm(given, desc=f"roll-outs, {described(settings)}", leave=False)
    ):
        playing = start(model, prompt, seed + i, context if primed else None, **settings)
        made.append(perform(playing, seconds))
        block = playing.block_latents * FRAME_SAMPLES
        # a join sounds 512 samples late, and a decoder that continues a context holds back 256 more
        seams.append(
            seam_ratio(torch.cat([playing.heard[:, -block:], made[-1]], 1), block, 768 if primed else 512)
        )
    sound = torch.cat([embed_audio(clap, audio[None]) for audio in made])
    words, wanted = (
        embed_prompts(clap, [prompt for _, prompt, _ in given]),
        torch.tensor([clap.styles.index(style) for _, _, style in given]),
    )
    tags = clap.style_head(sound).log_softmax(-1)
    real = torch.stack(
        [reference.style[reference.wanted == style].exp().mean(0) for style in wanted]
    )  # what real clips of it get
    spread = [round(i * (int(seconds) - 1) / 3) for i in range(4)]  # four seconds, from the first to the last
    whole = distances(clap, reference, torch.cat([split_seconds(audio)[spread] for audio in made]))
    first = distances(
        clap, reference, torch.cat([split_seconds(audio[:, : 2 * SAMPLE_RATE]) for audio in made])
    )
    return (
        whole
        | {f"first_{name}": value for name, value in first.items()}
        | {
            "kl": float((real * (real.clamp_min(1e-9).log() - tags)).sum(-1).mean()),
            "clap_score": float((F.normalize(sound, dim=-1) * words).sum(-1).mean()),
            "style_right": float((tags.argmax(-1) == wanted).float().mean()),
            "seam_ratio": float(torch.tensor(seams).mean()),
        }
    )


def drift_curve(
    model: Model,
    clap: Clap,
    reference: Reference,
    *,
    given: list,
    seconds: float = 120.0,
    seed: int = 0,
    **settings,
) -> list[dict]:
    """Returns the FD over single seconds of primed roll-outs, for each bin of BIN seconds."""
    made = [
        split_seconds(perform(start(model, prompt, seed + i, context, **settings), seconds))
        for i, (context, prompt, _) in enumerate(tqdm(given, desc="drift", leave=False))
    ]
    return [
        {"second": at, **distances(clap, reference, torch.cat([audio[at : at + 8 : 2] for audio in made]))}
        for at in range(0, int(seconds), BIN)
    ]


def prompt_change(
    model: Model, clap: Clap, given: list, *, before: int = 192, after: int = 480, seed: int = 0, **settings
) -> dict:
    """Measures how fast a stream follows a new prompt: `before` latent frames in one style, then `after` in
    another.

    Returns the CLAP score with the new prompt over windows of 2 s, by seconds from the change to the end of
    the window. settled: the mean of the last four scores. blocks: how many it takes until the score has risen
    by 80 % of the difference to settled.

    Raises ValueError if all that is given has one style."""
    curves, size = [], 0
    if len({style for _, _, style in given}) < 2:
        raise ValueError("a change of the prompt needs prompts of at least two styles.")
    for i, (_, prompt, style) in enumerate(tqdm(given, desc="prompt changes", leave=False)):
        playing = start(model, prompt, seed + i, **settings)
        size = playing.block_latents * FRAME_SAMPLES
        made = [next(playing).audio for _ in range(before // playing.block_latents)]
        new = next(words for _, words, other in given[i:] + given[:i] if other != style)
        playing.set(prompt=new)
        audio = torch.cat(made + [next(playing).audio for _ in range(after // playing.block_latents)], -1)
        change = sum(part.shape[1] for part in made)
        ends = range(change, audio.shape[1] + 1, SAMPLE_RATE // 2)
        windows = torch.stack([audio[:, end - 2 * SAMPLE_RATE : end] for end in ends])
        curves.append(F.normalize(embed_audio(clap, windows), dim=-1) @ embed_prompts(clap, [new])[0])
    curve = torch.stack(curves).mean(0)
    settled = float(curve[-4:].mean())
    goal = float(curve[0]) + 0.8 * (settled - float(curve[0]))
    reached = next((i * 0.5 for i, value in enumerate(curve.tolist()) if value >= goal), None)
    return {
        "seconds": [i * 0.5 for i in range(len(curve))],
        "clap_score": curve.tolist(),
        "settled": settled,
        "blocks": None if reached is None else reached * SAMPLE_RATE / size,
    }


# -- the table ---------------------------------------------------------------------------------------


def evaluate_rollouts(
    model: Model,
    settings: list[dict],
    rollouts: int = 64,
    *,
    cfg_scale: float = 2.0,
    long: int = 16,
    seed: int = 0,
    out=None,
    reference: Reference | None = None,
) -> dict:
    """The tables of one model, as a dict that JSON can hold; `out` writes it. settings: what else to play
    with, one after the other, see :func:`lmdm_mini.models.sampling`. long: roll-outs of two minutes, and
    prompt changes, with the first of them; with 0 there are no "drift" and no "change"."""
    codec, clap = load_codec(), load_clap()
    reference = reference or load_reference(clap, codec)
    given = prefixes(read_packed(LATENTS / "test.safetensors", codec.fingerprint), rollouts)
    judge = partial(judge_rollouts, model, clap, reference, given, cfg_scale=cfg_scale, seed=seed)
    rows = [
        {"primed": primed} | some | judge(primed=primed, **some)
        for primed in (False, True)
        for some in settings
    ]
    table = {
        "model": model.name,
        "rollouts": rollouts,
        "cfg_scale": cfg_scale,
        "seed": seed,
        "rows": rows,
        "floor": floor(reference, rollouts)
        | {f"first_{k}": v for k, v in floor(reference, rollouts, 2).items()},
    }
    if long:
        play = settings[0] | {"cfg_scale": cfg_scale, "seed": seed}
        table |= {
            "drift": drift_curve(model, clap, reference, given=given[:long], **play),
            "drift_floor": floor(reference, long),
            "change": prompt_change(model, clap, given[:long], **play),
        }
    if out is not None:
        write_text(out, json.dumps(table, indent=1) + "\n")
    return table


def lines(table: dict) -> Iterator[str]:
    """The table as text."""
    keys = (
        "fd_clap",
        "fd_crepe",
        "first_fd_clap",
        "first_fd_crepe",
        "kl",
        "clap_score",
        "style_right",
        "seam_ratio",
    )
    yield f"{table['model']}: {table['rollouts']} roll-outs of 20 s, guidance {table['cfg_scale']:g}"
    yield f"{'':32}" + "".join(f"{key:>16}" for key in keys)
    for row in ({"name": "real"} | table["floor"], *table["rows"]):
        name = row.get("name") or f"{'primed' if row['primed'] else 'from nothing'}, {described(row)}"
        yield f"{name:32}" + "".join(f"{row[key]:>16.3f}" if key in row else f"{'':>16}" for key in keys)
    if "drift" not in table:
        return
    yield "drift (FD CLAP): " + ", ".join(
        f"{point['second']} s {point['fd_clap']:.0f}" for point in table["drift"]
    )
    yield f"  floor {table['drift_floor']['fd_clap']:.0f}"
    change, reached = table["change"], table["change"]["blocks"]
    yield (
        f"after a change of the prompt the CLAP score settles at {change['settled']:.2f}; 80 % of the way "
        + ("are not reached" if reached is None else f"take {reached:.1f} blocks")
    )
