"""Does the model follow a sketch? Melody, rhythm and loudness of what it plays, against those of the
sketch.

Sketches are those of clips of the test split. Every number is put on a scale from 0, what the same parts
reach with other clips' sketches, to 1, what the clips themselves reach after the codec.

- **melody**: share of frames whose strongest note is the sketch's, whatever the octave.
- **low**: the same for frames whose strongest note in the sketch is below C3; there the octave counts, too.
- **rhythm**: F-measure of onsets, with a tolerance of 70 ms.
- **dynamics**: correlation of the level, a quarter of a latent frame each.

Notebook: 10_sketch_control (planned). Paper: section 4.3.
"""

from dataclasses import dataclass

import librosa
import mir_eval
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import LATENTS
from lmdm_mini.codec.codec import LATENT_RATE, load_codec
from lmdm_mini.conditioning.sketch import SEMITONES, Sketch, sketch
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.evaluation.agreement import on_a_scale, table_of
from lmdm_mini.latents.packed import ENDING, LatentPiece, read_packed
from lmdm_mini.models import stream

SECONDS = 11.0  # of each clip
LOW = 24  # semitones from C1 up that are below C3
ONSET_SECONDS = 0.07  # how far apart two onsets may be that count as one
LEAST = 8  # frames with a low note that a clip needs to be asked for them


@dataclass
class Traits:
    """What is compared of a sound. pitch: (T,), the strongest semitone of each frame from C1 up, -1 where
    there is none. low: (T,), the same of those below C3 alone. level: (4 T,). onsets: seconds."""

    pitch: np.ndarray
    low: np.ndarray
    level: np.ndarray
    onsets: np.ndarray


def traits(audio: Tensor) -> Traits:
    """Returns the traits of a sound (2, N)."""
    values = sketch(audio).values[0]
    salience, level = values[:SEMITONES], values[SEMITONES:]

    def strongest(some: Tensor) -> np.ndarray:
        best, which = some.max(0)
        return torch.where(best > 0, which, -1).numpy()

    onsets = librosa.onset.onset_detect(y=audio.mean(0).numpy(), sr=SAMPLE_RATE, units="time")
    return Traits(strongest(salience), strongest(salience[:LOW]), level.T.flatten().numpy(), onsets)


def melody(made: Traits, wanted: Traits) -> float:
    """Share of the frames with a note in `wanted` where `made` has the same note, whatever the octave."""
    asked = wanted.pitch >= 0
    found = made.pitch[asked]
    same = (found % 12 == wanted.pitch[asked] % 12) & (found >= 0)
    return float(same.mean()) if asked.any() else 0.0


def low_notes(made: Traits, wanted: Traits) -> float:
    """Share of the frames whose note in `wanted` is below C3 where `made` has it, too, among its notes below
    C3."""
    asked = (wanted.pitch >= 0) & (wanted.pitch < LOW)
    return float((made.low[asked] == wanted.pitch[asked]).mean()) if asked.any() else 0.0


def rhythm(made: Traits, wanted: Traits) -> float:
    """F-measure of the onsets."""
    return float(mir_eval.onset.f_measure(wanted.onsets, made.onsets, window=ONSET_SECONDS)[0])


def dynamics(made: Traits, wanted: Traits) -> float:
    """Correlation of the levels, 0 where one of them never changes."""
    a, b = made.level - made.level.mean(), wanted.level - wanted.level.mean()
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length > 1e-6 else 0.0


MEASURES = {"melody": melody, "low": low_notes, "rhythm": rhythm, "dynamics": dynamics}


@dataclass
class Wanted:
    """A clip of the test split. latents: (1, 64, T). sketch: of it. prompt: its caption."""

    latents: Tensor
    sketch: Sketch
    prompt: str


def draw_wanted(pieces: list[LatentPiece], count: int, seconds: float = SECONDS) -> list[Wanted]:
    """Returns `count` clips with their sketches, evenly spread over the pieces that have some.

    Raises ValueError if there are none.
    """
    known = [piece for piece in pieces if piece.sketch]
    if not known:
        raise ValueError("the test set has no sketches: make one with `python -m lmdm_mini corpus pack`.")
    frames, found = round(seconds * LATENT_RATE), []
    turns = -(-count // len(known))
    for i in range(count):
        piece, turn = known[i % len(known)], i // len(known)
        room = max(0, piece.latents.shape[-1] - ENDING - frames)
        start = room * (1 + turn) // (1 + turns)
        given = piece.sketch_of(start, start + frames)
        assert given is not None
        latents = piece.latents[None, :, start : start + frames].float()
        found.append(Wanted(latents, given, piece.captions[i % len(piece.captions)]))
    return found


def follow(model: DiT, wanted: Wanted, *, sketch_scale: float, seed: int = 0, **settings) -> Tensor:
    """Returns the model's latents (1, 64, T) to a sketch and its clip's caption, from nothing."""
    given = {"sketch": wanted.sketch, "sketch_scale": sketch_scale}
    playing = stream(model, wanted.prompt, seed=seed, **given, **settings)
    made, frames = [], wanted.latents.shape[-1]
    while sum(x.shape[-1] for x in made) < frames:
        made.append(next(playing).latents[None])
    return torch.cat(made, -1)[..., :frames]


def evaluate_sketch(
    model: DiT, wanted: list[Wanted], *, sketch_scale: float = 1.0, seed: int = 0, **settings
) -> dict:
    """Plays to every sketch and returns the agreement in each of MEASURES, see
    :func:`lmdm_mini.evaluation.agreement.on_a_scale`. The truth is the clip after the codec, and what is
    followed is its sketch."""
    codec, made, truth = load_codec(), [], []
    for i, one in enumerate(tqdm(wanted, desc="following sketches", leave=False)):
        latents = follow(model, one, sketch_scale=sketch_scale, seed=seed + i, **settings)
        made.append(traits(codec.decode(latents)[0]))
        truth.append(traits(codec.decode(one.latents)[0]))
    asked = [from_sketch(one.sketch, known) for one, known in zip(wanted, truth, strict=True)]
    table: dict = {"clips": len(wanted), "sketch_scale": sketch_scale}
    for name, measure in MEASURES.items():
        rows = range(len(wanted))
        if name == "low":
            rows = [i for i in rows if ((asked[i].pitch >= 0) & (asked[i].pitch < LOW)).sum() >= LEAST]
        if len(rows) < 2:
            continue
        parts = [[some[i] for i in rows] for some in (made, truth, asked)]
        table[name] = on_a_scale(table_of(parts[0], parts[2], measure), table_of(parts[1], parts[2], measure))
        table[name]["clips"] = len(rows)
    return table


def from_sketch(given: Sketch, clip: Traits) -> Traits:
    """Returns what a sketch asks for; its onsets are those of the clip, which has been measured."""
    values = given.values[0]
    salience = values[:SEMITONES]
    pitch = torch.where(salience.amax(0) > 0, salience.argmax(0), -1).numpy()
    return Traits(pitch, pitch, values[SEMITONES:].T.flatten().numpy(), clip.onsets)


def test_sketches(count: int, path=None) -> list[Wanted]:
    """Returns clips of the test split, of the packed set in the file `path` (None: the shipped one)."""
    codec = load_codec()
    return draw_wanted(read_packed(path or LATENTS / "test.safetensors", codec.fingerprint), count)
