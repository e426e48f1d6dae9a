"""Tempo, key, silence, novelty: right on sounds whose answer is known, and telling music from noise."""

import pytest
import torch

from lmdm_mini import musical
from lmdm_mini.evaluation.metrics import frechet_distance
from lmdm_mini.evaluation.real_music import novelty, shuffle_time
from lmdm_mini.latents import LatentPiece

RATE = 44100


def clicks(bpm, seconds=10.0, shift=0.0):
    time = torch.arange(int(seconds * RATE)) / RATE
    phase = (time + shift) % (60 / bpm)
    noise = torch.randn(2, len(time), generator=torch.Generator().manual_seed(0))
    return 0.3 * noise * torch.exp(-40 * phase)


def chord(*hertz, seconds=6.0):
    time = torch.arange(int(seconds * RATE)) / RATE
    return 0.1 * sum(torch.sin(2 * torch.pi * f * time) for f in hertz).expand(2, -1)


@pytest.mark.parametrize("bpm", [72, 90, 110, 124.5, 140])
def test_the_tempo_of_clicks(bpm):
    found, strength = musical.tempo(clicks(bpm))
    assert musical.same_tempo(found, bpm) and strength > 0.4


@pytest.mark.parametrize("bpm, shift", [(120, 0.0), (120, 0.1), (92.3, 0.4)])
def test_where_in_a_beat_a_sound_ends(bpm, shift):
    wanted = (10.0 + shift) * bpm / 60 % 1
    assert abs((musical.beat_phase(clicks(bpm, shift=shift), bpm) - wanted + 0.5) % 1 - 0.5) < 0.05


def test_noise_and_silence_have_no_beat():
    noise = 0.1 * torch.randn(2, 10 * RATE, generator=torch.Generator().manual_seed(1))
    assert musical.tempo(noise)[1] < 0.2 < musical.tempo(clicks(100))[1]
    assert musical.tempo(torch.zeros(2, 10 * RATE)) == (0.0, 0.0)


@pytest.mark.parametrize(
    "found, right",
    [(100, True), (103, True), (50.5, True), (199, True), (108, False), (150, False), (0, False)],
)
def test_tempi_agree_up_to_an_octave(found, right):
    assert musical.same_tempo(found, 100) is right


def test_a_key_is_clearer_than_noise():
    c_major = chord(261.6, 329.6, 392.0, 293.7, 440.0, 523.3)
    noise = 0.1 * torch.randn(2, 6 * RATE, generator=torch.Generator().manual_seed(2))
    assert musical.key_clarity(c_major) > 0.7 > musical.key_clarity(noise) + 0.15


def test_level_and_silence():
    half = torch.cat([torch.full((2, RATE), 0.5), torch.zeros(2, RATE)], 1)
    assert musical.silence_ratio(half) == pytest.approx(0.5, abs=0.06)
    assert musical.loudness_db(half[:, :RATE]) == pytest.approx(-6.02, abs=0.05)


def test_a_copy_is_found_even_a_little_off():
    generator = torch.Generator().manual_seed(3)
    train = [
        LatentPiece(str(i), "jazz", 100.0, [], torch.randn(64, 400, generator=generator).half())
        for i in range(3)
    ]
    copy, fresh = train[1].latents[None, :, 101:341].float(), torch.randn(1, 64, 240, generator=generator)
    smooth = torch.nn.functional.avg_pool1d(copy, 5, 1, 2)
    near = novelty(torch.cat([copy, fresh, smooth]), train)
    assert near[0] < 0.6 * near[1]


def test_shuffling_keeps_the_sounds():
    audio = torch.randn(2, 2, RATE)
    shuffled = shuffle_time(audio)
    assert shuffled.shape[-1] == RATE // 4410 * 4410 and not torch.equal(
        shuffled, audio[..., : shuffled.shape[-1]]
    )
    assert torch.allclose(shuffled.square().sum(), audio[..., : shuffled.shape[-1]].square().sum())


def test_frechet_distance_of_known_gaussians():
    generator = torch.Generator().manual_seed(4)
    a = torch.randn(20000, 3, generator=generator)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    # means 2 apart in one dimension; deviations 1 and 3 in another: 4 + (3 - 1) squared
    b = torch.randn(20000, 3, generator=generator) * torch.tensor([1.0, 3.0, 1.0]) + torch.tensor(
        [2.0, 0.0, 0.0]
    )
    assert frechet_distance(a, b) == pytest.approx(8, rel=0.05)
    for bad in (torch.zeros(1, 3), torch.zeros(5, 4), torch.zeros(5)):
        with pytest.raises(ValueError, match="embeddings are"):
            frechet_distance(a, bad)
