"""Training batches of the diffusion models: latents, their conditions, noise levels, and which frames are
context.

- `bidirectional`, the base: windows in which nothing, a beginning or both ends are context.
- `enc_dec`: a context and the block after it; the block is learned.
- `block_causal`: whole stretches as copies [clean | noisy], so that every block of the stretch is learned at
  once.

Notebooks: 02_rectified_flow, 04_reparameterization, 06_block_causal. Paper: sections 3.1 and 3.2.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.conditioning.sketch import LOUDNESSES, SEMITONES, Sketch
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, STEM_LOOK_BACK, Stem, visible_stem
from lmdm_mini.diffusion.dit import DiTConfig
from lmdm_mini.diffusion.masks import copies_mask, enc_dec_mask
from lmdm_mini.latents.windows import SPLICES, LatentSet, Windows, draw_context_dropout, splice
from lmdm_mini.transformer import WINDOW

STEM_SHARE = 0.5  # of batches whose items play to a stem, where a model can
STEM_PAST = 48  # frames of stem before the first that a target attends to: what stem frames themselves know
SKETCH_SHARE = 0.4  # of items with a sketch
# how far back a frame attends in a layer, in latent frames, drawn for each batch; by the granule
LOOK_BACKS = {12: (48, 96, WINDOW, WINDOW), 4: (24, 48, 48, 96, WINDOW)}
SKETCH_MISSING = 12  # up to so many of the newest frames of a sketch are missing, as when it is made live


@dataclass
class FlowBatch:
    """A training batch of B items with S frames each."""

    x0: Tensor  # (B, 64, S) clean latents
    conditions: Conditions  # of all S frames
    t: Tensor  # noise level of target frames, (B,) or (B, S)
    noise: Tensor  # (B, 64, S)
    context_mask: Tensor  # (B, S), 1 = context
    weight: Tensor  # (B, S) weights of the errors, 0 on frames without a loss
    positions: Tensor | None = None  # (S,) places in time
    attention_mask: Tensor | None = None  # (B, 1, S, S)
    v: Tensor | None = None  # (B, 64, S) the velocity to learn; None: that of the data
    missing: Tensor | None = None  # (B,) frames before this one are missing from the context
    splice_end: Tensor | None = None  # (B,) frames before this one come from another piece than the target
    block: int = 0  # frames of a target, for live variants: targets are the last frames, block after block

    @property
    def levels(self) -> Tensor:
        """Noise levels of all frames, (B, S): 0 on context frames."""
        return (self.t if self.t.ndim == 2 else self.t[:, None]) * (1 - self.context_mask)

    def part(self, rows: slice, place: Callable) -> "FlowBatch":
        """Returns the items `rows`, with every tensor moved by the function `place`."""
        items = {field.name: getattr(self, field.name) for field in fields(self)}
        items["conditions"] = self.conditions[rows].map(place)
        for name, x in items.items():
            if isinstance(x, Tensor):
                items[name] = place(x if name == "positions" else x[rows])
        return FlowBatch(**items)


# -- noise levels and context masks -------------------------------------------------------------------


def draw_levels(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws noise levels whose logsnr is normal with mean -1.2 and standard deviation 2.

    All levels of the samplers' schedule occur. Noisy ones occur most, since tempo, key and style are decided
    there. Three in a hundred are pure noise, where every sampler starts.
    """
    t = torch.sigmoid(1.2 + 2 * torch.randn(shape, generator=generator))
    return torch.where(torch.rand(shape, generator=generator) < 0.03, 1.0, t)


def draw_context(size: int, frames: int, rng: random.Random, *, config: DiTConfig | None = None) -> Tensor:
    """Draws context masks (size, frames), 1 = context.

    Half of the items have no context. Most others have all frames but a block at the end. Some have a
    beginning of any length, or both ends. At least one granule is always target.
    """
    config = config or DiTConfig()
    mask, most = torch.zeros(size, frames), frames - config.granule
    for row in mask:
        draw = rng.random()
        if 0.5 < draw < 0.8:
            row[: max(0, frames - rng.choice(config.blocks))] = 1
        elif draw > 0.8:
            first = rng.randint(0, most)
            row[:first] = 1
            if draw > 0.9 and first < most:
                row[frames - rng.randint(1, most - first) :] = 1
    return mask


