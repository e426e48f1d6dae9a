"""The Live Music Model block after block, with the surface of the diffusion models' streams.

A block is made frame by frame, decoded as a whole, and becomes context. There are no denoising steps. The
settings are those of drawing codes: `temperature`, `top_k`, and guidance, here on logits.

Notebook: 07_discrete_live_music_models. Paper: table 1; Magenta RealTime draws with a temperature of 1.1 to
1.3 and the 40 likeliest codes.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lmdm_mini.checks import guidance, temperature, whole_number
from lmdm_mini.conditioning.prompt import Prompt
from lmdm_mini.discrete.cache import LONGEST, CachedBlock, LMMCache
from lmdm_mini.discrete.lmm import LMM
from lmdm_mini.streaming import PartTimes, Stream, beats_from, guide, is_guided, with_no_text
from lmdm_mini.transformer import WINDOW

LMM_SETTINGS = ("prompt", "cfg_scale", "temperature", "top_k", "block_latents")


def sample_code(
    logits: Tensor, cfg_scale: float, temperature: float, *, top_k: int, generator: torch.Generator
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


@dataclass
class CodeSampling:
    """How codes are drawn. temperature: above 1 more varied, below 1 more likely. top_k: how many of the
    likeliest codes may be drawn."""

    temperature: float = 1.1
    top_k: int = 40


class LMMStream(Stream):
    """The stream of the discrete model. Codes are kept beside the latents of the context: encoding the sum of
    some codes again would not always give the same ones."""

    settings = LMM_SETTINGS

    def __init__(self, model: LMM, how: CodeSampling, *, seed: int, context_latents: int):
        if not 0 <= context_latents <= WINDOW:
            raise ValueError(
                f"context_latents is {context_latents}; this model attends to up to {WINDOW} frames."
            )
        super().__init__(model, seed, context_latents)
        self.memory = LMMCache(model, window=context_latents)
        self.temperature, self.top_k, self.cfg_scale = how.temperature, how.top_k, 2.0
        self.codes = self._encode_codes(self.context)  # (1, n_q, frames of the context)

    def check(self, changes: dict) -> dict:
        checked, entries = dict(changes), self.model.config.codebook_size
        for name, most in (("top_k", entries), ("block_latents", LONGEST)):
            if name in changes:
                checked[name] = whole_number(changes[name], name, 1, most=most)
        for name, check in (("cfg_scale", guidance), ("temperature", temperature)):
            if name in changes:
                checked[name] = check(changes[name])
        return checked

    def kept(self) -> list[Tensor]:
        return [value for value in vars(self.memory).values() if isinstance(value, Tensor)]

    def _encode_codes(self, latents: Tensor) -> Tensor:
        return self.model.rvq.encode(latents, self.model.config.n_q)

    def context_changed(self) -> None:
        self.codes = self._encode_codes(self.context)

    def context_corrected(self, context: Tensor, begin: int) -> None:
        self.codes = torch.cat([self.codes[..., :begin], self._encode_codes(context[..., begin:])], -1)

    def context_grew(self, latents: Tensor) -> None:
        new = self._encode_codes(latents) if self.made is None else self.made
        self.codes, self.made = torch.cat([self.codes, new], -1)[..., -self.model.config.window :], None

    made: Tensor | None = None  # codes of the block that was just made

    def begin_block(self) -> CachedBlock:
        """Returns the next block with context and prompts computed, before its first frame."""
        text = with_no_text(self.text) if is_guided(self.text, self.cfg_scale) else self.text
        context = self.codes[..., max(0, self.codes.shape[-1] - self.context_latents) :]
        count = self.block_latents
        beats = beats_from(self.beat, text.bpm, count)
        return CachedBlock(self.model, self.memory, context, count, text=text, beats=beats)

    def make(self, times: PartTimes) -> Tensor:
        with times.part("context"):
            block = self.begin_block()
        draw = {"temperature": self.temperature, "top_k": self.top_k, "generator": self.generator}
        pick = partial(sample_code, cfg_scale=self.cfg_scale, **draw)
        frame = times.timed("network", block)
        for _ in range(block.count):
            frame(pick)
        self.made = block.codes[None].clone()  # (1, n_q, block_latents)
        with times.part("codec"):
            return self.model.rvq.decode(self.made)


def stream_lmm(
    model: LMM,
    prompt: Prompt = "",
    block_latents: int = 48,
    *,
    cfg_scale: float = 2.0,
    seed: int = 0,
    context: Tensor | None = None,
    context_latents: int | None = None,
    **how,
) -> LMMStream:
    """Returns the stream of the discrete model. Arguments as :func:`lmdm_mini.models.stream`.

    how: fields of :class:`CodeSampling` that differ from the defaults.
    """
    size = WINDOW if context_latents is None else context_latents
    playing = LMMStream(model, CodeSampling(**how), seed=seed, context_latents=size)
    playing.set(prompt=prompt, block_latents=block_latents, cfg_scale=cfg_scale, **how)
    playing.start_from(context)
    return playing
