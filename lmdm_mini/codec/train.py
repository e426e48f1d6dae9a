"""Training the codec: encoder and decoder together in the domain of features, then on with the decoder alone.

Notebook: 01_sound_to_latents.
"""

import random
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile
import torch
from scipy.linalg import hadamard
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import check_codec
from lmdm_mini.codec.codec import HOPS, LATENT_CHANNELS, Codec, load_codec, save_codec
from lmdm_mini.codec.losses import SOUND_SIZES, codec_losses, pca_weight, sound_losses
from lmdm_mini.codec.spectrum import HOP, N_FFT, dct_matrix, spectral_features, stft
from lmdm_mini.corpus.data import load_manifest, pieces
from lmdm_mini.training.precision import fast_autocast
from lmdm_mini.training.run import Run, Schedule, TrainSettings


@dataclass
class AudioFile:
    path: Path
    stems: bool  # True: eight channels, four stereo stems whose sum is the mix


class SegmentPool:
    """A rotating pool of decoded stretches of music, from which random short crops are cut.

    Decoding FLAC for every crop would cost as much as the training itself; each stretch is used several
    times before `refresh` swaps it for another.
    """

    def __init__(self, files: list[AudioFile], size: int, seconds: float, *, seed: int):
        self.files, self.samples = files, int(seconds * SAMPLE_RATE)
        self.random = random.Random(seed)
        weights = np.array([soundfile.info(str(f.path)).frames for f in files], dtype=float)
        self.weights = list(weights / weights.sum())
        self.stretches = [self._read() for _ in range(size)]

    def _read(self) -> np.ndarray:
        file = self.random.choices(self.files, self.weights)[0]
        with soundfile.SoundFile(str(file.path)) as sound:
            sound.seek(self.random.randint(0, max(0, sound.frames - self.samples)))
            return sound.read(self.samples, dtype="int16", always_2d=True)  # (n, 2 or 8)

    def refresh(self) -> None:
        self.stretches[self.random.randrange(len(self.stretches))] = self._read()

    def crop(self, samples: int) -> np.ndarray:
        """(2, samples) float32: a mix, a stem, or a mix without a stem."""
        data = self.random.choice(self.stretches)
        if len(data) < samples:
            data = np.pad(data, ((0, samples - len(data)), (0, 0)))
        start = self.random.randint(0, len(data) - samples)
        x = data[start : start + samples].astype(np.float32) / 32768
        if x.shape[1] == 8:
            keep = np.ones(4)
            draw = self.random.random()
            if draw < 0.25:  # one stem alone
                keep = np.eye(4)[self.random.randrange(4)]
            elif draw < 0.4:  # all but one
                keep -= np.eye(4)[self.random.randrange(4)]
            x = (x.reshape(-1, 4, 2) * keep[:, None].astype(np.float32)).sum(1)
        return x.T.copy()


