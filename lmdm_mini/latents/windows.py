"""Random windows of latents with their captions: what every model of latents trains on.

Notebook: 02_rectified_flow.
"""

import random

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.conditioning.clock import frames_to_beats
from lmdm_mini.conditioning.prompt import parse_bpm
from lmdm_mini.conditioning.text import TEXT_CHANNELS, Text, embed_sentences, sentence_embedding, stack_texts
from lmdm_mini.corpus.captions import PARAPHRASES
from lmdm_mini.latents.packed import ENDING, LatentPiece
from lmdm_mini.transformer import GRANULE


class LatentSet:
    """Latents and captions in memory: random windows, each with a random caption of its piece. Endings are
    left out.

    Captions are embedded once. So that unseen wording works, too, a share `paraphrased` of them gives way to
    a paraphrase of the style, and all are thinned out: words are left out at random, often all of them but
    for the sentence as a whole, and that gets a little noise. With a share `empty` nothing is said at all.
    """

    def __init__(
        self,
        pieces: list[LatentPiece],
        seed: int = 0,
        empty: float = 0.1,
        paraphrased: float = 0.4,
        thin: float = 0.15,
        sentence_only: float = 0.3,
        sentence_noise: float = 0.3,
    ):
        if not pieces:
            raise ValueError(
                "no latents to train on: build the corpus, or restore data/latents (`git checkout -- data`)."
            )
        self.pieces, self.rng, self.generator = (
            pieces,
            random.Random(seed),
            torch.Generator().manual_seed(seed),
        )
        self.empty, self.paraphrased, self.thin = empty, paraphrased, thin
        self.sentence_only, self.sentence_noise = sentence_only, sentence_noise
        self.lengths = [max(GRANULE, piece.latents.shape[-1] - ENDING) for piece in pieces]
        words = sorted(
            {caption for piece in pieces for caption in piece.captions}
            | {words for some in PARAPHRASES.values() for words in some}
        )
        self.words: dict[str, Tensor] = {}
        for i in tqdm(range(0, len(words), 64), desc="reading captions", leave=False):
            some = words[i : i + 64]
            self.words |= {caption: tokens.half() for caption, tokens in zip(some, embed_sentences(some))}

    def draw_text(self, caption: str, bpm: float) -> Text:
        """A caption of a piece at tempo bpm as it is heard in training, a batch of one. The tempo is given if
        the caption names it, and mostly if not: who plays from a prompt without a tempo is given a usual
        one."""
        tokens = self.words[caption].float()
        sentence = sentence_embedding(tokens) + self.sentence_noise * torch.randn(
            TEXT_CHANNELS, generator=self.generator
        )
        bpm = bpm if parse_bpm(caption) or self.rng.random() < 0.7 else 0.0
        draw = self.rng.random()
        if draw < self.empty:
            tokens, bpm, sentence = tokens[:0], 0.0, torch.zeros(TEXT_CHANNELS)
        elif draw < self.empty + self.sentence_only:
            tokens = tokens[:1]
        else:
            tokens = tokens[[i == 0 or self.rng.random() > self.thin for i in range(len(tokens))]]
        return Text(tokens[None], torch.zeros(1, len(tokens)), torch.tensor([bpm]), sentence[None])

    def batch(self, size: int, frames: int) -> tuple[Tensor, Text, Tensor, Tensor]:
        """Windows (size, 64, frames), what is said of them, where there is music (size, frames), for pieces
        may be shorter, and where frames are in beats (size, frames): pieces begin with a beat and keep their
        tempo."""
        windows, texts, there, beats = [], [], torch.zeros(size, frames), []
        places = [
            max(1, length - frames) for length in self.lengths
        ]  # where a window may begin: pieces that are too short are rare
        for row in self.rng.choices(range(len(self.pieces)), places, k=size):
            piece, start = self.pieces[row], self.rng.randrange(places[row])
            window = piece.latents[:, start : min(start + frames, self.lengths[row])].float()
            there[len(windows), : window.shape[-1]] = 1
            windows.append(F.pad(window, (0, frames - window.shape[-1])))
            captions = PARAPHRASES[piece.style] if self.rng.random() < self.paraphrased else piece.captions
            texts.append(self.draw_text(self.rng.choice(captions), piece.bpm))
            beats.append(frames_to_beats(start + torch.arange(frames), piece.bpm))
        return torch.stack(windows), stack_texts(texts), there, torch.stack(beats)


def validation_set(pieces: list[LatentPiece]) -> LatentSet:
    """What losses are compared on: captions as they are written, whole, or none."""
    return LatentSet(pieces, 99, paraphrased=0.0, thin=0.0, sentence_only=0.0, sentence_noise=0.0)


def draw_context_dropout(size: int, known: int, rng: random.Random) -> Tensor:
    """How many of the oldest context frames are missing, (size,): all of them (p .2), an older part (p .3),
    none."""
    draws = [rng.random() for _ in range(size)]
    part = [rng.randrange(0, known + 1, GRANULE) for _ in range(size)]
    return torch.tensor([known if d < 0.2 else p if d < 0.5 else 0 for d, p in zip(draws, part)])


SPLICES = 0.1  # share of items whose context is from another piece


def splice(x0: Tensor, cut: int, rng: random.Random, share: float) -> tuple[Tensor, Tensor]:
    """Gives some items, a `share` of them, the first `cut` frames of another: (x0, which were spliced
    (B,))."""
    spliced = torch.tensor([rng.random() < share for _ in range(len(x0))])
    other = torch.cat([x0.roll(1, 0)[..., :cut], x0[..., cut:]], -1)
    return torch.where(spliced[:, None, None], other, x0), spliced
