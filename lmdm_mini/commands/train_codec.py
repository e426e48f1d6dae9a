"""``python -m lmdm_mini train codec``."""

import argparse
from pathlib import Path

from lmdm_mini.commands.options import RUNS, add_eager, add_training, check_training, training_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--start",
        type=Path,
        help="weights to go on from: trains their decoder only, on latents and on codes; "
        "latents stay what they are",
    )
    parser.add_argument("--recordings", type=Path, default=RUNS / "recordings")
    add_eager(parser)
    add_training(parser, steps=4500, batch=16, lr=6e-4)


def run(args: argparse.Namespace) -> None:
    """Trains the codec, or the decoder of `--start` alone. Raises ValueError or OSError with a sentence."""
    check_training(args)
    from lmdm_mini.codec.train import train_codec
    from lmdm_mini.discrete.rvq import load_rvq

    settings = training_settings(args)
    settings.out = args.out / ("codec_decoder" if args.start else "codec")
    path = train_codec(
        settings, args.recordings, start=args.start, quantiser=load_rvq() if args.start else None
    )
    print(f"weights are in {path}")
