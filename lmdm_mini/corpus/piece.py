"""A piece of music before it sounds: notes on four stems, chords, beats, sections.

Every arranger and every score reader of the corpus returns a :class:`Piece`; `render.py` turns it
into audio and `captions.py` into words. Times are in **beats** (quarter notes), so swing and tempo
stay separate; seconds appear only when a piece is rendered.

Notebook: 01_sound_to_latents.
"""

from dataclasses import dataclass, field

STEMS = ("drums", "bass", "chords", "lead")


@dataclass
class Note:
    """One note. `start` and `duration` in beats, `pitch` a MIDI number (a drum key on the drums stem)."""

    start: float
    duration: float
    pitch: int
    velocity: int  # 1..127
    track: str = "main"  # which `Track` of the stem plays it


@dataclass
class Track:
    """An instrument of a stem: a General MIDI program (0..127; a drum-kit number on the drums stem)."""

    program: int
    instrument: str  # the word a caption uses: "electric piano"
    pan: float = 0.0  # -1 left .. 1 right
    volume: float = 1.0  # 0..1
    reverb: float = 0.3  # 0..1, how much room suits it; stems are rendered dry
    amp: bool = False  # an electric guitar that is to go through an amplifier


@dataclass
class Chord:
    """A chord that sounds from `start` for `duration` beats. `root` 0..11 (0 = C)."""

    start: float
    duration: float
    root: int
    quality: str  # "maj", "min", "7", "maj7", "min7", "dim", "m7b5", "sus4", "9", ...

    NAMES = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

    @property
    def name(self) -> str:
        return self.NAMES[self.root % 12] + ("" if self.quality == "maj" else self.quality)


@dataclass
class Section:
    start: float  # beats
    name: str  # "intro", "A", "B", "break", ...


@dataclass
class Piece:
    """A whole piece. `tune_id` names the musical material: arrangements and transpositions of one tune
    share it, and a tune never stands in two splits."""

    style: str  # "chorale", "folk", "lofi", "house", "ambient", "chiptune", "funk", "jazz"
    tune_id: str  # "bach/bwv66.6", "lofi/000123"
    title: str
    bpm: float  # quarter notes a minute
    beats_per_bar: int
    key_root: int  # 0..11
    key_mode: str  # "major", "minor", "dorian", ...
    length: float  # beats
    stems: dict[str, list[Note]]  # every name of STEMS is a key, possibly with an empty list
    tracks: dict[str, dict[str, Track]]  # stem -> track name -> Track
    chords: list[Chord]
    sections: list[Section] = field(default_factory=list)
    moods: list[str] = field(default_factory=list)  # "mellow", "driving", ...
    source: str = "arranged"  # or the name of the score collection

    @property
    def seconds(self) -> float:
        return self.length * 60.0 / self.bpm

    @property
    def beat_times(self) -> list[float]:
        """Seconds of every beat from the start of the piece."""
        return [beat * 60.0 / self.bpm for beat in range(int(self.length) + 1)]

    @property
    def bar_times(self) -> list[float]:
        """Seconds of every bar line from the start of the piece."""
        return self.beat_times[:: self.beats_per_bar]
