"""``python -m lmdm_mini train rvq|lmm``."""

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
    if parser.get_default("what") == "rvq":
        parser.add_argument("--n-q", type=int, default=12, help="codebooks (default: %(default)s)")
        parser.add_argument(
            "--dropout",
            action="store_true",
            help="quantiser dropout: in a step, only a random number of the first codebooks learns",
        )
        add_training(parser, steps=600, batch=4096, lr=1e-2)
        return
    parser.add_argument(
        "--n-q", type=int, default=None, help="codes a frame (default: all that the quantiser has)"
    )
    parser.add_argument(
        "--rvq", type=Path, help="the quantiser (default: rvq.safetensors in --out, else the shipped one)"
    )
    add_accelerator(parser)
    add_eager(parser)
    add_training(parser, steps=2400, batch=16, lr=2e-3)


def run(args: argparse.Namespace) -> None:
    """Trains the quantiser or the model. Raises ValueError or OSError with a sentence."""
    check_training(args)
    n_q = args.n_q
    if n_q is not None:
        whole_number(n_q, "--n-q", 1)
    if args.what == "rvq":
        from lmdm_mini.discrete.rvq import RVQConfig
        from lmdm_mini.discrete.train_rvq import train_rvq

        path = train_rvq(training_settings(args), config=RVQConfig(args.n_q), dropout=args.dropout)
    else:
        from lmdm_mini.discrete.train import train_lmm

        path = train_lmm(training_settings(args), n_q=args.n_q, rvq=args.rvq)
    print(f"weights are in {path}")
