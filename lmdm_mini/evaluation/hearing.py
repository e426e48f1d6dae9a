"""Is the player really heard? Recordings play along with the model in a session; what it plays is compared
with what it was given.

Nothing tells the model what to play but its ears: the prompt is empty. For every recording, chroma (which of
the twelve notes sound how much) and tempo of the model's own part are compared with those of the recording it
heard, and of all the others. A model that hears nothing agrees with all of them alike.

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
    """Sounds (2, N) from the middle of pieces of the test split, `count` of them as far apart as possible."""
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
    """What the model plays, (2, N), while it hears `sound` (2, N) piece by piece, BEHIND seconds late."""
    engine, made, sent = Engine(model, seed=seed, **settings), [], 0
    while engine.samples < sound.shape[1]:
        while sent + PIECE <= engine.samples - BEHIND * SAMPLE_RATE:
            engine.hear(sent, sound[:, sent : sent + PIECE])
            sent += PIECE
        made.append(engine.next_block().audio)
    return torch.cat(made, 1)


def judge_hearing(model: DiT, sounds: list[Tensor], seed: int = 0, **settings) -> dict:
    """Agreement with the recording that was heard, and with the others: correlation of chroma, and share of
    equal tempi (octaves aside). effect: mean difference of the two over its deviation (Cohen's d), over
    recordings."""
    settings = {"block_latents": 12, "steps": 8, "cfg_scale": 1.0, "mic_level": 1.5} | settings
    made = [
        play_along(model, sound, seed + i, **settings)
        for i, sound in enumerate(tqdm(sounds, desc="playing along", leave=False))
    ]
    judged = int(JUDGED * SAMPLE_RATE)
    given, own = ([part[:, -judged:] for part in parts] for parts in (sounds, made))
    notes = torch.corrcoef(torch.stack([chroma(part) for part in own + given]))[
        : len(own), len(own) :
    ]  # (made, heard)
    bpm = [[tempo(part)[0] for part in parts] for parts in (own, given)]
    beats = torch.tensor([[float(same_tempo(a, b)) for b in bpm[1]] for a in bpm[0]])
    return {name: _agreement(table) for name, table in (("chroma", notes), ("tempo", beats))}


def _agreement(table: Tensor) -> dict[str, float]:
    """table (n, n): agreement of what was made (row) with what was heard (its diagonal) or was not."""
    same = table.diagonal()
    others = (table.sum(1) - same) / (len(table) - 1)
    gain = same - others
    return {
        "heard": float(same.mean()),
        "others": float(others.mean()),
        "effect": float(gain.mean() / gain.std().clamp_min(1e-6)),
        "more_often": float((gain > 0).float().mean()),
    }
