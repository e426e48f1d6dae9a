"""``python -m lmdm_mini train consistency|arc``: a live model that plays in two steps, and does not drift."""

import argparse
from pathlib import Path

from lmdm_mini.checks import whole_number
from lmdm_mini.commands.options import (
    add_accelerator,
    add_eager,
    add_training,
    check_training,
    training_settings,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, which the parser's default `what` names."""
    add_accelerator(parser)
    if parser.get_default("what") == "consistency":
        parser.add_argument(
            "--from",
            dest="variant",
            default="block_causal",
            help="the live model to start from, in --out or shipped (default: %(default)s)",
        )
        add_eager(parser)
        add_training(parser, steps=450, batch=16, lr=2e-4)
        return
    parser.add_argument(
        "--start", type=Path, help="the consistency model (default: consistency.safetensors in --out)"
    )
    parser.add_argument(
        "--longest",
        type=int,
        default=8,
        help="what is played before it is judged, at most, in stretches of 48 frames, 2.2 s; the last 8 are "
        "judged (default: %(default)s)",
    )
    parser.add_argument(
        "--alone",
        type=int,
        default=120,
        help="steps of the discriminator before the generator's first (default: %(default)s)",
    )
    parser.add_argument(
        "--each",
        type=int,
        default=2,
        help="its steps before each of the generator's later (default: %(default)s)",
    )
    # steps are the generator's, items are streams
    add_training(parser, steps=400, batch=4, lr=5e-6)


def run(args: argparse.Namespace) -> None:
    """Trains one of the two stages. Raises ValueError, OSError or ArithmeticError with a sentence."""
    check_training(args)
    if args.what == "consistency":
        from lmdm_mini.diffusion.consistency import train_consistency

        path = train_consistency(training_settings(args), args.variant)
    else:
        whole_number(args.alone, "--alone", 0)
        whole_number(args.each, "--each", 1)
        whole_number(args.longest, "--longest", 8)
        from lmdm_mini.diffusion.arc_train import train_arc
        from lmdm_mini.training.duel import Turns

        turns = Turns(args.alone, args.each)
        path = train_arc(training_settings(args), start=args.start, longest=args.longest, turns=turns)
    print(f"weights are in {path}")
