"""The discrete rival: a Live Music Model (LMM) that draws one code after another, in the style of Magenta
RealTime.

Frames are the `n_q` codes of `rvq.py`. An encoder reads the context, of which it is given the first 4 codes a
frame. The decoder has two parts. The *temporal* transformer goes from frame to frame; it attends to the
encoded context, the frames of its block and the prompt. The *depth* transformer is small and predicts the
codes of one frame, each given the codes before it.

What it shares with our diffusion models, so that the two ways can be compared: the layers of encoder and
temporal transformer, RoPE, cross-attention to the same words, tempo and sentence in the modulation, the
clock, the number of parameters (:func:`parameters`), the window of 192 frames of context and blocks of up to
48. Here, too, the context does not depend on the prompt, so both branches of guidance share it.

A code enters the network as its vector, at first that of the codebook, then what training makes of it. The
vectors of a frame's codes are added up. The temporal transformer's input is the previous frame as latents.
The depth transformer's input is the sum over the codes drawn so far (as in RQ-Transformer). So no table of
embeddings as wide as the network is needed.

Notebook: 07_discrete_live_music_models. Paper: section 2 (Live Music Models). Sources: Lyria Team 2025, "Live
Music Models", section 3; Lee et al. 2022, "Autoregressive image generation using residual quantization",
section 3.2.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.checkpoints import how_to_restore, load_model, save_model
from lmdm_mini.codec.codec import LATENT_CHANNELS, Codec, load_codec
from lmdm_mini.conditioning.clock import (
    CLOCK_PERIODS,
    TEMPO_CHANNELS,
    clock_features,
    frames_to_beats,
    tempo_features,
)
from lmdm_mini.conditioning.text import TEXT_CHANNELS, Text
from lmdm_mini.discrete.rvq import RVQ, load_rvq
from lmdm_mini.transformer import Attend, Layer, attend_with, norm, rope_table, rotate, run_layers


@dataclass
class LMMConfig:
    n_q: int = 12  # codes a frame that are made
    context_n_q: int = 4  # codes a frame of the context that the encoder is given
    codebook_size: int = 1024
    width: int = 224
    heads: int = 7
    encoder_layers: int = 2
    temporal_layers: int = 4
    depth_width: int = 128
    depth_heads: int = 4
    depth_layers: int = 2
    expansion: float = 8 / 3
    window: int = 240  # latent frames it was trained on, context and block
    variant: str = "lmm"


class ContextKeys(nn.Module):
    """Computes keys and values (B, H, S, head_width) of the encoded context (B, S, W). A temporal layer
    attends to them and to those of its own frames in one attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.key_norm = nn.RMSNorm(width // heads)

    def forward(self, context: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        k, v = self.key_value(context).unflatten(-1, (2, self.heads, -1)).unbind(2)  # (B, S, H, head_width)
        return rotate(norm(k, self.key_norm.weight), table).to(v.dtype).transpose(1, 2), v.transpose(1, 2)


class DepthLayer(nn.Module):
    """Self-attention and a SwiGLU feed-forward.

    It runs for every code of every frame with one or two rows, so its time depends on the number of
    operations. A learned vector marks the position of a code, so there is no RoPE.
    """

    def __init__(self, width: int, heads: int, expansion: float):
        super().__init__()
        hidden, self.heads = int(expansion * width) // 32 * 32, heads
        self.attention_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)
        self.gate_up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """x (B, T, W) -> (B, T, W); attend as in :class:`lmdm_mini.transformer.SelfAttention`."""
        q, k, v = (
            self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)
        )  # (B, H, T, head_width)
        x = x + self.project(attend(q, k, v).transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class LMM(nn.Module):
    """Predicts codes: logits = model(codes, context_latents, text).

    codes: (B, n_q, S), of which the first `context_latents` frames are context. logits: (B,
    S - context_latents, n_q, codebook_size), each given all codes before it.
    """

    codec: Codec  # of a loaded model; not a submodule
    rvq: RVQ  # whose codes it makes; not a submodule

    def __init__(self, config: LMMConfig | None = None):
        super().__init__()
        self.config = c = config or LMMConfig()
        if not 1 <= c.context_n_q <= c.n_q:
            raise ValueError(f"context_n_q is {c.context_n_q}; it must be from 1 to n_q, which is {c.n_q}.")
        self.name, self.codec_fingerprint = "untrained", ""
        self.facts: dict = {}
        self.code_embeddings = nn.Parameter(
            0.3 * torch.randn(c.n_q, c.codebook_size, LATENT_CHANNELS) / c.n_q**0.5
        )
        self.context_in = nn.Linear(LATENT_CHANNELS, c.width)
        self.encoder = nn.ModuleList(Layer(c, cross=False) for _ in range(c.encoder_layers))
        self.encoder_norm = nn.LayerNorm(c.width)
        self.frames_in = nn.Linear(LATENT_CHANNELS, c.width)
        self.start = nn.Parameter(
            0.02 * torch.randn(c.width)
        )  # in place of the previous frame, where there is none
        self.tempo_in = nn.Linear(TEMPO_CHANNELS, c.width, bias=False)
        self.any_tempo = nn.Parameter(torch.zeros(c.width))
        self.sentence_in = nn.Linear(TEXT_CHANNELS, c.width, bias=False)
        self.clock_in = nn.Linear(2 * len(CLOCK_PERIODS), c.width, bias=False)
        self.modulation_head = nn.Linear(c.width, 6 * c.width)
        self.context_keys = nn.ModuleList(ContextKeys(c.width, c.heads) for _ in range(c.temporal_layers))
        self.temporal = nn.ModuleList(Layer(c) for _ in range(c.temporal_layers))
        self.temporal_norm = nn.LayerNorm(c.width)
        self.frame_to_depth = nn.Linear(c.width, c.depth_width)
        self.code_in = nn.Linear(LATENT_CHANNELS, c.depth_width, bias=False)
        self.place = nn.Parameter(0.02 * torch.randn(c.n_q, c.depth_width))  # which code of the frame it is
        self.depth = nn.ModuleList(
            DepthLayer(c.depth_width, c.depth_heads, c.expansion) for _ in range(c.depth_layers)
        )
        self.depth_norm = nn.LayerNorm(c.depth_width)
        self.code_heads = nn.Parameter(torch.zeros(c.n_q, c.codebook_size, c.depth_width))
        self.head_bias = nn.Parameter(torch.zeros(c.n_q, c.codebook_size))
        # as in the diffusion models, these start at zero
        for zero in (
            self.modulation_head,
            self.clock_in,
            self.sentence_in,
            *(layer.cross.project for layer in self.temporal),
        ):
            for parameter in zero.parameters():
                nn.init.zeros_(parameter)

    # -- parts of both the forward pass and the cached one ---------------------------------------------

    def embed_codes(self, codes: Tensor) -> Tensor:
        """Returns the vectors (B, S, n, 64) of codes (B, n, S) of the first n codebooks."""
        n = codes.shape[1]
        rows = codes + self.config.codebook_size * torch.arange(n, device=codes.device)[:, None]
        return F.embedding(rows, self.code_embeddings.flatten(0, 1)).transpose(1, 2)

    def rope(self, positions: Tensor) -> Tensor:
        """Returns the rotary table of `positions` (T,), for encoder and temporal transformer."""
        return rope_table(positions, self.config.width // self.config.heads)

    def modulation(self, text: Text) -> Tensor:
        """Returns the modulation of the temporal layers by tempo and sentence: (B, 1, 6 W)."""
        named = (text.bpm > 0).to(text.sentence.dtype)[:, None]
        tempo = self.any_tempo + named * (self.tempo_in(tempo_features(text.bpm)) - self.any_tempo)
        return self.modulation_head(F.silu(tempo + self.sentence_in(text.sentence)))[:, None]

    def clock(self, beats: Tensor, bpm: Tensor) -> Tensor:
        """Returns the embedding of the clock, which is added to frames: (B, T, W), 0 where no tempo is given.

        beats: (B or 1, T), positions of frames in beats. bpm: (B,), tempi, 0 = none.
        """
        return (bpm > 0).to(beats.dtype)[:, None, None] * self.clock_in(clock_features(beats))

    def encode(self, codes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the encoded context (B, S, W), which the temporal transformer attends to.

        codes: (B, at least context_n_q, S). mask: (B, 1, S, S), True where a query may attend to a key.
        """
        if not codes.shape[-1]:
            return self.place.new_zeros(len(codes), 0, self.config.width)
        x = self.context_in(self.embed_codes(codes[:, : self.config.context_n_q]).sum(2))
        table, still = (
            self.rope(torch.arange(x.shape[1], device=x.device)),
            x.new_zeros(1, 1, 6 * x.shape[-1]),
        )
        return self.encoder_norm(run_layers(self.encoder, x, still, table=table, attend=attend_with(mask)))

    # -- all frames at once, for training ---------------------------------------------------------------

    def forward(
        self,
        codes: Tensor,
        context_latents: int,
        text: Text,
        beats: Tensor | None = None,
        present: Tensor | None = None,
    ) -> Tensor:
        """Returns logits (B, S - context_latents, n_q, codebook_size) for the frames after the context.

        codes: (B, n_q, S). context_latents: frames of context. beats: (B, S), positions in beats; None: the
        clock starts with the first. present: (B, context_latents), False for context frames that are missing;
        None: all are present.
        """
        batch, n, size = codes.shape
        if n != self.config.n_q:
            raise ValueError(
                f"codes are {tuple(codes.shape)}, (B, n_q, T); this model makes {self.config.n_q} codes "
                "a frame."
            )
        if not 0 <= context_latents < size:
            raise ValueError(
                f"context_latents is {context_latents}; of {size} frames at least the last must be left "
                "to make."
            )
        present = codes.new_ones(batch, context_latents, dtype=torch.bool) if present is None else present
        made = self.embed_codes(codes[..., context_latents:])  # (B, T, n_q, 64)
        h = self._temporal(codes, made, context_latents, text=text, beats=beats, present=present)
        return self._depth(h, made)

    def _temporal(
        self,
        codes: Tensor,
        made: Tensor,
        context_latents: int,
        *,
        text: Text,
        beats: Tensor | None,
        present: Tensor,
    ) -> Tensor:
        """Returns the output (B, T, W) of the temporal transformer for each frame after the context."""
        batch, size = codes.shape[0], codes.shape[-1]
        count, positions = size - context_latents, torch.arange(size, device=codes.device)
        alone = torch.eye(
            context_latents, dtype=torch.bool, device=codes.device
        )  # a missing frame attends to itself, or it would be NaN
        context = self.encode(codes[..., :context_latents], present[:, None, None] | alone)
        # the input of a frame is the previous one
        last = (
            self.embed_codes(codes[..., context_latents - 1 : context_latents]).sum(2)
            if context_latents
            else made.new_zeros(batch, 1, LATENT_CHANNELS)
        )
        h = self.frames_in(torch.cat([last, made[:, :-1].sum(2)], 1))
        first = (
            ~present[:, -1] if context_latents else torch.ones(batch, dtype=torch.bool, device=codes.device)
        )  # nothing is before it
        h = torch.where((first[:, None] & (positions[:count] == 0))[..., None], self.start, h)
        beats = frames_to_beats(positions[None], text.bpm[:, None]) if beats is None else beats
        h = h + self.clock(beats[:, context_latents:], text.bpm)
        causal = positions[:count] <= positions[:count, None]  # (T, T)
        mask = torch.cat(
            [present[:, None, None].expand(-1, 1, count, -1), causal.expand(batch, 1, -1, -1)], -1
        )
        modulation, before, own = (
            self.modulation(text),
            self.rope(positions[:context_latents]),
            self.rope(positions[context_latents:]),
        )
        kept = [keys(context, before) for keys in self.context_keys]
        prompts = [layer.cross.keys_and_values(text.tokens, text.log_weight) for layer in self.temporal]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k, v = torch.cat([kept[layer][0], k], 2), torch.cat([kept[layer][1], v], 2)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        def from_prompt(layer: int, y: Tensor) -> Tensor:
            return self.temporal[layer].cross(y, *prompts[layer])

        h = run_layers(self.temporal, h, modulation, table=own, attend=attend, from_prompt=from_prompt)
        return self.temporal_norm(h)

    def _depth(self, h: Tensor, made: Tensor) -> Tensor:
        """Returns the logits of the codes of frames h (B, T, W).

        made: (B, T, n_q, 64), vectors of the codes; each code is predicted from those before it.
        """
        previous = F.pad(made.cumsum(2)[:, :, :-1], (0, 0, 1, 0))  # (B, T, n_q, 64)
        x = self.frame_to_depth(h)[:, :, None] + self.place + self.code_in(previous)
        x = x.flatten(0, 1)  # (B * T, n_q, depth_width)
        for layer in self.depth:
            x = layer(x, partial(F.scaled_dot_product_attention, is_causal=True))
        logits = (
            torch.einsum("nqd,qcd->nqc", self.depth_norm(x), self.code_heads.to(x.dtype)) + self.head_bias
        )
        return logits.unflatten(0, h.shape[:2])


def parameters(model: nn.Module) -> int:
    """Counts the parameters of transformers and conditioning. Vectors and heads of an LMM's codes are left
    out, because their number depends on the codebooks. Of a diffusion model, all parameters count."""
    of_codes = ("code_embeddings", "code_heads", "head_bias")
    return sum(p.numel() for name, p in model.named_parameters() if name not in of_codes)


def start_from(rvq: RVQ, config: LMMConfig | None = None) -> LMM:
    """Returns an untrained model for the codes of a quantiser. Its vectors start as the codebooks.

    Raises ValueError for more codes than the quantiser has, or codebooks of another size.
    """
    config = config or LMMConfig(n_q=rvq.n_q)
    _check_fits(config, rvq)
    model = LMM(config)
    model.code_embeddings.data.copy_(rvq.codebooks[: config.n_q])
    object.__setattr__(model, "rvq", rvq)  # not a submodule: its codebooks are not the model's
    return model


def _check_fits(config: LMMConfig, rvq: RVQ) -> None:
    if config.n_q > rvq.n_q:
        raise ValueError(f"n_q is {config.n_q}; this quantiser has {rvq.n_q} codebooks.")
    if config.codebook_size != rvq.config.codebook_size:
        raise ValueError(
            f"codebook_size is {config.codebook_size}; those of this quantiser have "
            f"{rvq.config.codebook_size} entries."
        )


def save_lmm(model: LMM, path, codec_fingerprint: str, **facts) -> None:
    """Writes the weights in half precision, with the configuration, the fingerprints of codec and quantiser,
    and facts about the training."""
    save_model(model, path, "lmm", codec_fingerprint=codec_fingerprint, rvq=model.rvq.fingerprint, **facts)


def load_lmm(path=None, rvq: Path | None = None) -> LMM:
    """Loads the trained model in evaluation mode, with its quantiser as `model.rvq` and its codec as
    `model.codec`.

    path, rvq: checkpoints of the model and the quantiser; None are the shipped ones.
    Raises FileNotFoundError or ValueError for missing or damaged files, or ones that do not belong together.
    """
    model = load_model("lmm", path, lambda config: LMM(LMMConfig(**config)), codec=load_codec())
    quantiser = load_rvq(rvq)
    if model.facts.get("rvq") != quantiser.fingerprint:
        raise ValueError(
            f"this model was trained on codes of quantiser {model.facts.get('rvq')}, not of "
            f"{quantiser.fingerprint}: their "
            "codes mean different things. Train the model anew, or take both from one place. "
            f"{how_to_restore()}"
        )
    _check_fits(model.config, quantiser)
    object.__setattr__(model, "rvq", quantiser)
    return model
