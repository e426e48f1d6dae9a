"""``python -m lmdm_mini generate``: music into a file."""

import argparse
import os
import tempfile
from pathlib import Path

from lmdm_mini.checks import guidance, real_number
from lmdm_mini.commands.options import add_codes, add_guidance, add_precision, add_seed, check_playing

SHORTEST = 0.1  # seconds of a recording that can be gone on from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--model", default="bidirectional")
    parser.add_argument(
        "--prompt",
        default="",
        help='what to play, in English, or a mixture like "funk:0.7 + choir:0.3"; empty plays what comes',
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
    parser.add_argument(
        "--stem", type=Path, metavar="FILE", help="a recording to play along with; what comes is the rest"
    )
    parser.add_argument(
        "--visibility",
        type=float,
        default=0.0,
        help="seconds of the stem beyond a block's beginning that are known, -2 to 2 (default: %(default)s)",
    )
    parser.add_argument(
        "--mix", action="store_true", help="add the stem to what is made, limited to full scale"
    )
    parser.add_argument(
        "--sketch", type=Path, metavar="FILE", help="a recording whose melody and loudness are followed"
    )
    parser.add_argument(
        "--sketch-scale",
        type=float,
        default=1.0,
        help="guidance of the sketch, 0 to 20; 1 = none (default: %(default)s)",
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--steps", type=int, help="denoising steps a block (default: the checkpoint's own, else 16)"
    )
    add_guidance(parser, None)
    parser.add_argument(
        "--sampler", choices=("euler", "pingpong"), help="default: the checkpoint's own, else euler"
    )
    add_precision(parser)
    add_codes(parser)
    add_seed(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the file to write (.wav, .flac, .ogg, .mp3)"
    )


def check(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers that no music can be made with, before anything is loaded."""
    check_playing(args)
    if not 0 < real_number(args.seconds, "--seconds") < 24 * 3600:
        raise ValueError(f"--seconds is {args.seconds}; it must be more than 0, and less than a day.")
    if not real_number(args.hear, "--hear") >= SHORTEST:
        raise ValueError(f"--hear is {args.hear}; it must be at least {SHORTEST} seconds.")
    if args.keep and not args.go_on:
        raise ValueError("--keep keeps the recording of --continue: name one, or leave --keep out.")
    if args.model == "lmm" and (args.stem or args.sketch):
        raise ValueError("--stem and --sketch are for diffusion models: take another --model.")
    if args.mix and not args.stem:
        raise ValueError("--mix adds the recording of --stem: name one, or leave --mix out.")
    if args.mix and args.keep:
        raise ValueError(
            "--mix and --keep: the stem has no part in the recording that is kept. Leave one out."
        )
    if not abs(real_number(args.visibility, "--visibility")) <= 2:
        raise ValueError(f"--visibility is {args.visibility:g}; it must be from -2 to 2 seconds.")
    guidance(args.sketch_scale, "--sketch-scale")


def run(args: argparse.Namespace) -> None:
    """Makes the music and writes it. Says first how the prompt was understood.

    Raises ValueError or OSError with a sentence, before the music is made wherever that can be known. If the
    file cannot be written afterwards, the music is kept in the folder for temporary files.
    """
    check(args)
    from lmdm_mini.audio import SAMPLE_RATE, check_format, read_audio, write_audio
    from lmdm_mini.conditioning.prompt import clean_mixture, described_prompt
    from lmdm_mini.conditioning.text import encode_text
    from lmdm_mini.files import check_writable
    from lmdm_mini.models import generate, load, sampling

    check_format(args.output)
    prompt = clean_mixture(args.prompt)
    model = load(args.model)
    stem, sketch = (None if path is None else read_audio(path) for path in (args.stem, args.sketch))
    context = None if args.go_on is None else read_audio(args.go_on, last=args.hear)
    settings = sampling(model, args.steps, args.temperature, top_k=args.top_k)
    if "steps" in settings and args.sampler:
        settings["sampler"] = args.sampler
    if stem is not None:
        settings |= {"stem": stem, "visibility": args.visibility}
    if sketch is not None:
        settings |= {"sketch": sketch, "sketch_scale": args.sketch_scale}
    check_writable(args.output)
    print(described_prompt(prompt, float(encode_text([prompt]).bpm)), flush=True)
    audio = generate(
        model,
        prompt,
        args.seconds,
        keep=args.keep,
        cfg_scale="auto" if args.cfg_scale is None else args.cfg_scale,
        seed=args.seed,
        context=context,
        precision=args.precision,
        **settings,
    )
    if args.mix and stem is not None:
        count = min(audio.shape[-1], stem.shape[-1])
        audio[:, :count] += stem[:, :count]
    try:
        path = write_audio(args.output, audio)
    except OSError as error:
        raise _kept_elsewhere(audio, error) from error
    print(f"{audio.shape[-1] / SAMPLE_RATE:.1f} s in {path}")


def _kept_elsewhere(audio, error: OSError) -> OSError:
    """The error, with where the music is instead."""
    from lmdm_mini.audio import write_audio

    for folder in (Path(tempfile.gettempdir()), Path.home()):
        try:
            path = write_audio(folder / f"lmdm_mini-{os.getpid()}.flac", audio)
        except OSError:
            continue
        return OSError(f"{error} What was made is in {path}.")
    return OSError(f"{error} There was no other place for what was made, either.")
