"""Prompts as a person writes them: one sentence or a weighted mixture, and the tempo it names.

Notebook: 02_rectified_flow.
"""

import math
import re
import warnings
from collections.abc import Sequence

MAX_CHARACTERS = 1000
SLOWEST, FASTEST = 30.0, 300.0  # beats per minute that are believed


Prompt = str | Sequence[tuple[str, float]]  # one sentence, or a weighted mixture


def clean_prompt(prompt: str) -> str:
    """`prompt` as it is used: white space folded, cut at 1,000 characters with a warning.

    Raises TypeError for anything but a string.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a string or a list of (string, weight), not {type(prompt).__name__}.")
    prompt = " ".join(prompt.split())
    if len(prompt) > MAX_CHARACTERS:
        warnings.warn(
            f"the prompt has {len(prompt)} characters; only the first {MAX_CHARACTERS} are read", stacklevel=3
        )
        prompt = prompt[:MAX_CHARACTERS]
    return prompt


def clean_mixture(prompt: Prompt) -> list[tuple[str, float]]:
    """A prompt as parts and their weights, which sum to 1; empty parts and parts of weight 0 are left out.

    Raises TypeError for what is no prompt and ValueError for weights that are negative or not finite.
    """
    parts = [(prompt, 1.0)] if isinstance(prompt, str) or not isinstance(prompt, Sequence) else list(prompt)
    if not all(isinstance(part, Sequence) and len(part) == 2 and not isinstance(part, str) for part in parts):
        raise TypeError(
            'a mixture of prompts is a list of (string, weight), for instance [("funk", 0.7), ("choir", 0.3)].'
        )
    for words, weight in parts:
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"the weight of {words!r} is {weight}; weights are finite and not negative.")
    parts = [(clean_prompt(words), float(weight)) for words, weight in parts]
    parts = [(words, weight) for words, weight in parts if words and weight > 0]
    total = sum(weight for _, weight in parts)
    return [(words, weight / total) for words, weight in parts]


def parse_mixture(line: str) -> Prompt:
    """A mixture written in one line, "funk:0.7 + choir:0.3"; a line that is none is a plain prompt."""
    parts = [re.fullmatch(r"\s*(.+?)\s*:\s*(\d*\.?\d+)\s*", part) for part in line.split("+")]
    return [(part[1], float(part[2])) for part in parts] if len(parts) > 1 and all(parts) else line


def parse_bpm(prompt: str) -> float:
    """The tempo that a sentence names, in beats a minute ("90 bpm", "tempo 116"); 0 if none."""
    number = r"(\d+(?:\.\d+)?)"
    pattern = rf"{number}\s*-?(?:bpm|beats (?:per|a) minute)|(?:tempo|bpm)\s*(?:of|:|=)?\s*{number}"
    named = [float(found[1] or found[2]) for found in re.finditer(pattern, prompt, re.IGNORECASE)]
    return next((bpm for bpm in named if SLOWEST <= bpm <= FASTEST), 0.0)


def named_bpm(prompt: Prompt) -> float:
    """The tempo that a prompt names, of a mixture that of its heaviest part that names one; 0 if none
    does."""
    named = [(weight, parse_bpm(words)) for words, weight in clean_mixture(prompt)]
    return max((part for part in named if part[1]), default=(0.0, 0.0))[1]
