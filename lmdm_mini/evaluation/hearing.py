"""Does the model follow the player? Recordings play along with it in a session, and its part is compared with
them.

The prompt is empty, so the recording is the model's only input. For every recording, chroma (how strong each
of the twelve notes is) and tempo of the model's part are compared with those of the recording it was given,
and with those of all others. A model that ignores its input agrees equally with all of them.

Notebook: 14_jam_session.
"""

import torch
from torch import Tensor
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import LATENTS
from lmdm_mini.codec.codec import LATENT_RATE, load_codec
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.latents.packed import ENDING, read_packed
from lmdm_mini.live.engine import Engine
from lmdm_mini.musical import chroma, same_tempo, tempo

PIECE = 2205  # samples of a piece of the player's sound
BEHIND = 0.5  # seconds that the player's sound is behind what is made
JUDGED = 10.0  # seconds at the end of a session that are compared


def recordings(count: int, seconds: float) -> list[Tensor]:
    """Returns `count` sounds (2, N) from the middle of pieces of the test split, evenly spread over the
    split."""
    codec = load_codec()
    pieces = read_packed(LATENTS / "test.safetensors", codec.fingerprint)
    chosen = [
        pieces[i] for i in torch.linspace(0, len(pieces) - 1, min(count, len(pieces))).round().long().tolist()
    ]
    frames = round(seconds * LATENT_RATE)
    starts = [max(0, piece.latents.shape[-1] - ENDING - frames) // 2 for piece in chosen]
    with torch.inference_mode():
        return [
            codec.decode(piece.latents[None, :, at : at + frames].float())[0]
            for piece, at in zip(chosen, starts)
        ]


def play_along(model: DiT, sound: Tensor, seed: int = 0, **settings) -> Tensor:
    """Returns the model's part, (2, N), of a session in which it is given `sound` (2, N) piece by piece,
    BEHIND seconds late."""
    engine, made, sent = Engine(model, seed=seed, **settings), [], 0
    while engine.samples < sound.shape[1]:
        while sent + PIECE <= engine.samples - BEHIND * SAMPLE_RATE:
            engine.hear(sent, sound[:, sent : sent + PIECE])
            sent += PIECE
        made.append(engine.next_block().audio)
    return torch.cat(made, 1)


def judge_hearing(model: DiT, sounds: list[Tensor], seed: int = 0, **settings) -> dict:
    """Returns the agreement with the recording that was given, and with the others, for chroma and tempo.

    Chroma is compared by correlation, tempo by the share of equal tempi (up to octaves). effect: the mean
    difference of the two divided by its standard deviation over recordings (Cohen's d).
    """
    settings = {"block_latents": 12, "steps": 8, "cfg_scale": 1.0, "mic_level": 1.5} | settings
    made = [
        play_along(model, sound, seed + i, **settings)
        for i, sound in enumerate(tqdm(sounds, desc="playing along", leave=False))
    ]
    judged = int(JUDGED * SAMPLE_RATE)
    given, own = ([part[:, -judged:] for part in parts] for parts in (sounds, made))
    notes = torch.corrcoef(torch.stack([chroma(part) for part in own + given]))[
        : len(own), len(own) :
    ]  # (made, given)
    bpm = [[tempo(part)[0] for part in parts] for parts in (own, given)]
    beats = torch.tensor([[float(same_tempo(a, b)) for b in bpm[1]] for a in bpm[0]])
    return {name: _agreement(table) for name, table in (("chroma", notes), ("tempo", beats))}


def _agreement(table: Tensor) -> dict[str, float]:
    """table: (n, n), agreement of the model's parts (rows) with recordings (columns); the diagonal has those
    it was given."""
    same = table.diagonal()
    others = (table.sum(1) - same) / (len(table) - 1)
    gain = same - others
    return {
        "heard": float(same.mean()),
        "others": float(others.mean()),
        "effect": float(gain.mean() / gain.std().clamp_min(1e-6)),
        "more_often": float((gain > 0).float().mean()),
    }
