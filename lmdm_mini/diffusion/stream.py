"""Streams of the diffusion models: the newest latent frames are the context, the next frames are denoised,
the window slides.

- `bidirectional` outpaints: context and target run through the network together, in every step. The context
  can be given in two ways. With `mask`, context frames are clean and marked, as the base was trained. With
  `replace`, they are noised to the level of each step, which works with any diffusion model.
- `enc_dec` and `block_causal` keep keys and values of the context (`kv_cache.py`) and run only the target.

Notebook: 03_outpainting, 05_kv_caching. Paper: section 3.2.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lmdm_mini.audio import to_stereo
from lmdm_mini.checks import guidance, real_number, whole_number
from lmdm_mini.codec.codec import LATENT_CHANNELS, LATENT_RATE
from lmdm_mini.conditioning.conditions import Conditions, as_conditions
from lmdm_mini.conditioning.prompt import Prompt
from lmdm_mini.conditioning.sketch import Sketch, sketch
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, STEM_LOOK_BACK, Stem, visible_stem
from lmdm_mini.conditioning.text import Text
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import find_sampler, schedule
from lmdm_mini.diffusion.guidance import Sampling, branches_of
from lmdm_mini.diffusion.kv_cache import LONGEST, CachedTarget, KVCache, prefill, prefill_stem
from lmdm_mini.streaming import PartTimes, Stream, beats_from
from lmdm_mini.transformer import WINDOW

OUTPAINTING = ("mask", "replace")
SETTINGS = ("prompt", "cfg_scale", "steps", "block_latents", "visibility", "sketch_scale")
MOST_STEPS = 1000  # denoising steps a block


def _noise(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def _with_beats(given: Conditions | Text, count: int, before: int = 0) -> Conditions:
    """Returns conditions with beats. Where none are given, the target begins on a beat."""
    conditions = as_conditions(given)
    if conditions.beats is None:
        return replace(conditions, beats=beats_from(0.0, conditions.text.bpm, count, before))
    return conditions


def outpaint(
    model: DiT,
    context: Tensor,
    conditions: Conditions | Text,
    *,
    block_latents: int,
    how: Sampling,
    generator: torch.Generator,
    outpainting: str = "mask",
    times: PartTimes | None = None,
) -> Tensor:
    """Returns the next block (B, 64, block_latents) after `context` (B, 64, s).

    conditions: of context and block together, (s + block_latents) frames; without beats, the block begins on
    one. outpainting: "mask" or "replace", see the module.
    """
    batch, _, size = context.shape
    x = _noise((batch, LATENT_CHANNELS, block_latents), generator, context)
    noise = _noise(tuple(context.shape), generator, context)
    given, combine = branches_of(model, _with_beats(conditions, block_latents, size), how)
    rows = len(given)
    prepared = model.prepare(given, torch.arange(size + block_latents, device=context.device))
    mask = torch.cat([context.new_ones(1, size), context.new_zeros(1, block_latents)], 1).expand(rows, -1)
    network = times.timed("network", model) if times else model

    def velocity(x: Tensor, t: float) -> Tensor:
        before = context if outpainting == "mask" else (1 - t) * context + t * noise
        window = torch.cat([before, x], -1).repeat(rows // batch, 1, 1)
        v = network(window, window.new_full((rows,), t), prepared, mask if outpainting == "mask" else None)
        return combine(v)[..., size:]

    return find_sampler(how.sampler)(velocity, x, schedule(how.steps), generator)


def denoise_cached(
    model: DiT,
    cache: KVCache,
    conditions: Conditions | Text,
    *,
    block_latents: int,
    how: Sampling,
    generator: torch.Generator,
    times: PartTimes | None = None,
) -> Tensor:
    """Returns the next block (streams, 64, block_latents) after the frames in `cache`.

    conditions: of that block; without beats, it begins on one.
    """
    x = _noise((cache.streams, LATENT_CHANNELS, block_latents), generator, cache.keys)
    given, combine = branches_of(model, _with_beats(conditions, block_latents), how)
    target, rows = CachedTarget(model, cache, block_latents, conditions=given), len(given)
    network = times.timed("network", target) if times else target

    def velocity(x: Tensor, t: float) -> Tensor:
        return combine(network(x.repeat(rows // cache.streams, 1, 1), x.new_full((rows,), t)))

    return find_sampler(how.sampler)(velocity, x, schedule(how.steps), generator)


class DiTStream(Stream):
    """The stream of a diffusion model.

    stem: latents (1, 64, n) of what another musician plays, from the stream's first frame on; more may be
    added while it plays. visible: frames of it after a block's beginning that are known when the block is
    made, see :mod:`lmdm_mini.conditioning.stem`. sketch: from the stream's first frame on; after its end
    there is none. All are for models that were trained with them.
    """

    settings = SETTINGS

    def __init__(
        self, model: DiT, how: Sampling, *, seed: int, context_latents: int | None, outpainting: str = "mask"
    ):
        find_sampler(how.sampler)
        c, caches = model.config, model.variant.caches
        if outpainting not in OUTPAINTING:
            raise ValueError(f"no outpainting {outpainting!r}; there are: {', '.join(OUTPAINTING)}.")
        if context_latents is None:
            context_latents = c.look_back if model.variant.across_blocks else WINDOW
        if not 0 <= context_latents < c.window:
            raise ValueError(
                f"context_latents is {context_latents}; the window of this model is {c.window} frames."
            )
        if caches and (context_latents % c.granule or context_latents > LONGEST):
            raise ValueError(
                f"context_latents is {context_latents}; a model of variant {c.variant} takes multiples of "
                f"{c.granule} "
                f"up to {LONGEST}."
            )
        super().__init__(model, seed, context_latents)
        self.how, self.outpainting = how, outpainting
        self.granule = c.granule if caches else 1
        self.cache = KVCache(model, window=context_latents) if caches else None
        self.fresh = self.context  # the newest frames of the context, which are not cached yet
        self.stem: Tensor | None = None
        self.sketch: Sketch | None = None
        self.visible, self.begins = 0, 0  # the latter: position of the stream's first frame in the cache

    # -- settings ------------------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Denoising steps a block."""
        return self.how.steps

    @steps.setter
    def steps(self, value: int) -> None:
        self.how = replace(self.how, steps=value)

    @property
    def cfg_scale(self) -> float:
        """Guidance of the prompt; 1 = none."""
        return self.how.cfg_scale

    @cfg_scale.setter
    def cfg_scale(self, value: float) -> None:
        self.how = replace(self.how, cfg_scale=value)

    @property
    def sketch_scale(self) -> float:
        """Guidance of the sketch; 1 = none."""
        return self.how.sketch_scale

    @sketch_scale.setter
    def sketch_scale(self, value: float) -> None:
        self.how = replace(self.how, sketch_scale=value)

    @property
    def visibility(self) -> float:
        """Seconds of the stem after a block's beginning that are known when it is made; below 0, the stem is
        late."""
        return self.visible / LATENT_RATE

    @visibility.setter
    def visibility(self, seconds: float) -> None:
        self.visible = round(seconds * LATENT_RATE)

    def play_along(self, stem: Tensor) -> None:
        """Plays to a recording (2, N) at 44.1 kHz from here on. Raises ValueError if the model was not
        trained with stems."""
        self._need("stem")
        encoded = self._here(self.codec.encode(to_stereo(stem)[None].to(self.codec_device)))
        self.stem = torch.cat([encoded.new_zeros(1, LATENT_CHANNELS, self.played), encoded], -1)

    def follow(self, given: Tensor | Sketch) -> None:
        """Follows the sketch of a recording (2, N) at 44.1 kHz, or a sketch, from here on. Raises ValueError
        if the model was not trained with sketches."""
        self._need("sketch")
        found = given if isinstance(given, Sketch) else sketch(to_stereo(given))
        self.sketch = found.map(lambda x: self._here(torch.nn.functional.pad(x, (self.played, 0))))

    def _need(self, control: str) -> None:
        if control not in self.model.config.controls:
            has = ", ".join(self.model.config.controls) or "no controls"
            raise ValueError(f"this model was not trained with {control}; it has {has}.")

    def check(self, changes: dict) -> dict:
        c, checked = self.model.config, dict(changes)
        if "sketch_scale" in changes:
            checked["sketch_scale"] = guidance(changes["sketch_scale"], "sketch_scale")
        if "visibility" in changes:
            most = MAX_VISIBILITY / LATENT_RATE
            seconds = checked["visibility"] = real_number(changes["visibility"], "visibility")
            if not -most <= seconds <= most:
                raise ValueError(f"visibility is {seconds:g} s; it must be from -{most:.2f} to {most:.2f} s.")
        if "steps" in changes:
            checked["steps"] = whole_number(changes["steps"], "steps", 1, most=MOST_STEPS)
        if "cfg_scale" in changes:
            checked["cfg_scale"] = guidance(changes["cfg_scale"])
        if "block_latents" in changes:
            block = checked["block_latents"] = whole_number(
                changes["block_latents"], "block_latents", 1, most=c.window
            )
            if self.cache and block not in c.blocks:
                raise ValueError(
                    f"block_latents is {block}; a model of variant {c.variant} plays blocks of {c.blocks} "
                    "frames."
                )
        return checked

    # -- context -------------------------------------------------------------------------------------

    def context_changed(self) -> None:
        self.fresh = self.context
        if self.cache:
            self.cache.clear(self.cache.next_frame if self.stem is not None else 0)

    def context_grew(self, latents: Tensor) -> None:
        self.fresh = latents

    @property
    def unread(self) -> int:
        return self.fresh.shape[-1]

    def kept(self) -> list[Tensor]:
        held = vars(self.cache).values() if self.cache else ()
        return [value for value in held if isinstance(value, Tensor)]

    def context_corrected(self, context: Tensor, begin: int) -> None:
        cache = self.cache
        # the other variants compute the whole context for every block
        if cache is None or not self.model.variant.across_blocks:
            return
        seen = self.context.shape[-1] - self.fresh.shape[-1]  # where the cache ends, in the context
        again = cache.next_frame - (cache.next_frame - max(0, seen - begin)) // self.granule * self.granule
        cache.rollback(cache.next_frame - again)
        self.fresh = context[..., seen - again :]

    # -- playing -------------------------------------------------------------------------------------

    def catch_up(self, times: PartTimes) -> None:
        if self.model.variant.across_blocks:
            self._fill(times, self.fresh)

    def _fill(self, times: PartTimes, context: Tensor) -> None:
        """Adds context frames to the cache, and the stem frames that are visible to the next block. A model
        without a cache needs neither."""
        if (cache := self.cache) is None:
            return
        with times.part("context"):
            # beside a stem, a context that is computed anew keeps its place in time
            start = 0 if self.stem is None else max(0, self.begins + self.played - context.shape[-1])
            prefill(self.model, cache, context, start=start)
            if self.stem is None:
                return
            if not cache.next_stem:
                self.begins = cache.next_stem = cache.next_frame - self.played
            here = cache.next_stem - self.begins
            until = min(self.stem.shape[-1], self.played + self.visible)
            count = max(0, until - here) // self.granule * self.granule
            if count:
                prefill_stem(self.model, cache, self._here(self.stem[..., here : here + count]))

    def make(self, times: PartTimes) -> Tensor:
        size = self.block_latents
        if self.cache is None:
            room = min(self.context_latents, self.model.config.window - size)
            context = self.context[..., max(0, self.context.shape[-1] - room) :]
            given = self._conditions(size, context.shape[-1])
            how = {"how": self.how, "outpainting": self.outpainting, "generator": self.generator}
            return outpaint(self.model, context, given, block_latents=size, times=times, **how)
        newest = self.context[..., max(0, self.context.shape[-1] - self.context_latents) :]
        self._fill(times, self.fresh if self.model.variant.across_blocks else newest)
        given = self._conditions(size, 0)
        return denoise_cached(
            self.model,
            self.cache,
            given,
            block_latents=size,
            how=self.how,
            generator=self.generator,
            times=times,
        )

    def _conditions(self, count: int, before: int) -> Conditions:
        """Returns the conditions of the next `count` frames and of the `before` context frames in front."""
        beats = beats_from(self.beat, self.text.bpm, count, before)
        return Conditions(self.text, beats, self._stem(before), self._sketch(count, before))

    def _sketch(self, count: int, before: int) -> Sketch | None:
        if self.sketch is None:
            return None
        values, present = self.sketch.values, self.sketch.present
        places = torch.arange(self.played - before, self.played + count, device=self.device)
        valid = (places >= 0) & (places < values.shape[-1])
        places = places.clamp(0, max(0, values.shape[-1] - 1))
        return Sketch(values[..., places] * valid, present[..., places] * valid)

    def _stem(self, before: int) -> Stem | None:
        """Returns the stem for the next block: with a cache only its visible range, else its frames, too."""
        if self.stem is None:
            return None
        v = torch.tensor([self.visible], device=self.device)
        if self.cache is not None:
            begin = torch.tensor([self.cache.next_frame], device=self.device)
            nothing = torch.zeros(1, LATENT_CHANNELS, 1, device=self.device)
            return Stem(nothing, nothing[:, 0] == 0, begin, visible_stem(begin, v, self.granule))
        begin = torch.tensor([before], device=self.device)
        first, last = (int(x) for x in visible_stem(begin, v, self.granule)[0, 0])
        places = torch.arange(first - STEM_LOOK_BACK, last, device=self.device)
        rows = places - before + self.played  # of the stem
        valid = (rows >= 0) & (rows < self.stem.shape[-1])
        frames = self._here(self.stem)[..., rows.clamp(0, max(0, self.stem.shape[-1] - 1))]
        return Stem(frames, valid[None], places, visible_stem(begin, v, self.granule))


