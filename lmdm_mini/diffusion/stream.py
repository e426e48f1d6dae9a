"""Streams of the diffusion models: outpainting, cached denoising, and both as an endless iterator of blocks.

Notebook: 03_outpainting, 05_kv_caching. Paper: section 3.2.
"""

import math
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.codec.codec import ENCODER_AHEAD, FRAME_SAMPLES, LATENT_CHANNELS, LATENT_RATE, check_latents
from lmdm_mini.conditioning.prompt import Prompt
from lmdm_mini.conditioning.text import Text, encode_text, no_text
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import find_sampler, schedule
from lmdm_mini.diffusion.kv_cache import CachedTarget, KVCache, prefill
from lmdm_mini.musical import beat_phase
from lmdm_mini.streaming import Block, Stopwatch, beats_from, guide, is_guided, with_no_text
from lmdm_mini.transformer import BLOCKS, GRANULE, WINDOW

OUTPAINTING = ("mask", "replace")


@torch.inference_mode()
def outpaint(
    model: DiT,
    context: Tensor,
    text: Text,
    block_latents: int,
    steps: int,
    cfg_scale: float,
    sampler: str,
    generator: torch.Generator,
    outpainting: str = "mask",
    watch: Stopwatch | None = None,
    beat: float = 0.0,
) -> Tensor:
    """The next block after `context`: (B, 64, s) -> (B, 64, block_latents). See the module for the two ways.
    beat: where its clock is when it begins."""
    batch, _, known = context.shape
    x = torch.randn(batch, LATENT_CHANNELS, block_latents, generator=generator)
    noise = torch.randn(context.shape, generator=generator)
    branches = 2 if is_guided(text, cfg_scale) else 1
    words = model.read(with_no_text(text) if branches == 2 else text)
    mask = torch.cat([torch.ones(1, known), torch.zeros(1, block_latents)], 1).expand(branches * batch, -1)
    beats = beats_from(beat, words.bpm, block_latents, known)
    network = watch(model) if watch else model

    def velocity(x: Tensor, t: float) -> Tensor:
        before = context if outpainting == "mask" else (1 - t) * context + t * noise
        window = torch.cat([before, x], -1).repeat(branches, 1, 1)
        v = network(
            window, torch.full((len(window),), t), words, mask if outpainting == "mask" else None, beats=beats
        )
        return (guide(v, cfg_scale) if branches == 2 else v)[..., known:]

    return find_sampler(sampler)(velocity, x, schedule(steps), generator)


@torch.inference_mode()
def denoise_cached(
    model: DiT,
    cache: KVCache,
    text: Text,
    block_latents: int,
    steps: int,
    cfg_scale: float,
    sampler: str,
    generator: torch.Generator,
    watch: Stopwatch | None = None,
    beat: float = 0.0,
) -> Tensor:
    """The next block after what `cache` remembers: (1, 64, block_latents). beat: where its clock is when it
    begins."""
    x = torch.randn(1, LATENT_CHANNELS, block_latents, generator=generator)
    branches = 2 if is_guided(text, cfg_scale) else 1
    both = with_no_text(text) if branches == 2 else text
    target = CachedTarget(model, cache, block_latents, both, beats_from(beat, both.bpm, block_latents))
    network = watch(target) if watch else target

    def velocity(x: Tensor, t: float) -> Tensor:
        v = network(x.repeat(branches, 1, 1), torch.full((branches,), t))
        return guide(v, cfg_scale) if branches == 2 else v

    return find_sampler(sampler)(velocity, x, schedule(steps), generator)


SETTINGS = ("prompt", "cfg_scale", "steps", "block_latents")