def draw_frames(batch: int, window: int, rng: random.Random, *, granule: int = 12) -> tuple[int, int]:
    """Draws the number of items and of frames of the next batch.

    Most batches have the model's window. Some are shorter, as at the start of a stream. Others are up to
    twice, or up to 3.2 times as long, with a half or a quarter of the items.
    """
    draw = rng.random()
    if draw < 0.6:
        return batch, window
    if draw < 0.8:
        return batch, rng.randrange(granule, window, granule)
    share, least, most = (2, window, 2 * window) if draw < 0.93 else (4, 2 * window, window * 16 // 5)
    return max(1, batch // share), rng.randrange(least + granule, most + 1, granule)


# -- controls ---------------------------------------------------------------------------------------------


def draw_music(
    data: LatentSet, size: int, frames: int, config: DiTConfig, rng: random.Random, *, controls: bool = True
) -> Windows:
    """Draws windows, of half of the batches with an input stem. Those have fewer items, because the stem's
    frames go through the network, too.

    controls: False leaves stem and sketch out, as a comparison.
    """
    given = config.controls if controls else ()
    with_stem = "stem" in given and rng.random() < STEM_SHARE and any(piece.pairs for piece in data.pieces)
    before, after = STEM_PAST + STEM_LOOK_BACK + MAX_VISIBILITY, MAX_VISIBILITY
    size = max(1, size * 3 // 5) if with_stem else size
    return data.batch(size, frames, stem=(before, after) if with_stem else None, sketch="sketch" in given)


def controlled(
    music: Windows, begins: Tensor, lengths: Tensor, *, config: DiTConfig, rng: random.Random
) -> Conditions:
    """Returns the conditions of windows with what a player might give: a stem of drawn visibility, a sketch
    of drawn accuracy.

    begins, lengths: (B, T), where the target of each frame begins, and how many frames it has.
    """
    conditions, size = music.conditions, len(begins)
    if music.stem is not None and music.stem_present is not None:
        most = lengths.amax(1)
        v = torch.tensor([rng.randint(-MAX_VISIBILITY, int(n) + MAX_VISIBILITY) for n in most])
        v = torch.where(torch.tensor([rng.random() < 0.1 for _ in range(size)]), torch.zeros_like(v), v)
        visible = visible_stem(begins, v, config.granule)
        visible = visible[:, :1] if (begins == begins[:, :1]).all() else visible
        first = -(STEM_PAST + STEM_LOOK_BACK + MAX_VISIBILITY)  # position of the first frame there is
        low = max(first, int(visible[..., 0].min()) - STEM_PAST) // config.granule * config.granule
        low, high = max(low, first), max(low + 1, int(visible[..., 1].max()))
        rows = slice(low - first, high - first)
        latents, present = music.stem[..., rows], music.stem_present[:, rows]
        positions = torch.arange(low, low + present.shape[1])
        conditions = replace(conditions, stem=Stem(latents, present, positions, visible))
    if music.sketch is not None:
        sketch = Sketch(
            blurred(music.sketch, rng), draw_presence(begins, lengths, rng) * music.present[:, None]
        )
        conditions = replace(conditions, sketch=sketch)
    return conditions


def blurred(values: Tensor, rng: random.Random) -> Tensor:
    """Sketches (B, 88, T), each smoothed in time by a median of drawn length, pitch and loudness apart: what
    is drawn by hand, or hummed, is not as detailed as what is measured. Source: Garcia et al. 2024,
    "Sketch2Sound"."""
    pitch, loudness = values.split((SEMITONES, LOUDNESSES), 1)
    loudness = loudness.transpose(1, 2).flatten(1)  # (B, 4 T), in the order of time
    made = []
    for one, level in zip(pitch, loudness, strict=True):
        level = _median(level[None], rng.choice((1, 1, 5, 9, 17)))
        made.append(torch.cat([_median(one, rng.choice((1, 1, 3, 5))), level.view(-1, LOUDNESSES).T]))
    return torch.stack(made)


def _median(x: Tensor, width: int) -> Tensor:
    """The median of `width` neighbours, (C, T) to the same."""
    if width == 1:
        return x
    padded = F.pad(x[None], (width // 2, width // 2), mode="replicate")[0]
    return padded.unfold(-1, width, 1).median(-1).values


def draw_presence(begins: Tensor, lengths: Tensor, rng: random.Random) -> Tensor:
    """Draws where pitch and loudness are given, (B, 2, T): to a share of the items, both or one of them, and
    of half of those without the newest frames of every target.

    begins, lengths: (B, T), where the target of each frame begins, and how many frames it has.
    """
    to_the_end = lengths - (torch.arange(begins.shape[1]) - begins)  # (B, T), frames until the target ends
    kept = []
    for frames in to_the_end:
        draw, which = rng.random(), rng.random()
        missing = rng.randint(1, SKETCH_MISSING) if rng.random() < 0.5 else 0
        flags = torch.tensor([[which < 0.75], [which < 0.5 or which > 0.75]]) * (draw < SKETCH_SHARE)
        kept.append(flags * (frames > missing))
    return torch.stack(kept).float()


# -- batches of each variant ------------------------------------------------------------------------------


def draw_base(
    data: LatentSet,
    batch: int,
    config: DiTConfig,
    rng: random.Random,
    generator: torch.Generator,
    *,
    controls: bool = True,
) -> FlowBatch:
    """Draws about `batch` windows for the base."""
    size, frames = draw_frames(batch, config.window, rng, granule=config.granule)
    music = draw_music(data, size, frames, config, rng, controls=controls)
    size = len(music.latents)
    context = draw_context(size, frames, rng, config=config)
    # the target of a window is one stretch
    begins, lengths = context.argmin(1, keepdim=True), (1 - context).sum(1, keepdim=True).long()
    conditions = controlled(
        music, begins.expand(-1, frames), lengths.expand(-1, frames), config=config, rng=rng
    )
    t, noise = draw_levels((size,), generator), torch.randn(music.latents.shape, generator=generator)
    return FlowBatch(music.latents, conditions, t, noise, context, (1 - context) * music.present)


def draw_enc_dec(
    data: LatentSet,
    batch: int,
    config: DiTConfig,
    rng: random.Random,
    generator: torch.Generator,
    *,
    splices: bool = True,
    controls: bool = True,
) -> FlowBatch:
    """Draws about `batch` windows of a context and one block for `enc_dec`."""
    block = rng.choice(config.blocks)
    size = min(WINDOW, config.window - block)  # of the context
    music = draw_music(data, batch, size + block, config, rng, controls=controls)
    batch = len(music.latents)
    x0, spliced = splice(music.latents, size, rng, share=SPLICES * splices)
    context = torch.cat([torch.ones(batch, size), torch.zeros(batch, block)], 1)
    places = torch.arange(size + block)
    missing = draw_context_dropout(batch, size, rng, granule=config.granule)
    present = places >= missing[:, None]  # (B, S)
    mask = enc_dec_mask(context) & present[:, None, None, :] | torch.eye(len(places), dtype=torch.bool)
    begins = torch.full_like(context, size, dtype=torch.long)
    return FlowBatch(
        x0,
        controlled(music, begins, torch.full_like(begins, block), config=config, rng=rng),
        draw_levels((batch,), generator),
        torch.randn(x0.shape, generator=generator),
        context,
        (1 - context) * music.present,
        places,
        mask,
        missing=missing,
        splice_end=size * spliced,
        block=block,
    )


def draw_block_causal(
    data: LatentSet,
    batch: int,
    config: DiTConfig,
    rng: random.Random,
    generator: torch.Generator,
    *,
    splices: bool = True,
    count: int | None = None,
    controls: bool = True,
) -> FlowBatch:
    """Draws stretches of twice the window for `block_causal`, clean and noisy copies side by side.

    Together they have about as many frames as `batch` windows. count: how many blocks get a noisy copy;
    None: all of them.
    """
    block, frames = rng.choice(config.blocks), 2 * config.window
    music = draw_music(data, max(1, batch // 4), frames, config, rng, controls=controls)
    size = len(music.latents)
    cut = rng.randrange(block, frames, block)
    # only the blocks after the cut have two pieces in their context
    x0, spliced = splice(music.latents, cut, rng, share=0.3 * splices)
    place = torch.arange(frames)
    begins = range(0, frames, block)
    if count is not None:
        begins = sorted(rng.sample(begins, min(count, len(begins))))
    noisy = (
        torch.tensor(list(begins))[:, None] + torch.arange(block)
    ).flatten()  # positions of the noisy frames
    # the caption describes the part after the cut, so nothing is learned from the part before it
    weight = music.present * torch.where(spliced[:, None], (place >= cut).float(), 1.0)
    missing = draw_context_dropout(size, frames - block, rng, granule=config.granule)  # (B,)
    both = torch.cat([place, noisy])
    present = torch.cat(
        [place >= missing[:, None], torch.ones(size, len(noisy), dtype=torch.bool)], 1
    )  # (B, T + n)
    look_back = rng.choice(LOOK_BACKS.get(config.granule, LOOK_BACKS[4]))
    mask = copies_mask(place, noisy, noisy // block * block, window=look_back, granule=config.granule)
    mask = mask & present[:, None, None, :] | torch.eye(len(both), dtype=torch.bool)
    t = draw_levels((size, len(begins)), generator).repeat_interleave(block, 1)
    noise = torch.randn(size, 64, len(both), generator=generator)
    zeros = torch.zeros(size, frames)
    blocks = (place // block * block).expand(size, -1)
    conditions = controlled(music, blocks, torch.full_like(blocks, block), config=config, rng=rng)
    return FlowBatch(
        x0[..., both],
        conditions.take(both),
        torch.cat([zeros, t], 1),
        noise,
        torch.cat([zeros + 1, torch.zeros(size, len(noisy))], 1),
        torch.cat([zeros, weight[:, noisy]], 1),
        both,
        mask,
        missing=missing,
        splice_end=cut * spliced,
        block=block,
    )


DRAWS = {"bidirectional": draw_base, "enc_dec": draw_enc_dec, "block_causal": draw_block_causal}
