"""``python -m lmdm_mini evaluate hearing``: does a live model play what it hears?"""

import argparse
import json
import math

from lmdm_mini.commands.options import add_seed, add_weights, check_playing, table_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate hearing``."""
    parser.add_argument(
        "--clips", type=int, default=20, help="recordings that play along (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each (default: %(default)s)")
    add_weights(parser, model="block_causal")
    add_seed(parser)


def run(args: argparse.Namespace) -> dict:
    """Judges a model's hearing and prints the table."""
    check_playing(args)
    if args.model == "lmm":
        raise ValueError("--model lmm cannot play in a session, which needs a diffusion model.")
    if args.clips < 3:
        raise ValueError("--clips must be at least 3.")
    from lmdm_mini.diffusion.dit import load_dit
    from lmdm_mini.evaluation.hearing import JUDGED, judge_hearing, recordings
    from lmdm_mini.files import write_text

    if not 2 * JUDGED - 5 <= args.seconds < math.inf:
        raise ValueError(f"--seconds must be at least {2 * JUDGED - 5:g}: the last {JUDGED:g} are judged.")
    out = table_path(args, f"hearing_{args.model}.json")
    model, sounds = load_dit(args.model, args.checkpoint), recordings(args.clips, args.seconds)
    table = {
        "model": model.name,
        "clips": len(sounds),
        "seconds": args.seconds,
        "seed": args.seed,
        "hearing": judge_hearing(model, sounds, args.seed),
        "deaf": judge_hearing(model, sounds, args.seed, mic_level=0.0),
    }
    if out is not None:
        write_text(out, json.dumps(table, indent=1) + "\n")
    print(
        f"{model.name}, {len(sounds)} recordings of {args.seconds:g} s, the last {JUDGED:g} judged, no prompt"
    )
    print(f"{'':24}{'with its own':>16}{'with others':>16}{'effect':>10}{'more often':>12}")
    for ears in ("hearing", "deaf"):
        for name, row in table[ears].items():
            print(
                f"{ears + ', ' + name:24}{row['heard']:>16.2f}{row['others']:>16.2f}{row['effect']:>10.2f}"
                f"{row['more_often']:>12.0%}"
            )
    return table
