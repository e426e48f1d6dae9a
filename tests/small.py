"""Small models and made-up data that several tests share."""

import math

import torch

from lmdm_mini.checkpoints import save_model
from lmdm_mini.codec import load_codec
from lmdm_mini.conditioning import Text
from lmdm_mini.conditioning.sketch import SKETCH_CHANNELS, Sketch, pack_sketch
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.discrete.cache import CachedBlock
from lmdm_mini.discrete.lmm import LMM, LMMConfig, start_from
from lmdm_mini.discrete.rvq import RVQ, RVQConfig, load_rvq
from lmdm_mini.evaluation.judges import FIRST_STYLES
from lmdm_mini.evaluation.real_music import Reference
from lmdm_mini.latents import LatentPiece, LatentSet
from lmdm_mini.latents.encode import quantised
from lmdm_mini.latents.packed import LatentPair, Quantised
from lmdm_mini.streaming import beats_from

# -- diffusion models and prompts --------------------------------------------------------------------


def make_model(variant: str = "bidirectional", seed: int = 0, **config) -> DiT:
    """A small diffusion model of a variant, of which no part is zero: with every path open."""
    torch.manual_seed(seed)
    model = DiT(DiTConfig(**{"width": 48, "depth": 3, "heads": 2, "variant": variant} | config)).eval()
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return model


def words(batch: int, seed: int = 0) -> Text:
    """Prompts: random tokens, of which the first prompt has fewer, and a tempo for every second one."""
    generator = torch.Generator().manual_seed(seed)
    log_weight = torch.zeros(batch, 4)
    log_weight[0, 2:] = -math.inf
    tokens = torch.randn(batch, 4, 384, generator=generator)
    sentence = torch.randn(batch, 384, generator=generator)
    return Text(tokens, log_weight, torch.tensor([90.0, 0.0, 120.0, 0.0])[:batch], sentence)


# -- the discrete model ------------------------------------------------------------------------------

CODES, ENTRIES = 5, 32
SMALL = LMMConfig(
    n_q=CODES,
    context_n_q=3,
    codebook_size=ENTRIES,
    width=48,
    heads=2,
    encoder_layers=2,
    temporal_layers=2,
    depth_width=32,
    depth_heads=2,
    depth_layers=2,
)


def make_lmm() -> LMM:
    """A small discrete model with its quantiser, of which no part is zero."""
    torch.manual_seed(0)
    made = LMM(SMALL).eval().requires_grad_(False)
    for p in made.parameters():  # nothing stays at its zero initialisation
        p += 0.1 * torch.randn_like(p)
    quantiser = RVQ(RVQConfig(CODES, ENTRIES))
    quantiser.codebooks.copy_(torch.randn(CODES, ENTRIES, 64) / torch.arange(1, CODES + 1)[:, None, None])
    object.__setattr__(made, "rvq", quantiser.eval().requires_grad_(False))
    object.__setattr__(made, "codec", load_codec())
    return made


def codes_of(frames, seed=0, batch=1):
    return torch.randint(ENTRIES, (batch, CODES, frames), generator=torch.Generator().manual_seed(seed))


def played(model, cache, context, count, text, beat, pick):
    """A block from the cache: its codes (1, CODES, count), and all logits (B, count, CODES, ENTRIES)."""
    logits = []

    def listen(given):
        logits.append(given.clone())
        return pick(given)

    block = CachedBlock(model, cache, context, count, text=text, beats=beats_from(beat, text.bpm, count))
    for _ in range(count):
        block(listen)
    return block.codes[None].clone(), torch.stack(logits).unflatten(0, (count, CODES)).permute(2, 0, 1, 3)


# -- a quantiser -------------------------------------------------------------------------------------


