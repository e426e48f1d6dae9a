"""Prompts as a person writes them: one sentence or a weighted mixture, and the tempo it names.

Notebook: 02_rectified_flow.
"""

import re
import unicodedata
import warnings
from collections.abc import Sequence

from lmdm_mini.checks import real_number

MAX_CHARACTERS = 1000
SLOWEST, FASTEST = 30.0, 300.0  # beats per minute that are believed


Prompt = str | Sequence[tuple[str, float]]  # one sentence, or a weighted mixture


def clean_prompt(prompt: str) -> str:
    """`prompt` as it is used: white space folded, cut at 1,000 characters with a warning.

    Raises TypeError for anything but a string, ValueError for one that holds a broken byte.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a string or a list of (string, weight), not {type(prompt).__name__}.")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the prompt {prompt!r} holds a byte that is no text, its character {error.start + 1}: "
            "type it again."
        ) from error
    prompt = " ".join(prompt.split())
    if len(prompt) > MAX_CHARACTERS:
        warnings.warn(
            f"the prompt has {len(prompt)} characters; only the first {MAX_CHARACTERS} are read", stacklevel=3
        )
        prompt = prompt[:MAX_CHARACTERS]
    return prompt


def clean_mixture(prompt: Prompt) -> list[tuple[str, float]]:
    """A prompt as parts and their weights, which sum to 1; empty parts and parts of weight 0 are left out.
    A string may be a mixture, too, see :func:`parse_mixture`.

    Raises TypeError for what is no prompt and ValueError for weights that are negative or not finite.
    """
    if isinstance(prompt, str):
        prompt = parse_mixture(prompt)
    parts = [(prompt, 1.0)] if isinstance(prompt, str) or not isinstance(prompt, Sequence) else list(prompt)
    if not all(isinstance(part, Sequence) and len(part) == 2 and not isinstance(part, str) for part in parts):
        raise TypeError(
            "a mixture of prompts is a list of (string, weight), "
            'for instance [("funk", 0.7), ("choir", 0.3)].'
        )
    cleaned = []
    for words, weight in parts:
        if real_number(weight, f"the weight of {words!r}") < 0:
            raise ValueError(f"the weight of {words!r} is {weight}; weights are finite and not negative.")
        cleaned.append((clean_prompt(words), float(weight)))
    parts = [(words, weight) for words, weight in cleaned if words and weight > 0]
    total = sum(weight for _, weight in parts)
    return [(words, weight / total) for words, weight in parts]


# -- mixtures in one line ------------------------------------------------------------------------------------

NUMBER = r"[+-]?(?:\d+(?:[.,]\d+)?|[.,]\d+)"
AFTER = re.compile(  # "funk:0.7", "funk: 70 %", "funk = 0,7", "funk * 2", "funk (0.7)", "funk 70%"
    rf"(?P<words>.*?\S)(?:\s*[:=*×]\s*(?P<a>{NUMBER}\s*%?)|\s*\((?P<b>{NUMBER}\s*%?)\)|\s+(?P<c>{NUMBER}\s*%))",
)
BEFORE = re.compile(  # "70 % funk", "0.7 * funk", "0.7 funk"
    rf"(?:(?P<a>{NUMBER}\s*%)|(?P<b>{NUMBER})\s*[*×]|(?P<c>[+-]?0?[.,]\d+)(?=\s))\s*(?P<words>\S.*)"
)
NO_WORDS = re.compile(r"(?:[^\W\d]+\s+)?(?:tempo|bpm|met(?:er|re)|time|signature|key|speed|swing)", re.I)


def _part(line: str) -> tuple[str, float | None] | None:
    """A part of a mixture as (words, weight), weight None if it has none; None for what is no part, such as
    the halves of "tempo: 3:4 + 6:8"."""
    line = line.strip().strip("()").strip() if line.strip().startswith("(") else line.strip()
    found = AFTER.fullmatch(line) or BEFORE.fullmatch(line)
    if not found:
        return (line, None) if re.search(r"[^\W\d_]", line) else None
    words, told = found["words"], next(value for name in "abc" if (value := found[name]))
    ratio = re.search(r"\d[:=]\d+$", line)  # "3:4" is a time signature
    if ratio or NO_WORDS.fullmatch(words):
        return None
    number = float(told.rstrip("% ").replace(",", "."))
    return words, number / 100 if "%" in told else number


def parse_mixture(line: str) -> Prompt:
    """A mixture written in one line; a line that is none is a plain prompt, as it stands.

    Parts are joined by "+" and weighted as in "funk:0.7 + choir:0.3", "funk:70% + choir:30%" or "70% funk +
    30% choir", with a decimal point or comma. A part without a weight takes what the others leave of 1. If
    all parts have one that is a decimal or a percentage, ";" and "," and "and" may join them, too.
    Raises ValueError if all weights are 0.
    """
    line = unicodedata.normalize("NFKC", line) if "：" in line or "＋" in line else line
    joint = r"\s\+|\+\s" if re.search(r"\s\+|\+\s", line) else r"\+"  # with spaces, "R+B" is one word
    parts = [part for part in re.split(joint, line) if part.strip()]
    found = [part for part in map(_part, parts) if part is not None]
    if len(parts) < 2 or len(found) < len(parts) or all(weight is None for _, weight in found):
        found = _listed(line)
    if not found:
        return line
    left = 1 - sum(weight or 0 for _, weight in found)
    without = sum(weight is None for _, weight in found)
    share = left / without if without and left > 1e-6 else 1.0
    mixture = [(words, share if weight is None else weight) for words, weight in found]
    if not any(weight for _, weight in mixture):
        raise ValueError(f"all weights in {line!r} are 0: give at least one part of the mixture more.")
    return mixture


def _listed(line: str) -> list[tuple[str, float | None]]:
    """Parts of "70% funk, 30% choir" or "funk:0.7 and choir:0.3"; none if one has no such weight."""
    for joint in (r"\s*;\s*", r"\s+and\s+", r"\s*,\s+", r"\s*/\s*"):
        parts = re.split(joint, line.strip())
        found = [part for part in map(_part, parts) if part is not None and part[1] is not None]
        clear = all(re.search(r"%|\d?[.,]\d", part) for part in parts)
        if len(parts) > 1 and clear and len(found) == len(parts):
            return found
    return []


# -- tempo ---------------------------------------------------------------------------------------------------

TEMPO = r"(\d+(?:[.,]\d+)?)(?![\d%]|[.,]\d|\w|['’]s|-bit|\s*(?:bars?|seconds?|minutes?|hz|k?hz)\b)"
FIRST = r"(?:(\d+(?:[.,]\d+)?)\s*(?:-|–|to)\s*)?(\d+(?:[.,]\d+)?)"  # "120" or "118-122"
UNIT = r"(?:bpms?\b|b\.\s?p\.\s?m\b|beats?\s*(?:per|a|an|each|every|in\s+a|/)\s*min(?:ute)?s?\b)"
LINK = r"(?:\s|is|was|of|at|to|set|should|be|about|around|approximately|roughly|near(?:ly)?|marking|[:=~≈])*"
BPM = re.compile(rf"{FIRST}\s*-?\s*{UNIT}|(?:tempo|bpm|beats\s+per\s+minute|metronome|♩){LINK}{TEMPO}", re.I)


def parse_bpm(prompt: str) -> float:
    """The tempo that a sentence names, in beats a minute ("90 bpm", "120 beats/min", "tempo is 116"); of a
    range its middle; 0 if none."""
    for found in BPM.finditer(prompt):
        low, high, after = (float(x.replace(",", ".")) if x else 0.0 for x in found.groups())
        bpm = after or ((low + high) / 2 if SLOWEST <= low <= high else high)
        if SLOWEST <= bpm <= FASTEST:
            return bpm
    return 0.0


def named_bpm(prompt: Prompt) -> float:
    """The tempo that a prompt names, of a mixture that of its heaviest part that names one; 0 if none
    does."""
    named = [(weight, parse_bpm(words)) for words, weight in clean_mixture(prompt)]
    return max((part for part in named if part[1]), default=(0.0, 0.0))[1]


def described_prompt(mixture: list[tuple[str, float]], bpm: float) -> str:
    """What was understood of a prompt, in one line. mixture: as :func:`clean_mixture` gives it; bpm: the
    tempo that is played, 0 = any."""
    if not mixture:
        return "no prompt: plays what comes, at any tempo"
    named = named_bpm(mixture)
    parts = [f"{words} ({weight:.0%})" if len(mixture) > 1 else words for words, weight in mixture]
    usual = "" if named else ", which is usual for it"
    return f"prompt: {' + '.join(parts)}; tempo: {bpm:g} beats a minute{usual}"
