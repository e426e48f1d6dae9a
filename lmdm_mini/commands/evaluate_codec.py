"""``python -m lmdm_mini evaluate codec``: the codec next to Opus and MP3."""

import argparse
from pathlib import Path

from lmdm_mini.commands.options import CORPUS, RUNS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``python -m lmdm_mini evaluate codec``."""
    parser.add_argument("--corpus", default=CORPUS, help="folder of the corpus (default: %(default)s)")
    parser.add_argument(
        "--recordings", default=RUNS / "recordings", help="real recordings (default: %(default)s)"
    )
    parser.add_argument("--checkpoint", default=None, help="codec checkpoint (default: the shipped one)")
    parser.add_argument("--quick", action="store_true", help="8 clips, 2 other codecs, nothing written")
    parser.add_argument(
        "--no-other-codecs",
        "--no-references",
        action="store_true",
        help="without Opus and MP3: needs no ffmpeg",
    )
    parser.add_argument("--out", default=None, help="the table (default: data/results/codec.json)")


def run(args: argparse.Namespace) -> dict:
    """Judges the codec and prints the table."""
    from lmdm_mini.checkpoints import RESULTS
    from lmdm_mini.codec.codec import load_codec
    from lmdm_mini.discrete.rvq import load_rvq
    from lmdm_mini.evaluation.codec import Scoring, evaluate_codec, markdown, test_clips
    from lmdm_mini.evaluation.other_codecs import QUICK_CODECS
    from lmdm_mini.files import check_writable

    out = args.out or (None if args.quick else RESULTS / "codec.json")
    if out is not None:
        check_writable(out)
    codec = load_codec(args.checkpoint)
    clips, source = test_clips(args.corpus, args.recordings, per_style=1 if args.quick else 3)
    if args.quick:
        clips = {name: some[:: max(1, len(some) // 4)][:4] for name, some in clips.items()}
        source += "; quick: four clips of each"
    scoring = Scoring()
    if args.no_other_codecs or args.quick:
        scoring.other_codecs = () if args.no_other_codecs else QUICK_CODECS
    table = evaluate_codec(
        codec, clips, out, scoring=scoring, source=source, health=not args.quick, rvq=load_rvq()
    )
    print(markdown(table))
    if out is not None:
        print(f"written to {out} and {Path(out).with_suffix('.md')}")
    return table
