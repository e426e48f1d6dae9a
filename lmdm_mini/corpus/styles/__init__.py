"""The arrangers: each turns a score, or nothing but a seed, into a piece for four stems.

`STYLES` is the one list of styles. `theory.py` knows harmony, `patterns.py` rhythm and form; an arranger uses
both and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lmdm_mini.corpus.styles.ambient import ambient
from lmdm_mini.corpus.styles.chiptune import chiptune
from lmdm_mini.corpus.styles.chorale import chorale
from lmdm_mini.corpus.styles.folk import folk
from lmdm_mini.corpus.styles.funk import funk
from lmdm_mini.corpus.styles.house import house
from lmdm_mini.corpus.styles.jazz import jazz
from lmdm_mini.corpus.styles.lofi import lofi

BANDS = {"fluid": 4, "musescore": 4, "csound": 3, "opl3": 0}  # how often a font plays a style
ELECTRONIC = {"fluid": 4, "musescore": 3, "csound": 3, "opl3": 1}
KITS = {"fluid": 3, "musescore": 3, "csound": 2, "black_pearl": 3, "red_zeppelin": 3}
MACHINES = {"fluid": 3, "musescore": 3, "csound": 2}


@dataclass(frozen=True)
class Style:
    """A style: who arranges it, from which collections of scores (none: from an index), on which fonts."""

    arranger: Callable
    collections: tuple[str, ...] = ()
    fonts: dict[str, int] = field(default_factory=lambda: BANDS)
    kits: dict[str, int] = field(default_factory=lambda: KITS)


STYLES = {
    "chorale": Style(chorale, ("bach",)),
    "folk": Style(folk, ("ryan", "oneill"), kits=MACHINES),
    "lofi": Style(lofi, (), ELECTRONIC, {**KITS, "fluid": 4, "musescore": 4, "csound": 3}),
    "house": Style(house, (), ELECTRONIC, MACHINES),
    "ambient": Style(ambient, (), ELECTRONIC, MACHINES),
    "chiptune": Style(
        chiptune,
        (),
        {"opl3": 6, "fluid": 2, "musescore": 1, "csound": 2},
        {"opl3": 6, "fluid": 2, "musescore": 1, "csound": 1},
    ),
    "funk": Style(funk),
    "jazz": Style(jazz, kits={"fluid": 3, "musescore": 3, "black_pearl": 1, "red_zeppelin": 1}),
}
