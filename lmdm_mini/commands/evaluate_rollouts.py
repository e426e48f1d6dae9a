"""``python -m lmdm_mini evaluate rollouts``: long performances judged."""

import argparse

from lmdm_mini.checks import whole_number
from lmdm_mini.commands.options import (
    add_codes,
    add_guidance,
    add_precision,
    add_seed,
    add_weights,
    check_playing,
    table_path,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate rollouts``."""
    parser.add_argument("--rollouts", type=int, default=64, help="roll-outs of 20 s (default: %(default)s)")
    parser.add_argument(
        "--long",
        type=int,
        default=16,
        help="roll-outs of two minutes, and changes of the prompt; 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs="+",
        help="denoising steps a block (default: the checkpoint's own, else 8 and 50)",
    )
    parser.add_argument(
        "--block", type=int, default=48, help="latent frames of a block (default: %(default)s)"
    )
    parser.add_argument(
        "--look-back",
        type=int,
        help="latent frames before a block that a layer attends to (default: 192)",
    )
    add_weights(parser)
    add_guidance(parser)
    add_precision(parser)
    add_codes(parser)
    add_seed(parser)


def run(args: argparse.Namespace) -> dict:
    """Judges roll-outs of a model and prints the table."""
    if min(args.rollouts, *(args.steps or [1])) < 1 or args.long < 0:
        raise ValueError("--rollouts and --steps must be at least 1, and --long at least 0.")
    if args.long > args.rollouts:
        raise ValueError(f"--long is {args.long}; it is at most --rollouts, {args.rollouts}.")
    check_playing(args)
    if args.look_back is not None:
        whole_number(args.look_back, "--look-back", 1)
    other = args.block != 48 or args.look_back is not None
    name = args.model + (f"_block_{args.block}_look_back_{args.look_back or 192}" if other else "")
    out = table_path(args, f"rollouts_{name}.json")
    from lmdm_mini.evaluation.rollouts import evaluate_rollouts, lines
    from lmdm_mini.models import load, own_settings, sampling
    from lmdm_mini.precision import chosen_precision

    model = load(args.model, args.checkpoint)
    # the table says which it was
    shape = {"precision": chosen_precision(args.precision), "block_latents": args.block}
    if args.look_back is not None:
        shape["context_latents"] = args.look_back
    own = own_settings(model).get("steps")
    steps = args.steps or ([own] if own else [8, 50])
    settings = [
        sampling(model, count, args.temperature, top_k=args.top_k) | shape
        for count in (steps if args.model != "lmm" else (0,))
    ]
    table = evaluate_rollouts(
        model, settings, args.rollouts, cfg_scale=args.cfg_scale, long=args.long, seed=args.seed, out=out
    )
    print(*lines(table), sep="\n")
    return table
