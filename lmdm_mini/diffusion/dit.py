"""The diffusion transformer: noisy latent frames, a noise level and conditions in, the velocity out.

The context frames of an outpainting are clean and marked. Their noise level is 0, and they get no prompt, no
tempo and no sketch. In the live variants context does not attend to targets
either, so its hidden states depend on its sound alone, which is what makes it possible to keep them
(04_reparameterization).

A prompt enters twice: word by word through cross-attention, and as a whole through the modulation of the
layers, with the tempo. The tempo is given as a number and as a clock: each target frame gets its place in the
beat and in the bar. A small model does not find a common pulse in noise by itself, just as a band needs
somebody to count it in.

One class serves all variants of the book; they differ in which frames attend to which, which is a mask
(`Variant`). What else a model can be given is in its configuration (`controls`): an input stem is a second
stream of clean frames with a door of its own, a sketch is added to target frames, and strengths of guidance
go into the modulation of targets.

Notebook: 02_rectified_flow. Paper: section 3.1.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.checkpoints import load_model
from lmdm_mini.codec.codec import LATENT_CHANNELS, Codec, load_codec
from lmdm_mini.conditioning.clock import (
    CLOCK_PERIODS,
    TEMPO_CHANNELS,
    clock_features,
    frames_to_beats,
    tempo_features,
)
from lmdm_mini.conditioning.conditions import Conditions, as_conditions
from lmdm_mini.conditioning.sketch import SKETCH_CHANNELS
from lmdm_mini.conditioning.stem import Stem, sees_stem, stem_mask
from lmdm_mini.conditioning.text import TEXT_CHANNELS, Text
from lmdm_mini.diffusion.flow import expand_t
from lmdm_mini.diffusion.masks import joined_masks
from lmdm_mini.transformer import BLOCKS, GRANULE, WINDOW, Layer, attend_with, rope_table, run_layers


@dataclass(frozen=True)
class Variant:
    """A kind of diffusion model, by how long it keeps keys and values of its context: not at all, for the
    denoising steps of one block, or across blocks."""

    name: str
    caches: bool  # clean frames have an input projection of their own and attend to nothing noisy
    across_blocks: bool  # clean frames also attend backwards only, so each is computed once


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("bidirectional", caches=False, across_blocks=False),
        Variant("enc_dec", caches=True, across_blocks=False),
        Variant("block_causal", caches=True, across_blocks=True),
    )
}
CONTROLS = ("stem", "sketch", "strengths")  # what a model may be given beside prompt and clock
STRENGTHS = 2  # of guidance: text, sketch


@dataclass
class DiTConfig:
    """The shape of a model. Checkpoints that lack one of the last four fields were trained with its
    default; `BASE` is what is trained now."""

    width: int = 224
    depth: int = 6
    heads: int = 7
    expansion: float = 8 / 3
    window: int = 240  # latent frames it was mostly trained on, 11.1 s
    variant: str = "bidirectional"
    granule: int = GRANULE  # latent frames that are kept together
    blocks: tuple[int, ...] = (
        BLOCKS  # latent frames of a block, multiples of the granule: what a live model plays
    )
    look_back: int = (
        WINDOW  # frames before its granule that a frame attends to in a layer, unless asked otherwise
    )
    controls: tuple[str, ...] = ()  # of CONTROLS

    def __post_init__(self):
        self.blocks, self.controls = tuple(self.blocks), tuple(self.controls)
        if self.variant not in VARIANTS:
            raise ValueError(f"no variant {self.variant!r}; there are: {', '.join(VARIANTS)}.")
        if unknown := set(self.controls) - set(CONTROLS):
            raise ValueError(f"no control {sorted(unknown)[0]!r}; there are: {', '.join(CONTROLS)}.")


# what training from random weights makes, unless asked otherwise: short blocks, and every control
BASE = DiTConfig(
    width=320, depth=8, heads=5, granule=4, blocks=(4, 12, 24, 48), look_back=48, controls=("stem", "sketch")
)


@dataclass
class Prepared:
    """Embedded conditions (:meth:`DiT.prepare`): everything that is the same in all denoising steps."""

    prompts: list[tuple[Tensor, Tensor, Tensor]]  # keys, values and bias for each layer's cross-attention
    global_cond: Tensor  # (B, W), see :meth:`DiT.global_cond`
    added: Tensor  # (B, T, W), what clock and sketch add to target frames
    stem: Stem | None


class DiT(nn.Module):
    """Predicts velocities: v = model(x_t, t, conditions).

    x_t: noisy latents (B, 64, T). t: noise level, (B,) or (B, T). v: (B, 64, T).
    """

    codec: Codec  # of a loaded model; not a submodule

    def __init__(self, config: DiTConfig | None = None):
        super().__init__()
        self.config = c = config or DiTConfig()
        self.name, self.codec_fingerprint = "untrained", ""
        self.facts: dict = {}
        self.frames_in = nn.Linear(LATENT_CHANNELS, c.width)
        if self.variant.caches:
            self.clean_in = nn.Linear(LATENT_CHANNELS, c.width)
        if "stem" in c.controls:
            self.stem_in = nn.Linear(LATENT_CHANNELS, c.width)
        if "sketch" in c.controls:
            self.sketch_in = nn.Linear(SKETCH_CHANNELS + 2, c.width, bias=False)  # and two flags
        if "strengths" in c.controls:
            self.strengths_in = nn.Linear(STRENGTHS, c.width, bias=False)
        self.time_in = nn.Sequential(nn.Linear(256, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.tempo_in = nn.Linear(TEMPO_CHANNELS, c.width, bias=False)
        self.any_tempo = nn.Parameter(torch.zeros(c.width))
        self.sentence_in = nn.Linear(TEXT_CHANNELS, c.width, bias=False)
        self.clock_in = nn.Linear(2 * len(CLOCK_PERIODS), c.width, bias=False)
        self.modulation_head = nn.Linear(c.width, 6 * c.width)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.depth))
        self.last_norm = nn.LayerNorm(c.width)
        self.frames_out = nn.Linear(c.width, LATENT_CHANNELS)
        closed = [self.modulation_head, self.frames_out, self.clock_in, self.sentence_in]
        closed += [getattr(self, name) for name in ("sketch_in", "strengths_in") if hasattr(self, name)]
        for zero in (*closed, *(layer.cross.project for layer in self.layers)):
            for parameter in zero.parameters():
                nn.init.zeros_(parameter)

    @property
    def variant(self) -> Variant:
        """The model's variant: which frames attend to which, and what is cached."""
        return VARIANTS[self.config.variant]

    # pyrefly: ignore[bad-override]  # torch calls it by position; the other five are handed on
    def _load_from_state_dict(self, state_dict, prefix, *args):
        # files of before have two doors that were never opened, and are all zero
        for name in ("input_in.weight", "sketch_in.weight"):
            if name not in self.state_dict() and not state_dict.get(prefix + name, torch.ones(1)).any():
                del state_dict[prefix + name]
        super()._load_from_state_dict(state_dict, prefix, *args)

    # -- embedding of the conditions -----------------------------------------------------------------

    def global_cond(self, text: Text, strengths: Tensor | None = None) -> Tensor:
        """Returns the embedding (B, W) of tempo, sentence and strengths of guidance (B, 2), for
        :meth:`modulation`."""
        named = (text.bpm > 0).to(text.sentence.dtype)[:, None]
        tempo = self.tempo_in(tempo_features(text.bpm))
        cond = self.any_tempo + named * (tempo - self.any_tempo) + self.sentence_in(text.sentence)
        return cond if strengths is None else cond + self.strengths_in(torch.log(strengths.clamp_min(1e-3)))

    def modulation(self, t: Tensor, global_cond: Tensor, target: Tensor | None = None) -> Tensor:
        """Returns the modulation of the layers, (B, 1 or T, 6 W), for noise levels t (B, 1 or T) and the
        embedding `global_cond` (B, W).

        target: (B, 1 or T, 1), 0 on context frames, which get :meth:`context_modulation`. None: all frames
        are target.
        """
        of_target = self.modulation_head(F.silu(self.time_in(time_features(t)) + global_cond[:, None]))
        return of_target if target is None else torch.where(target > 0, of_target, self.context_modulation())

    def context_modulation(self) -> Tensor:
        """Returns the modulation (1, 1, 6 W) of clean frames, which depends on weights alone."""
        t = self.any_tempo.new_zeros(1, 1)
        return self.modulation_head(F.silu(self.time_in(time_features(t)) + self.any_tempo))

    def clock(self, beats: Tensor | None, positions: Tensor, bpm: Tensor) -> Tensor:
        """Returns the embedding of the clock, which is added to frames: (B, T, W), 0 where no tempo is given.

        beats: (B or 1, T), positions of frames in beats; None: the clock starts at position 0 of `positions`
        (T,). bpm: (B,), tempi, 0 = none.
        """
        if beats is None:
            beats = frames_to_beats(positions, bpm[:, None])
        return (bpm > 0).to(beats.dtype)[:, None, None] * self.clock_in(clock_features(beats))

    def rope(self, positions: Tensor) -> Tensor:
        """Returns the rotary table of `positions` (T,), see :func:`lmdm_mini.transformer.rope_table`."""
        return rope_table(positions, self.config.width // self.config.heads)

    def prepare(self, conditions: Conditions | Text, positions: Tensor) -> Prepared:
        """Returns the embedded conditions, computed once for all denoising steps.

        positions: (T,), positions in time of the frames that are conditioned. Raises ValueError for a control
        that this model was not trained with.
        """
        conditions = as_conditions(conditions)
        for name in CONTROLS:
            if getattr(conditions, name) is not None and name not in self.config.controls:
                raise ValueError(
                    f"this model was not trained with {name}; it has {self.config.controls or 'no controls'}."
                )
        text = conditions.text
        prompts = [layer.cross.keys_and_values(text.tokens, text.log_weight) for layer in self.layers]
        added = self.clock(conditions.beats, positions, text.bpm)
        if conditions.sketch is not None:
            added = added + self.sketch_in(conditions.sketch.features())
        return Prepared(prompts, self.global_cond(text, conditions.strengths), added, conditions.stem)

    # -- the forward pass ----------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        conditions: Conditions | Text | Prepared,
        context_mask: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        return_hidden: int | None = None,
    ) -> Tensor:
        """Returns the velocity (B, 64, T), or with `return_hidden` the frames (B, T, W) after that many
        layers.

        x: (B, 64, T), with clean context frames. t: (B,) or (B, T), 1 = noise; values on context frames are
        ignored. conditions: of the target frames; a prompt alone is enough. context_mask: (B, T),
        1 = context; None: all frames are target. positions: (T,), positions in time; None: 0 to T-1.
        attention_mask: (T, T) or (B, 1, T, T), True where a query may attend to a key; None: everywhere. A
        stem goes through the same layers, in front of the window.
        """
        expand_t(t, x)  # checks the shape
        if return_hidden is not None and not 0 <= return_hidden <= len(self.layers):
            raise ValueError(f"return_hidden is {return_hidden}; this model has {len(self.layers)} layers.")
        positions = torch.arange(x.shape[-1], device=x.device) if positions is None else positions
        given = conditions if isinstance(conditions, Prepared) else self.prepare(conditions, positions)
        # (B, 1 or T, 1)
        target = x.new_ones(len(x), 1, 1) if context_mask is None else (1 - context_mask)[..., None]
        frames = x.transpose(1, 2)  # (B, T, 64)
        h = self.frames_in(frames)
        if self.variant.caches:
            h = torch.where(target > 0, h, self.clean_in(frames))
        h = h + target * given.added
        t, before = t[:, None] if t.ndim == 1 else t, 0
        if given.stem is not None:
            h, t, target, positions, attention_mask = self._with_stem(
                given.stem, h, t, target=target, positions=positions, mask=attention_mask
            )
            before = len(given.stem.positions)
        some_context = context_mask is not None or before
        modulation = self.modulation(t, given.global_cond, target if some_context else None)
        h = run_layers(
            self.layers,
            h,
            modulation,
            table=self.rope(positions),
            attend=attend_with(attention_mask),
            from_prompt=lambda i, y: target * self.layers[i].cross(y, *given.prompts[i]),
            stop=return_hidden,
        )[:, before:]
        return h if return_hidden is not None else self.velocity(h)

    def _with_stem(
        self, stem: Stem, h: Tensor, t: Tensor, *, target: Tensor, positions: Tensor, mask: Tensor | None
    ):
        """Returns h (B, S + T, W), t, target, positions and mask with the stem's frames in front."""
        batch, count = h.shape[:2]
        seen = sees_stem(stem.visible, stem.positions, stem.present).expand(batch, count, -1)
        if self.variant.caches:  # cached context depends on the context alone
            seen = seen & (target > 0).expand(batch, count, 1)
        none = h.new_zeros(batch, len(stem.positions), 1)
        h = torch.cat([self.stem_in(stem.latents.transpose(1, 2)), h], 1)
        t = torch.cat([none[..., 0], t.expand(batch, count)], 1)
        target = torch.cat([none, target.expand(batch, count, 1)], 1)
        mask = joined_masks(stem_mask(stem, self.config.granule), seen, mask)
        return h, t, target, torch.cat([stem.positions, positions]), mask

    def velocity(self, h: Tensor) -> Tensor:
        """Returns the velocities (B, 64, T) of frames h (B, T, W) after the last layer."""
        return self.frames_out(self.last_norm(h)).float().transpose(1, 2)


def live_model(base: DiT, variant: str) -> DiT:
    """Returns a model of a live variant with the weights and the codec of the base, to be fine-tuned. Both
    its input projections are copies of the base's."""
    model = DiT(replace(base.config, variant=variant))
    state = {f"clean_in.{name}": value for name, value in base.frames_in.state_dict().items()}
    model.load_state_dict(base.state_dict() | state)
    if hasattr(base, "codec"):
        object.__setattr__(model, "codec", base.codec)
    return model.train(base.training)


def time_features(t: Tensor, channels: int = 256) -> Tensor:
    """Returns Fourier features (..., channels) of noise levels t (...,)."""
    rates = torch.exp(torch.linspace(0, math.log(1000.0), channels // 2, device=t.device))
    angles = t[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def load_dit(name: str = "bidirectional", path=None) -> DiT:
    """Loads a trained diffusion model by its name, as :func:`lmdm_mini.models.load` loads any model."""
    if name == "lmm":
        names = ", ".join(VARIANTS)
        raise ValueError(f"model 'lmm' is the discrete one, which does not play here: take one of {names}.")
    return load_model(name, path, lambda config: DiT(DiTConfig(**config)), codec=load_codec())
