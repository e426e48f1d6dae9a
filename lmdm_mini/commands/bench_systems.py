"""``python -m lmdm_mini bench compare|roofline``: all four systems side by side."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from lmdm_mini.commands.options import add_precision, add_repeats, check_playing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini bench compare|roofline``; the parser's default `what` says which."""
    what = parser.get_default("what")
    if what == "compare":
        parser.add_argument(
            "--block", type=int, default=48, help="latent frames a block (default: %(default)s)"
        )
        add_precision(parser)
        steps, repeats = [8, 2], 5
    else:
        parser.add_argument(
            "--blocks", type=int, nargs="+", default=[12, 24, 48], help="latent frames a block"
        )
        steps, repeats = [2, 4, 8], 3
    parser.add_argument("--steps", type=int, nargs="+", default=steps, help="denoising steps a block")
    parser.add_argument(
        "--out",
        type=Path,
        help=f"where it is written (default: data/results/{what}.json)",
    )
    add_repeats(parser, repeats)


def run(args: argparse.Namespace) -> list[dict]:
    """Times all systems, prints the table and writes it."""
    check_playing(args)
    import torch

    from lmdm_mini.checkpoints import RESULTS
    from lmdm_mini.complexity.bench import peak_memory
    from lmdm_mini.complexity.compare import (
        compare_predictions,
        compare_systems,
        four_systems,
        machine_lines,
    )
    from lmdm_mini.complexity.roofline import measure_machine
    from lmdm_mini.files import check_writable, written_whole
    from lmdm_mini.models import stream
    from lmdm_mini.precision import chosen_precision

    out = check_writable(args.out or RESULTS / f"{args.what}.json")
    models = four_systems()
    for model in models:  # refuses a block that cannot be played, before minutes pass
        for block in [args.block] if args.what == "compare" else args.blocks:
            stream(model, "", block)
    if args.what == "compare":
        precision = chosen_precision(args.precision)
        rows = compare_systems(models, args.block, args.steps, repeats=args.repeats, precision=precision)
        table = {
            "threads": torch.get_num_threads(),
            "precision": precision,
            "peak_megabytes": round(peak_memory()),
            "rows": rows,
        }
        print(
            f"{table['threads']} threads, {precision}; "
            f"peak memory of this process, all models: {table['peak_megabytes']} MB"
        )
    else:
        machine = measure_machine()
        print(*machine_lines(machine), sep="\n")
        rows = compare_predictions(models, machine, args.blocks, steps=args.steps, repeats=args.repeats)
        table = {"machine": asdict(machine), "rows": rows}
    with written_whole(out) as part:
        part.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return rows
