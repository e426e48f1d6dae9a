"""Random windows of latents with their captions, the training data of every model.

For live models, the context is sometimes missing, as a whole or in its older part. Sometimes it comes from
another piece than target and caption, so that models learn to follow a new prompt quickly.

Notebook: 02_rectified_flow. Paper: section 3.2 (context dropout).
"""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.checkpoints import how_to_restore
from lmdm_mini.conditioning.clock import frames_to_beats
from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.conditioning.prompt import parse_bpm
from lmdm_mini.conditioning.text import (
    TEXT_CHANNELS,
    Text,
    embedded_once,
    sentence_embedding,
    stack_texts,
)
from lmdm_mini.corpus.captions import PARAPHRASES
from lmdm_mini.latents.packed import ENDING, LatentPiece

SHORTEST = 12  # latent frames that are used of every piece, even where all of it is ending


@dataclass
class Windows:
    """Windows of some pieces.

    latents: (B, 64, T), or codes (B, n_q, T). conditions: their captions, tempi and beats. present: (B, T), 1
    on music and 0 after the end of a piece that is shorter than the window.
    """

    latents: Tensor
    conditions: Conditions
    present: Tensor


class LatentSet:
    """Latents and captions in memory: random windows, each with a random caption of its piece. Endings are
    left out.

    Captions are embedded once. They are varied, so that models also follow wording they were not trained on.
    A share `paraphrased` is replaced by a paraphrase of the style. A share `thin` of the words is dropped. A
    share `sentence_only` keeps nothing but the embedding of the sentence, and that always gets a little
    noise. A share `empty` has no prompt. A style without paraphrases trains on its captions alone.
    """

    def __init__(
        self,
        pieces: list[LatentPiece],
        seed: int = 0,
        *,
        empty: float = 0.1,
        paraphrased: float = 0.4,
        thin: float = 0.15,
        sentence_only: float = 0.3,
        sentence_noise: float = 0.3,
    ):
        if not pieces:
            raise ValueError(
                f"no latents to train on: build the corpus, or take the shipped ones. {how_to_restore()}"
            )
        self.pieces, self.rng = pieces, random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.empty, self.paraphrased, self.thin = empty, paraphrased, thin
        self.sentence_only, self.sentence_noise = sentence_only, sentence_noise
        self.lengths = [max(SHORTEST, piece.latents.shape[-1] - ENDING) for piece in pieces]
        captions = [caption for piece in pieces for caption in piece.captions]
        self.words = embedded_once(captions + [words for some in PARAPHRASES.values() for words in some])

    def draw_text(self, caption: str, bpm: float) -> Text:
        """Returns a varied caption of a piece at tempo bpm, as a batch of one.

        The tempo is given if the caption names it, and in most other cases, because a prompt without a tempo
        is played at a usual one.
        """
        tokens = self.words[caption].float()
        noise = torch.randn(TEXT_CHANNELS, generator=self.generator)
        sentence = sentence_embedding(tokens) + self.sentence_noise * noise
        bpm = bpm if parse_bpm(caption) or self.rng.random() < 0.7 else 0.0
        draw = self.rng.random()
        if draw < self.empty:
            tokens, bpm, sentence = tokens[:0], 0.0, torch.zeros(TEXT_CHANNELS)
        elif draw < self.empty + self.sentence_only:
            tokens = tokens[:1]
        else:
            tokens = tokens[[i == 0 or self.rng.random() > self.thin for i in range(len(tokens))]]
        return Text(tokens[None], torch.zeros(1, len(tokens)), torch.tensor([bpm]), sentence[None])

    def batch(self, size: int, frames: int) -> Windows:
        """Draws `size` windows of `frames` latent frames. Pieces begin on a beat and keep their tempo."""
        windows, texts, present, beats = [], [], torch.zeros(size, frames), []
        places = [max(1, length - frames) for length in self.lengths]  # where a window may begin
        for row in self.rng.choices(range(len(self.pieces)), places, k=size):
            piece, start = self.pieces[row], self.rng.randrange(places[row])
            window = piece.latents[:, start : min(start + frames, self.lengths[row])].float()
            present[len(windows), : window.shape[-1]] = 1
            windows.append(F.pad(window, (0, frames - window.shape[-1])))
            paraphrases = PARAPHRASES.get(piece.style) if self.rng.random() < self.paraphrased else None
            texts.append(self.draw_text(self.rng.choice(paraphrases or piece.captions), piece.bpm))
            beats.append(frames_to_beats(start + torch.arange(frames), piece.bpm))
        return Windows(torch.stack(windows), Conditions(stack_texts(texts), torch.stack(beats)), present)


def validation_set(pieces: list[LatentPiece]) -> LatentSet:
    """Returns the data for validation losses, with captions that are not varied."""
    return LatentSet(pieces, 99, paraphrased=0.0, thin=0.0, sentence_only=0.0, sentence_noise=0.0)


def draw_context_dropout(size: int, context_latents: int, rng: random.Random, *, granule: int = 12) -> Tensor:
    """Draws how many of the oldest context frames are missing, (size,): all (p .2), some (p .3) or none."""
    draws = [rng.random() for _ in range(size)]
    part = [rng.randrange(0, context_latents + 1, granule) for _ in range(size)]
    return torch.tensor([context_latents if d < 0.2 else p if d < 0.5 else 0 for d, p in zip(draws, part)])


SPLICES = 0.1  # share of items whose context is from another piece


def splice(x0: Tensor, cut: int, rng: random.Random, *, share: float) -> tuple[Tensor, Tensor]:
    """Replaces the first `cut` frames of a `share` of the items by those of another item. Returns the latents
    and which items were spliced, (B,)."""
    spliced = torch.tensor([rng.random() < share for _ in range(len(x0))])
    other = torch.cat([x0.roll(1, 0)[..., :cut], x0[..., cut:]], -1)
    return torch.where(spliced[:, None, None], other, x0), spliced
