"""The shell: ``python -m lmdm_mini corpus|train|evaluate|bench|generate --help``.

Each command is a thin door to a module of the package; see the module for what it does.
"""

import argparse
import sys
from pathlib import Path

RUNS = Path("runs")


def _train(args: argparse.Namespace) -> None:
    if args.steps < 1 or args.batch < 1:
        raise ValueError("--steps and --batch must be at least 1.")
    if args.what == "codec":
        from lmdm_mini.codec.train import train_codec
        from lmdm_mini.discrete.rvq import load_rvq

        path = train_codec(
            args.out / ("codec_decoder" if args.start else "codec"),
            args.corpus,
            args.recordings,
            args.steps,
            args.batch,
            lr=args.lr,
            seed=args.seed,
            start=args.start,
            rvq=load_rvq() if args.start else None,
            compiled=not args.eager,
        )
    elif args.what == "clap":
        from lmdm_mini.evaluation.judges import train_clap

        path = train_clap(args.out, args.corpus, args.steps, args.batch, args.lr, args.seed)
    elif args.what == "rvq":
        from lmdm_mini.discrete.rvq import RVQConfig
        from lmdm_mini.discrete.train_rvq import train_rvq

        path = train_rvq(
            args.out,
            args.corpus,
            args.steps,
            args.batch,
            args.lr,
            args.seed,
            RVQConfig(args.n_q),
            args.dropout,
        )
    elif args.what == "lmm":
        from lmdm_mini.discrete.train import train_lmm

        path = train_lmm(
            args.out,
            args.corpus,
            args.steps,
            args.batch,
            args.lr,
            args.seed,
            args.n_q,
            args.rvq,
            accelerator=args.accelerator,
            compiled=not args.eager,
        )
    else:
        from lmdm_mini.diffusion.train import train_model

        live = {} if args.what == "base" else {"learn": args.learn, "splices": not args.no_splices}
        path = train_model(
            args.out,
            args.corpus,
            "bidirectional" if args.what == "base" else args.what,
            args.steps,
            args.batch,
            args.lr,
            args.seed,
            accelerator=args.accelerator,
            compiled=not args.eager,
            start=args.start,
            **live,
        )
    print(f"weights are in {path}")


def _add_train(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="what", required=True)
    codec = kinds.add_parser("codec", help="audio <-> latents")
    codec.add_argument(
        "--start",
        type=Path,
        help="weights to go on from: trains their decoder only, on latents and on codes; latents stay what they are",
    )
    codec.add_argument("--recordings", type=Path, default=RUNS / "recordings")
    base = kinds.add_parser("base", help="the bidirectional base model, on encoded latents")
    live = [
        kinds.add_parser(name, help=f"a live variant, {about}")
        for name, about in (
            ("enc_dec", "cached across the steps of a block"),
            ("block_causal", "cached across blocks, too"),
        )
    ]
    rvq = kinds.add_parser("rvq", help="latents <-> codes, for the discrete model")
    rvq.add_argument("--n-q", type=int, default=12, help="codebooks (default: %(default)s)")
    rvq.add_argument(
        "--dropout",
        action="store_true",
        help="quantiser dropout: in a step, only a random number of the first codebooks learns",
    )
    lmm = kinds.add_parser("lmm", help="the discrete rival, code after code")
    lmm.add_argument(
        "--n-q", type=int, default=None, help="codes a frame (default: all that the quantiser has)"
    )
    lmm.add_argument(
        "--rvq", type=Path, help="the quantiser (default: rvq.safetensors in --out, else the shipped one)"
    )
    for kind in (base, *live, lmm):
        kind.add_argument(
            "--accelerator", default="auto", help="cpu, cuda or what else Fabric knows (default: %(default)s)"
        )
    for kind in (codec, base, *live, lmm):
        kind.add_argument(
            "--eager", action="store_true", help="no torch.compile: needs no C++ compiler, but is slower"
        )
    for kind in (base, *live):
        kind.add_argument(
            "--start", type=Path, help="weights of this model to go on from, with new optimisers"
        )
    for kind in live:
        learn = kind.add_mutually_exclusive_group()
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
        kind.add_argument(
            "--no-splices",
            action="store_true",
            help="no context from another piece than the target, to compare",
        )
    clap = kinds.add_parser("clap", help="the judge of sound and words, on the corpus")
    defaults = (
        (codec, 4500, 16, 6e-4),
        (clap, 600, 96, 1e-3),
        (base, 5400, 16, 2e-3),
        (live[0], 1000, 16, 8e-4),
        (live[1], 1600, 16, 8e-4),
        (rvq, 600, 4096, 1e-2),
        (lmm, 2400, 16, 2e-3),
    )
    for kind, steps, batch, lr in defaults:
        kind.add_argument("--corpus", type=Path, default=RUNS / "corpus")
        kind.add_argument(
            "--out", type=Path, default=RUNS, help="folder of checkpoints and logs (default: %(default)s)"
        )
        kind.add_argument(
            "--steps", type=int, default=steps, help="optimiser steps in all (default: %(default)s)"
        )
        kind.add_argument("--batch", type=int, default=batch, help="items a step (default: %(default)s)")
        kind.add_argument("--lr", type=float, default=lr, help="peak learning rate (default: %(default)s)")
        kind.add_argument("--seed", type=int, default=0)


