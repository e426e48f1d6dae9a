"""``python -m lmdm_mini evaluate reference``: what real music scores."""

import argparse

from lmdm_mini.commands.options import CORPUS, add_seed, check_playing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate reference``."""
    parser.add_argument("--corpus", default=CORPUS, help="folder of the corpus (default: %(default)s)")
    parser.add_argument(
        "--clips", type=int, default=256, help="clips of 11 s to compare with (default: %(default)s)"
    )
    add_seed(parser)


def run(args: argparse.Namespace) -> None:
    """Computes what real music scores, and writes it."""
    check_playing(args)
    if args.clips < 2:
        raise ValueError(f"--clips is {args.clips}; at least 2 are needed.")
    from lmdm_mini.checkpoints import LATENTS
    from lmdm_mini.codec.codec import load_codec
    from lmdm_mini.evaluation.judges import load_clap
    from lmdm_mini.evaluation.real_music import REFERENCE, build_reference, save_reference
    from lmdm_mini.latents.packed import read_packed

    codec = load_codec()
    train = read_packed(LATENTS / "train.safetensors", codec.fingerprint)
    reference = build_reference(
        load_clap(), codec, args.corpus, train=train, clips=args.clips, seed=args.seed
    )
    save_reference(reference)
    print(f"{len(reference.prompts)} prompts and {len(reference.train['clap'])} clips are in {REFERENCE}")
