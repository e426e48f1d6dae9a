"""Playing in bfloat16, on processors that multiply it faster than float32.

Most of the time of a block goes into the matrix products of its layers. `for_playing` returns a model whose
layers compute these products in bfloat16, and those of its codec's decoder. Everything between two products
stays float32: RoPE angles, norms, modulation, attention with its cache of keys and values, the sampler's
sums, latents. So no other module has to know about precision, and there is one conversion before a product
and one after it. Attention in bfloat16 was tried and gained nothing: for a block of a few frames it is short
already. The encoder stays float32, since models are trained on its latents.
"""

import copy
from collections.abc import Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.checks import checked_precision
from lmdm_mini.codec.codec import Codec
from lmdm_mini.training.precision import fast_dtype

M = TypeVar("M", bound=nn.Module)
# parts of a model that compute many frames at once: the layers of a diffusion model, and what reads the
# context in the discrete one, whose other layers run frame by frame and gain nothing
MANY_ROWS = ("layers", "encoder", "context_keys")


class Bfloat16Linear(nn.Module):
    """A linear layer that takes and returns float32, (..., in) -> (..., out), and multiplies in bfloat16."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = _empty_like(linear.weight)
        self.bias = None if linear.bias is None else _empty_like(linear.bias)

    @torch.no_grad()
    def take_over(self, linear: nn.Linear) -> None:
        """Copies the weights of a linear layer of the same shape."""
        self.weight.copy_(linear.weight)
        if self.bias is not None:
            self.bias.copy_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        # always contiguous: products of transposed frames add up in another order, and are rounded otherwise
        x = x.to(torch.bfloat16, memory_format=torch.contiguous_format)
        return F.linear(x, self.weight, self.bias).float()


def _empty_like(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(torch.empty_like(parameter, dtype=torch.bfloat16), requires_grad=False)


# the copy of each linear layer: all streams of a model share it, and it is gone when the model is
_copies: WeakKeyDictionary[nn.Linear, Bfloat16Linear] = WeakKeyDictionary()


def _copy_of(linear: nn.Linear) -> Bfloat16Linear:
    """Returns the copy of a linear layer, with the weights that the layer has now: it may have been trained
    since the copy was made."""
    kept = _copies.get(linear)
    with torch.inference_mode(False):  # else it could not be written to again outside of that mode
        if kept is None or kept.weight.device != linear.weight.device:
            kept = _copies[linear] = Bfloat16Linear(linear)
        kept.take_over(linear)
    return kept


def in_bfloat16(module: M, parts: Iterable[str] | None = None) -> M:
    """Returns a copy of a module whose linear layers multiply in bfloat16. It shares all else with the
    module, which stays as it is.

    parts: names of the children in which this is so; None: all.
    """
    other, children = copy.copy(module), dict(module.named_children())
    other._modules = dict(module._modules)  # else it would be the dictionary of the module itself
    for name in children if parts is None else parts:
        child = children[name]
        other._modules[name] = _copy_of(child) if isinstance(child, nn.Linear) else in_bfloat16(child)
    return other


def chosen_precision(precision: str, device: str = "cpu") -> str:
    """Returns "float32" or "bfloat16", whichever `precision` means here: "auto" is bfloat16 on a graphics
    card, and on a processor that multiplies it faster than float32. Raises ValueError for other names."""
    if checked_precision(precision) != "auto":
        return precision
    return "bfloat16" if device != "cpu" or fast_dtype() == torch.bfloat16 else "float32"


def for_playing(model: M, precision: str = "float32") -> M:
    """Returns a model that plays in a precision, "float32", "bfloat16" or "auto" (:func:`chosen_precision`).

    In float32 it is the model itself. In bfloat16 it shares with the model all but the weights of the matrix
    products of layers and decoder; these are copies that are kept with the model, and brought up to date by
    every call. Raises ValueError for other precisions.
    """
    if chosen_precision(precision, next(model.parameters()).device.type) == "float32":
        return model
    ready = in_bfloat16(model, [name for name in MANY_ROWS if hasattr(model, name)])
    if isinstance(codec := getattr(model, "codec", None), Codec):
        decoder = [name for name, _ in codec.named_children() if name.startswith("dec_")]
        object.__setattr__(ready, "codec", in_bfloat16(codec, decoder))  # not a submodule
    return ready
