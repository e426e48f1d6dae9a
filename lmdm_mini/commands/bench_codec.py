"""``python -m lmdm_mini bench codec``: encode and decode timed, at once and in blocks."""

import argparse

from lmdm_mini.commands.options import add_repeats, check_playing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--checkpoint", default=None, help="codec checkpoint (default: the shipped one)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the audio coded at once")
    add_repeats(parser, 5)


def run(args: argparse.Namespace) -> dict:
    """Times the codec and prints the table. Raises ValueError for a length or count out of range."""
    check_playing(args)
    if not 0 < args.seconds <= 600:
        raise ValueError(f"--seconds is {args.seconds}; choose more than 0 and at most 600.")
    from lmdm_mini.codec.codec import load_codec
    from lmdm_mini.complexity.bench import bench_codec

    return bench_codec(load_codec(args.checkpoint), args.seconds, repeats=args.repeats)
