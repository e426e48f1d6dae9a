"""``python -m lmdm_mini train base|enc_dec|block_causal``."""

import argparse
from pathlib import Path

from lmdm_mini.commands.options import (
    add_accelerator,
    add_eager,
    add_training,
    check_training,
    training_settings,
)

DEFAULTS = {  # steps, batch, learning rate
    "base": (24_000, 16, 2e-3),
    "enc_dec": (1000, 16, 8e-4),
    "block_causal": (1600, 16, 8e-4),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command, which the parser's default `what` names."""
    what = parser.get_default("what")
    add_accelerator(parser)
    add_eager(parser)
    parser.add_argument("--start", type=Path, help="weights of this model to go on from, with new optimisers")
    if what == "base":
        _add_shape(parser)
    else:
        _add_live(parser)
    add_training(parser, *DEFAULTS[what])


def _add_shape(parser: argparse.ArgumentParser) -> None:
    """Size and controls of a base that starts from random weights; live variants have those of their base."""
    parser.add_argument("--width", type=int, help="channels of a layer, a multiple of 64 (default: 320)")
    parser.add_argument("--depth", type=int, help="layers (default: 8)")
    parser.add_argument("--no-controls", action="store_true", help="neither stem nor sketch, to compare")


def _shape(args: argparse.Namespace):
    """The configuration that the options ask for. Raises ValueError."""
    from dataclasses import replace

    from lmdm_mini.diffusion.dit import BASE

    width, depth = args.width or BASE.width, args.depth or BASE.depth
    if width < 64 or width % 64 or depth < 1:
        raise ValueError(
            f"--width is {width} and --depth is {depth}; width must be a multiple of 64, depth at least 1."
        )
    controls = () if args.no_controls else BASE.controls
    return replace(BASE, width=width, depth=depth, heads=width // 64, controls=controls)


def _add_live(parser: argparse.ArgumentParser) -> None:
    """What only live variants have: other ways to learn, to compare."""
    learn = parser.add_mutually_exclusive_group()
    learn.add_argument(
        "--from-data",
        dest="learn",
        action="store_const",
        const="from_data",
        default="distil",
        help="learn the velocity of the data instead of what the base says, to compare",
    )
    learn.add_argument(
        "--scratch",
        dest="learn",
        action="store_const",
        const="scratch",
        help="that, and from nothing instead of from the base",
    )
    parser.add_argument(
        "--no-splices", action="store_true", help="no context from another piece than the target, to compare"
    )


def run(args: argparse.Namespace) -> None:
    """Trains the base or a live variant. Raises ValueError or OSError with a sentence."""
    check_training(args)
    from lmdm_mini.diffusion.train import train_model

    settings = training_settings(args)
    if args.what == "base":
        path = train_model(settings, "bidirectional", start=args.start, config=_shape(args))
    else:
        splices = not args.no_splices
        path = train_model(settings, args.what, learn=args.learn, splices=splices, start=args.start)
    print(f"weights are in {path}")
