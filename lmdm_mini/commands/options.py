"""Options that several commands of the shell share, each named and explained once.

Nothing here imports torch before a command runs: ``--help`` stays quick.
"""

import argparse
from pathlib import Path

from lmdm_mini.checks import PRECISIONS, guidance, real_number, temperature, whole_number

RUNS = Path("runs")
CORPUS = RUNS / "produced"  # where `corpus produce` writes and the corpus is encoded


# -- playing -------------------------------------------------------------------------------------------------


def add_guidance(parser: argparse.ArgumentParser, default: float | None = 2.0) -> None:
    """``--cfg-scale``; default: None is the checkpoint's own, else 2."""
    usual = "the checkpoint's own, else 2" if default is None else default
    parser.add_argument(
        "--cfg-scale", type=float, default=default, help=f"guidance, 0 to 20; 1 = none (default: {usual})"
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """``--precision``."""
    parser.add_argument(
        "--precision",
        default="float32",
        choices=PRECISIONS,
        help="of the matrix products; auto: the one that is faster here (default: %(default)s)",
    )


def add_codes(parser: argparse.ArgumentParser) -> None:
    """``--temperature`` and ``--top-k``: how the discrete model draws its codes."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.1,
        help="of the discrete model, instead of steps (default: %(default)s)",
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=40,
        help="likewise: how many of the likeliest codes may be drawn (default: %(default)s)",
    )


def add_weights(parser: argparse.ArgumentParser, model: str = "bidirectional") -> None:
    """``--model`` and ``--checkpoint`` of an evaluation, and where its table goes."""
    parser.add_argument("--model", default=model)
    parser.add_argument(
        "--checkpoint",
        help="weights of it (default: the shipped ones); the table is then only written to --out",
    )
    parser.add_argument("--out", default=None, help="the table (default: data/results/<what>_<model>.json)")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """``--seed``."""
    parser.add_argument("--seed", type=int, default=0)


def add_repeats(parser: argparse.ArgumentParser, repeats: int) -> None:
    """``--repeats`` of a measurement."""
    parser.add_argument("--repeats", type=int, default=repeats, help="runs measured; the median is shown")


def check_playing(args: argparse.Namespace) -> None:
    """Raises ValueError for guidance, temperature, codes, steps or a seed that no model can play with, named
    as in the shell; those that a command does not have are left out."""
    told = {name: value for name, value in vars(args).items() if value is not None}
    if "cfg_scale" in told:
        guidance(args.cfg_scale, "--cfg-scale")
    if "temperature" in told:
        temperature(args.temperature, "--temperature")
    for name in ("top_k", "steps", "block", "blocks", "repeats"):
        values = told.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            whole_number(value, f"--{name.replace('_', '-')}", 1)
    if "seed" in told:
        whole_number(args.seed, "--seed", -(2**63), most=2**64 - 1)


def table_path(args: argparse.Namespace, name: str) -> Path | None:
    """Where the table of an evaluation goes, checked before the work: --out, else `name` among the results of
    the shipped weights. Other weights (--checkpoint) without --out: None. Raises OSError."""
    if args.out is None and args.checkpoint:
        return None
    from lmdm_mini.checkpoints import RESULTS
    from lmdm_mini.files import check_writable

    return check_writable(args.out or RESULTS / name)


# -- training ------------------------------------------------------------------------------------------------


def add_training(parser: argparse.ArgumentParser, steps: int, batch: int, lr: float) -> None:
    """What every training takes, with its defaults."""
    parser.add_argument(
        "--corpus",
        type=Path,
        default=CORPUS,
        help="a corpus, or a folder of packed latents; else what ships (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, default=RUNS, help="folder of checkpoints and logs (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=steps, help="optimiser steps in all (default: %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=batch, help="items a step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=lr, help="peak learning rate (default: %(default)s)")
    add_seed(parser)


def add_accelerator(parser: argparse.ArgumentParser) -> None:
    """``--accelerator``: where the steps are made."""
    parser.add_argument(
        "--accelerator", default="auto", help="cpu, cuda or what else Fabric knows (default: %(default)s)"
    )


def add_eager(parser: argparse.ArgumentParser) -> None:
    """``--eager``: without torch.compile."""
    parser.add_argument(
        "--eager", action="store_true", help="no torch.compile: needs no C++ compiler, but is slower"
    )


def check_training(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers with which nothing can be trained."""
    if args.steps < 1 or args.batch < 1:
        raise ValueError("--steps and --batch must be at least 1.")
    if not 0 < real_number(args.lr, "--lr") <= 1:
        raise ValueError(f"--lr is {args.lr}; it must be more than 0 and at most 1.")
    whole_number(args.seed, "--seed", -(2**63), most=2**64 - 1)
    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out is {args.out}, which is a file; a folder is needed.")
    for name in ("start", "rvq"):
        path = getattr(args, name, None)
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"--{name}: no file of weights at {path}.")


def training_settings(args: argparse.Namespace):
    """The options that all trainings share, as :class:`lmdm_mini.training.run.TrainSettings`."""
    from lmdm_mini.training.run import TrainSettings

    device = getattr(args, "accelerator", "cpu")
    compiled = not getattr(args, "eager", True)
    return TrainSettings(args.out, args.corpus, args.steps, args.batch, args.lr, args.seed, device, compiled)