def stream_dit(
    model: DiT,
    prompt: Prompt = "",
    block_latents: int = 48,
    *,
    seed: int = 0,
    context: Tensor | None = None,
    context_latents: int | None = None,
    outpainting: str = "mask",
    **more,
) -> DiTStream:
    """Returns the stream of a diffusion model. Arguments as :func:`lmdm_mini.models.stream`.

    outpainting: "mask" or "replace", see the module. more: `stem` and `visibility`, `sketch`, and fields of
    :class:`Sampling` that differ from the checkpoint's own, which stand in its facts as "play".
    """
    stem, visibility, drawn = (more.pop(name, None) for name in ("stem", "visibility", "sketch"))
    given: dict[str, Any] = {"steps": 16} | model.facts.get("play", {}) | more
    playing = DiTStream(
        model, Sampling(**given), seed=seed, context_latents=context_latents, outpainting=outpainting
    )
    settings = {name: given[name] for name in ("steps", "cfg_scale", "sketch_scale") if name in given}
    if visibility is not None:
        settings["visibility"] = visibility
    playing.set(prompt=prompt, block_latents=block_latents, **settings)
    if drawn is not None:
        playing.follow(drawn)
    if stem is not None:
        playing.play_along(stem)
    playing.start_from(context)
    return playing
