"""The Live Music Model block after block, with the surface of the diffusion models' streams.

A block is made frame by frame, decoded as a whole, and becomes context. There are no denoising steps; what is
chosen instead is how codes are drawn: `temperature` and `top_k`, and guidance, here on logits.

Notebook: 07_discrete_live_music_models. Paper: table 1; Magenta RealTime draws with a temperature of 1.1 to
1.3 and the 40 likeliest codes.
"""

import math
import time
from functools import partial

import torch
from torch import Tensor

from lmdm_mini.audio import to_stereo
from lmdm_mini.codec.codec import LATENT_CHANNELS
from lmdm_mini.conditioning.prompt import Prompt
from lmdm_mini.diffusion.stream import Stream
from lmdm_mini.discrete.cache import LONGEST, CachedBlock, LMMCache
from lmdm_mini.discrete.lmm import LMM
from lmdm_mini.streaming import Block, Stopwatch, beats_from, guide, is_guided, with_no_text
from lmdm_mini.transformer import WINDOW

LMM_SETTINGS = ("prompt", "cfg_scale", "temperature", "top_k", "block_latents")


def sample_code(
    logits: Tensor, cfg_scale: float, temperature: float, top_k: int, generator: torch.Generator
) -> Tensor:
    """Draws a code (1,) from logits (1, codebook_size), or with guidance from those of both branches (2,
    codebook_size): one of the `top_k` likeliest; top_k 1 is the likeliest."""
    if len(logits) == 2:
        logits = guide(logits, cfg_scale)
    if top_k == 1:
        return logits.argmax(-1)
    best, codes = logits.topk(top_k)
    return codes[0].index_select(
        0, torch.multinomial((best[0] / temperature).softmax(-1), 1, generator=generator)
    )


class LMMStream(Stream):
    """An endless iterator of :class:`lmdm_mini.streaming.Block`, as :class:`lmdm_mini.streaming.Stream` is.
    `set()` takes prompt, cfg_scale, temperature, top_k and block_latents."""

    settings = LMM_SETTINGS

    def __init__(
        self,
        model: LMM,
        prompt: Prompt,
        block_latents: int,
        cfg_scale: float,
        temperature: float,
        top_k: int,
        seed: int,
        context: Tensor | None,
        context_latents: int,
    ):
        if not 0 <= context_latents <= WINDOW:
            raise ValueError(f"context_latents is {context_latents}; this model hears up to {WINDOW} frames.")
        self.cache = (
            None  # of clean frames, as block_causal has one: here the context is read anew for every block
        )
        self.memory = LMMCache(model, window=context_latents)
        self._begin(model, seed, context_latents)
        self.set(
            prompt=prompt,
            block_latents=block_latents,
            cfg_scale=cfg_scale,
            temperature=temperature,
            top_k=top_k,
        )
        self.set_context(
            torch.zeros(1, LATENT_CHANNELS, 0) if context is None else self._encode(to_stereo(context))
        )

    def _check(self, changes: dict) -> None:
        entries = self.model.config.codebook_size
        top_k, block = (changes.get(name, 1) for name in ("top_k", "block_latents"))
        cfg_scale, temperature = (changes.get(name, 1.0) for name in ("cfg_scale", "temperature"))
        if not math.isfinite(cfg_scale):
            raise ValueError(f"cfg_scale is {cfg_scale}; it must be a finite number.")
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(
                f"temperature is {temperature}; it must be more than 0. For the likeliest codes, take top_k=1."
            )
        if not 1 <= top_k <= entries or top_k != int(top_k):
            raise ValueError(
                f"top_k is {top_k}; a whole number from 1 to the {entries} codes of a codebook is needed."
            )
        if not 1 <= block <= LONGEST or block != int(block):
            raise ValueError(f"block_latents is {block}; this model plays blocks of 1 to {LONGEST} frames.")

    # Codes are kept beside the latents of the context: encoding the sum of some codes again would not always
    # give the same ones.

    def _encode_codes(self, latents: Tensor) -> Tensor:
        return self.model.rvq.encode(latents, self.model.config.n_q)

    def set_context(self, latents: Tensor) -> None:
        super().set_context(latents)
        self.codes = self._encode_codes(self.context)  # (1, n_q, frames of the context)

    def correct(self, latents: Tensor, back: int) -> None:
        super().correct(latents, back)
        begin, count = self.codes.shape[-1] - back, latents.shape[-1]
        self.codes = torch.cat(
            [self.codes[..., :begin], self._encode_codes(latents), self.codes[..., begin + count :]], -1
        )

    def forget(self) -> None:
        super().forget()
        self.codes = self.codes[..., :0]

    def play(self, latents: Tensor) -> Block:
        block = super().play(latents)
        self._remember(self._encode_codes(latents))
        return block

    def _remember(self, codes: Tensor) -> None:
        self.codes = torch.cat([self.codes, codes], -1)[..., -self.model.config.window :]

    def __next__(self) -> Block:
        times, watch = [time.perf_counter()], Stopwatch()
        text = with_no_text(self.text) if is_guided(self.text, self.cfg_scale) else self.text
        heard = self.codes[..., max(0, self.codes.shape[-1] - self.context_latents) :]
        count = int(self.block_latents)
        block = CachedBlock(
            self.model, self.memory, heard, count, text, beats_from(self.beat, text.bpm, count)
        )
        times.append(time.perf_counter())
        pick = partial(
            sample_code,
            cfg_scale=self.cfg_scale,
            temperature=self.temperature,
            top_k=int(self.top_k),
            generator=self.generator,
        )
        frame = watch(block)
        for _ in range(count):
            frame(pick)
        times.append(time.perf_counter())
        codes = block.codes[None].clone()  # (1, n_q, block_latents)
        latents = self.model.rvq.decode(codes)
        audio = self._join(latents)
        self._remember(codes)
        times.append(time.perf_counter())
        spent = {"context": times[1] - times[0], "network": watch.seconds, "codec": times[3] - times[2]}
        return Block(audio, latents[0], times[-1] - times[0], spent)


def stream_lmm(
    model: LMM,
    prompt: Prompt = "",
    block_latents: int = 48,
    cfg_scale: float = 2.0,
    temperature: float = 1.1,
    top_k: int = 40,
    seed: int = 0,
    context: Tensor | None = None,
    context_latents: int = WINDOW,
) -> LMMStream:
    """The stream of the discrete model: :func:`lmdm_mini.models.stream`.

    temperature: above 1 more varied, below 1 more likely. top_k: how many of the likeliest codes may be
    drawn.
    """
    return LMMStream(
        model, prompt, block_latents, cfg_scale, temperature, top_k, seed, context, context_latents
    )
