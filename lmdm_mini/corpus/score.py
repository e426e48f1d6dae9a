"""A score as plain numbers, as the arrangers take it.

Notebook: 01_sound_to_latents.
"""

from dataclasses import dataclass, field

Event = tuple[float, float, int]  # start in quarter notes, duration in quarter notes, MIDI pitch


@dataclass
class Score:
    """A score as plain numbers. Time 0 is a bar line; a pickup sounds at the end of the first bar.

    `voices` run from high to low: one melody for a fiddle tune, soprano, alto, tenor, bass for a chorale.
    `sections` are (start in quarter notes, name) at bar lines: the strains of a fiddle tune with their
    repeats played out ("A", "A", "B", "B"). `phrase_ends` are the ends (quarter notes) of fermata notes.
    """

    tune_id: str
    title: str
    time_signature: str  # "6/8"
    key_root: int  # 0..11
    key_mode: str
    length: float  # quarter notes, whole bars
    pickup: float  # quarter notes before the first full bar
    voices: list[list[Event]]
    sections: list[tuple[float, str]] = field(default_factory=list)
    phrase_ends: list[float] = field(default_factory=list)
    kind: str = ""  # "reel", "jig", "hornpipe", "chorale", ...
    bpm: float = 0.0  # quarter notes a minute where the score says, or custom has it; 0: free
    loudness: list[list[tuple[float, float]]] = field(default_factory=list)  # of each voice: (start, 0..1)
    plucked: list[list[tuple[float, float]]] = field(default_factory=list)  # of each voice: (start, end)

    @property
    def bar_length(self) -> float:
        """Quarter notes in a bar."""
        over, under = map(int, self.time_signature.split("/"))
        return over * 4 / under
