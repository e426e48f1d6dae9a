"""The codec: streaming equals offline, its look-ahead, and what it does with bad input."""

import pytest
import torch

from lmdm_mini.codec import FRAME_SAMPLES, Codec, encoder_fingerprint, load_codec, save_codec
from lmdm_mini.codec.spectrum import overlap_add, stft


@pytest.fixture(scope="module")
def codec():
    return load_codec()


@pytest.fixture(scope="module")
def music():
    """A second and a half and a bit of a chord with a beat, (1, 2, N)."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(70_003) / 44100
    chord = sum(torch.sin(2 * torch.pi * f * time) for f in (220.0, 277.2, 329.6)) / 6
    beat = torch.randn(2, len(time), generator=generator) * 0.3 * torch.exp(-20 * (time % 0.5))
    return (torch.stack([chord, chord.roll(30)]) + beat)[None] * 0.5


def pieces_of(length: int, sizes: list[int]):
    """Start and end of pieces whose sizes repeat until `length` is covered."""
    start, i = 0, 0
    while start < length:
        yield start, min(length, start + sizes[i % len(sizes)])
        start, i = start + sizes[i % len(sizes)], i + 1


@pytest.mark.parametrize("sizes", [[1000], [2048], [12 * 2048], [1, 5000, 0, 30000], [777, 10]])
def test_streaming_encoder_equals_offline(codec, music, sizes):
    stream = codec.stream_encoder()
    parts = [stream(music[..., a:b]) for a, b in pieces_of(music.shape[-1], sizes)] + [stream.flush()]
    offline = codec.encode(music)
    assert offline.shape == (1, 64, -(-music.shape[-1] // FRAME_SAMPLES))
    assert (torch.cat(parts, -1) - offline).abs().max() <= 1e-5


@pytest.mark.parametrize("sizes", [[1], [4], [12], [30], [1, 0, 7, 3], [12, 4]])
def test_streaming_decoder_equals_offline(codec, music, sizes):
    latents = codec.encode(music)
    stream = codec.stream_decoder()
    parts = [stream(latents[..., a:b]) for a, b in pieces_of(latents.shape[-1], sizes)] + [stream.flush()]
    offline = codec.decode(latents)
    assert offline.shape == (1, 2, latents.shape[-1] * FRAME_SAMPLES)
    assert (torch.cat(parts, -1) - offline).abs().max() <= 1e-5


@pytest.mark.parametrize("alike", [True, False])
def test_short_calls_take_short_tiles_only_where_they_change_nothing(codec, music, monkeypatch, alike):
    latents, tiles = codec.encode(music), []
    codec = load_codec()  # one that has not been asked yet
    decode = codec.decode_features

    def spy(z, state=None, keep=None):
        tiles.append(z.shape[1])
        return decode(z, state, keep)

    stream = codec.stream_decoder()
    monkeypatch.setattr(codec, "rounds_short_tiles_alike", lambda: alike)
    monkeypatch.setattr(codec, "decode_features", spy)
    for size in (4, 2, 5, 12, 14):
        stream(latents[..., :size])
    short = 4 if alike else 12
    assert tiles == [short, short, 12, 12, 12, 12]


def test_tiles_that_round_otherwise_are_noticed(codec, monkeypatch):
    decode = codec.decode_features

    def rounded_by_rows(z, state=None, keep=None):
        features, state = decode(z, state, keep)
        return features * (1 + 1e-6 * (z.shape[1] == 4)), state

    monkeypatch.setattr(codec, "decode_features", rounded_by_rows)
    assert not codec.rounds_short_tiles_alike()


def test_reset_forgets_everything(codec, music):
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    encoder(music), decoder(codec.encode(music))
    encoder.reset(), decoder.reset()
    fresh = codec.stream_encoder()
    assert torch.equal(encoder(music[..., :30000]), fresh(music[..., :30000]))
    latents = codec.encode(music)[..., :5]
    assert torch.equal(decoder(latents), codec.stream_decoder()(latents))


def test_looks_ahead_at_most_one_latent_frame(codec, music):
    """Change the future: latents and samples more than one frame before the change stay the same."""
    changed = music.clone()
    changed[..., 20 * FRAME_SAMPLES :] += 0.1
    assert torch.equal(codec.encode(music)[..., :19], codec.encode(changed)[..., :19])
    latents = codec.encode(music)
    other = latents.clone()
    other[..., 20:] += 1
    same = codec.decode(latents)[..., : 19 * FRAME_SAMPLES] - codec.decode(other)[..., : 19 * FRAME_SAMPLES]
    assert same.abs().max() == 0
    assert (codec.encode(music) - codec.encode(changed))[
        ..., 20:
    ].abs().max() > 0.1  # and it does hear the change


def test_stft_and_its_inverse_agree():
    audio = torch.randn(1, 2, 20 * 512, generator=torch.Generator().manual_seed(0))
    back, _ = overlap_add(stft(audio), None)
    inside = slice(2048, back.shape[-1] - 2048)
    assert (back[..., inside] - audio[..., inside]).abs().max() < 1e-5


def test_size_and_single_items(codec, music):
    assert sum(p.numel() for p in codec.parameters()) <= 12e6
    single = codec.encode(music[0])
    assert single.shape[0] == 64 and torch.allclose(single, codec.encode(music)[0], atol=1e-5)
    assert codec.decode(single).shape == (2, single.shape[-1] * FRAME_SAMPLES)


def test_one_sample_is_enough_and_silence_stays_quiet(codec):
    assert codec.encode(torch.zeros(1, 2, 1)).shape == (1, 64, 1)
    silence = codec.decode(codec.encode(torch.zeros(1, 2, 44100)))
    assert silence.abs().max() < 0.003  # -50 dBFS


@pytest.mark.parametrize(
    "audio, message",
    [
        (torch.zeros(1, 2, 0), "empty"),
        (torch.full((1, 2, 4096), float("nan")), "NaN or infinite"),
        (torch.full((1, 2, 4096), float("inf")), "NaN or infinite"),
        (torch.zeros(1, 1, 4096), "to_stereo"),
        (torch.zeros(1, 2, 4096, dtype=torch.int16), "to_stereo"),
    ],
)
def test_bad_audio_is_refused_with_a_reason(codec, audio, message):
    with pytest.raises(ValueError, match=message):
        codec.encode(audio)


def test_bad_latents_are_refused(codec):
    with pytest.raises(ValueError, match="64"):
        codec.decode(torch.zeros(1, 32, 4))
    with pytest.raises(ValueError, match="NaN"):
        codec.decode(torch.full((1, 64, 4), float("nan")))


def test_missing_and_damaged_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there: a codec is expected.*train codec"):
        load_codec(tmp_path / "none.safetensors")
    broken = tmp_path / "codec.safetensors"
    broken.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="damaged"):
        load_codec(broken)
    save_codec(Codec(), broken)
    broken.write_bytes(broken.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="damaged"):
        load_codec(broken)


def test_fingerprint_follows_the_encoder_and_nothing_else(tmp_path):
    torch.manual_seed(0)
    codec = Codec()
    name = save_codec(codec, tmp_path / "codec.safetensors")
    again = load_codec(tmp_path / "codec.safetensors")
    assert again.fingerprint == name == encoder_fingerprint(again)
    with torch.no_grad():
        again.dec_in.weight += 1
        assert encoder_fingerprint(again) == name
        again.enc_out[1].weight += 1
        assert encoder_fingerprint(again) != name


@pytest.mark.long
def test_latents_are_normalised(codec):
    """Mean near 0 and deviation near 1 over the shipped recordings, as a diffusion model wants them."""
    from pathlib import Path

    from lmdm_mini.audio import read_audio

    files = sorted((Path(__file__).parent.parent / "data" / "recordings").glob("*.flac"))
    assert files
    latents = torch.cat([codec.encode(read_audio(f)) for f in files], -1)
    assert latents.mean().abs() < 0.2
    assert 0.5 < latents.std() < 1.5
