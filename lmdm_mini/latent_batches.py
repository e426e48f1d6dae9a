"""What models of latents learn from in a step: stretches of music, what is said of them, noise levels, and what is known.

- `bidirectional`, the base: windows of which nothing, a beginning or both ends are known.
- `enc_dec`: a context and the block after it; the block is learned.
- `block_causal`: whole stretches as copies [clean | noisy], so that every block of the stretch is learned at once.

For the live variants the context is sometimes missing, wholly or its older part, and sometimes it is from another piece than the
target and its caption, so that a new prompt is followed quickly.

Notebooks: 02_rectified_flow, 04_reparameterization, 06_block_causal. Paper: sections 3.1 and 3.2.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.attention import BLOCKS, GRANULE, WINDOW, block_causal_mask, enc_dec_mask
from lmdm_mini.conditioning import TEXT_CHANNELS, Text, embed_sentences, parse_bpm, sentence_embedding, stack_texts
from lmdm_mini.corpus.captions import PARAPHRASES
from lmdm_mini.corpus.latents import ENDING, LatentPiece
from lmdm_mini.dit import frames_to_beats


class LatentSet:
    """Latents and captions in memory: random windows, each with a random caption of its piece. Endings are left out.

    Captions are embedded once. So that unseen wording works, too, a share `paraphrased` of them gives way to a paraphrase
    of the style, and all are thinned out: words are left out at random, often all of them but for the sentence as a whole, and
    that gets a little noise. With a share `empty` nothing is said at all.
    """

    def __init__(self, pieces: list[LatentPiece], seed: int = 0, empty: float = 0.1, paraphrased: float = 0.4,
                 thin: float = 0.15, sentence_only: float = 0.3, sentence_noise: float = 0.3):
        if not pieces:
            raise ValueError("no latents to train on: build the corpus, or restore data/latents (`git checkout -- data`).")
        self.pieces, self.rng, self.generator = pieces, random.Random(seed), torch.Generator().manual_seed(seed)
        self.empty, self.paraphrased, self.thin = empty, paraphrased, thin
        self.sentence_only, self.sentence_noise = sentence_only, sentence_noise
        self.lengths = [max(GRANULE, piece.latents.shape[-1] - ENDING) for piece in pieces]
        words = sorted({caption for piece in pieces for caption in piece.captions} | {words for some in PARAPHRASES.values() for words in some})
        self.words: dict[str, Tensor] = {}
        for i in tqdm(range(0, len(words), 64), desc="reading captions", leave=False):
            some = words[i : i + 64]
            self.words |= {caption: tokens.half() for caption, tokens in zip(some, embed_sentences(some))}

    def draw_text(self, caption: str, bpm: float) -> Text:
        """A caption of a piece at tempo bpm as it is heard in training, a batch of one. The tempo is given if the caption names
        it, and mostly if not: who plays from a prompt without a tempo is given a usual one."""
        tokens = self.words[caption].float()
        sentence = sentence_embedding(tokens) + self.sentence_noise * torch.randn(TEXT_CHANNELS, generator=self.generator)
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
        """Windows (size, 64, frames), what is said of them, where there is music (size, frames), for pieces may be shorter, and
        where frames are in beats (size, frames): pieces begin with a beat and keep their tempo."""
        windows, texts, there, beats = [], [], torch.zeros(size, frames), []
        places = [max(1, length - frames) for length in self.lengths]  # where a window may begin: pieces that are too short are rare
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


@dataclass
class FlowBatch:
    """What a step learns from: B items of S frames."""

    x0: Tensor  # (B, 64, S) clean latents
    text: Text
    t: Tensor  # noise level of target frames, (B,) or (B, S)
    noise: Tensor  # (B, 64, S)
    context_mask: Tensor  # (B, S), 1 = context
    weight: Tensor  # (B, S) of the errors, 0 where nothing is learned
    beats: Tensor | None = None  # (B, S) where frames are
    positions: Tensor | None = None  # (S,) places in time
    attention_mask: Tensor | None = None  # (B, 1, S, S)
    v: Tensor | None = None  # (B, 64, S) the velocity to learn; None: that of the data
    own: Tensor | None = None  # (B,) frames before this are of another piece than the target
    block: int = 0  # frames of a target, for the live variants: targets are the last frames, block after block

    @property
    def levels(self) -> Tensor:
        """Noise levels of all frames, (B, S): 0 on context."""
        return (self.t if self.t.ndim == 2 else self.t[:, None]) * (1 - self.context_mask)

    def part(self, rows: slice, place: Callable) -> "FlowBatch":
        """Some of its items, every tensor put where it belongs by `place`."""
        items = {field.name: getattr(self, field.name) for field in fields(self)}
        items["text"] = self.text[rows].map(place)
        for name, x in items.items():
            if isinstance(x, Tensor):
                items[name] = place(x if name == "positions" else x[rows])
        return FlowBatch(**items)


# -- noise levels, and what is known ------------------------------------------------------------------


def draw_levels(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise levels: logsnr is normal around -1.2 with deviation 2, so that all levels of the samplers' schedule occur, the
    noisy ones most, where tempo, key and style are decided. Three in a hundred are pure noise, where every sampler starts."""
    t = torch.sigmoid(1.2 + 2 * torch.randn(shape, generator=generator))
    return torch.where(torch.rand(shape, generator=generator) < 0.03, 1.0, t)


