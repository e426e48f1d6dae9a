"""What callers give, checked before any work is done: whole numbers, and how far guidance goes.

Nothing here imports torch, so the shell and the live session check with the same functions.
"""

import math
import operator

MOST_GUIDANCE = 20.0
COLDEST = 0.01  # lowest temperature: below it, the likeliest code is all that is ever drawn
SEEDS = (-(2**63), 2**64 - 1)  # what torch takes
PRECISIONS = ("auto", "float32", "bfloat16")  # of the matrix products, see lmdm_mini/precision.py


def whole_number(value, name: str, least: int, most: int | None = None) -> int:
    """`value` as an int. Any type of whole number is taken: 8, 8.0, numpy.int64(8), torch.tensor(8).

    name: what the number is called in the error. least, most: the smallest and the largest that are allowed.
    Raises ValueError for anything else, among it None, True, "8" and 8.5.
    """
    wanted = f"a whole number {f'from {least} on' if most is None else f'from {least} to {most}'} is needed."
    try:
        number = operator.index(value)
    except TypeError:
        try:
            number = int(value) if value == int(value) else None
        except (TypeError, ValueError, OverflowError):  # None, words, NaN, infinity
            number = None
    if number is None or isinstance(value, bool | str | bytes):
        raise ValueError(f"{name} is {value!r}; {wanted}")
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {number}; {wanted}")
    return number


def real_number(value, name: str) -> float:
    """`value` as a finite float. Raises ValueError for anything else."""
    try:
        number = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} is {value!r}; it must be a finite number.")
    return number


def guidance(value, name: str = "cfg_scale") -> float:
    """A guidance scale as a float: 1 is none, 2 is usual.

    Raises ValueError below 0 and above 20. Beyond about 7, loud distortion takes the place of music.
    """
    number = real_number(value, name)
    if not 0 <= number <= MOST_GUIDANCE:
        raise ValueError(
            f"{name} is {number:g}; it must be from 0 to {MOST_GUIDANCE:g}. 1 is no guidance and 2 is usual; "
            "beyond about 7, distortion takes the place of music."
        )
    return number


def temperature(value, name: str = "temperature") -> float:
    """A temperature of the discrete model as a float. Raises ValueError below 0.01."""
    number = real_number(value, name)
    if number < COLDEST:
        raise ValueError(
            f"{name} is {number:g}; it must be at least {COLDEST:g}. For the likeliest codes, take top_k=1."
        )
    return number


def checked_precision(value, name: str = "precision") -> str:
    """A precision to play in. Raises ValueError for what is none of `PRECISIONS`."""
    if not isinstance(value, str) or value not in PRECISIONS:
        raise ValueError(f"{name} is {value!r}; there are: {', '.join(PRECISIONS)}.")
    return value
