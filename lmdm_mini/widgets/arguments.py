"""What cells hand to a widget, checked before anything is shown."""

import math

from lmdm_mini.checks import real_number


def positive(value, name: str, most: float = math.inf) -> float:
    """`value` as a float above 0 and up to `most`. Raises ValueError."""
    number = real_number(value, name)
    if not 0 < number <= most:
        limit = "" if most == math.inf else f" and at most {most:g}"
        raise ValueError(f"{name} is {number:g}; it must be positive{limit}.")
    return number


def one_of(value, name: str, choices) -> str:
    """`value` if it is one of the choices. Raises ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; there are: {', '.join(choices)}.")
    return value


def instance_of(value, name: str, kind: type, what: str):
    """`value` if it is of this kind, or None. Raises ValueError, in which `what` says what is expected."""
    if value is not None and not isinstance(value, kind):
        raise ValueError(f"{name} is of type {type(value).__name__}; it must be {what}.")
    return value
