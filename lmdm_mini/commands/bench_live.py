"""``python -m lmdm_mini bench live``: a session with a simulated player and listener."""

import argparse
import math
from pathlib import Path

from lmdm_mini.commands.options import add_guidance, add_precision, check_playing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--model", default="block_causal")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--block", type=int, default=12, help="latent frames a block")
    parser.add_argument("--steps", type=int, default=8, help="denoising steps a block")
    add_guidance(parser)
    add_precision(parser)
    parser.add_argument(
        "--player",
        type=Path,
        help="a recording of what is played to the model, again and again (default: nobody plays)",
    )
    parser.add_argument(
        "--busy", action="store_true", help="this process works, too, as a notebook does while cells run"
    )


def run(args: argparse.Namespace):
    """Measures a session and prints what was measured. Raises ValueError for what cannot be played, OSError
    if the session ends early."""
    check_playing(args)
    if not 0 < args.seconds < math.inf:
        raise ValueError(f"--seconds is {args.seconds}; it must be more than 0.")
    if args.model == "lmm":
        raise ValueError("--model lmm cannot play in a session, which needs a diffusion model.")
    from lmdm_mini.audio import read_audio
    from lmdm_mini.live.bench import live_lines, measure_live
    from lmdm_mini.precision import chosen_precision

    sound = None if args.player is None else read_audio(args.player)
    precision = chosen_precision(args.precision)
    settings = {
        "block_latents": args.block,
        "steps": args.steps,
        "cfg_scale": args.cfg_scale,
        "precision": precision,
    }
    try:
        times = measure_live(args.model, args.seconds, sound, busy=args.busy, **settings)
    except RuntimeError as error:
        raise OSError(str(error)) from error
    beside = ", beside a busy Python" if args.busy else ""
    print(
        f"{args.model}, guidance {args.cfg_scale:g}, {precision}{beside}",
        *live_lines(times),
        sep="\n  ",
    )
    return times
