"""The short-time Fourier transform (STFT) of the codec and its inverse, piece by piece.

Frames of 2,048 samples every 512; nothing is padded or centred, so that offline and streaming see the same.

Notebook: 01_sound_to_latents.
"""

import torch
from torch import Tensor

N_FFT = 2048
HOP = 512
BINS = N_FFT // 2 + 1
AMPLITUDE = N_FFT / 4  # a full-scale sine under a Hann window has this STFT magnitude: scaled to 1
FLOOR = 2e-6  # magnitudes below -114 dB count as silence


def stft(audio: Tensor) -> Tensor:
    """STFT without padding: (..., N) -> (..., frames, BINS) complex; a full-scale sine peaks at 1."""
    window = torch.hann_window(N_FFT, device=audio.device) / AMPLITUDE
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(flat, N_FFT, HOP, window=window, center=False, return_complex=True)
    return spectrum.transpose(1, 2).reshape(*audio.shape[:-1], -1, BINS)


def overlap_add(spectrum: Tensor, tail: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inverse of :func:`stft`, piece by piece: (B, C, frames, BINS) -> the finished samples
    (B, C, frames*HOP) and the unfinished tail that the next piece is added to."""
    window = torch.hann_window(N_FFT, device=spectrum.device) * (AMPLITUDE / 1.5)  # Hann squared sums to 1.5
    frames = torch.fft.irfft(spectrum, n=N_FFT) * window
    parts = frames.unflatten(-1, (-1, HOP))  # (B, C, F, 4, HOP)
    count = parts.shape[2]
    out = parts.new_zeros(*parts.shape[:2], count + N_FFT // HOP - 1, HOP)
    for i in range(N_FFT // HOP):
        out[:, :, i : i + count] += parts[:, :, :, i]
    if tail is not None:
        out[:, :, : N_FFT // HOP - 1] += tail
    return out[:, :, :count].flatten(2), out[:, :, count:]


def spectral_features(real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-magnitudes of left and right, and the phase difference right minus left as a unit vector.

    real, imag: STFT, (B, 2, F, BINS). Returns four (B, F, BINS).
    """
    log = 0.5 * torch.log(real.square() + imag.square() + FLOOR**2)
    left, right = log[:, 0], log[:, 1]
    shrink = torch.exp(-left - right)
    cos = (real[:, 0] * real[:, 1] + imag[:, 0] * imag[:, 1]) * shrink
    sin = (real[:, 0] * imag[:, 1] - imag[:, 0] * real[:, 1]) * shrink
    return left, right, cos, sin
