"""Training the codec: where it starts, that it learns, resumes, and can go on with the decoder alone."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.codec import Codec, CodecConfig, encoder_fingerprint, load_codec
from lmdm_mini.codec.losses import pca_weight, sound_losses
from lmdm_mini.codec.spectrum import FEATURE_SIZES, spectral_features, stft
from lmdm_mini.codec.train import CodecLoss, crop_samples, start_from_pca, train_codec
from lmdm_mini.discrete.rvq import RVQ, RVQConfig
from lmdm_mini.training import TrainSettings, fast_dtype, precision

SMALL = CodecConfig(
    width=16,
    deep_width=24,
    encoder_blocks=1,
    encoder_deep_blocks=1,
    decoder_blocks=1,
    decoder_deep_blocks=1,
    head_width=16,
)


def noises(count, samples, seed=0):
    """Noises of different colour and level, (count, 2, samples)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, samples, generator=generator)
    x = x + torch.linspace(0, 5, count)[:, None, None] * torch.roll(x, 1, -1)
    return 0.05 * x * torch.linspace(0.2, 2, count)[:, None, None]


@pytest.fixture
def music(tmp_path):
    """A corpus of two pieces of a few seconds and two recordings, both with a train and a valid split."""
    pieces = []
    for name in ("train", "valid"):
        stems = np.random.default_rng(0).normal(0, 0.05, (5 * 44100, 8))
        soundfile.write(tmp_path / f"{name}.flac", stems, 44100, subtype="PCM_16")
        pieces.append({"id": name, "audio": f"{name}.flac", "style": "jazz", "split": name})
        folder = tmp_path / "recordings" / "audio" / name
        folder.mkdir(parents=True)
        soundfile.write(folder / "one.flac", stems[:, :2], 44100, subtype="PCM_16")
    (tmp_path / "manifest.json").write_text(json.dumps({"pieces": pieces}))
    return tmp_path


def test_the_principal_components_are_a_start():
    torch.manual_seed(0)
    codec, audio = Codec(SMALL), noises(12, crop_samples(16))
    losses = CodecLoss(codec)
    with torch.no_grad():
        before = losses(audio, noise=0)
        spectrum = stft(audio)
        start_from_pca(codec, spectral_features(spectrum.real, spectrum.imag), pca_weight())
        after = losses(audio, noise=0)
        z = codec.normalise(codec.encode_features(spectral_features(spectrum.real, spectrum.imag))[0])
    assert after["magnitude"] < 0.7 * before["magnitude"] and after["mel"] < 0.7 * before["mel"]
    assert 0.8 < z.std() < 1.2 and z.mean().abs() < 0.1  # whitened


def train(music, name, steps, **more):
    settings = TrainSettings(music / name, music, steps, batch=2, lr=6e-4, compiled=False)
    return train_codec(settings, music / "recordings", frames=8, **more)


@pytest.mark.long
def test_trains_and_then_only_the_decoder(music, monkeypatch):
    monkeypatch.setattr("lmdm_mini.codec.train.Codec", lambda: Codec(SMALL))
    path = train(music, "run", 3)
    first = load_codec(path)
    assert first.config == SMALL and first.fingerprint
    again = train(music, "run", 3)  # done already: nothing changes
    assert encoder_fingerprint(load_codec(again)) == first.fingerprint
    second = load_codec(train(music, "decoder", 2, start=path))
    assert second.fingerprint == first.fingerprint
    assert not torch.equal(second.dec_head[3].weight, first.dec_head[3].weight)


@pytest.mark.long
def test_the_decoder_learns_to_play_codes(music, monkeypatch):
    monkeypatch.setattr("lmdm_mini.codec.train.Codec", lambda: Codec(SMALL))
    start = train(music, "run", 1)
    rvq = RVQ(RVQConfig(n_q=2, codebook_size=4))
    rvq.codebooks.normal_(generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="belong together"):
        train(music, "decoder", 1, start=start, quantiser=rvq)
    rvq.codec_fingerprint = load_codec(start).fingerprint
    made = load_codec(train(music, "decoder", 1, start=start, quantiser=rvq))
    assert made.fingerprint == rvq.codec_fingerprint
    codec, audio = load_codec(start), noises(4, crop_samples(16))
    plain, coded = (
        {name: loss.item() for name, loss in CodecLoss(codec, quantiser=some)(audio, noise=0).items()}
        for some in (None, rvq)
    )
    assert coded["magnitude"] > plain["magnitude"]  # half of it was decoded from two of four entries


def test_the_sound_of_true_features_is_near_and_its_gradient_reaches_magnitudes_only():
    audio = noises(2, crop_samples(16))
    audio = audio + 0.3 * torch.sin(torch.arange(audio.shape[-1]) * 0.1)
    spectrum = stft(audio)
    real = spectral_features(spectrum.real, spectrum.imag)
    near = sound_losses(real, audio)["sound"]
    assert near < 0.6 * sound_losses(0.9 * real, audio)["sound"]
    made = (0.98 * real).requires_grad_(True)
    sound_losses(made, audio)["sound"].backward()
    magnitude, inst_freq, group_delay, stereo, level = made.grad.split(FEATURE_SIZES, -1)
    assert torch.isfinite(made.grad).all() and magnitude.abs().sum() > 0 and level.abs().sum() > 0
    assert not inst_freq.any() and not group_delay.any() and not stereo.any()


def test_without_music_it_says_what_to_build(tmp_path):
    with pytest.raises(ValueError, match="corpus build"):
        train_codec(TrainSettings(tmp_path, tmp_path, 1, 16, 6e-4, compiled=False), tmp_path)


@pytest.mark.parametrize(
    ("bfloat16", "float32", "fast"), [(1.0, 2.0, torch.bfloat16), (200.0, 2.0, torch.float32)]
)
def test_the_fast_type_is_the_one_that_multiplies_faster(bfloat16, float32, fast, monkeypatch):
    """On a processor of which we say how long it takes; another program makes it slower at times."""
    clock, noise = [0.0], itertools.cycle([50.0, 0.0, 0.0, 300.0])
    seconds = {torch.bfloat16: bfloat16, torch.float32: float32}

    class Matrix:
        def __init__(self, *shape, dtype):
            self.dtype, self.T = dtype, self

        def __matmul__(self, other):
            clock[0] += seconds[self.dtype] + next(noise)

    monkeypatch.setattr(torch, "ones", Matrix)
    monkeypatch.setattr(precision, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert fast_dtype.__wrapped__() == fast  # as if it had not been measured yet
    assert clock[0] > 0