class TrainingAudio:
    """Batches of crops from the corpus and from real recordings, levels and silences varied, made ahead
    by a thread so that the two cores compute."""

    def __init__(
        self,
        corpus: list[AudioFile],
        recordings: list[AudioFile],
        batch: int,
        samples: int,
        seed: int,
        real_share: float = 0.4,
        pool: int = 160,
    ):
        if not corpus and not recordings:
            raise ValueError(
                "no audio to train on. Build it: python -m lmdm_mini corpus build, corpus recordings"
            )
        share = real_share if corpus and recordings else float(bool(recordings))
        count = pool if share in (0.0, 1.0) else pool // 2
        self.pools = [
            SegmentPool(files, count, 12.0, seed=seed + i) if files else None
            for i, files in enumerate((corpus, recordings))
        ]
        self.share, self.batch, self.samples = share, batch, samples
        self.random = random.Random(seed + 2)
        self.ready: list[Tensor] = []
        self.lock = threading.Condition()
        threading.Thread(target=self._work, daemon=True).start()

    def _item(self) -> np.ndarray:
        rng = self.random
        x = self.pools[rng.random() < self.share].crop(self.samples)
        peak = np.abs(x).max()
        if peak > 1e-3:  # from a quiet room's microphone to full scale
            level = rng.uniform(-30, 0) if rng.random() < 0.25 else rng.uniform(-9, 0)
            x = x * (10 ** (level / 20) / max(peak, 0.1))
        if rng.random() < 0.5:
            x = x[::-1].copy()
        if rng.random() < 0.5:
            x = -x
        if rng.random() < 0.04:
            x = x.mean(0, keepdims=True).repeat(2, 0)
        if rng.random() < 0.04:  # a short silence
            start = rng.randrange(self.samples)
            x[:, start : start + rng.randrange(SAMPLE_RATE // 2)] = 0
        return x

    def _work(self) -> None:
        while True:
            with self.lock:
                self.lock.wait_for(lambda: len(self.ready) < 3)
            for pool in self.pools:
                if pool and self.random.random() < 0.15:
                    pool.refresh()
            batch = torch.from_numpy(np.stack([self._item() for _ in range(self.batch)]))
            with self.lock:
                self.ready.append(batch)
                self.lock.notify_all()

    def next(self) -> Tensor:
        """(batch, 2, samples) float32."""
        with self.lock:
            self.lock.wait_for(lambda: self.ready)
            batch = self.ready.pop(0)
            self.lock.notify_all()
        return batch


class Quantiser(Protocol):
    """What turns latents (B, 64, T) into codes and back: the one of the discrete model, for instance."""

    codec_fingerprint: str

    def encode(self, latents: Tensor) -> Tensor: ...

    def decode(self, codes: Tensor) -> Tensor: ...


class CodecLoss:
    """The losses of a batch of audio: call it with audio (B, 2, N) that gives 4*T + 1 STFT frames."""

    def __init__(
        self,
        codec: Codec,
        compiled: bool = False,
        update_statistics: bool = False,
        *,
        quantiser: Quantiser | None = None,
        sound: bool = False,
    ):
        """update_statistics: let the latents' normalisation follow the encoder, which is being trained.
        quantiser: every second item is decoded from codes instead of latents with noise. sound: the sound
        counts, too, see :func:`sound_losses`."""
        self.codec, self.update_statistics, self.quantiser, self.sound = (
            codec,
            update_statistics,
            quantiser,
            sound,
        )
        wrap = torch.compile if compiled else (lambda f: f)
        self.features, self.losses = wrap(spectral_features), wrap(codec_losses)
        self.encode, self.decode = wrap(codec.encode_features), wrap(codec.decode_features)

    def __call__(self, audio: Tensor, noise: float = 0.12) -> dict[str, Tensor]:
        """noise: the largest noise that is added to latents, in standard deviations. 0: for validation, which
        compares sound at all window lengths."""
        with torch.no_grad():
            spectrum = stft(audio)
            real = self.features(spectrum.real.contiguous(), spectrum.imag.contiguous())
        with fast_autocast():
            raw = self.encode(real)[0]
            if self.update_statistics:
                self.codec.update_statistics(raw.detach())
            z = self.codec.normalise(raw)
            clean = z
            if noise:
                z = z + torch.rand(len(z), 1, 1) * noise * torch.randn_like(z)
            if self.quantiser is not None:
                z[::2] = self.quantiser.decode(self.quantiser.encode(clean[::2].transpose(1, 2))).transpose(
                    1, 2
                )
            made = self.decode(z)[0].float()
        losses = self.losses(made, real)
        if self.sound:
            one = int(
                torch.randint(len(SOUND_SIZES), ())
            )  # in training, one size a step: three take as long as the network
            losses |= sound_losses(made, audio, SOUND_SIZES[one : one + 1] if noise else SOUND_SIZES)
        if self.update_statistics:  # noise is fixed, so without a price on it the latents would grow for ever
            mean, var = raw.float().mean((0, 1)), raw.float().var((0, 1))
            losses["scale"] = 0.02 * (mean.square() + (var - 1).square()).mean()
        return losses


def gather_files(corpus: Path, recordings: Path, split: str) -> tuple[list[AudioFile], list[AudioFile]]:
    """Files of one split: rendered pieces (four stems in eight channels) and real recordings."""
    rendered = []
    if (corpus / "manifest.json").is_file():
        rendered = [AudioFile(corpus / e["audio"], True) for e in pieces(load_manifest(corpus), split)]
    real = [AudioFile(path, False) for path in sorted((recordings / "audio" / split).glob("*.flac"))]
    return rendered, real


def crop_samples(frames: int) -> int:
    """Audio samples that give `frames` latent frames and the STFT frame before them."""
    return HOPS * frames * HOP + N_FFT


@torch.no_grad()
def start_from_pca(codec: Codec, features: Tensor, weight: Tensor) -> None:
    """Sets the linear ways of a codec to the 64 principal components of patches: where training starts from.

    Latents will be noisy, and the same noise in every channel should hurt least. A component of standard
    deviation s suffers in proportion to s / g, g being its gain; with the sum of squared gains fixed, g =
    sqrt(s) is best. A rotation then gives every channel the same variance and a share in all components.

    features: (B, 4*T, FEATURES) of much music; weight: (4, FEATURES), how much an error in each counts when
    it stays over the four frames of a patch (row 0) or changes, more and more quickly (1 to 3).
    """
    patch = features.unflatten(1, (-1, HOPS)).flatten(0, 1)  # (patches, 4, FEATURES)
    time, scale, mean = dct_matrix(HOPS), weight.sqrt(), patch.mean(0)
    weighted = (torch.einsum("kh,phf->pkf", time, patch - mean) * scale).flatten(1)
    _, size, axes = torch.pca_lowrank(weighted, q=LATENT_CHANNELS, center=False, niter=4)
    axes = axes.unflatten(0, (HOPS, -1))  # (4, FEATURES, 64)
    into = torch.einsum("kh,kfc->hfc", time, axes * scale[..., None]).flatten(0, 1)
    back = torch.einsum("kh,kfc->hfc", time, axes / scale[..., None]).flatten(0, 1)
    spread, mean = size / len(patch) ** 0.5, mean.flatten()
    gain = (spread / spread.mean()).sqrt()
    rotation = torch.from_numpy(hadamard(LATENT_CHANNELS)).float() / LATENT_CHANNELS**0.5
    codec.enc_linear.weight.copy_(rotation @ (into * gain / spread).T)
    codec.enc_linear.bias.copy_(-codec.enc_linear.weight @ mean)
    codec.dec_linear.weight.copy_((back * spread / gain) @ rotation.T)
    codec.dec_linear.bias.copy_(mean)
    codec.enc_scale.copy_(1 / features.flatten(0, 1).square().mean(0).sqrt().clamp_min(0.01))


def train_codec(
    settings: TrainSettings,
    recordings: Path,
    *,
    frames: int = 32,
    start: Path | None = None,
    quantiser: Quantiser | None = None,
) -> Path:
    """Trains the codec, or goes on where the last call stopped; returns the path of its weights.

    start: weights to go on from with a frozen encoder, so that latents stay what they are and only the
    decoder improves; then its sound counts, too, and half of what it decodes are codes if there is a
    quantiser. recordings: the folder of real recordings. frames: latent frames of a crop. Losses go to
    ``<settings.out>/log.csv``.
    """
    out, corpus, batch, seed = settings.out, settings.corpus, settings.batch, settings.seed
    torch.manual_seed(seed)
    codec = load_codec(start).requires_grad_(True) if start else Codec()
    if quantiser is not None:
        check_codec(start, quantiser.codec_fingerprint, codec.fingerprint)
    files, samples = gather_files(corpus, recordings, "train"), crop_samples(frames)
    if start:
        for name, parameter in codec.named_parameters():
            parameter.requires_grad_(name.startswith("dec_"))
    codec.train()
    about = {"config": str(codec.config), "batch": str(batch), "seed": str(seed)}
    plan = Schedule(settings.steps, settings.lr)
    run = Run(out, codec, plan, slow="_linear", about=about)  # those start where they are good
    audio = TrainingAudio(*files, batch, samples, seed + run.step)
    if start is None and run.step == 0:
        spectra = [stft(audio.next()) for _ in range(200 // batch + 1)]
        features = torch.cat([spectral_features(x.real, x.imag) for x in spectra])
        start_from_pca(codec, features, pca_weight())
        run.average.load_state_dict(codec.state_dict())
    losses = CodecLoss(
        codec,
        settings.compiled,
        update_statistics=start is None,
        quantiser=quantiser,
        sound=start is not None,
    )
    judge = CodecLoss(run.average, quantiser=quantiser, sound=start is not None)
    check = TrainingAudio(
        *gather_files(corpus, recordings, "valid"), 2 * batch, samples, 1234, pool=32
    ).next()

    def validate() -> dict[str, Tensor]:
        with torch.no_grad():
            return judge(check, noise=0.0)

    for _ in run.loop():
        run.update(losses(audio.next()), validate)
    path = out / "codec.safetensors"
    save_codec(run.average, path, steps=run.step, minutes=round(run.seconds / 60), seed=seed)
    return path
