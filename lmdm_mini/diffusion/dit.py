"""The diffusion transformer: noisy latent frames, a noise level and a prompt in, the velocity out.

Known frames (the context of an outpainting) are given clean, and the model is told which they are: for them
the noise level is 0, and prompt, tempo and sketch do not exist. In the live variants context does not look at
targets either, so what they think of it depends on its sound alone, which is what will make it possible to
keep it (04_reparameterization).

A prompt is heard twice: word by word in cross-attention, and as a whole in the modulation of the layers, with
the tempo. The tempo is given as a number and as a clock: each target frame is told where it is in the beat
and the bar. A small model does not find a common pulse in noise by itself, just as a band needs somebody to
count it in.

One class serves all variants of the book; they differ in who hears whom, which is a mask. The live ones
(`enc_dec` and `block_causal`) never let context look at targets, and let clean frames in by a projection of
their own. Two doors are there from the start though nothing goes through them yet: `input_stem` (what another
musician plays) and `sketch` (a melody and a loudness to follow). They start at zero.

Notebook: 02_rectified_flow. Paper: section 3.1.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.checkpoints import load_model
from lmdm_mini.codec.codec import LATENT_CHANNELS, load_codec
from lmdm_mini.conditioning.clock import (
    CLOCK_PERIODS,
    TEMPO_CHANNELS,
    clock_features,
    frames_to_beats,
    tempo_features,
)
from lmdm_mini.conditioning.sketch import SKETCH_CHANNELS
from lmdm_mini.conditioning.text import TEXT_CHANNELS, Text
from lmdm_mini.diffusion.flow import expand_t
from lmdm_mini.transformer import Layer, rope_table


@dataclass
class DiTConfig:
    width: int = 224
    depth: int = 6
    heads: int = 7
    expansion: float = 8 / 3
    window: int = 240  # latent frames it was mostly trained on, 11.1 s
    variant: str = "bidirectional"


@dataclass
class Words:
    """Prompts as a model has read them (:meth:`DiT.read`)."""

    layers: list[tuple[Tensor, Tensor, Tensor]]  # keys, values and weights for each layer's cross-attention
    global_cond: Tensor  # (B, W), see :meth:`DiT.global_cond`
    bpm: Tensor  # (B,)


class DiT(nn.Module):
    """v = model(x_t, t, text): latents (B, 64, T) at noise level t, (B,) or (B, T), to their velocity (B, 64,
    T)."""

    def __init__(self, config: DiTConfig | None = None):
        super().__init__()
        self.config = c = config or DiTConfig()
        self.name, self.codec_fingerprint, self.facts = "untrained", "", {}
        self.frames_in = nn.Linear(LATENT_CHANNELS, c.width)
        if c.variant != "bidirectional":
            self.clean_in = nn.Linear(LATENT_CHANNELS, c.width)
        self.input_in = nn.Linear(LATENT_CHANNELS + 1, c.width, bias=False)  # one channel more: is it there?
        self.sketch_in = nn.Linear(SKETCH_CHANNELS + 1, c.width, bias=False)
        self.time_in = nn.Sequential(nn.Linear(256, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.tempo_in = nn.Linear(TEMPO_CHANNELS, c.width, bias=False)
        self.any_tempo = nn.Parameter(torch.zeros(c.width))
        self.sentence_in = nn.Linear(TEXT_CHANNELS, c.width, bias=False)
        self.clock_in = nn.Linear(2 * len(CLOCK_PERIODS), c.width, bias=False)
        self.modulation_head = nn.Linear(c.width, 6 * c.width)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.depth))
        self.last_norm = nn.LayerNorm(c.width)
        self.frames_out = nn.Linear(c.width, LATENT_CHANNELS)
        for zero in (
            self.modulation_head,
            self.frames_out,
            self.input_in,
            self.sketch_in,
            self.clock_in,
            self.sentence_in,
            *(layer.cross.project for layer in self.layers),
        ):
            for parameter in zero.parameters():
                nn.init.zeros_(parameter)

    def global_cond(self, text: Text) -> Tensor:
        """Tempo and sentence of a batch of prompts, for :meth:`modulation`: (B, W)."""
        named = (text.bpm > 0).to(text.sentence.dtype)[:, None]
        return (
            self.any_tempo
            + named * (self.tempo_in(tempo_features(text.bpm)) - self.any_tempo)
            + self.sentence_in(text.sentence)
        )

    def modulation(self, t: Tensor, global_cond: Tensor, target: Tensor | None = None) -> Tensor:
        """What noise levels t (B, 1 or T) and prompts (B, W) make of the layers, (B, 1 or T, 6 W); where
        `target` (B, 1 or T, 1) is 0 there is nothing of them. None: all is target."""
        of_target = self.modulation_head(F.silu(self.time_in(time_features(t)) + global_cond[:, None]))
        return of_target if target is None else torch.where(target > 0, of_target, self.context_modulation())

    def clock(self, beats: Tensor | None, positions: Tensor, bpm: Tensor) -> Tensor:
        """What a clock at tempi bpm (B,) adds to frames, (B, T, W): nothing where no tempo is given. beats:
        where frames are, in beats (B or 1, T); None: the clock starts at position 0 of positions (T,)."""
        if beats is None:
            beats = frames_to_beats(positions, bpm[:, None])
        return (bpm > 0).to(beats.dtype)[:, None, None] * self.clock_in(clock_features(beats))

    def context_modulation(self) -> Tensor:
        """That of context frames, always the same: (1, 1, 6 W)."""
        return self.modulation_head(
            F.silu(self.time_in(time_features(self.any_tempo.new_zeros(1, 1))) + self.any_tempo)
        )

    def read(self, text: Text) -> "Words":
        """A batch of prompts as all denoising steps need them: read once, the network takes them in place of
        the text."""
        return Words(
            [layer.cross.read(text.tokens, text.log_weight) for layer in self.layers],
            self.global_cond(text),
            text.bpm,
        )

    def rope(self, positions: Tensor) -> Tensor:
        """Angles of places in time (T,), for its heads: see :func:`rope_table`."""
        return rope_table(positions, self.config.width // self.config.heads)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        text: Text | Words,
        context_mask: Tensor | None = None,
        input_stem: Tensor | None = None,
        sketch: Tensor | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        beats: Tensor | None = None,
        return_hidden: int | None = None,
    ) -> Tensor:
        """Velocity (B, 64, T), or with `return_hidden` the frames (B, T, W) after that many layers.

        x: (B, 64, T), context frames clean. t: (B,) or (B, T), 1 = noise; what it says of context frames is
        ignored. context_mask: (B, T), 1 = context; None: all is target. input_stem: latents and a last
        channel that is 1 where there are any, (B, 65, T). sketch: likewise, (B, SKETCH_CHANNELS + 1, T).
        positions: (T,) places in time, if they are not 0 to T-1. attention_mask: True where a query may look,
        (T, T) or (B, 1, T, T); None: everywhere. beats: see :meth:`clock`; target frames hear it.
        """
        expand_t(t, x)  # checks the shape
        if return_hidden is not None and not 0 <= return_hidden <= len(self.layers):
            raise ValueError(f"return_hidden is {return_hidden}; this model has {len(self.layers)} layers.")
        target = (
            x.new_ones(len(x), 1, 1) if context_mask is None else (1 - context_mask)[..., None]
        )  # (B, 1 or T, 1)
        frames = x.transpose(1, 2)  # (B, T, 64)
        h = self.frames_in(frames)
        if self.config.variant != "bidirectional":
            h = torch.where(target > 0, h, self.clean_in(frames))
        if input_stem is not None:
            h = h + self.input_in(input_stem.transpose(1, 2))
        if sketch is not None:
            h = h + target * self.sketch_in(sketch.transpose(1, 2))
        positions = torch.arange(x.shape[-1], device=x.device) if positions is None else positions
        h = h + target * self.clock(beats, positions, text.bpm)
        global_cond = text.global_cond if isinstance(text, Words) else self.global_cond(text)
        modulation = self.modulation(
            t[:, None] if t.ndim == 1 else t, global_cond, None if context_mask is None else target
        )
        table = self.rope(positions)
        attend = partial(F.scaled_dot_product_attention, attn_mask=attention_mask)
        for i, layer in enumerate(self.layers):
            if i == return_hidden:
                return h
            h = layer(
                h,
                modulation,
                table,
                attend,
                lambda y: (
                    target
                    * (
                        layer.cross.look(y, *text.layers[i])
                        if isinstance(text, Words)
                        else layer.cross(y, text.tokens, text.log_weight)
                    )
                ),
            )
        return h if return_hidden == len(self.layers) else self.velocity(h)

    def velocity(self, h: Tensor) -> Tensor:
        """Frames (B, T, W) after the last layer to velocities (B, 64, T)."""
        return self.frames_out(self.last_norm(h)).float().transpose(1, 2)


def live_model(base: DiT, variant: str) -> DiT:
    """A model of a live variant with the weights (and the codec) of the base: where fine-tuning starts. Both
    its input projections are the base's."""
    model = DiT(replace(base.config, variant=variant))
    state = {f"clean_in.{name}": value for name, value in base.frames_in.state_dict().items()}
    model.load_state_dict(base.state_dict() | state)
    if hasattr(base, "codec"):
        object.__setattr__(model, "codec", base.codec)
    return model.train(base.training)


def time_features(t: Tensor, channels: int = 256) -> Tensor:
    """Fourier features of noise levels: (...,) -> (..., channels)."""
    rates = torch.exp(torch.linspace(0, math.log(1000.0), channels // 2, device=t.device))
    angles = t[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def load_dit(name: str = "bidirectional", path=None) -> DiT:
    """A trained diffusion model by its name, as :func:`lmdm_mini.models.load` loads any model."""
    if name == "lmm":
        raise ValueError(
            "model 'lmm' is the discrete one, which does not play here: take bidirectional, enc_dec or block_causal."
        )
    return load_model(name, path, lambda config: DiT(DiTConfig(**config)), load_codec())
