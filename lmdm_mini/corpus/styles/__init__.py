"""The arrangers: each turns a score, or nothing but a seed, into a piece for four stems.

`STYLES` is the one list of styles; the words they go by are in `words.py`. `theory.py` knows harmony,
`motifs.py` melody, `patterns.py` rhythm, `form.py` form; an arranger uses these and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lmdm_mini.corpus.styles.ambient import ambient
from lmdm_mini.corpus.styles.breakbeat import breakbeat
from lmdm_mini.corpus.styles.chiptune import chiptune
from lmdm_mini.corpus.styles.chorale import chorale
from lmdm_mini.corpus.styles.folk import folk
from lmdm_mini.corpus.styles.funk import funk
from lmdm_mini.corpus.styles.house import house
from lmdm_mini.corpus.styles.jazz import jazz
from lmdm_mini.corpus.styles.lofi import lofi
from lmdm_mini.corpus.styles.quartet import quartet
from lmdm_mini.corpus.styles.reggae import reggae
from lmdm_mini.corpus.styles.rock import rock
from lmdm_mini.corpus.styles.techno import techno
from lmdm_mini.corpus.styles.words import PARAPHRASES, WORDS, Words

BANDS = {"fluid": 4, "musescore": 4, "csound": 3, "opl3": 0}  # how often a font plays a style
ELECTRONIC = {"fluid": 4, "musescore": 3, "csound": 3, "opl3": 1}
KITS = {"fluid": 3, "musescore": 3, "csound": 2, "black_pearl": 3, "red_zeppelin": 3}
MACHINES = {"fluid": 3, "musescore": 3, "csound": 2}


@dataclass(frozen=True)
class Style:
    """A style: who arranges it, how fast it usually is, where its scores and its sounds come from."""

    arranger: Callable
    usual_bpm: float  # the median tempo of its pieces
    collections: tuple[str, ...] = ()  # of scores; none: it composes from an index
    fonts: dict[str, int] = field(default_factory=lambda: BANDS)
    kits: dict[str, int] = field(default_factory=lambda: KITS)


STYLES = {
    "chorale": Style(chorale, 82.0, ("bach",)),
    "folk": Style(folk, 99.0, ("ryan", "oneill"), kits=MACHINES),
    "lofi": Style(lofi, 80.0, (), ELECTRONIC, {**KITS, "fluid": 4, "musescore": 4, "csound": 3}),
    "house": Style(house, 124.0, (), ELECTRONIC, MACHINES),
    "ambient": Style(ambient, 64.0, (), ELECTRONIC, MACHINES),
    "chiptune": Style(
        chiptune,
        149.0,
        (),
        {"opl3": 6, "fluid": 2, "musescore": 1, "csound": 2},
        {"opl3": 6, "fluid": 2, "musescore": 1, "csound": 1},
    ),
    "funk": Style(funk, 106.0),
    "jazz": Style(jazz, 141.0, kits={"fluid": 3, "musescore": 3, "black_pearl": 1, "red_zeppelin": 1}),
    "quartet": Style(quartet, 112.0, ("quartets",), {"fluid": 4, "musescore": 5, "csound": 2, "opl3": 0}),
    "rock": Style(
        rock, 118.0, kits={"black_pearl": 4, "red_zeppelin": 4, "studio": 2, "colombo": 3, "musescore": 2}
    ),
    "reggae": Style(reggae, 72.0, kits={**KITS, "studio": 2, "colombo": 2}),
    "techno": Style(
        techno,
        130.0,
        (),
        ELECTRONIC,
        {"tekno": 3, "club": 3, "hard_electro": 3, "electric_empire": 3, "fluid": 2},
    ),
    "breakbeat": Style(
        breakbeat,
        168.0,
        (),
        ELECTRONIC,
        {"varibreaks": 4, "studio": 2, "colombo": 3, "club": 2, "red_zeppelin": 2},
    ),
}
USUAL_BPM = {name: style.usual_bpm for name, style in STYLES.items()}
