"""The four systems side by side, in seconds: measured, and as predicted from counts.

Notebook: 08_complexity_lab. Paper: table 1.
"""

import itertools
import math
import statistics
from functools import partial

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec.codec import FRAME_SAMPLES
from lmdm_mini.complexity.bench import in_steady_state, median_parts
from lmdm_mini.complexity.counts import block_passes, network_evaluations, sequential_steps
from lmdm_mini.complexity.roofline import Machine, predict
from lmdm_mini.complexity.timing import rtf, time_to_first_audio
from lmdm_mini.conditioning.text import encode_text
from lmdm_mini.discrete.lmm import LMM
from lmdm_mini.models import load, sampling, stream

PROMPT = "funk, 110 bpm"


def prompt_tokens() -> int:
    """Returns the number of tokens of PROMPT that cross-attention attends to, the learnt one included."""
    return encode_text([PROMPT]).tokens.shape[1] + 1


def measure_block(
    model,
    context_latents: int = 192,
    block_latents: int = 48,
    *,
    steps: int = 8,
    guided: bool = True,
    repeats: int = 3,
    precision: str = "float32",
) -> dict[str, float]:
    """Returns the median seconds of one block of a model by part, "context", "network", "codec" and "rest",
    once its context is full."""
    settings = sampling(model, steps) | {"block_latents": block_latents, "cfg_scale": 2.0 if guided else 1.0}
    settings["precision"] = precision
    playing = in_steady_state(
        stream(model, PROMPT, context_latents=context_latents, **settings), context_latents
    )
    return median_parts([next(playing) for _ in range(repeats)])


