"""``python -m lmdm_mini evaluate accompaniment``: does a model play with a musician?"""

import argparse
import json
from pathlib import Path

from lmdm_mini.checks import whole_number
from lmdm_mini.commands.options import add_seed, add_weights, check_playing, table_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate accompaniment``."""
    parser.add_argument("--clips", type=int, default=64, help="stems to play to (default: %(default)s)")
    parser.add_argument(
        "--visibility",
        type=int,
        nargs="+",
        default=[0],
        help="latent frames of the stem beyond a block's beginning, -43 to 43; several are a curve",
    )
    parser.add_argument("--steps", type=int, help="denoising steps (default: the checkpoint's own, else 16)")
    parser.add_argument("--block", type=int, default=48, help="latent frames (default: %(default)s)")
    parser.add_argument("--test", type=Path, help="a packed test set (default: the shipped one)")
    add_weights(parser)
    add_seed(parser)


def run(args: argparse.Namespace) -> dict:
    """Judges a model's accompaniment and prints the table."""
    check_playing(args)
    whole_number(args.clips, "--clips", 4)
    for frames in args.visibility:
        whole_number(frames, "--visibility", -43, most=43)
    out = table_path(args, f"accompaniment_{args.model}.json")
    from lmdm_mini.diffusion.dit import load_dit
    from lmdm_mini.evaluation.accompaniment import evaluate_accompaniment, test_clips
    from lmdm_mini.files import write_text
    from lmdm_mini.models import sampling

    model = load_dit(args.model, args.checkpoint)
    if "stem" not in model.config.controls:
        raise ValueError(f"model {args.model!r} was not trained with stems: it cannot accompany.")
    clips = test_clips(args.clips, args.test)
    how = sampling(model, args.steps) | {"block_latents": args.block}
    rows = [
        evaluate_accompaniment(model, clips, visibility=v, seed=args.seed, **how) for v in args.visibility
    ]
    table = {"model": model.name, "seed": args.seed, **how, "rows": rows}
    if out is not None:
        write_text(out, json.dumps(table, indent=1) + "\n")
    print(
        f"{model.name}, {len(clips)} stems, {how['steps']} steps, no prompt; "
        "share: 0 = shuffled, 1 = true rest"
    )
    print(f"{'':24}{'answer':>10}{'shuffled':>10}{'truth':>10}{'share':>16}")
    for row in rows:
        for name in ("chroma", "beat"):
            a = row[name]
            print(
                f"{row['seconds']:+5.2f} s, {name:14}{a['answer']:>10.2f}{a['shuffled']:>10.2f}"
                f"{a['truth']:>10.2f}{a['share']:>9.2f} +-{a['error']:.2f}"
            )
    return table
