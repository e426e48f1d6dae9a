"""``python -m lmdm_mini bench stream``: a model timed block after block."""

import argparse
import itertools

from lmdm_mini.commands.options import add_guidance, add_precision, add_repeats, check_playing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "--model", nargs="+", default=["bidirectional"], help="one, or several to compare with the first"
    )
    parser.add_argument("--blocks", type=int, nargs="+", default=[12, 24, 48], help="latent frames a block")
    parser.add_argument(
        "--contexts", type=int, nargs="+", default=[48, 96, 192], help="latent frames of context"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[2, 4, 8, 50], help="denoising steps a block")
    add_guidance(parser)
    add_precision(parser)
    parser.add_argument("--outpainting", default="mask", choices=("mask", "replace"))
    add_repeats(parser, 3)


def run(args: argparse.Namespace) -> list[dict]:
    """Times the models and prints the table. Raises ValueError for a model or a number that cannot be timed,
    before anything is."""
    check_playing(args)
    if "lmm" in args.model:
        raise ValueError(
            "bench stream counts denoising steps, which lmm does not have: "
            "`bench compare` times it beside the others."
        )
    from lmdm_mini.complexity.bench import bench_stream, compare_streams, peak_memory
    from lmdm_mini.models import load, stream
    from lmdm_mini.precision import chosen_precision

    settings = {
        "cfg_scale": args.cfg_scale,
        "repeats": args.repeats,
        "outpainting": args.outpainting,
        "precision": chosen_precision(args.precision),
    }
    models = [load(name) for name in args.model]
    for model, block, context in itertools.product(models, args.blocks, args.contexts):
        stream(model, "", block, context_latents=context)  # refuses what it cannot play
    grid = (args.blocks, args.contexts, args.steps)
    rows = (
        compare_streams(models, *grid, **settings)
        if len(models) > 1
        else bench_stream(models[0], *grid, **settings)
    )
    print(f"precision {settings['precision']}")
    print(f"peak memory of this process, all models and settings: {peak_memory():.0f} MB")
    return rows
