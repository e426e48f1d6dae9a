"""``python -m lmdm_mini evaluate text``: a text-to-music model judged."""

import argparse

from lmdm_mini.commands.options import (
    add_codes,
    add_guidance,
    add_seed,
    add_weights,
    check_playing,
    table_path,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate text``."""
    parser.add_argument("--steps", type=int, help="denoising steps (default: the checkpoint's own, else 16)")
    add_weights(parser)
    add_guidance(parser)
    add_codes(parser)
    add_seed(parser)


def run(args: argparse.Namespace) -> dict:
    """Judges a model and prints the table."""
    check_playing(args)
    out = table_path(args, f"text_{args.model}.json")
    from lmdm_mini.evaluation.text import evaluate_text, markdown
    from lmdm_mini.models import load, sampling

    model = load(args.model, args.checkpoint)
    table = evaluate_text(
        model,
        args.cfg_scale,
        args.seed,
        out,
        **sampling(model, args.steps, args.temperature, top_k=args.top_k),
    )
    print(markdown(table))
    return table