def draw_context(size: int, frames: int, rng: random.Random) -> Tensor:
    """Context masks (size, frames), 1 = context: for half of the items none, for most others all but a block at the end, for
    some any beginning, or both ends. At least 12 frames are left to make."""
    mask, most = torch.zeros(size, frames), frames - GRANULE
    for row in mask:
        draw = rng.random()
        if 0.5 < draw < 0.8:
            row[: max(0, frames - rng.choice(BLOCKS))] = 1
        elif draw > 0.8:
            first = rng.randint(0, most)
            row[:first] = 1
            if draw > 0.9 and first < most:
                row[frames - rng.randint(1, most - first) :] = 1
    return mask


def draw_frames(batch: int, window: int, rng: random.Random) -> tuple[int, int]:
    """Items and frames of the next batch: mostly the window. Else anything shorter, as at the start of a stream; or up to
    twice, or up to 3.2 times as long, with a half or a quarter of the items."""
    draw = rng.random()
    if draw < 0.6:
        return batch, window
    if draw < 0.8:
        return batch, rng.randrange(GRANULE, window, GRANULE)
    share, least, most = (2, window, 2 * window) if draw < 0.93 else (4, 2 * window, window * 16 // 5)
    return max(1, batch // share), rng.randrange(least + GRANULE, most + 1, GRANULE)


def draw_base(data: LatentSet, batch: int, window: int, rng: random.Random, generator: torch.Generator) -> FlowBatch:
    """About `batch` windows for the base."""
    size, frames = draw_frames(batch, window, rng)
    x0, text, there, beats = data.batch(size, frames)
    context = draw_context(size, frames, rng)
    t = draw_levels((size,), generator)
    return FlowBatch(x0, text, t, torch.randn(x0.shape, generator=generator), context, (1 - context) * there, beats)


def draw_context_dropout(size: int, known: int, rng: random.Random) -> Tensor:
    """How many of the oldest context frames are missing, (size,): all of them (p .2), an older part (p .3), none."""
    draws = [rng.random() for _ in range(size)]
    part = [rng.randrange(0, known + 1, GRANULE) for _ in range(size)]
    return torch.tensor([known if d < 0.2 else p if d < 0.5 else 0 for d, p in zip(draws, part)])


SPLICES = 0.1  # share of items whose context is from another piece


def splice(x0: Tensor, cut: int, rng: random.Random, share: float) -> tuple[Tensor, Tensor]:
    """Gives some items, a `share` of them, the first `cut` frames of another: (x0, which were spliced (B,))."""
    spliced = torch.tensor([rng.random() < share for _ in range(len(x0))])
    other = torch.cat([x0.roll(1, 0)[..., :cut], x0[..., cut:]], -1)
    return torch.where(spliced[:, None, None], other, x0), spliced


def draw_enc_dec(data: LatentSet, batch: int, window: int, rng: random.Random, generator: torch.Generator,
                 splices: bool = True) -> FlowBatch:
    """`batch` windows of context and one block for `enc_dec`."""
    block = rng.choice(BLOCKS)
    known = min(WINDOW, window - block)
    x0, text, music, beats = data.batch(batch, known + block)
    x0, spliced = splice(x0, known, rng, share=SPLICES * splices)
    context = torch.cat([torch.ones(batch, known), torch.zeros(batch, block)], 1)
    there = torch.arange(known + block) >= draw_context_dropout(batch, known, rng)[:, None]  # (B, S)
    mask = enc_dec_mask(context) & there[:, None, None, :] | torch.eye(known + block, dtype=torch.bool)
    t = draw_levels((batch,), generator)
    return FlowBatch(x0, text, t, torch.randn(x0.shape, generator=generator), context, (1 - context) * music, beats,
                     torch.arange(known + block), mask, own=known * spliced, block=block)


def draw_block_causal(data: LatentSet, batch: int, window: int, rng: random.Random, generator: torch.Generator,
                      splices: bool = True, count: int | None = None) -> FlowBatch:
    """`batch` windows' worth of frames for `block_causal`, as stretches of twice the window, clean and noisy side by side.
    count: of this many blocks only there is a noisy copy; None: of all."""
    block, size, frames = rng.choice(BLOCKS), max(1, batch // 4), 2 * window
    x0, text, music, beats = data.batch(size, frames)
    cut = rng.randrange(block, frames, block)
    x0, spliced = splice(x0, cut, rng, share=0.3 * splices)  # of a stretch, only the blocks after the cut hear two pieces
    place = torch.arange(frames)
    begins = range(0, frames, block)
    if count is not None:
        begins = sorted(rng.sample(begins, min(count, len(begins))))
    noisy = (torch.tensor(list(begins))[:, None] + torch.arange(block)).flatten()  # where the noisy frames are
    weight = music * torch.where(spliced[:, None], (place >= cut).float(), 1.0)  # the caption is of the later part
    missing = draw_context_dropout(size, frames - block, rng)[:, None]  # (B, 1)
    both = torch.cat([place, noisy])
    there = torch.cat([place >= missing, torch.ones(size, len(noisy), dtype=torch.bool)], 1)  # (B, T + n)
    rows = torch.cat([place, frames + noisy])
    mask = block_causal_mask(frames, block, rng.choice((48, 96, WINDOW, WINDOW)))[rows][:, rows]
    mask = mask & there[:, None, None, :] | torch.eye(len(both), dtype=torch.bool)
    t = draw_levels((size, len(begins)), generator).repeat_interleave(block, 1)
    noise = torch.randn(size, 64, len(both), generator=generator)
    zeros = torch.zeros(size, frames)
    context = torch.cat([zeros + 1, torch.zeros(size, len(noisy))], 1)
    return FlowBatch(x0[..., both], text, torch.cat([zeros, t], 1), noise, context, torch.cat([zeros, weight[:, noisy]], 1),
                     beats[:, both], both, mask, own=cut * spliced, block=block)


DRAWS = {"bidirectional": draw_base, "enc_dec": draw_enc_dec, "block_causal": draw_block_causal}
