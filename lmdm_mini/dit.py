"""The diffusion transformer: noisy latent frames, a noise level and a prompt in, the velocity out.

Known frames (the context of an outpainting, for instance) are given clean, with their own noise level 0:
`t` may be one value an item or one a frame.

Notebook: 02_rectified_flow. Paper: section 3.1.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lmdm_mini.attention import CrossAttention, SelfAttention, rope_table
from lmdm_mini.codec import CHECKPOINTS, LATENT_CHANNELS, load_codec
from lmdm_mini.conditioning import TEXT_CHANNELS, Text
from lmdm_mini.flow import expand_t


@dataclass
class DiTConfig:
    width: int = 288
    depth: int = 6
    heads: int = 6
    expansion: float = 8 / 3
    window: int = 240  # latent frames it was trained on, 11.1 s


class Layer(nn.Module):
    """Self-attention, cross-attention to the prompt and a SwiGLU feed-forward, each modulated by t."""

    def __init__(self, config: DiTConfig):
        super().__init__()
        width, hidden = config.width, int(config.expansion * config.width) // 32 * 32
        self.attention = SelfAttention(width, config.heads)
        self.cross = CrossAttention(width, config.heads, TEXT_CHANNELS)
        self.cross_norm = nn.LayerNorm(width)
        self.gate_up = nn.Linear(width, 2 * hidden)
        self.down = nn.Linear(hidden, width)
        # one modulation is shared by all layers; this is what the layer adds of its own
        self.shift = nn.Parameter(torch.zeros(6 * width))

    def forward(self, x: Tensor, modulation: Tensor, table: Tensor, text: Text) -> Tensor:
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (modulation + self.shift).chunk(6, -1)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale_a) + shift_a
        x = x + gate_a * self.attention(y, table)
        x = x + self.cross(self.cross_norm(x), text.tokens, text.mask)
        y = F.layer_norm(x, x.shape[-1:]) * (1 + scale_f) + shift_f
        gate, up = self.gate_up(y).chunk(2, -1)
        return x + gate_f * self.down(F.silu(gate) * up)


class DiT(nn.Module):
    """v = model(x_t, t, text): latents (B, 64, T) at noise level t, (B,) or (B, T), to their velocity (B, 64, T)."""

    def __init__(self, config: DiTConfig | None = None):
        super().__init__()
        self.config = c = config or DiTConfig()
        self.name, self.codec_fingerprint, self.facts = "untrained", "", {}
        self.frames_in = nn.Linear(LATENT_CHANNELS, c.width)
        self.time_in = nn.Sequential(nn.Linear(256, c.width), nn.SiLU(), nn.Linear(c.width, c.width), nn.SiLU())
        self.modulation_head = nn.Linear(c.width, 6 * c.width)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.depth))
        self.last_norm = nn.LayerNorm(c.width)
        self.frames_out = nn.Linear(c.width, LATENT_CHANNELS)
        for zero in (self.modulation_head, self.frames_out, *(layer.cross.project for layer in self.layers)):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, x: Tensor, t: Tensor, text: Text, return_hidden: int | None = None) -> Tensor:
        """Velocity (B, 64, T), or with `return_hidden` the frames (B, T, W) after that many layers."""
        expand_t(t, x)  # checks the shape
        frames = x.shape[-1]
        h = self.frames_in(x.transpose(1, 2))  # (B, T, W)
        t = t[:, None] if t.ndim == 1 else t  # (B, 1) or (B, T)
        modulation = self.modulation_head(self.time_in(time_features(t)))
        table = rope_table(torch.arange(frames), self.config.width // self.config.heads)
        for i, layer in enumerate(self.layers):
            if i == return_hidden:
                return h
            h = layer(h, modulation, table, text)
        return self.frames_out(self.last_norm(h)).float().transpose(1, 2)


def time_features(t: Tensor, channels: int = 256) -> Tensor:
    """Fourier features of noise levels: (...,) -> (..., channels)."""
    rates = torch.exp(torch.linspace(0, math.log(1000.0), channels // 2))
    angles = t[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def save_model(model: DiT, path, name: str, codec_fingerprint: str, **facts) -> None:
    """Writes the weights in half precision, with configuration, codec fingerprint and facts inside."""
    state = {k: v.detach().half().contiguous() for k, v in model.state_dict().items()}
    about = {"name": name, "config": json.dumps(asdict(model.config)), "codec": codec_fingerprint, "facts": json.dumps(facts)}
    part = Path(path).with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(part), metadata=about)
    part.replace(path)


def list_models() -> list[dict]:
    """The models that are there: name, parameters, megabytes and what was noted when they were trained."""
    rows = []
    for path in sorted(CHECKPOINTS.glob("*.safetensors")):
        if path.stem == "codec":
            continue
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            parameters = sum(math.prod(file.get_slice(k).get_shape()) for k in file.keys())
        rows.append({"name": path.stem, "parameters": parameters, "megabytes": round(path.stat().st_size / 1e6, 1)}
                    | json.loads(about.get("facts", "{}")))
    return rows


def load(name: str = "bidirectional", path=None) -> DiT:
    """A trained model by its name (see :func:`list_models`), in evaluation mode, with its codec as `model.codec`.

    Raises ValueError for an unknown name, a damaged file, or weights made for latents of another codec.
    """
    path = Path(path) if path is not None else CHECKPOINTS / f"{name}.safetensors"
    if not path.is_file():
        there = [row["name"] for row in list_models()]
        raise ValueError(f"no model {name!r} at {path}. There are: {', '.join(there) or 'none'}; `git checkout -- data/checkpoints` "
                         "restores what the repository ships.")
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            state = {k: file.get_tensor(k).float() for k in file.keys()}
        model = DiT(DiTConfig(**json.loads(about["config"])))
        model.load_state_dict(state)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged or not a model of this version ({error}). "
                         "Restore it with `git checkout -- data/checkpoints`.") from error
    codec = load_codec()
    if about["codec"] != codec.fingerprint:
        raise ValueError(f"{path.name} was trained on latents of encoder {about['codec']}, but the codec here is "
                         f"{codec.fingerprint}: their latents mean different things. Restore both with `git checkout -- data/checkpoints`.")
    model.name, model.codec_fingerprint, model.facts = name, about["codec"], json.loads(about["facts"])
    object.__setattr__(model, "codec", codec)  # not a submodule: its weights are not the model's
    return model.eval().requires_grad_(False)