def memory_of(model, playing) -> int:
    """Returns the bytes of a model's weights and of its stream's cache. The codec is not counted, because it
    is the same for all."""
    tensors = [*model.parameters(), *playing.kept()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def compare_systems(
    models: list,
    block_latents: int = 48,
    steps=(8, 2),
    *,
    guidance=(True, False),
    context_latents: int = 192,
    repeats: int = 5,
    precision: str = "float32",
    show: bool = True,
) -> list[dict]:
    """Times all systems for each setting, one right after the other, so that noise of the machine affects all
    of them.

    Rows: "system", "steps" (0 for the discrete model), "guided", seconds a block by part as
    :func:`measure_block`, "seconds" in all, "rtf", "ttff" (the first block from nothing), "first_frame" (the
    discrete model has sound after one frame, the others after the first block), "nfe",
    "sequential" (passes through a network, one after another), "memory" (bytes of weights and caches) and
    "lmm" (how many times as long the discrete model takes for a block, measured next to it).
    """
    discrete = next(model for model in models if isinstance(model, LMM))
    rows = []
    for guided, count in itertools.product(guidance, steps):
        some = []
        for model in models:
            settings = sampling(model, count) | {
                "cfg_scale": 2.0 if guided else 1.0,
                "context_latents": context_latents,
                "precision": precision,
            }
            parts = measure_block(
                model,
                context_latents,
                block_latents,
                steps=count,
                guided=guided,
                repeats=repeats,
                precision=precision,
            )
            first, frame = (
                statistics.median(
                    time_to_first_audio(partial(stream, model, PROMPT, size, **settings))
                    for _ in range(repeats)
                )
                for size in (block_latents, 1 if model is discrete else block_latents)
            )
            passes = block_passes(
                model.config,
                context_latents,
                block_latents,
                steps=count,
                tokens=prompt_tokens(),
                guided=guided,
            )
            playing = stream(model, PROMPT, **settings)
            some.append(
                {
                    "system": model.config.variant,
                    "steps": 0 if model is discrete else count,
                    "guided": guided,
                    "context_latents": context_latents,
                    "block_latents": block_latents,
                    **parts,
                    "seconds": sum(parts.values()),
                    "rtf": rtf(sum(parts.values()), block_latents * FRAME_SAMPLES / SAMPLE_RATE),
                    "ttff": first,
                    "first_frame": frame,
                    "nfe": network_evaluations(passes),
                    "sequential": sequential_steps(passes),
                    "memory": memory_of(playing.model, playing),
                }
            )
        for row in some:
            row["lmm"] = some[models.index(discrete)]["seconds"] / row["seconds"]
        rows += some
    if show:
        print(*system_lines(rows), sep="\n")
    return rows


def system_lines(rows: list[dict]) -> list[str]:
    """The rows of :func:`compare_systems` as text."""
    lines = [
        f"{'':18}{'guided':>7}{'steps':>6}{'NFE':>6}{'passes':>7}"
        f"{'context':>9}{'network':>9}{'codec':>7}{'block ms':>10}{'RTF':>7}"
        f"{'1st frame':>10}{'1st block':>10}{'MB':>6}{'lmm takes':>11}"
    ]
    for r in rows:
        lines.append(
            f"{r['system']:18}{'yes' if r['guided'] else 'no':>7}{r['steps'] or '-':>6}"
            f"{r['nfe']:>6}{r['sequential']:>7}{1000 * r['context']:>9.1f}"
            f"{1000 * r['network']:>9.1f}{1000 * r['codec']:>7.1f}{1000 * r['seconds']:>10.1f}"
            f"{r['rtf']:>7.3f}{1000 * r['first_frame']:>10.0f}"
            f"{1000 * r['ttff']:>10.0f}{r['memory'] / 1e6:>6.0f}{r['lmm']:>10.1f}x"
        )
    return lines


# -- predictions ---------------------------------------------------------------------------------------

PARTS = {
    "context": ("context",),
    "network": ("denoising", "temporal", "depth"),
    "codec": ("codec",),
}  # of a block, and of its passes


def compare_predictions(
    models: list,
    machine: Machine,
    blocks=(12, 24, 48),
    *,
    steps=(2, 4, 8),
    guidance=(False, True),
    context_latents: int = 192,
    repeats: int = 3,
    show: bool = True,
) -> list[dict]:
    """Streams measured, and what :func:`lmdm_mini.complexity.roofline.predict` says of them, on `machine`,
    which is to be this one.

    Rows: "system", "block_latents", "steps" (0 for the discrete model), "guided", "part" ("context",
    "network", "codec", or "block" for all of it), and "measured" and "predicted" in seconds a block.
    """
    rows = []
    for model in models:
        discrete = isinstance(model, LMM)
        for block, count, guided in itertools.product(blocks, (0,) if discrete else steps, guidance):
            measured = measure_block(
                model, context_latents, block, steps=count, guided=guided, repeats=repeats
            )
            parts = predict(
                block_passes(
                    model.config, context_latents, block, steps=count, tokens=prompt_tokens(), guided=guided
                ),
                machine,
            )
            if discrete:  # it reads its prompt along with the context
                parts["context"] = parts.get("context", 0.0) + parts.pop("text")
            predicted = {name: sum(parts.get(part, 0.0) for part in some) for name, some in PARTS.items()}
            measured["block"], predicted["block"] = sum(measured.values()), sum(parts.values())
            rows += [
                {
                    "system": model.config.variant,
                    "block_latents": block,
                    "steps": count,
                    "guided": guided,
                    "part": name,
                    "measured": measured[name],
                    "predicted": predicted[name],
                }
                for name in predicted
                if predicted[name]
            ]
    if show:
        print(*prediction_lines(rows), sep="\n")
    return rows


def prediction_lines(rows: list[dict]) -> list[str]:
    """The rows of :func:`compare_predictions` as text, in ms, predicted / measured, and the worst ratios."""
    lines = [
        f"{'system':>14}{'block':>7}{'steps':>7}{'guided':>8}"
        + "".join(f"{name:>24}" for name in (*PARTS, "block"))
    ]
    for setting, some in itertools.groupby(
        rows, lambda r: (r["system"], r["block_latents"], r["steps"], r["guided"])
    ):
        cells = {
            r["part"]: f"{1000 * r['predicted']:.1f} / {1000 * r['measured']:.1f} "
            f"({r['predicted'] / r['measured']:.2f})"
            for r in some
        }
        system, block, steps, guided = setting
        lines.append(
            f"{system:>14}{block:>7}{steps or '-':>7}{'yes' if guided else 'no':>8}"
            + "".join(f"{cells.get(name, '-'):>24}" for name in (*PARTS, "block"))
        )
    for what, some in (
        ("block", [r for r in rows if r["part"] == "block"]),
        ("part", [r for r in rows if r["part"] != "block"]),
    ):
        worst = max(some, key=lambda r: abs(math.log(r["predicted"] / r["measured"])))
        lines.append(
            f"worst {what}: {worst['system']}, {worst['part']}, {worst['block_latents']} frames: "
            "predicted is "
            f"{worst['predicted'] / worst['measured']:.2f} of what is measured"
        )
    return lines


def machine_lines(machine: Machine) -> list[str]:
    """A machine as text."""
    rates = "  ".join(f"{rows:g}: {speed / 1e9:.0f}" for rows, speed in machine.products)
    return [
        f"{machine.name} ({machine.source}): {1e6 * machine.overhead:.1f} us an operation, "
        f"{machine.bandwidth / 1e9:.0f} GB/s of weights, "
        f"{machine.moving / 1e9:.0f} GB/s between products",
        f"GFLOP/s of products by rows: {rates}",
    ]


def four_systems() -> list:
    """One model of each kind."""
    return [load(name) for name in ("bidirectional", "enc_dec", "block_causal", "lmm")]