class Stream:
    """An endless iterator of :class:`Block`; `set()` changes what the next block is made with."""

    settings: tuple[str, ...] = SETTINGS

    def __init__(
        self,
        model: DiT,
        prompt: Prompt,
        block_latents: int,
        steps: int,
        cfg_scale: float,
        seed: int,
        context: Tensor | None,
        sampler: str,
        context_latents: int,
        outpainting: str,
    ):
        find_sampler(sampler)
        if outpainting not in OUTPAINTING:
            raise ValueError(f"no outpainting {outpainting!r}; there are: {', '.join(OUTPAINTING)}.")
        if not 0 <= context_latents < model.config.window:
            raise ValueError(
                f"context_latents is {context_latents}; the window of this model is {model.config.window} frames."
            )
        if model.config.variant != "bidirectional" and (
            context_latents % GRANULE or context_latents > WINDOW
        ):
            raise ValueError(
                f"context_latents is {context_latents}; a model of variant {model.config.variant} takes multiples of {GRANULE} up "
                f"to {WINDOW}."
            )
        self.sampler, self.outpainting = sampler, outpainting
        self.cache = (
            None if model.config.variant == "bidirectional" else KVCache(model, window=context_latents)
        )
        self._begin(model, seed, context_latents)
        self.set(prompt=prompt, block_latents=block_latents, steps=steps, cfg_scale=cfg_scale)
        # also sets `heard`, the context as the codec renders it, up to where the first block begins
        self.set_context(
            torch.zeros(1, LATENT_CHANNELS, 0) if context is None else self._encode(to_stereo(context))
        )

    def _begin(self, model, seed: int, context_latents: int) -> None:
        """What a stream of any model starts with."""
        self.model, self.codec, self.context_latents = model, model.codec, context_latents
        self.generator = torch.Generator().manual_seed(seed)
        self.decoder = self.codec.stream_decoder()
        self.text, self.beat = no_text(1), 0.0  # where the clock is, in beats

    def _encode(self, audio: Tensor) -> Tensor:
        """Latents of a recording (2, N) up to its last frame that was heard whole: the encoder looks ahead,
        and silence after the end would be part of what it says. Of a long recording the end: what the model
        hears, and a second to warm up."""
        heard = self.context_latents * FRAME_SAMPLES + SAMPLE_RATE
        if audio.shape[-1] > heard + SAMPLE_RATE:
            warnings.warn(
                f"the context lasts {audio.shape[-1] / SAMPLE_RATE:.1f} s; only its last {heard / SAMPLE_RATE:.1f} s are used",
                stacklevel=4,
            )
            audio = audio[:, -heard:]
        frames = (audio.shape[-1] - ENCODER_AHEAD) // FRAME_SAMPLES
        if frames < 1:
            return self.codec.encode(audio[None])
        return self.codec.encode(audio[None, :, (audio.shape[-1] - ENCODER_AHEAD) % FRAME_SAMPLES :])[
            ..., :frames
        ]

    def set_context(self, latents: Tensor) -> None:
        """Goes on from latents (1, 64, n) instead of what was played; the decoder, too, as if it had just
        played them. Raises ValueError for other shapes or NaN."""
        check_latents(latents, least=0)
        rest = latents.shape[-1] % GRANULE if self.cache else 0
        self.context = self.fresh = latents[..., rest:]  # fresh: what the cache has not seen
        if self.cache:
            self.cache.clear()
        self.decoder.reset()
        self.heard = (
            self.decoder(self.context)[0] if self.context.shape[-1] else torch.zeros(2, 0)
        )  # what comes next joins without a seam
        if (
            self.text.bpm > 0 and self.heard.shape[-1] > SAMPLE_RATE
        ):  # a clock takes up the beat that is heard
            self.beat = beat_phase(self.heard, float(self.text.bpm))

    def correct(self, latents: Tensor, back: int) -> None:
        """The context from `back` frames ago on was really `latents` (1, 64, n), n at most `back`: what else
        was to be heard there came late. What is remembered of it is computed again with the next block.

        Raises ValueError for more frames than there are, or frames so old that they cannot be taken back.
        """
        check_latents(latents)
        size, count = self.context.shape[-1], latents.shape[-1]
        if not count <= back <= size:
            raise ValueError(
                f"{count} frames from {back} frames ago cannot be corrected: the context has {size} frames."
            )
        begin, seen = (
            size - back,
            size - self.fresh.shape[-1],
        )  # in the context: where it changes, and where the cache ends
        context = torch.cat([self.context[..., :begin], latents, self.context[..., begin + count :]], -1)
        if self.model.config.variant == "block_causal":  # the others read the whole context for every block
            again = (
                self.cache.next_frame - (self.cache.next_frame - max(0, seen - begin)) // GRANULE * GRANULE
            )
            self.cache.rollback(self.cache.next_frame - again)
            self.fresh = context[..., seen - again :]
        self.context = context

    def set(self, **changes) -> None:
        """Changes prompt, cfg_scale, steps or block_latents from the next block on. Raises ValueError for
        unknown names or values that cannot be played, TypeError for what is no prompt; then nothing has
        changed."""
        unknown = set(changes) - set(self.settings)
        if unknown:
            raise ValueError(
                f"a stream has no setting {sorted(unknown)[0]!r}; there are: {', '.join(self.settings)}."
            )
        self._check(changes)
        text = encode_text([changes["prompt"]]) if "prompt" in changes else self.text
        for name, value in changes.items():
            setattr(self, name, value)
        self.text = text

    def _check(self, changes: dict) -> None:
        """Raises ValueError for values that cannot be played."""
        steps, block, cfg_scale = (changes.get(name, 1) for name in ("steps", "block_latents", "cfg_scale"))
        if steps != int(steps) or steps < 1:
            raise ValueError(f"steps is {steps}; a whole number from 1 on is needed.")
        if not math.isfinite(cfg_scale):
            raise ValueError(f"cfg_scale is {cfg_scale}; it must be a finite number.")
        if block != int(block) or not 1 <= block <= self.model.config.window:
            raise ValueError(
                f"block_latents is {block}; it must be from 1 to the model's window of {self.model.config.window} frames."
            )
        if self.cache and "block_latents" in changes and block not in BLOCKS:
            raise ValueError(
                f"block_latents is {block}; a model of variant {self.model.config.variant} plays blocks of {BLOCKS} frames."
            )

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        times, watch = [time.perf_counter()], Stopwatch()
        if self.cache is None:
            room = min(self.context_latents, self.model.config.window - self.block_latents)
            context = self.context[..., max(0, self.context.shape[-1] - room) :]
            times.append(time.perf_counter())
            latents = outpaint(
                self.model,
                context,
                self.text,
                self.block_latents,
                self.steps,
                self.cfg_scale,
                self.sampler,
                self.generator,
                self.outpainting,
                watch,
                self.beat,
            )
        else:
            whole = self.model.config.variant == "enc_dec"
            newest = self.context[..., max(0, self.context.shape[-1] - self.context_latents) :]
            prefill(self.model, self.cache, newest if whole else self.fresh)
            times.append(time.perf_counter())
            latents = denoise_cached(
                self.model,
                self.cache,
                self.text,
                self.block_latents,
                self.steps,
                self.cfg_scale,
                self.sampler,
                self.generator,
                watch,
                self.beat,
            )
        times.append(time.perf_counter())
        audio = self._join(latents)
        times.append(time.perf_counter())
        spent = {"context": times[1] - times[0], "network": watch.seconds, "codec": times[3] - times[2]}
        return Block(audio, latents[0], times[-1] - times[0], spent)

    def play(self, latents: Tensor) -> Block:
        """Latents (1, 64, n) as the next block, instead of new ones; for a live variant n is a multiple of
        12."""
        start = time.perf_counter()
        if self.model.config.variant == "block_causal":
            prefill(self.model, self.cache, self.fresh)
        middle = time.perf_counter()
        audio = self._join(latents)
        end = time.perf_counter()
        return Block(
            audio, latents[0], end - start, {"context": middle - start, "network": 0.0, "codec": end - middle}
        )

    def _join(self, latents: Tensor) -> Tensor:
        """The sound (2, n) of latents (1, 64, T) that go on where the last block ended; they become
        context."""
        audio = self.decoder(latents)[0]  # refuses what is not finite, before it becomes context
        self.fresh, self.context = (
            latents,
            torch.cat([self.context, latents], -1)[..., -self.model.config.window :],
        )
        self.beat += latents.shape[-1] / LATENT_RATE * float(self.text.bpm) / 60
        return audio

    def forget(self) -> None:
        """Goes on without any context; the sound does not break off, and the clock runs on."""
        self.context = self.fresh = self.context[..., :0]
        if self.cache:
            self.cache.clear()


def stream_dit(
    model: DiT,
    prompt: Prompt = "",
    block_latents: int = 48,
    steps: int = 16,
    cfg_scale: float = 2.0,
    seed: int = 0,
    context: Tensor | None = None,
    sampler: str = "euler",
    context_latents: int = WINDOW,
    outpainting: str = "mask",
) -> Stream:
    """The stream of a diffusion model: :func:`lmdm_mini.models.stream`.

    steps: denoising steps a block. sampler: "euler" or "pingpong". outpainting: "mask" or "replace", see the
    module.
    """
    return Stream(
        model, prompt, block_latents, steps, cfg_scale, seed, context, sampler, context_latents, outpainting
    )