def latents_of(frames=600, seed=0):
    """Latents whose channels have something in common, as real ones have: (1, 64, frames)."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(64, 6, generator=torch.Generator().manual_seed(7)) / 6**0.5
    return (
        mix @ torch.randn(6, frames, generator=generator) + 0.1 * torch.randn(64, frames, generator=generator)
    )[None]


# -- evaluations -------------------------------------------------------------------------------------


def embeddings(count, shift=0.0):
    generator = torch.Generator().manual_seed(count)
    return {
        name: shift + torch.randn(count, size, generator=generator)
        for name, size in (("clap", 128), ("crepe", 64))
    }


def second_embeddings(clips, shift=0.0):
    return {name: values.unflatten(0, (clips, 4)) for name, values in embeddings(4 * clips, shift).items()}


def make_reference() -> Reference:
    """What made-up music scores."""
    wanted = torch.arange(16) % len(FIRST_STYLES)
    return Reference(
        embeddings(40),
        second_embeddings(225),
        second_embeddings(175),
        {},
        ["a prompt"] * 16,
        wanted,
        torch.eye(len(FIRST_STYLES))[wanted].clamp_min(1e-4).log(),
        torch.zeros(16),
        {},
        {},
    )


def small(variant):
    torch.manual_seed(0)
    if variant == "lmm":
        model = start_from(
            load_rvq(),
            LMMConfig(
                n_q=2,
                context_n_q=1,
                width=48,
                heads=2,
                encoder_layers=1,
                temporal_layers=1,
                depth_width=32,
                depth_heads=1,
                depth_layers=1,
            ),
        )
    else:
        model = DiT(DiTConfig(width=48, depth=1, heads=2, variant=variant))
    object.__setattr__(model, "codec", load_codec())
    return model.eval().requires_grad_(False)


# -- a codec -----------------------------------------------------------------------------------------


class PlainCodec(torch.nn.Module):
    """Stands in for the codec: 64 samples a channel are kept of every frame's 2,048, and the frame is
    held."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(3))

    def encode(self, audio):
        frames = -(-audio.shape[-1] // 2048)
        audio = torch.nn.functional.pad(audio, (0, (frames + 1) * 2048 - audio.shape[-1]))
        now = audio.unfold(-1, 2048, 2048)[..., :32]  # (B, 2, frames + 1, 32)
        mixed = now[:, :, :-1] + 0.01 * now[:, :, 1:]  # looks ahead one frame
        return mixed.permute(0, 1, 3, 2).reshape(audio.shape[0], 64, frames).clone()

    def decode(self, latents):
        held = latents.view(latents.shape[0], 2, 32, -1).transpose(2, 3)
        return held.repeat_interleave(64, dim=-1).flatten(2)

    def stream_encoder(self):
        return self.encode

    def stream_decoder(self):
        return self.decode


# -- training ----------------------------------------------------------------------------------------


def set_with_controls(count=3, frames=900, seed=0):
    """A set of made-up pieces with a stem, a sketch and beats each."""
    generator = torch.Generator().manual_seed(seed)

    def made_up() -> Quantised:
        return Quantised(*quantised(torch.randn(64, frames, generator=generator)))

    def drawn() -> dict:
        values = torch.rand(1, SKETCH_CHANNELS, frames, generator=generator)
        return pack_sketch(Sketch(values, torch.ones(1, 2, frames)))

    pieces = []
    for i in range(count):
        pair = LatentPair(("drums",), ("bass",), made_up(), None, made_up(), drawn(), [f"bass {i}"])
        mix = made_up().frames(0, frames).half()
        beats, words = torch.arange(frames) / 10, [f"house {i}, 120 bpm"]
        pieces.append(LatentPiece(str(i), "house", 120.0, words, mix, beats, drawn(), [pair]))
    return LatentSet(pieces, seed, paraphrased=0.0, empty=0.0)


def save_small(path, model, codec=None, **facts):
    """Writes a model as a training would."""
    save_model(
        model, path, model.config.variant, codec_fingerprint=codec or load_codec().fingerprint, **facts
    )