def _generate(args: argparse.Namespace) -> None:
    from lmdm_mini import generate, load, read_audio, write_audio
    from lmdm_mini.audio import AUDIO_FORMATS, SAMPLE_RATE
    from lmdm_mini.conditioning.prompt import parse_mixture
    from lmdm_mini.models import sampling

    context = None
    if args.output.suffix.lower() not in AUDIO_FORMATS:
        raise ValueError(f"cannot write {args.output}: use one of {', '.join(AUDIO_FORMATS)}.")
    if args.go_on:
        if not args.hear > 0:
            raise ValueError(f"--hear is {args.hear}; it must be more than 0 seconds.")
        context = read_audio(args.go_on)[:, -int(args.hear * SAMPLE_RATE) :]
    model = load(args.model)
    settings = sampling(model, args.steps, args.temperature, args.top_k)
    if "steps" in settings:
        settings["sampler"] = args.sampler
    audio = generate(
        model,
        parse_mixture(args.prompt),
        args.seconds,
        args.keep,
        cfg_scale=args.cfg_scale,
        seed=args.seed,
        context=context,
        **settings,
    )
    print(f"{audio.shape[-1] / SAMPLE_RATE:.1f} s in {write_audio(args.output, audio)}")


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="bidirectional")
    parser.add_argument(
        "--prompt",
        default="",
        help='what to play, or a mixture like "funk:0.7 + choir:0.3"; empty plays what comes',
    )
    parser.add_argument(
        "--continue",
        dest="go_on",
        type=Path,
        metavar="FILE",
        help="a recording to go on from (WAV, FLAC, OGG, MP3)",
    )
    parser.add_argument(
        "--hear",
        type=float,
        default=9.0,
        help="how many of its last seconds are heard (default: %(default)s)",
    )
    parser.add_argument(
        "--keep", action="store_true", help="put the recording, through the codec, in front of what is made"
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--steps", type=int, default=16, help="denoising steps a block (default: %(default)s)"
    )
    parser.add_argument(
        "--cfg-scale", type=float, default=2.0, help="guidance; 1 = none (default: %(default)s)"
    )
    parser.add_argument("--sampler", default="euler", choices=("euler", "pingpong"))
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the file to write (.wav, .flac, .ogg, .mp3)"
    )


def build_parser() -> argparse.ArgumentParser:
    from lmdm_mini.complexity.counts import bench
    from lmdm_mini.corpus import commands
    from lmdm_mini.evaluation import codec as evaluate
    from lmdm_mini.live import bench as measure

    parser = argparse.ArgumentParser(prog="python -m lmdm_mini", description="LMDM-mini in the shell")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: one a core)")
    kinds = parser.add_subparsers(dest="command", required=True)
    doors = {
        "corpus": ("the music: build, recordings, encode, show", commands.add_arguments, commands.run),
        "train": ("train the codec or a model", _add_train, _train),
        "evaluate": ("judge it, in a table", evaluate.add_arguments, evaluate.run),
        "bench": ("time it", lambda door: measure.add_arguments(bench.add_arguments(door)), bench.run),
        "generate": ("make music into a file", _add_generate, _generate),
    }
    for name, (about, add, run) in doors.items():
        door = kinds.add_parser(name, help=about, description=about)
        add(door)
        door.set_defaults(run=run)
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    try:
        if args.threads < 0:
            raise ValueError(f"--threads is {args.threads}; it must be at least 1, or 0 for one a core.")
        if args.threads:
            import torch

            torch.set_num_threads(args.threads)
        args.run(args)
    except ModuleNotFoundError as error:
        print(
            f'lmdm_mini: this needs {error.name}: python -m pip install -e ".[corpus,dev]"', file=sys.stderr
        )
        return 2
    except (ValueError, OSError, ArithmeticError) as error:
        print(f"lmdm_mini: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
