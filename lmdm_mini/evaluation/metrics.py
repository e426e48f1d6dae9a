"""How good does it sound, in numbers: pure functions of two audios.

All metrics compare `original` with `degraded`, both ``(2, N)`` at 44.1 kHz, time-aligned (see `align`) and
equally long:

- `visqol`: perceived quality, 1 (bad) to 4.73 (identical), ViSQOL in audio mode. It hears mono: the mean of
  left and right, as the tool itself does with a stereo file.
- `stereo_error`: what that fold-down cannot hear, the width and the place of things between the speakers.
- `stft_distance`, `mel_distance`: spectral convergence plus log-magnitude distance, auraloss's definitions.

Notebook: 01_sound_to_latents plays examples of what they measure.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec.losses import mel_bands
from lmdm_mini.lazy import loaded_once

VISQOL_RATE = 48000  # audio mode is made for 48 kHz
VISQOL_TOP = 4.7321  # what audio mode gives to two identical signals
SILENCE = 1e-5  # peak below which a clip counts as silent (-100 dBFS)


def check_pair(original: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float32 on the CPU; raises ValueError on wrong shapes, unequal lengths, NaN or infinity."""
    pair = []
    for name, audio in (("original", original), ("degraded", degraded)):
        audio = torch.as_tensor(audio).detach().float().cpu()
        if audio.ndim != 2 or audio.shape[0] != 2 or audio.shape[1] == 0:
            raise ValueError(
                f"{name} audio has shape {tuple(audio.shape)}; metrics take stereo clips, (2, N)."
            )
        if not torch.isfinite(audio).all():
            raise ValueError(f"{name} audio holds NaN or infinite samples; a score of it would mean nothing.")
        pair.append(audio)
    if pair[0].shape != pair[1].shape:
        raise ValueError(
            f"original has {pair[0].shape[1]} samples, degraded {pair[1].shape[1]}; align them first "
            "(`align`)."
        )
    return pair[0], pair[1]


def align(original: Tensor, decoded: Tensor, max_delay: int = 8192) -> tuple[Tensor, int]:
    """`decoded` ``(2, M)`` moved in time and cut or padded with zeros to match `original` ``(2, N)``.

    The delay, in samples, is where the cross-correlation of the two (all channels summed) is largest;
    positive means that `decoded` came late. Returns (aligned, delay). Raises ValueError if the two have
    little in common at any delay up to `max_delay`: then a score would compare different sounds.
    """
    length = original.shape[1]
    size = 2 ** int(np.ceil(np.log2(max(length, decoded.shape[1]) + max_delay)))
    a, b = (scipy.fft.rfft(np.asarray(x, dtype=np.float32), size, axis=-1) for x in (original, decoded))
    correlation = scipy.fft.irfft((b * a.conj()).sum(0), size)
    around = np.concatenate([correlation[-max_delay:], correlation[: max_delay + 1]])  # delays -max .. max
    delay = int(around.argmax()) - max_delay
    moved = decoded[:, delay:] if delay >= 0 else torch.nn.functional.pad(decoded, (-delay, 0))
    moved = torch.nn.functional.pad(moved[:, :length], (0, max(0, length - moved.shape[1])))
    if float(original.abs().max()) < SILENCE:
        return torch.nn.functional.pad(decoded[:, :length], (0, max(0, length - decoded.shape[1]))), 0
    alike = float((original * moved).sum() / (original.norm() * moved.norm()).clamp(min=1e-12))
    if alike < 0.1:  # at 16 kbit/s a hiss may come back as quite another hiss
        raise ValueError(
            f"the decoded audio correlates by only {alike:.2f} with the original at its best delay "
            f"({delay} samples); it is not the same recording, or moved by more than {max_delay}."
        )
    return moved, delay


def as_long_as(audio: Tensor, decoded: Tensor) -> Tensor:
    """`decoded` cut or padded to the length of `audio`, both ``(2, N)``."""
    return F.pad(decoded[:, : audio.shape[1]], (0, max(0, audio.shape[1] - decoded.shape[1])))


