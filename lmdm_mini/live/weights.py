"""The model of a session: a name, or a loaded one on its way to the process, and the fingerprint by which a
recording knows it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lmdm_mini.checkpoints import check_codec, fingerprint, list_models
from lmdm_mini.codec.codec import load_codec
from lmdm_mini.diffusion.dit import DiT, DiTConfig


@dataclass
class Weights:
    """A model as it travels to another process."""

    config: DiTConfig
    state: dict[str, np.ndarray]  # float32
    name: str
    codec: str  # fingerprint of the encoder whose latents it was made for
    facts: dict

    @classmethod
    def of(cls, model: DiT) -> "Weights":
        """Those of a loaded model. Raises ValueError if it was made for latents of another codec."""
        check_codec(model.name, model.codec_fingerprint, load_codec().fingerprint)
        state = {name: x.detach().float().cpu().numpy() for name, x in model.state_dict().items()}
        return cls(model.config, state, model.name, model.codec_fingerprint, model.facts)

    def load(self) -> DiT:
        """The model they are of, in evaluation mode."""
        model = DiT(self.config)
        model.load_state_dict({name: torch.from_numpy(x) for name, x in self.state.items()})
        model.name, model.codec_fingerprint, model.facts = self.name, self.codec, self.facts
        object.__setattr__(model, "codec", load_codec())  # not a submodule, as in checkpoints.py
        return model.eval().requires_grad_(False)


def fingerprint_of(model: DiT) -> str:
    """Hexadecimal digits that change when one of the model's weights does, as half precision shows it."""
    return fingerprint(part for named in sorted(model.state_dict().items()) for part in named)


def check_model(model, checkpoint) -> None:
    """Raises ValueError if a session cannot be given this as its model and the path of its weights."""
    if isinstance(model, DiT):
        if checkpoint is not None:
            raise ValueError("a loaded model brings its weights along: leave out the checkpoint.")
    elif not isinstance(model, str):
        raise ValueError(
            f"model is of type {type(model).__name__}; it must be the name of a diffusion model, for "
            "instance 'block_causal', or a loaded one."
        )
    elif not isinstance(checkpoint, str | Path | None):
        raise ValueError(f"checkpoint is {checkpoint!r}; it must be the path of a file.")


def check_name(name: str) -> None:
    """Raises ValueError if no model of this name came with the book."""
    names = [row["name"] for row in list_models()]
    if name not in names:
        raise ValueError(f"there is no model {name!r}. There are: {', '.join(names) or 'none'}.")
