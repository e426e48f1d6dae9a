"""Does the model play with a musician? Stems of the test split are its input, and its part is compared with
them.

The prompt is empty, so the stem is all that the model knows. Two questions are asked of each part: do its
notes fit the stem (**chroma**), and does it keep the piece in time (**beat**)? Both are put on a scale from
0, what the same parts reach with stems and beats of others, to 1, what the true rest of the piece reaches.

Notebook: 11_accompaniment (planned). Paper: section 4.4.
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
from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_RATE, Codec, load_codec
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.evaluation.agreement import on_a_scale, table_of
from lmdm_mini.latents.packed import ENDING, LatentPiece, read_packed
from lmdm_mini.models import stream
from lmdm_mini.musical import chroma

WINDOW_SECONDS = 2.0  # of which the notes are compared
SECONDS = 16.0  # of each clip
SETTLED = 4.0  # seconds at the beginning that are not judged: the model has to find in


@dataclass
class Clip:
    """A stretch of a piece. stem, rest: latents (1, 64, T). beats: seconds of the beats inside. pitched:
    whether stem and rest both have notes, not drums alone."""

    stem: Tensor
    rest: Tensor
    beats: np.ndarray
    style: str
    pitched: bool


def draw_clips(pieces: list[LatentPiece], count: int, seconds: float = SECONDS) -> list[Clip]:
    """Returns `count` stretches of pieces that have a pair, evenly spread over them, from their middles on.

    Raises ValueError if there are no such pieces.
    """
    paired = [piece for piece in pieces if piece.pairs]
    if not paired:
        raise ValueError("the test set has no stems: make one with `python -m lmdm_mini corpus pack`.")
    frames, found = round(seconds * LATENT_RATE), []
    for i in range(count):
        piece, turn = paired[i % len(paired)], i // len(paired)
        turns = -(-count // len(paired))
        room = max(0, piece.latents.shape[-1] - ENDING - frames)
        start = room * (1 + turn) // (1 + turns)
        pair = piece.pairs[0]
        found.append(
            Clip(
                pair.stem.frames(start, start + frames)[None],
                pair.rest.frames(start, start + frames)[None],
                beat_seconds(piece, start, frames),
                piece.style,
                ("drums",) not in (pair.played, pair.left),
            )
        )
    return found


def beat_seconds(piece: LatentPiece, start: int, frames: int) -> np.ndarray:
    """Returns when the beats of a stretch are, in seconds from its beginning."""
    middles = (np.arange(frames) + 0.5) / LATENT_RATE
    if piece.beats is None:
        position = (start + np.arange(frames) + 0.5) / LATENT_RATE * piece.bpm / 60
    else:
        position = piece.beats[start : start + frames].numpy()
    return np.interp(np.arange(np.ceil(position[0]), position[-1]), position, middles)


def play_with(model: DiT, stem: Tensor, visibility: int, seed: int = 0, **settings) -> Tensor:
    """Returns the model's latents (1, 64, T) to a stem (1, 64, T), from nothing and without a prompt.

    visibility: frames of the stem after a block's beginning that are known when it is made, below 0: that it
    is late. settings: of :func:`lmdm_mini.models.stream`.
    """
    playing = stream(model, "", seed=seed, cfg_scale=1.0, **settings)
    playing.stem, playing.visible = stem, visibility
    made, frames = [], stem.shape[-1]
    while sum(x.shape[-1] for x in made) < frames:
        made.append(next(playing).latents[None])
    return torch.cat(made, -1)[..., :frames]


# -- agreement ---------------------------------------------------------------------------------------


def notes(audio: Tensor) -> Tensor:
    """Chroma of audio (2, N) in windows of WINDOW_SECONDS, (windows, 12), each with mean 0 and length 1."""
    size = int(WINDOW_SECONDS * SAMPLE_RATE)
    parts = audio[:, : audio.shape[1] // size * size].unflatten(1, (-1, size)).transpose(0, 1)
    found = torch.stack([chroma(part) for part in parts])
    found = found - found.mean(1, keepdim=True)
    return found / found.norm(dim=1, keepdim=True).clamp_min(1e-6)


def chroma_agreement(a: Tensor, b: Tensor) -> float:
    """Mean correlation of the notes of two sounds, window by window; a, b: of :func:`notes`."""
    return float((a * b).sum(1).mean())


def tracked_beats(audio: Tensor, bpm: float) -> np.ndarray:
    """Returns when the beats of audio (2, N) are, in seconds, tracked by librosa around tempo `bpm`."""
    _, beats = librosa.beat.beat_track(
        y=audio.mean(0).numpy(), sr=SAMPLE_RATE, start_bpm=bpm, tightness=100, units="time", trim=False
    )
    return np.asarray(beats)


def beat_agreement(tracked: np.ndarray, beats: np.ndarray) -> float:
    """F-measure of tracked beats against those of a piece, in seconds, with the tolerance of 70 ms that is
    usual, from SETTLED on. Half and double tempo are compared as they are."""
    return float(mir_eval.beat.f_measure(beats[beats >= SETTLED], tracked[tracked >= SETTLED]))


def evaluate_accompaniment(
    model: DiT, clips: list[Clip], *, visibility: int, seed: int = 0, codec: Codec | None = None, **settings
) -> dict:
    """Plays to every clip and returns the agreement of notes and of beats, see :func:`on_a_scale`.

    Notes are judged on the clips where stem and rest both have some, beats on all.
    """
    codec = codec or load_codec()
    late = int(SETTLED * SAMPLE_RATE)
    sounds: dict[str, list[Tensor]] = {"stem": [], "rest": [], "made": []}
    for i, clip in enumerate(tqdm(clips, desc=f"visibility {visibility}", leave=False)):
        made = play_with(model, clip.stem, visibility, seed + i, **settings)
        for name, latents in (("stem", clip.stem), ("rest", clip.rest), ("made", made)):
            sounds[name].append(codec.decode(latents)[0])
    pitched = [i for i, clip in enumerate(clips) if clip.pitched]
    stems, rests, made = ([notes(sounds[n][i][:, late:]) for i in pitched] for n in ("stem", "rest", "made"))
    beats = [clip.beats for clip in clips]
    tracked = {}
    for name in ("rest", "made"):
        found = [tracked_beats(audio, 60 / np.median(np.diff(b))) for audio, b in zip(sounds[name], beats)]
        tracked[name] = table_of(found, beats, beat_agreement)
    return {
        "visibility": visibility,
        "seconds": visibility * FRAME_SAMPLES / SAMPLE_RATE,
        "clips": len(clips),
        "pitched": len(pitched),
        "chroma": on_a_scale(
            table_of(made, stems, chroma_agreement), table_of(rests, stems, chroma_agreement)
        ),
        "beat": on_a_scale(tracked["made"], tracked["rest"]),
    }


def test_clips(count: int, path=None) -> list[Clip]:
    """Returns clips of the test split, of the packed set in the file `path` (None: the shipped one)."""
    codec = load_codec()
    return draw_clips(read_packed(path or LATENTS / "test.safetensors", codec.fingerprint), count)
