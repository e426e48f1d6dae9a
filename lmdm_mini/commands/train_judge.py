"""``python -m lmdm_mini train clap``: the judge of sound and words, on the corpus."""

import argparse

from lmdm_mini.commands.options import add_training, check_training, training_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini train clap``."""
    add_training(parser, steps=600, batch=96, lr=1e-3)


def run(args: argparse.Namespace) -> None:
    """Trains the judge. Raises ValueError or OSError with a sentence."""
    check_training(args)
    from lmdm_mini.evaluation.judges import train_clap

    path = train_clap(training_settings(args))
    print(f"weights are in {path}")
