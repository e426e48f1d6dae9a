"""ARC-Forcing: a live model plays on from its own output, and what it played is judged.

In training, a model has only ever had real music as context. While it plays, its context is its own output,
mistakes and all, and mistakes add up. Here the model plays first, for seconds or minutes, and only the last
384 frames are compared with real music by a discriminator (`discriminator.py`). Their context is what the
model played before.

One performance has up to three parts: from the start to a change of the prompt, from there to the judged
segment, and that segment. Only its end is judged, so judging costs the same whatever the length, and a judged
segment never straddles a change: what belongs to the prompt before is hidden from the discriminator, and real
is music of the current prompt. The parts are cached roll-outs without gradient. The judged one goes through
the network once more, in parallel, with gradient (`rollout.py`).

Notebook: 09_arc_forcing (planned). Paper: section 3.3.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from lmdm_mini.conditioning.conditions import Conditions
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, Stem
from lmdm_mini.diffusion.batches import STEM_PAST, controlled, draw_music
from lmdm_mini.diffusion.consistency import PLAY, draw_strengths
from lmdm_mini.diffusion.discriminator import Pairs
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.diffusion.rollout import Rollout, draw_levels_of_steps, roll_out
from lmdm_mini.latents.windows import LatentSet
from lmdm_mini.transformer import WINDOW

JUDGED = 384  # latent frames at the end of a performance that are judged
STRETCH = 48  # frames; lengths are counted in these, and one is cut into blocks of one size
SHORTEST = JUDGED // STRETCH  # stretches: then all that is played is judged
LOOK_BACKS_PLAYED = (48, 96, WINDOW)
FROM_NOTHING = 0.25  # share of items without context
CHANGED = 0.25  # share of items whose prompt changes on the way
LONG_BLOCKS = 0.5  # share of stretches that are one block
PIECES = 16  # that a length must have: judged beside a few pieces, a model would learn those by heart


@dataclass
class Part:
    """Frames `begin` to `end` of a performance, counted from the first of its context, and their blocks."""

    begin: int
    end: int
    blocks: list[int]


@dataclass
class Performance:
    """What is drawn before B streams play: N frames after WINDOW frames of context.

    music: (B, 64, WINDOW + N), the real music. conditions: of all these frames, the stem's positions counted
    from the first. parts: those that are not empty, the judged one last. before: (B,), the item whose context
    and conditions an item has before its prompt changes; itself if it does not. change: where that is, a
    frame of `music`. from_nothing: (B,), True for items without context. look_back: while playing.
    """

    music: Tensor
    conditions: Conditions
    parts: list[Part]
    before: Tensor
    change: int
    from_nothing: Tensor
    look_back: int

    def to(self, device) -> "Performance":
        """The same on another device."""
        names = ("music", "conditions", "before", "from_nothing")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


# -- drawing -----------------------------------------------------------------------------------------------


def draw_blocks(frames: int, sizes: tuple[int, ...], rng: random.Random) -> list[int]:
    """Cuts `frames` into stretches of 48 and each of those into blocks of one size: half of them into one,
    the others into a size that is drawn."""
    blocks = []
    for _ in range(frames // STRETCH):
        size = max(sizes) if rng.random() < LONG_BLOCKS else rng.choice(sizes)
        blocks += [size] * (STRETCH // size)
    return blocks


def longest_played(data: LatentSet, longest: int) -> int:
    """Returns how many stretches of 48 frames are played at most: `longest`, or as many as PIECES pieces of
    the set have after a context, and at least those that are judged."""
    return max(SHORTEST, min(longest, (data.longest(PIECES) - WINDOW) // STRETCH))


def draw_performance(
    data: LatentSet,
    batch: int,
    config: DiTConfig,
    rng: random.Random,
    generator: torch.Generator,
    *,
    longest: int,
) -> Performance:
    """Draws about `batch` performances of 8 to `longest` stretches of 48 frames, as far as enough pieces have
    that length; fewer where they play to a stem. Raises ValueError if no piece is long enough."""
    count = STRETCH * rng.randint(SHORTEST, longest_played(data, longest))
    lead = WINDOW + count - JUDGED
    change = rng.randrange(WINDOW, lead + 1, STRETCH)
    edges = [WINDOW, change, lead, lead + JUDGED]
    parts = [
        Part(begin, end, draw_blocks(end - begin, config.blocks, rng))
        for begin, end in zip(edges, edges[1:])
        if end > begin
    ]
    music = draw_music(data.longer_than(WINDOW + count), batch, WINDOW + count, config, rng)
    size = len(music.latents)
    blocks = [STRETCH] * (WINDOW // STRETCH) + [n for part in parts for n in part.blocks]
    lengths = torch.tensor([n for n in blocks for _ in range(n)])
    ends = torch.tensor([end for end, n in zip(accumulate(blocks), blocks) for _ in range(n)])
    begins = ends - lengths
    every = (size, WINDOW + count)
    conditions = controlled(music, begins.expand(every), lengths.expand(every), config=config, rng=rng)
    if conditions.stem is not None:
        conditions.stem = _known(conditions.stem, ends, config.granule)
    if "strengths" in config.controls:
        conditions.strengths = draw_strengths(size, config.controls, generator)
    items = torch.arange(size)
    changed = torch.tensor([rng.random() < CHANGED for _ in range(size)])
    return Performance(
        music.latents,
        conditions,
        parts,
        torch.where(changed, items.roll(1), items),
        change,
        torch.tensor([rng.random() < FROM_NOTHING for _ in range(size)]),
        rng.choice(LOOK_BACKS_PLAYED),
    )


def _known(stem: Stem, ends: Tensor, granule: int) -> Stem:
    """Returns a stem in whole granules, of which nothing is visible that is more than MAX_VISIBILITY ahead of
    the end of a target: among blocks of many sizes, what was drawn for the longest is too far for the others.

    ends: (T,), where the target of each frame ends.
    """
    most = (ends + MAX_VISIBILITY) // granule * granule
    visible = torch.stack([stem.visible[..., 0], stem.visible[..., 1].minimum(most)], -1)
    first = -int(stem.positions[0]) % granule
    rows = slice(first, first + (len(stem.positions) - first) // granule * granule)
    return Stem(stem.latents[..., rows], stem.present[:, rows], stem.positions[rows], visible)


def conditions_of(conditions: Conditions, begin: int, end: int, *, origin: int) -> Conditions:
    """Returns the conditions of frames `begin` to `end`, with a stem's positions counted from frame `origin`
    and no more of it than these frames can make use of. origin: a multiple of the granule."""
    given = conditions.take(torch.arange(begin, end, device=conditions.text.bpm.device))
    if (stem := given.stem) is not None:
        low, high = int(stem.visible[..., 0].min()) - STEM_PAST, int(stem.visible[..., 1].max())
        low = low // STRETCH * STRETCH  # where a granule begins, whatever its size
        rows = (stem.positions >= low) & (stem.positions < high)
        given.stem = Stem(
            stem.latents[..., rows],
            stem.present[:, rows],
            stem.positions[rows] - origin,
            stem.visible - origin,
        )
    return given


# -- playing -----------------------------------------------------------------------------------------------


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside the block, torch uses one thread: blocks of few frames are too small to be shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def perform(
    model: DiT, drawn: Performance, generator: torch.Generator, steps: int = PLAY["steps"]
) -> tuple[Rollout, Conditions]:
    """Plays what was drawn; returns the roll-out of the judged part, whose context are the WINDOW frames
    before it, and its conditions. A block stops after 1 to `steps` steps."""
    seed = int(torch.randint(2**60, (), generator=generator))
    noise = torch.Generator(drawn.music.device).manual_seed(seed)
    context = drawn.music[drawn.before][..., :WINDOW]
    present = ~drawn.from_nothing[:, None].expand(-1, WINDOW)
    empty = bool(drawn.from_nothing.any())
    for part in drawn.parts:  # at least the judged one
        whose = drawn.conditions[drawn.before] if part.begin < drawn.change else drawn.conditions
        given = conditions_of(whose, part.begin, part.end, origin=part.begin - WINDOW)
        levels = draw_levels_of_steps(len(part.blocks), steps, generator, from_nothing=empty)
        rollout = roll_out(
            model,
            context,
            given,
            blocks=part.blocks,
            levels=levels,
            generator=noise,
            present=present,
            look_back=drawn.look_back,
        )
        context = torch.cat([context, rollout.made], -1)[..., -WINDOW:]
        present = torch.cat([present, present.new_ones(rollout.made[:, 0].shape)], -1)[:, -WINDOW:]
        empty = False
    return rollout, given  # pyrefly: ignore[unbound-name]


def pairs_of(drawn: Performance, rollout: Rollout, made: Tensor) -> Pairs:
    """Returns the judged segments beside real music of the same place in the same piece, each with the WINDOW
    frames before it. made: (B, 64, JUDGED), of the roll-out or of its parallel pass."""
    part = drawn.parts[-1]
    begin = part.begin - WINDOW
    frames = torch.arange(begin, part.end, device=made.device)
    there = (frames >= WINDOW) | ~drawn.from_nothing[:, None]
    items = torch.arange(len(made), device=made.device)
    same = (frames >= drawn.change) | (drawn.before == items)[:, None]
    return Pairs(
        drawn.music[..., begin : part.end],
        torch.cat([rollout.context, made], -1),
        conditions_of(drawn.conditions, begin, part.end, origin=begin),
        there & same,
        JUDGED,
    )
