"""Block after block: the model goes on from what it has just played.

This first version outpaints: the newest latent frames are the context, the next `block_latents` frames are
denoised beside them, decoded, and the window slides. The whole window runs through the network in every
step, which is exact and slow; the later chapters make it cheap.

Notebook: 03_outpainting. Paper: section 3.2.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.codec import FRAME_SAMPLES, LATENT_CHANNELS
from lmdm_mini.conditioning import Text, encode_text, no_text
from lmdm_mini.dit import DiT
from lmdm_mini.flow import find_sampler, schedule

SETTINGS = ("prompt", "cfg_scale", "steps", "block_latents")


@dataclass
class Block:
    """One block of a stream."""

    audio: Tensor  # (2, n) float32, ready to play; blocks join without a cross-fade
    latents: Tensor  # (64, block_latents)
    seconds_to_make: float  # wall time of network and codec


def guided(model: DiT, text: Text, cfg_scale: float, x: Tensor, t: Tensor) -> Tensor:
    """Velocity with classifier-free guidance: x (B, 64, T), t (B, T); one pass with both branches in the batch."""
    if cfg_scale == 1.0 or not text.mask.any():
        return model(x, t, text)
    nothing = no_text(len(x))
    tokens = torch.cat([text.tokens.expand(len(x), -1, -1), nothing.tokens.expand(-1, text.tokens.shape[1], -1)])
    mask = torch.cat([text.mask.expand(len(x), -1), torch.zeros(len(x), text.mask.shape[1], dtype=torch.bool)])
    with_text, without = model(x.repeat(2, 1, 1), t.repeat(2, 1), Text(tokens, mask)).chunk(2)
    return without + cfg_scale * (with_text - without)


@torch.inference_mode()
def outpaint(model: DiT, context: Tensor, text: Text, block_latents: int, steps: int, cfg_scale: float,
             sampler: str, generator: torch.Generator) -> Tensor:
    """The next block after `context`: (B, 64, s) -> (B, 64, block_latents).

    Known frames stand beside the noisy ones in every step, clean and with noise level 0: mask conditioning.
    """
    batch, _, known = context.shape
    x = torch.randn(batch, LATENT_CHANNELS, block_latents, generator=generator)

    def velocity(x: Tensor, t: float) -> Tensor:
        level = torch.cat([torch.zeros(batch, known), torch.full((batch, block_latents), t)], 1)
        return guided(model, text, cfg_scale, torch.cat([context, x], -1), level)[..., known:]

    return find_sampler(sampler)(velocity, x, schedule(steps), generator)


class Stream:
    """An endless iterator of :class:`Block`; `set()` changes what the next block is made with."""

    def __init__(self, model: DiT, prompt: str, block_latents: int, steps: int, cfg_scale: float, seed: int,
                 context: Tensor | None, sampler: str, context_latents: int):
        find_sampler(sampler)
        if not 0 <= context_latents < model.config.window:
            raise ValueError(f"context_latents is {context_latents}; the window of this model is {model.config.window} frames.")
        self.model, self.codec, self.sampler, self.context_latents = model, model.codec, sampler, context_latents
        self.generator = torch.Generator().manual_seed(seed)
        self.decoder = self.codec.stream_decoder()
        self.context = torch.zeros(1, LATENT_CHANNELS, 0)
        self.text: Text = no_text(1)
        self.set(prompt=prompt, block_latents=block_latents, steps=steps, cfg_scale=cfg_scale)
        if context is not None:
            self.context = self.codec.encode(to_stereo(context)[None])
            self.decoder(self.context)  # so that the first block joins the recording without a seam

    def set(self, **changes) -> None:
        """Changes prompt, cfg_scale, steps or block_latents from the next block on. Raises ValueError for
        unknown names or values that cannot be played; then nothing has changed."""
        unknown = set(changes) - set(SETTINGS)
        if unknown:
            raise ValueError(f"a stream has no setting {sorted(unknown)[0]!r}; there are: {', '.join(SETTINGS)}.")
        if changes.get("steps", 1) < 1:
            raise ValueError(f"steps is {changes['steps']}; at least 1 is needed.")
        block = changes.get("block_latents", 1)
        if not 1 <= block <= self.model.config.window:
            raise ValueError(f"block_latents is {block}; it must be from 1 to the model's window of {self.model.config.window} frames.")
        text = encode_text([changes["prompt"]]) if "prompt" in changes else self.text
        for name, value in changes.items():
            setattr(self, name, value)
        self.text = text

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        begin = time.perf_counter()
        room = min(self.context_latents, self.model.config.window - self.block_latents)
        context = self.context[..., max(0, self.context.shape[-1] - room) :]
        latents = outpaint(self.model, context, self.text, self.block_latents, self.steps, self.cfg_scale, self.sampler, self.generator)
        self.context = torch.cat([self.context, latents], -1)[..., -self.model.config.window :]
        audio = self.decoder(latents)[0]
        return Block(audio, latents[0], time.perf_counter() - begin)


def stream(model: DiT, prompt: str = "", block_latents: int = 48, steps: int = 16, cfg_scale: float = 3.0, seed: int = 0,
           context: Tensor | None = None, sampler: str = "euler", context_latents: int = 192) -> Stream:
    """Music without end, block after block.

    prompt: what to play; empty plays unconditionally. block_latents: frames a block (48 = 2.2 s).
    steps: denoising steps a block. cfg_scale: guidance, 1 = none. context: audio (2, N) at 44.1 kHz to go
    on from. context_latents: how many newest frames the model hears. Same seed and settings, same music.

    The first block is up to 256 samples shorter than the rest when nothing precedes it: the codec's look-ahead.
    """
    return Stream(model, prompt, block_latents, steps, cfg_scale, seed, context, sampler, context_latents)


def generate(model: DiT, prompt: str = "", seconds: float = 20.0, steps: int = 16, cfg_scale: float = 3.0, seed: int = 0,
             context: Tensor | None = None, sampler: str = "euler", block_latents: int = 48, context_latents: int = 192) -> Tensor:
    """`seconds` of music, (2, N) float32 at 44.1 kHz; arguments as :func:`stream`. With `context`, what comes after it."""
    if seconds <= 0:
        raise ValueError(f"seconds is {seconds}; it must be positive.")
    samples, pieces = int(seconds * SAMPLE_RATE), []
    playing = stream(model, prompt, block_latents, steps, cfg_scale, seed, context, sampler, context_latents)
    while sum(piece.shape[-1] for piece in pieces) < samples:
        pieces.append(next(playing).audio)
    return torch.cat(pieces, -1)[:, :samples]
