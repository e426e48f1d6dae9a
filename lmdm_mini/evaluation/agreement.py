"""How well parts agree with what they were asked to follow, on a scale from chance to the best there can be.

A measure alone says little: two pieces in related keys share many notes, and the codec changes some. So every
part is compared with what it was asked to follow and with what others were asked to follow, and so is the
truth.
"""

from collections.abc import Callable

import numpy as np


def on_a_scale(answer: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """answer, truth: (n, n), agreement of the model's parts and of the true rests (rows) with every piece
    (columns). Returns the mean agreement of the parts with their own piece, with others, of the truth with
    its own, and where on the way from others to the truth the parts are, with its standard error."""
    own, real = np.diag(answer), np.diag(truth)
    count = len(answer)
    others = (answer.sum(1) - own) / (count - 1)
    span = real.mean() - others.mean()
    return {
        "answer": float(own.mean()),
        "shuffled": float(others.mean()),
        "truth": float(real.mean()),
        "share": float((own.mean() - others.mean()) / span),
        "error": float((own - others).std(ddof=1) / count**0.5 / span),
    }


def table_of(parts: list, given: list, measure: Callable) -> np.ndarray:
    """Returns measure(part, other) of all parts with all that is given, (n, n)."""
    return np.array([[measure(part, other) for other in given] for part in parts])
