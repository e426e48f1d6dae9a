"""Training the codec in three stages: magnitude, phase, polish.

1. *Magnitude*: encoder and magnitude decoder, in the STFT's own domain, no inverse transform.
2. *Phase*: the phase head alone, on the frozen rest: instantaneous frequency and group delay.
3. *Polish*: the whole decoder through the inverse transform, multi-resolution STFT losses of the sound.

Notebook: 01_sound_to_latents.
"""

import random
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec import HOPS, Codec, SpectralFrames, load_codec, save_codec
from lmdm_mini.codec_losses import band_loss, ear_weight, four_views, magnitude_loss, mel_filters, multi_resolution_loss, phase_loss
from lmdm_mini.corpus.data import load_manifest, pieces
from lmdm_mini.spectrum import HOP, N_FFT, overlap_add, spectral_features, stft
from lmdm_mini.training import Run

SHIFT = 3  # decoder frame i draws what encoder frame i - SHIFT sees: (1792 - 256) / 512


@dataclass
class AudioFile:
    path: Path
    stems: bool  # True: eight channels, four stereo stems whose sum is the mix


class SegmentPool:
    """A rotating pool of decoded stretches of music, from which random short crops are cut.

    Decoding FLAC for every crop would cost as much as the training itself; each stretch is used several
    times before `refresh` swaps it for another.
    """

    def __init__(self, files: list[AudioFile], size: int, seconds: float, seed: int):
        if not files:
            raise ValueError("no audio to train on. Build it: python -m lmdm_mini corpus build, corpus recordings")
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

    def __init__(self, corpus: list[AudioFile], recordings: list[AudioFile], batch: int, samples: int,
                 seed: int, real_share: float = 0.4, pool: int = 160):
        share = real_share if corpus and recordings else float(bool(recordings))
        count = pool if share in (0.0, 1.0) else pool // 2
        self.pools = [SegmentPool(files, count, 12.0, seed + i) if files else None
                      for i, files in enumerate((corpus, recordings))]
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


class CodecLoss(torch.nn.Module):
    """The losses of a stage for a batch of audio; `parts` names them for the log."""

    def __init__(self, codec: Codec, stage: str, compile_losses: bool = False):
        super().__init__()
        self.codec, self.stage, self.rng = codec, stage, random.Random(0)
        self.register_buffer("ear", ear_weight(), persistent=False)
        self.register_buffer("filters", mel_filters(), persistent=False)
        wrap = torch.compile if compile_losses else (lambda f: f)
        self.encode_frames, self.decode_frames = wrap(codec.encode_frames), wrap(codec.decode_frames)
        self.magnitude_loss, self.four_views = wrap(magnitude_loss), wrap(four_views)
        self.band_loss, self.features = wrap(band_loss), wrap(spectral_features)

    def forward(self, audio: Tensor, noise: float = 0.12) -> dict[str, Tensor]:
        """audio: (B, 2, (4*T + 6) * 512): T latent frames, their STFT margin and SHIFT frames before."""
        spectrum = stft(audio)
        count = (spectrum.shape[2] - SHIFT) // HOPS * HOPS
        seen, drawn = spectrum[:, :, SHIFT : SHIFT + count], spectrum[:, :, :count]
        frozen = self.stage == "phase"
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(not frozen and torch.is_grad_enabled()):
            z = self.codec.normalise(self.encode_frames(seen)[0])
            if noise:
                z = z + torch.rand(len(z), 1, 1) * noise * torch.randn_like(z)
            frames, hidden, _ = self.decode_frames(z)
        if frozen:
            return self._phase(frames, hidden, drawn)
        left, right, cos, sin = self.features(drawn.real, drawn.imag)
        target = self.four_views(left, right, cos)
        bins, stereo, views = self.magnitude_loss(
            frames.log_left, frames.log_right, frames.cos_difference, frames.sin_difference, target, cos, sin, self.ear
        )
        parts = {"bins": bins, "bands": self.band_loss(views, target, self.filters), "stereo": 0.3 * stereo}
        if self.stage == "polish":
            parts = {k: 0.5 * v for k, v in parts.items()} | self._sound(frames, hidden, drawn, audio, count)
        return parts

    def _spectrum(self, frames: SpectralFrames, hidden: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            cos, sin, _ = self.codec.decode_phase(hidden)
        return self.codec.spectrum(frames, cos, sin)

    def _phase(self, frames, hidden, drawn) -> dict[str, Tensor]:
        return {"phase": phase_loss(self._spectrum(frames, hidden), drawn, self.ear)}

    def _sound(self, frames, hidden, drawn, audio, count) -> dict[str, Tensor]:
        spectrum = self._spectrum(frames, hidden)
        made = overlap_add(spectrum, None)[0][..., N_FFT:]
        real = audio[..., N_FFT : count * HOP]
        return {"sound": multi_resolution_loss(made, real, self.rng), "phase": 0.3 * phase_loss(spectrum, drawn, self.ear)}


def gather_files(corpus: Path, recordings: Path, split: str) -> tuple[list[AudioFile], list[AudioFile]]:
    """Files of one split: rendered pieces (four stems in eight channels) and real recordings."""
    rendered = []
    if (corpus / "manifest.json").is_file():
        rendered = [AudioFile(corpus / e["audio"], True) for e in pieces(load_manifest(corpus), split)]
    real = [AudioFile(path, False) for path in sorted((recordings / "audio" / split).glob("*.flac"))]
    return rendered, real


def train_codec(stage: str, out: Path, corpus: Path, recordings: Path, steps: int, batch: int = 12, frames: int = 40,
                lr: float = 1e-3, seed: int = 0, start: Path | None = None, compile_losses: bool = True) -> Path:
    """Trains one stage, or goes on with it where the last call stopped; returns the path of its weights.

    start: weights of the stage before. frames: latent frames of a crop. Losses go to ``<out>/<stage>.csv``.
    """
    torch.manual_seed(seed)
    codec = load_codec(start).requires_grad_(True) if start else Codec()
    codec.train()
    if stage != "magnitude":
        codec.latent_norm.eval()  # the latents stand still from here on
        for name, parameter in codec.named_parameters():
            parameter.requires_grad_(name.startswith("phase_") or (stage == "polish" and not name.startswith("enc_")))
    elif not start:
        codec.phase_stack.requires_grad_(False)
        codec.phase_head.requires_grad_(False)
    run = Run(out / stage, codec, steps=steps, lr=lr)
    losses = CodecLoss(codec, stage, compile_losses)
    samples = (HOPS * frames + SHIFT + N_FFT // HOP - 1) * HOP
    audio = TrainingAudio(*gather_files(corpus, recordings, "train"), batch, samples, seed + run.step)
    check = TrainingAudio(*gather_files(corpus, recordings, "valid"), 2 * batch, samples, 1234, pool=24).next()

    def validate() -> dict[str, Tensor]:
        codec.eval()
        with torch.no_grad():
            parts = losses(check, noise=0.0)
        codec.train(stage == "magnitude")
        return parts

    for _ in run.loop():
        run.update(losses(audio.next()), validate)
    path = out / f"{stage}.safetensors"
    save_codec(run.averaged(), path, stage=stage, steps=steps, seed=seed)
    return path