@loaded_once
def _visqol_tool():
    """ViSQOL in audio mode, with its gammatone spectrogram computed by FFT instead of sample by sample.

    Each 80 ms frame starts from a silent filter, so its output is the frame convolved with the (truncated)
    impulse response: one FFT a band does it, 12 times faster and equal to 1e-4 in the score. The search for a
    matching patch covers 0.6 s instead of 36 s, since the signals are aligned already; on music the score is
    the same to five digits.
    """
    from visqol import VisqolApi
    from visqol.gammatone import GammatoneSpectrogramBuilder

    class FastSpectrogramBuilder(GammatoneSpectrogramBuilder):
        def _build_scipy(self, sig, window, filter_coeffs, hop_size, num_cols, num_bands):
            size, padded = window.size, 2 * window.size
            if getattr(self, "responses", None) is None:
                impulse = np.zeros(size)
                impulse[0] = 1.0
                self.filter_bank.reset_conditions()
                response = self.filter_bank.apply_filter(impulse, filter_coeffs)  # (bands, size)
                self.responses = scipy.fft.rfft(response, padded).astype(np.complex64)
            frames = np.lib.stride_tricks.sliding_window_view(sig, size)[::hop_size][:num_cols]
            columns = np.empty((num_bands, num_cols))
            for first in range(0, num_cols, 8):
                windowed = (frames[first : first + 8] * window.hann_window).astype(np.float32)
                spectrum = scipy.fft.rfft(windowed, padded)[:, None] * self.responses  # (8, bands, bins)
                filtered = scipy.fft.irfft(spectrum, padded)[..., :size]
                columns[:, first : first + 8] = np.sqrt(np.einsum("cbs,cbs->bc", filtered, filtered) / size)
            return columns

        # pyrefly: ignore[bad-override]  # the tool calls either on an object
        _build_numba = _build_scipy

    tool = VisqolApi()
    tool.create(mode="audio", search_window=1)
    plain = tool._manager.spect_builder
    fast = FastSpectrogramBuilder(plain.filter_bank.num_bands, plain.filter_bank.min_freq)
    tool._manager.spect_builder = fast
    return tool


def visqol(original: Tensor, degraded: Tensor) -> float:
    """ViSQOL (audio mode) MOS-LQO of two ``(2, N)`` clips of at least 2 s: 1 (bad) to 4.73 (identical).

    Silence: 4.73 if both clips are silent, 1 if only one is. Raises ValueError on NaN, shapes and short
    clips.
    """
    original, degraded = check_pair(original, degraded)
    if original.shape[1] < 2 * SAMPLE_RATE:
        seconds = original.shape[1] / SAMPLE_RATE
        raise ValueError(f"ViSQOL needs at least 2 s of audio; this clip has {seconds:.2f} s.")
    silent = [float(audio.mean(0).abs().max()) < SILENCE for audio in (original, degraded)]
    if any(silent):
        return VISQOL_TOP if all(silent) else 1.0
    mono = [AF.resample(a.mean(0).double(), SAMPLE_RATE, VISQOL_RATE).numpy() for a in (original, degraded)]
    return float(_visqol_tool().measure_from_arrays(mono[0], mono[1], VISQOL_RATE).moslqo)


@lru_cache(maxsize=8)
def _magnitude(audio: Tensor, n_fft: int, hop: int, window: int) -> Tensor:
    spectrum = torch.stft(audio, n_fft, hop, window, torch.hann_window(window), return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2).clamp(min=1e-8).sqrt()  # (2, bins, frames); auraloss's floor


def _spectral_distance(original: Tensor, degraded: Tensor) -> float:
    convergence = torch.linalg.vector_norm(original - degraded) / torch.linalg.vector_norm(original)
    return float(convergence + (original.log() - degraded.log()).abs().mean())


def mel_distance(original: Tensor, degraded: Tensor, n_mels: int = 128) -> float:
    """auraloss `MelSTFTLoss` (FFT 1,024, hop 256, 128 mel bands) of two ``(2, N)`` clips; 0 for identical
    ones.

    Left and right are compared apart. Two silent clips have distance 0; the floor of 1e-4 under every
    magnitude keeps the value finite when one of them is silent. Raises ValueError on NaN and shapes.
    """
    bands = mel_bands(1024, n_mels)
    pair = check_pair(original, degraded)
    return _spectral_distance(*(bands @ _magnitude(audio, 1024, 256, window=1024) for audio in pair))


def stft_distance(original: Tensor, degraded: Tensor) -> float:
    """auraloss `MultiResolutionSTFTLoss` with its defaults (FFT 1,024, 2,048, 512); silence as above."""
    original, degraded = check_pair(original, degraded)
    sizes = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
    distances = [_spectral_distance(_magnitude(original, *s), _magnitude(degraded, *s)) for s in sizes]
    return sum(distances) / len(distances)


