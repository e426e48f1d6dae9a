"""Latents as codes: a residual vector quantiser (RVQ) on the codec's frames. The discrete model needs it, the
diffusion models do not.

A codebook is 1,024 vectors; a frame of 64 numbers becomes the number of the nearest one. The next codebook
does the same with the remainder, and so on, `n_q` times: a frame is then `n_q` codes of 10 bits. Every
codebook is trained on the remainder of those before it. So the first 1, 2 or 4 codes of a frame are a coarse
picture of it, and any number of first codes can be decoded. Codebooks are trained in `train_rvq.py`.

The encoder is the codec's, already frozen, so latents do not move towards the codes as they do where both are
trained together (SoundStream, EnCodec). Its decoder did move: half of what it was last trained on were codes
(`train codec --start`).

Notebook: 07_discrete_live_music_models. Source: Zeghidour et al. 2021, "SoundStream", section III-C (RVQ and
quantiser dropout).
"""

import json
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmdm_mini.checkpoints import check_codec, explained, fingerprint, read, write
from lmdm_mini.codec.codec import LATENT_CHANNELS, check_latents, load_codec

FRAMES_AT_ONCE = 4096  # compared with a codebook together: 16 MB of distances


@dataclass
class RVQConfig:
    n_q: int = 12  # codebooks
    codebook_size: int = 1024


class RVQ(nn.Module):
    """Latents (B, 64, T) <-> codes (B, n_q, T)."""

    def __init__(self, config: RVQConfig | None = None):
        super().__init__()
        self.config = c = config or RVQConfig()
        if c.n_q < 1 or c.codebook_size < 2:
            raise ValueError(f"{c.n_q} codebooks of {c.codebook_size}: at least 1 of 2 is needed.")
        self.fingerprint = self.codec_fingerprint = ""  # set when a checkpoint is loaded
        self.facts: dict = {}
        self.register_buffer("codebooks", torch.zeros(c.n_q, c.codebook_size, LATENT_CHANNELS))

    @property
    def n_q(self) -> int:
        return self.config.n_q

    @torch.no_grad()
    def encode(self, latents: Tensor, n_q: int | None = None) -> Tensor:
        """Latents (B, 64, T) or (64, T) -> codes (B, n_q, T) or (n_q, T), int64. n_q: only the first so many;
        None: all.

        Raises ValueError for other shapes, NaN, or an n_q that is not there.
        """
        n_q = self._check(n_q)
        single = latents.ndim == 2
        z = latents[None] if single else latents
        check_latents(z, least=0)
        codes = torch.empty(len(z) * z.shape[-1], n_q, dtype=torch.long)
        for left, some in zip(
            z.transpose(1, 2).flatten(0, 1).float().split(FRAMES_AT_ONCE), codes.split(FRAMES_AT_ONCE)
        ):
            for q, codebook in enumerate(self.codebooks[:n_q]):
                # the nearest is where |x - c|^2 is least, and |x|^2 is the same for all
                some[:, q] = (left @ codebook.T - codebook.square().sum(1) / 2).argmax(1)
                left = left - codebook[some[:, q]]
        codes = codes.unflatten(0, (len(z), z.shape[-1])).transpose(1, 2).contiguous()
        return codes[0] if single else codes

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, n, T) or (n, T) of the first n codebooks -> latents (B, 64, T) or (64, T).

        Raises ValueError for more codes than there are codebooks, or numbers that are no codes.
        """
        n = self._check(codes.shape[-2])
        if codes.is_floating_point():
            raise ValueError(f"codes are {codes.dtype}; they are whole numbers.")
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.config.codebook_size:
            raise ValueError(
                f"codes go from {int(codes.min())} to {int(codes.max())}; a codebook has "
                f"{self.config.codebook_size} entries."
            )
        found = [
            F.embedding(codes[..., q, :], codebook) for q, codebook in enumerate(self.codebooks[:n])
        ]  # (B, T, 64) each
        return torch.stack(found).sum(0).transpose(-1, -2)

    def _check(self, n_q: int | None) -> int:
        n_q = self.n_q if n_q is None else n_q
        if not 1 <= n_q <= self.n_q:
            raise ValueError(f"n_q is {n_q}; this quantiser has {self.n_q} codebooks.")
        return n_q


def round_trip_error(rvq: RVQ, latents: Tensor) -> Tensor:
    """Returns the error of latents (B, 64, T) when only their first 1, 2, ... n_q codes are kept: (n_q,).

    It is the mean square error as a share of the latents' variance: 0 is perfect, 1 is as bad as the mean.
    """
    codes = rvq.encode(latents)
    errors = [(rvq.decode(codes[:, : n + 1]) - latents).square().mean() for n in range(rvq.n_q)]
    return torch.stack(errors) / latents.float().var((0, 2), correction=0).mean()


# -- checkpoints -----------------------------------------------------------------------------------


def save_rvq(rvq: RVQ, path, codec_fingerprint: str, **facts) -> None:
    """Writes the codebooks in half precision, with configuration, codec fingerprint and facts inside."""
    write(
        path,
        {"codebooks": rvq.codebooks.half()},
        "quantiser",
        config=asdict(rvq.config),
        made_for=codec_fingerprint,
        facts=facts,
    )


def load_rvq(path=None) -> RVQ:
    """Loads the trained quantiser in evaluation mode; None loads the shipped
    ``data/checkpoints/rvq.safetensors``.

    Raises FileNotFoundError, or ValueError for a damaged file or one made for latents of another codec,
    saying what to do.
    """
    path, tensors, about = read(path, "quantiser", "rvq")
    with explained(path, "quantiser"):
        rvq = RVQ(RVQConfig(**json.loads(about["config"])))
        rvq.load_state_dict({"codebooks": tensors["codebooks"].float()})
        rvq.codec_fingerprint, rvq.facts = about["made_for"], json.loads(about["facts"])
        rvq.fingerprint = fingerprint([tensors["codebooks"]])
    check_codec(path, rvq.codec_fingerprint, load_codec().fingerprint)
    return rvq.eval().requires_grad_(False)
