"""``python -m lmdm_mini corpus build|produce|recordings|encode|pack|clips|show``: the corpus in the shell."""

import argparse
import os
from pathlib import Path

from lmdm_mini.commands.options import CORPUS, RUNS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions and their options; `run` does what they say."""
    actions = parser.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="render the corpus, dry (goes on where it was stopped)")
    build.add_argument(
        "--hours", type=float, default=26.0, help="hours of music, at least (default: %(default)s)"
    )
    build.add_argument("--seed", type=int, default=0)
    build.add_argument(
        "--workers", type=int, default=os.cpu_count() or 2, help="processes (default: one a core)"
    )
    build.add_argument("--styles", nargs="+", metavar="STYLE", help="only these styles (default: all)")
    build.add_argument(
        "--soundfonts", help="names with commas, such as fluid,musescore (default: those installed)"
    )
    produce = actions.add_parser(
        "produce", help="give the dry corpus its effects, rooms and mix (goes on where it was stopped)"
    )
    produce.add_argument("--to", type=Path, default=CORPUS, help="folder to write (default: %(default)s)")
    produce.add_argument(
        "--workers", type=int, default=os.cpu_count() or 2, help="processes (default: one a core)"
    )
    recordings = actions.add_parser("recordings", help="fetch the real recordings from Debian's packages")
    recordings.add_argument("--split", choices=("train", "valid", "test"), help="only this split")
    recordings.add_argument(
        "--listening-set", action="store_true", help="write the short excerpts of data/recordings instead"
    )
    encode = actions.add_parser("encode", help="encode the built corpus to latents")
    encode.add_argument(
        "--workers", type=int, default=os.cpu_count() or 2, help="processes (default: one a core)"
    )
    pack = actions.add_parser(
        "pack", help="write the latents of data/latents, 8 bits a number, from an encoded corpus"
    )
    for split, hours in (("train", 2.0), ("valid", 0.3), ("test", 0.5)):
        pack.add_argument(
            f"--{split}-hours",
            type=float,
            default=hours,
            help=f"hours of {split} at most (default: %(default)s)",
        )
    pack.add_argument("--to", type=Path, help="folder to write (default: data/latents)")
    show = actions.add_parser("show", help="hours by style and split, tempo and key histograms")
    clips = actions.add_parser("clips", help="write the short clips of data/clips from the test split")
    for action in (build, produce, encode, pack, show, clips):
        dry = action in (build, produce)
        action.add_argument(
            "--out",
            type=Path,
            default=RUNS / "corpus" if dry else CORPUS,
            help="folder of the dry corpus (default: %(default)s)"
            if dry
            else "folder (default: %(default)s)",
        )
    recordings.add_argument(
        "--out", type=Path, default=Path("runs/recordings"), help="folder (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Does what the parsed arguments say; raises ValueError or OSError with a sentence for what cannot be
    done."""
    if args.action == "build":
        from lmdm_mini.corpus.build import build_corpus

        fonts = args.soundfonts.split(",") if args.soundfonts else None
        manifest = build_corpus(args.out, args.hours, args.seed, args.workers, args.styles, fonts)
        print(f"{len(manifest['pieces'])} pieces in {args.out}; 'corpus show' counts them")
    elif args.action == "produce":
        from lmdm_mini.corpus.produce import produce_corpus

        manifest = produce_corpus(args.out, args.to, args.workers)
        print(f"{len(manifest['pieces'])} pieces in {args.to}; give that folder to 'corpus encode --out'")
    elif args.action == "show":
        from lmdm_mini.corpus.build import show_corpus

        show_corpus(args.out)
    elif args.action == "clips":
        from lmdm_mini.corpus.clips import write_clips

        print(*write_clips(args.out), sep="\n")
    elif args.action == "encode":
        from lmdm_mini.codec.codec import load_codec
        from lmdm_mini.latents.encode import encode_corpus

        done = encode_corpus(args.out, load_codec(), workers=args.workers)
        print(f"{done} pieces encoded in {args.out / 'latents'}")
    elif args.action == "pack":
        from lmdm_mini.checkpoints import LATENTS
        from lmdm_mini.codec.codec import load_codec
        from lmdm_mini.latents.packed import pack_splits

        hours = {split: getattr(args, f"{split}_hours") for split in ("train", "valid", "test")}
        folder = args.to or LATENTS
        print(pack_splits(args.out, load_codec().fingerprint, hours, folder=folder), "are in", folder)
    else:
        from lmdm_mini.corpus.recordings import SPLITS, fetch_recordings, write_listening_set

        if args.listening_set:
            print(*write_listening_set(args.out), sep="\n")
        else:
            paths = fetch_recordings(args.out, (args.split,) if args.split else SPLITS)
            print(f"{len(paths)} recordings in {args.out / 'audio'}")
