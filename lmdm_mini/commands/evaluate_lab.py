"""``python -m lmdm_mini evaluate lab``: the points of the complexity lab, with their sounds."""

import argparse

from lmdm_mini.commands.options import add_guidance, add_seed, check_playing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate lab``."""
    parser.add_argument(
        "--rollouts", type=int, default=24, help="roll-outs of 20 s a setting (default: %(default)s)"
    )
    add_guidance(parser)
    add_seed(parser)


def run(args: argparse.Namespace) -> list[dict]:
    """Makes and judges all points, and prints the table."""
    check_playing(args)
    if args.rollouts < 2:
        raise ValueError(f"--rollouts is {args.rollouts}; at least 2 are needed.")
    from lmdm_mini.evaluation.lab import evaluate_lab

    rows = evaluate_lab(rollouts=args.rollouts, cfg_scale=args.cfg_scale, seed=args.seed)
    print(
        f"{'':24}{'TTFF ms':>9}{'RTF':>8}{'FD CLAP':>9}{'FD CREPE':>10}{'CLAP score':>12}{'style right':>13}"
    )
    for row in rows:
        print(
            f"{row['key']:24}{1000 * row['ttff']:>9.0f}{row['rtf']:>8.3f}{row['fd_clap']:>9.1f}"
            f"{row['fd_crepe']:>10.2f}{row['clap_score']:>12.2f}"
            f"{row['style_right']:>13.0%}"
        )
    return rows
