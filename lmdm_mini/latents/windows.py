"""Random windows of latents with their captions, the training data of every model.

For live models, the context is sometimes missing, as a whole or in its older part. Sometimes it comes from
another piece than target and caption, so that models learn to follow a new prompt quickly.

Notebook: 02_rectified_flow. Paper: section 3.2 (context dropout).
"""

import bisect
import copy
import random
from dataclasses import dataclass
from itertools import accumulate

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
    on music and 0 after the end of a piece that is shorter than the window. sketch: of these latents, (B, 88,
    T); None: of some there is none. stem: (B, 64, before + T + after), what another musician plays from
    `before` frames before the window to `after` frames after it; None: not asked for. stem_present: (B,
    before + T + after), where there is one.
    """

    latents: Tensor
    conditions: Conditions
    present: Tensor
    sketch: Tensor | None = None
    stem: Tensor | None = None
    stem_present: Tensor | None = None


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
        self._sums: dict[tuple[int, int], list[int]] = {}
        captions = [c for piece in pieces for some in (piece, *piece.pairs) for c in some.captions]
        self.words = embedded_once(captions + [words for some in PARAPHRASES.values() for words in some])

    def longest(self, count: int = 1) -> int:
        """Returns how many latent frames, endings left out, at least `count` of the pieces have; of fewer
        pieces, all of them."""
        lengths = sorted((piece.latents.shape[-1] for piece in self.pieces), reverse=True)
        return lengths[min(count, len(lengths)) - 1] - ENDING

    def longer_than(self, frames: int) -> "LatentSet":
        """Returns the pieces that have windows of so many frames without padding, with the same captions and
        random numbers. Raises ValueError if there are none."""
        some = copy.copy(self)
        some.pieces = [piece for piece in self.pieces if piece.latents.shape[-1] - ENDING >= frames]
        some._sums = {}
        if not some.pieces:
            raise ValueError(
                f"{frames} latent frames are needed of a piece; the longest has {self.longest()}."
            )
        return some

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

    def batch(
        self, size: int, frames: int, *, stem: tuple[int, int] | None = None, sketch: bool = False
    ) -> Windows:
        """Draws `size` windows of `frames` latent frames.

        stem: how many frames before and after the window the input stem covers. The latents are then the
        rest, what is left to play; half of the stems are as a microphone hears them. None: mixes. sketch:
        whether sketches come with them, if all pieces have some.
        """
        pieces = [p for p in self.pieces if p.pairs] if stem else self.pieces
        rows = [self._draw(pieces, frames, stem, sketch) for _ in range(size)]
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        conditions = Conditions(stack_texts(columns["text"]), torch.stack(columns["beats"]))
        stacked = {
            key: torch.stack(columns[key])
            for key in ("latents", "present", "sketch", "stem", "stem_present")
            if all(x is not None for x in columns.get(key, [None]))
        }
        return Windows(conditions=conditions, **stacked)

    def _draw(
        self, pieces: list[LatentPiece], frames: int, stem: tuple[int, int] | None, sketch: bool
    ) -> dict:
        """Draws one window: its parts, as in :class:`Windows` without the batch."""
        places = self._places(pieces, frames)
        number = bisect.bisect(places, self.rng.random() * places[-1])
        piece = pieces[min(number, len(pieces) - 1)]
        last = max(SHORTEST, piece.latents.shape[-1] - ENDING)
        start = self.rng.randrange(max(1, last - frames))
        end = min(start + frames, last)
        pair = self.rng.randrange(len(piece.pairs)) if stem else None
        view = piece.latents[:, start:end] if pair is None else piece.pairs[pair].rest.frames(start, end)
        missing = start + frames - end
        captions = piece.captions if pair is None else piece.pairs[pair].captions
        paraphrases = PARAPHRASES.get(piece.style) if self.rng.random() < self.paraphrased else None
        text = self.draw_text(self.rng.choice(paraphrases or captions), piece.bpm)
        place = torch.arange(start, start + frames)
        beats = frames_to_beats(place, piece.bpm)
        if piece.beats is not None:
            beats = piece.beats[place.clamp_max(len(piece.beats) - 1)]
        made: dict = {
            "latents": F.pad(view.float(), (0, missing)),
            "present": F.pad(torch.ones(end - start), (0, missing)),
            "text": text,
            "beats": beats,
        }
        if sketch:
            found = piece.sketch_of(start, end, pair)
            made["sketch"] = None if found is None else F.pad(found.values[0], (0, missing))
        if stem and pair is not None:
            played = piece.pairs[pair]
            source = played.heard if played.heard is not None and self.rng.random() < 0.5 else played.stem
            first, after = max(0, start - stem[0]), min(start + frames + stem[1], source.values.shape[-1])
            padding = (first - (start - stem[0]), start + frames + stem[1] - after)
            made["stem"] = F.pad(source.frames(first, after), padding)
            made["stem_present"] = F.pad(torch.ones(after - first), padding) > 0
        return made

    def _places(self, pieces: list[LatentPiece], frames: int) -> list[int]:
        """Running sums of how many windows each piece has, so that every window is as likely as any other."""
        key = (len(pieces), frames)
        if key not in self._sums:
            lengths = (max(SHORTEST, piece.latents.shape[-1] - ENDING) for piece in pieces)
            self._sums[key] = list(accumulate(max(1, length - frames) for length in lengths))
        return self._sums[key]


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
