"""What a player can turn, brought into the types that the engine plays and a recording can store.

Any type of whole number is a whole number here, so a cell may hand over what numpy or torch computed. What is
of a wrong kind is refused before anything changes; whether a value can be played, the engine says.
"""

from collections.abc import Sequence

import numpy as np

from lmdm_mini.checks import SEEDS, checked_precision, real_number, whole_number
from lmdm_mini.conditioning.prompt import clean_mixture

WHOLE = ("steps", "block_latents")
REAL = ("cfg_scale", "mic_level", "output_level", "lead_seconds")
SWITCHES = ("follow", "frozen")


def clean_settings(changes: dict) -> dict:
    """`changes` with plain numbers, switches and prompts instead of their relatives from numpy and torch.

    Names that are not known stay as they are. Raises ValueError, or TypeError for what is no prompt.
    """
    return {name: _clean(name, value) for name, value in changes.items()}


def _clean(name: str, value):
    if name == "seed":
        return whole_number(value, name, *SEEDS)
    if name in WHOLE:
        return whole_number(value, name, least=-(2**31))  # the engine knows which can be played
    if name in REAL:
        return real_number(value, name)
    if name == "precision":
        return checked_precision(value)
    if name in SWITCHES:
        if not isinstance(value, bool | np.bool_):
            raise ValueError(f"{name} is {value!r}; it must be True or False.")
        return bool(value)
    if name == "prompt":
        clean_mixture(value)  # raises for what is no prompt
        return [(words, float(weight)) for words, weight in value] if _is_mixture(value) else value
    return value


def _is_mixture(prompt) -> bool:
    return isinstance(prompt, Sequence) and not isinstance(prompt, str)