@lru_cache(maxsize=1)
def _erb_bands(n_fft: int = 2048, count: int = 24) -> Tensor:
    """Rectangular bands ``(count, bins)``, equally wide in ERB rate from 50 Hz to 16 kHz (over 1 ERB
    each)."""

    def erb_rate(hz):
        return 21.4 * torch.log10(1 + 0.00437 * torch.as_tensor(hz, dtype=torch.float64))

    bins = torch.arange(n_fft // 2 + 1) * SAMPLE_RATE / n_fft
    place = (erb_rate(bins) - erb_rate(50.0)) / (erb_rate(16000.0) - erb_rate(50.0)) * count
    return torch.stack([((place >= band) & (place < band + 1)).float() for band in range(count)])


def stereo_error(original: Tensor, degraded: Tensor) -> dict[str, float]:
    """Error of the stereo image: ``{"level_db": ..., "correlation": ...}``, both 0 for a perfect image.

    In 24 ERB-like bands and stretches of about 0.2 s: the level difference left against right in dB (limited
    to +-30 dB), and the correlation of left and right (1: a point source, 0: wide, -1: out of phase). The
    mean absolute error is weighted by the original's energy to the power 0.3, roughly its loudness; with the
    energy itself, the bass would decide alone. A silent original has no image to get wrong: both errors are
    0.
    """
    weights, images = None, []
    for audio in check_pair(original, degraded):
        window = torch.hann_window(2048)
        left, right = torch.stft(audio, 2048, 1024, window=window, return_complex=True)  # (bins, frames) each
        power = torch.stack(
            [left.abs() ** 2, right.abs() ** 2, (left * right.conj()).real]
        )  # (3, bins, frames)
        power = torch.nn.functional.avg_pool1d(
            _erb_bands() @ power, 8, ceil_mode=True
        )  # (3, bands, stretches)
        floor = 1e-6  # about -90 dBFS in a band: below it both sides count as equal
        level = (10 * ((power[0] + floor) / (power[1] + floor)).log10()).clamp(-30, 30)
        correlation = (power[2] + floor) / ((power[0] + floor) * (power[1] + floor)).sqrt()
        images.append((level, correlation))
        if weights is None:
            energy = power[0] + power[1]
            weights = torch.where(energy > floor, energy, torch.zeros(())) ** 0.3
    if weights.sum() == 0:
        return {"level_db": 0.0, "correlation": 0.0}
    errors = [float(((a - b).abs() * weights).sum() / weights.sum()) for a, b in zip(*images, strict=True)]
    return {"level_db": errors[0], "correlation": errors[1]}


def quick_scores(original: Tensor, degraded: Tensor) -> dict[str, float]:
    """`visqol`, `mel` and the two stereo errors of one clip ``(2, N)``: light enough for a training loop."""
    stereo = stereo_error(original, degraded)
    return {
        "visqol": visqol(original, degraded),
        "mel": mel_distance(original, degraded),
        "stereo_level_db": stereo["level_db"],
        "stereo_correlation": stereo["correlation"],
    }


def all_scores(original: Tensor, degraded: Tensor) -> dict[str, float]:
    """`quick_scores` and the multi-resolution STFT distance of one clip ``(2, N)``."""
    return {**quick_scores(original, degraded), "stft": stft_distance(original, degraded)}


def seam_ratio(audio: Tensor, block_samples: int, first: int = 0) -> float:
    """Returns how much the spectrum jumps where blocks join, relative to elsewhere: 1 = joins do not differ
    from other places, above 1 = they stand out.

    audio: (2, N). block_samples: distance of the joins; the first one is at sample `first` + `block_samples`.
    The jump at a place is the mean absolute change of log-magnitudes from the 1,024 samples before it to the
    1,024 after it. Places elsewhere are all the multiples of 1/8 of a block that are no joins. Raises
    ValueError if there is no join.
    """
    joins = list(range(first + block_samples, audio.shape[1] - 1024, block_samples))
    if not joins:
        raise ValueError(f"{audio.shape[1]} samples hold no join of blocks of {block_samples}.")
    elsewhere = [join - block_samples * i // 8 for join in joins for i in range(1, 8)]
    window = torch.hann_window(1024)

    def jump(place: int) -> float:
        sides = torch.stack([audio[:, place - 1024 : place], audio[:, place : place + 1024]]) * window
        before, after = torch.log(torch.fft.rfft(sides).abs() + 1e-3)
        return float((after - before).abs().mean())

    return float(np.mean([jump(p) for p in joins]) / np.mean([jump(p) for p in elsewhere if p >= 1024]))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of two sets of embeddings (n, D) and (m, D), as if they were Gaussian: 0 for the same
    mean and covariance. Raises ValueError for fewer than two embeddings in a set, or other shapes."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"embeddings are {tuple(a.shape)} and {tuple(b.shape)}; expected (n, D) and (m, D), n and m "
            "at least 2."
        )
    a, b = a.double(), b.double()
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    # the trace of the root of cov_a cov_b, whose eigenvalues are those of root_a cov_b root_a
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)
