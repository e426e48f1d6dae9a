"""Properties that make latents easy to generate: their spread, their robustness to noise, and the codec's
look-ahead.

Notebook: 01_sound_to_latents.
"""

import numpy as np
import torch
from torch import Tensor

from lmdm_mini.codec.codec import FRAME_SAMPLES
from lmdm_mini.evaluation.metrics import as_long_as, visqol


def latent_health(codec, clips: list[Tensor]) -> dict:
    """Measures the latents of `clips`, each ``(2, N)``: mean and standard deviation of each channel,
    :func:`robustness` on up to 6 clips, and :func:`look_ahead`."""
    latents = torch.cat([codec.encode(audio[None])[0] for audio in clips], dim=1)  # (64, frames of all clips)
    return {
        "mean": latents.mean(1).tolist(),
        "std": latents.std(1).tolist(),
        "robustness": robustness(codec, clips[:: max(1, len(clips) // 6)][:6]),
        "look_ahead": look_ahead(codec),
    }


def robustness(codec, clips: list[Tensor], amount: float = 0.1, *, seed: int = 0) -> dict[str, float]:
    """Returns the ViSQOL lost by decoding ``z + amount * noise``, mean over clips: ``{"drop", "clean",
    "noisy"}``."""
    generator = torch.Generator().manual_seed(seed)
    clean, noisy = [], []
    for audio in clips:
        latents = codec.encode(audio[None])
        shaken = latents + amount * torch.randn(latents.shape, generator=generator)
        clean.append(visqol(audio, as_long_as(audio, codec.decode(latents)[0])))
        noisy.append(visqol(audio, as_long_as(audio, codec.decode(shaken)[0])))
    before, after = float(np.mean(clean)), float(np.mean(noisy))
    return {"drop": before - after, "clean": before, "noisy": after}


def look_ahead(codec, frames: int = 24) -> dict[str, float]:
    """Returns the codec's look-ahead in latent frames: ``{"encoder": ..., "decoder": ...}``; 0 is strictly
    causal.

    The second half of the input is changed, and the first output that differs is found. The encoder's value
    is a whole number of frames, the decoder's is exact to a sample.
    """
    generator = torch.Generator().manual_seed(0)
    middle = frames // 2
    audio = 0.1 * torch.randn(1, 2, frames * FRAME_SAMPLES, generator=generator)
    latents = codec.encode(audio)
    changed_audio, changed_latents = audio.clone(), latents.clone()
    changed_audio[..., middle * FRAME_SAMPLES :] *= -0.5
    changed_latents[..., middle:] += 1.0

    def first_difference(a: Tensor, b: Tensor) -> int:
        gap = (a - b).abs().amax(dim=(0, 1))
        return int((gap > 1e-5 * float(a.abs().max())).nonzero()[0])

    frame = first_difference(latents, codec.encode(changed_audio))
    sample = first_difference(codec.decode(latents), codec.decode(changed_latents))
    return {"encoder": float(max(0, middle - frame)), "decoder": max(0.0, middle - sample / FRAME_SAMPLES)}
