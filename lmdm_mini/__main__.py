"""The shell: ``python -m lmdm_mini corpus|train|evaluate|bench|generate --help``.

Every command is a module with two functions: `add_arguments(parser)` and `run(args)`. The table below names
it. Only the module of the command that was chosen is imported, so ``--help`` needs neither torch nor widgets.
"""

import argparse
import sys
import warnings
from importlib import import_module

MOST_THREADS = 256

# command -> (one line about it, its module); a group of commands has a table instead of a module
COMMANDS = {
    "corpus": ("the music: build, recordings, encode, show", "lmdm_mini.commands.corpus"),
    "train": (
        "train the codec or a model",
        {
            "codec": ("audio <-> latents", "lmdm_mini.commands.train_codec"),
            "base": (
                "the bidirectional base model, on encoded latents",
                "lmdm_mini.commands.train_diffusion",
            ),
            "enc_dec": (
                "a live variant, cached across the steps of a block",
                "lmdm_mini.commands.train_diffusion",
            ),
            "block_causal": (
                "a live variant, cached across blocks, too",
                "lmdm_mini.commands.train_diffusion",
            ),
            "consistency": (
                "a live model that plays in two steps, from one that needs many",
                "lmdm_mini.commands.train_arc",
            ),
            "arc": (
                "that, trained on what it plays after its own output (ARC-Forcing)",
                "lmdm_mini.commands.train_arc",
            ),
            "rvq": ("latents <-> codes, for the discrete model", "lmdm_mini.commands.train_discrete"),
            "lmm": ("the discrete rival, code after code", "lmdm_mini.commands.train_discrete"),
            "clap": ("the judge of sound and words, on the corpus", "lmdm_mini.commands.train_judge"),
        },
    ),
    "evaluate": (
        "judge it, in a table",
        {
            "codec": ("next to Opus and MP3", "lmdm_mini.commands.evaluate_codec"),
            "text": (
                "a text-to-music model: FD, KL, CLAP score, tempo, novelty",
                "lmdm_mini.commands.evaluate_text",
            ),
            "rollouts": (
                "long performances: drift, seams, and how fast a new prompt is followed",
                "lmdm_mini.commands.evaluate_rollouts",
            ),
            "hearing": ("a live session: does it play what it hears?", "lmdm_mini.commands.evaluate_hearing"),
            "accompaniment": (
                "does a model play with a musician? Its notes and beats against the stem's",
                "lmdm_mini.commands.evaluate_accompaniment",
            ),
            "sketch": (
                "does a model follow a melody and its loudness?",
                "lmdm_mini.commands.evaluate_sketch",
            ),
            "reference": (
                "what real music scores: needed again when codec, judge or corpus change",
                "lmdm_mini.commands.evaluate_reference",
            ),
            "lab": (
                "latency and quality of many settings side by side, with sounds, for the complexity lab",
                "lmdm_mini.commands.evaluate_lab",
            ),
        },
    ),
    "bench": (
        "time it",
        {
            "codec": ("encode and decode, at once and in blocks", "lmdm_mini.commands.bench_codec"),
            "stream": ("a model block after block", "lmdm_mini.commands.bench_stream"),
            "compare": (
                "all four systems side by side: RTF, TTFF, NFE, time by part, memory",
                "lmdm_mini.commands.bench_systems",
            ),
            "roofline": (
                "all four systems, measured and as predicted from counts",
                "lmdm_mini.commands.bench_systems",
            ),
            "live": (
                "a session with a simulated player and listener, at real speed",
                "lmdm_mini.commands.bench_live",
            ),
        },
    ),
    "generate": ("make music into a file", "lmdm_mini.commands.generate"),
}


class CommandParser(argparse.ArgumentParser):
    """The parser of one command; the module that it names is imported when the command was chosen."""

    module: str | None = None

    def parse_known_args(self, args=None, namespace=None):
        """As argparse does it, once the module has added its arguments."""
        if self.module is not None:
            module, self.module = import_module(self.module), None
            module.add_arguments(self)
            self.set_defaults(run=module.run)
        return super().parse_known_args(args, namespace)


def build_parser() -> CommandParser:
    """The parser of the table."""
    parser = CommandParser(prog="python -m lmdm_mini", description="LMDM-mini in the shell")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: one a core)")
    _add_commands(parser, COMMANDS, "command")
    return parser


def _add_commands(parser: CommandParser, table: dict, name_of: str) -> None:
    """Adds a table of commands; name_of: the attribute of the parsed arguments that says which was chosen."""
    kinds = parser.add_subparsers(dest=name_of, required=True)
    for name, (about, inside) in table.items():
        command = kinds.add_parser(name, help=about, description=about)
        command.set_defaults(**{name_of: name})
        if isinstance(inside, dict):
            _add_commands(command, inside, "what")
        else:
            command.module = inside


def _one_line(message, category, filename, lineno, line=None) -> str:
    """A warning as the shell shows it: what it says, without the place in the code."""
    return f"lmdm_mini: {message}\n"


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, or 2 after one sentence about what was wrong."""
    before, warnings.formatwarning = warnings.formatwarning, _one_line
    for channel in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is no reason to fail
        if hasattr(channel, "reconfigure"):
            channel.reconfigure(errors="backslashreplace")
    try:
        args = build_parser().parse_args(argv)
        if not 0 <= args.threads <= MOST_THREADS:
            raise ValueError(
                f"--threads is {args.threads}; it must be at least 1 and at most {MOST_THREADS}, "
                "or 0 for one a core."
            )
        if args.threads:
            import torch

            torch.set_num_threads(args.threads)
        args.run(args)
    except ModuleNotFoundError as error:
        said = f'this needs {error.name}: python -m pip install -e ".[corpus,dev]"'
    except MemoryError:
        said = "there is not enough memory for this."
    except (ValueError, OSError, ArithmeticError) as error:
        said = str(error)
    except KeyboardInterrupt as error:
        print(f"lmdm_mini: {str(error) or 'stopped.'}", file=sys.stderr)
        return 130
    else:
        return 0
    finally:
        warnings.formatwarning = before
    print(f"lmdm_mini: {said}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
