"""Every model by its name, and music from any of them: what ``import lmdm_mini as lm`` offers.

The diffusion models and the discrete rival have one surface. What is theirs alone is a setting of their own:
`steps`, `sampler` and `outpainting` of the ones, `temperature` and `top_k` of the other.

Notebook: 00_start_here uses it.
"""

import re
import warnings
from functools import partial

import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.checkpoints import list_models
from lmdm_mini.checks import SEEDS, guidance, real_number, temperature, whole_number
from lmdm_mini.codec.codec import ENCODER_AHEAD, FRAME_SAMPLES
from lmdm_mini.conditioning.prompt import Prompt
from lmdm_mini.diffusion.dit import DiT, load_dit
from lmdm_mini.diffusion.stream import stream_dit
from lmdm_mini.discrete.lmm import LMM, load_lmm, start_from
from lmdm_mini.discrete.stream import stream_lmm
from lmdm_mini.modes import in_float32
from lmdm_mini.precision import for_playing
from lmdm_mini.streaming import Stream, take

Model = DiT | LMM


@in_float32()
def load(name: str = "bidirectional", path=None) -> Model:
    """A trained model by its name (see :func:`lmdm_mini.list_models`), in evaluation mode, with its codec as
    `model.codec`.

    path: other weights than the shipped ones, of a model of this name.
    Raises TypeError for what is no name, ValueError for an unknown name, a damaged file, or weights made for
    latents of another codec or codes of another quantiser.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"load() takes the name of a model, such as 'bidirectional', not {type(name).__name__}. "
            "Weights in a file: load(name, path=...)."
        )
    if not re.fullmatch(r"[\w+.-]{1,100}", name):
        there = ", ".join(row["name"] for row in list_models())
        raise ValueError(
            f"there is no model {name[:60]!r}. There are: {there}. Weights in a file: load(name, path=...)."
        )
    return load_lmm(path) if name == "lmm" else load_dit(name, path)


@in_float32()
def stream(
    model: Model,
    prompt: Prompt = "",
    block_latents: int = 48,
    cfg_scale: float | str = "auto",
    seed: int = 0,
    context: Tensor | None = None,
    context_latents: int | None = None,
    precision: str = "float32",
    **settings,
) -> Stream:
    """Music without end, block after block.

    prompt: what to play, a sentence or a weighted mixture of some; empty plays unconditionally.
    block_latents: frames a block (48 = 2.2 s). cfg_scale: guidance, 1 = none; "auto" is what the checkpoint
    says is its own, else 2. context: audio (2, N) at 44.1 kHz to continue; of a long one, the newest part is
    used. context_latents: how many of the newest frames the model attends to. precision: of the matrix
    products, "float32", "bfloat16", or "auto" for the one that is faster here, see
    :mod:`lmdm_mini.precision`. settings: of a diffusion model `steps` (denoising steps a block), `sampler`
    ("euler" or "pingpong"), both the checkpoint's own if it has some, else 16 and "euler", and `outpainting`
    ("mask" or "replace"), see :func:`lmdm_mini.diffusion.stream.stream_dit`; where it was trained with them,
    `stem` (audio (2, N) to play along with: what comes is the rest), `visibility` (seconds of the stem beyond
    a block's beginning that are known, -2 to 2), `sketch` (audio or a :func:`lmdm_mini.sketch` to follow) and
    `sketch_scale` (its guidance, 1 = none); of the discrete one `temperature` (1.1) and `top_k` (40), see
    :func:`lmdm_mini.discrete.stream.stream_lmm`. Same seed and settings, same music. Whole numbers may be of
    any type. Raises ValueError for what cannot be played, TypeError for a setting the model does not have.

    The first block is up to 256 samples shorter than the rest when nothing precedes it: the codec's
    look-ahead.
    """
    plain = getattr(model, "_orig_mod", model)  # of torch.compile
    if not isinstance(plain, Model):
        raise TypeError(f"a model is needed, as load() gives it, not {type(model).__name__}.")
    for name, least in (("steps", 1), ("top_k", 1)):
        if name in settings:
            settings[name] = whole_number(settings[name], name, least)
    if "temperature" in settings:
        settings["temperature"] = temperature(settings["temperature"])
    if context is not None:
        context = to_stereo(context)
        _warn_if_too_short(plain, context, context_latents)
    size = None if context_latents is None else whole_number(context_latents, "context_latents", 0)
    ready = for_playing(plain, precision)
    begin = partial(stream_lmm, ready) if isinstance(ready, LMM) else partial(stream_dit, ready)
    return begin(
        prompt,
        whole_number(block_latents, "block_latents", 1),
        cfg_scale=guidance(own_settings(plain).get("cfg_scale", 2.0) if cfg_scale == "auto" else cfg_scale),
        seed=whole_number(seed, "seed", *SEEDS),
        context=context,
        context_latents=size,
        **settings,
    )


def own_settings(model: Model) -> dict:
    """Returns how a checkpoint wants to be played, as far as it says so: settings of :func:`stream`."""
    return model.facts.get("play", {})


def guides_in_one_pass(model: Model) -> bool:
    """Returns whether a model takes strengths of guidance as an input, and so never runs a second branch."""
    return "strengths" in getattr(model.config, "controls", ())


def _warn_if_too_short(model: Model, context: Tensor, context_latents: int | None) -> None:
    """Warns of a context (2, N) that is too short to count: live variants keep whole granules."""
    if isinstance(model, LMM) or not model.variant.caches or context_latents == 0:
        return
    needed = model.config.granule * FRAME_SAMPLES + ENCODER_AHEAD
    if context.shape[-1] < needed:
        warnings.warn(
            f"the context lasts {context.shape[-1] / SAMPLE_RATE:.2f} s, but {model.config.variant} hears "
            f"from {needed / SAMPLE_RATE:.2f} s on: it begins without one",
            stacklevel=4,
        )


def sampling(model: Model, steps: int | None = 16, temperature: float = 1.1, *, top_k: int = 40) -> dict:
    """Returns those of these settings that the model has, for :func:`stream`. steps: None is the checkpoint's
    own number, else 16."""
    if isinstance(model, LMM):
        return {"temperature": temperature, "top_k": top_k}
    return {"steps": own_settings(model).get("steps", 16) if steps is None else steps}


def described(settings: dict) -> str:
    """Returns the settings of :func:`sampling` in words."""
    return (
        f"{settings['steps']} steps"
        if "steps" in settings
        else f"temperature {settings['temperature']:g}, top {settings['top_k']}"
    )


def untrained_like(model: Model, seed: int = 0) -> Model:
    """Returns an untrained model of the same shape, with the codec of `model`."""
    torch.manual_seed(seed)
    if isinstance(model, LMM):
        other = start_from(model.rvq, model.config)
    else:
        other = DiT(model.config)
        other.frames_out.reset_parameters()  # it starts at zero, and would give back the noise
    object.__setattr__(other, "codec", model.codec)
    return other.eval().requires_grad_(False)


def generate(
    model: Model, prompt: Prompt = "", seconds: float = 20.0, *, keep: bool = False, **settings
) -> Tensor:
    """Returns `seconds` of music, (2, N) float32 at 44.1 kHz. Settings as :func:`stream`.

    With `context`, the music continues it; with `keep`, the decoded context comes first. Raises ValueError
    and TypeError as :func:`stream` does, and for an invalid length.
    """
    seconds = real_number(seconds, "seconds")
    if keep and settings.get("context") is None:
        raise ValueError("keep=True keeps the context: give one, or leave keep out.")
    return take(stream(model, prompt, **settings), seconds, keep)
