"""``python -m lmdm_mini evaluate sketch``: does a model follow a sketch?"""

import argparse
import json
from pathlib import Path

from lmdm_mini.checks import guidance, whole_number
from lmdm_mini.commands.options import add_guidance, add_seed, add_weights, check_playing, table_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate sketch``."""
    parser.add_argument("--clips", type=int, default=64, help="sketches to follow (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the checkpoint's own, else 16)")
    parser.add_argument("--block", type=int, default=48, help="latent frames (default: %(default)s)")
    parser.add_argument(
        "--sketch-scale",
        type=float,
        default=1.0,
        help="guidance of the sketch, 1 = none (default: %(default)s)",
    )
    parser.add_argument("--test", type=Path, help="a packed test set (default: the shipped one)")
    add_weights(parser)
    add_guidance(parser)
    add_seed(parser)


def run(args: argparse.Namespace) -> dict:
    """Judges how a model follows sketches and prints the table."""
    check_playing(args)
    whole_number(args.clips, "--clips", 4)
    guidance(args.sketch_scale, "--sketch-scale")
    out = table_path(args, f"sketch_{args.model}.json")
    from lmdm_mini.diffusion.dit import load_dit
    from lmdm_mini.evaluation.sketch_control import MEASURES, evaluate_sketch, test_sketches
    from lmdm_mini.files import write_text
    from lmdm_mini.models import sampling

    model = load_dit(args.model, args.checkpoint)
    if "sketch" not in model.config.controls:
        raise ValueError(f"model {args.model!r} was not trained with sketches: it cannot follow one.")
    how = sampling(model, args.steps) | {"block_latents": args.block, "cfg_scale": args.cfg_scale}
    wanted = test_sketches(args.clips, args.test)
    row = evaluate_sketch(model, wanted, sketch_scale=args.sketch_scale, seed=args.seed, **how)
    table = {"model": model.name, "seed": args.seed, **how, **row}
    if out is not None:
        write_text(out, json.dumps(table, indent=1) + "\n")
    print(
        f"{model.name}, {row['clips']} sketches, {how['steps']} steps; "
        "share: 0 = shuffled, 1 = after the codec"
    )
    print(f"{'':12}{'clips':>8}{'answer':>10}{'shuffled':>10}{'codec':>10}{'share':>16}")
    for name in MEASURES:
        if name in row:
            a = row[name]
            print(
                f"{name:12}{a['clips']:>8}{a['answer']:>10.2f}{a['shuffled']:>10.2f}{a['truth']:>10.2f}"
                f"{a['share']:>9.2f} +-{a['error']:.2f}"
            )
    return table
