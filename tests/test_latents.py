"""The corpus as latents: mixes and pairs, what is resumed, and what is refused."""

import json
import random

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.checkpoints import LATENTS, how_to_restore
from lmdm_mini.codec import Codec, load_codec
from lmdm_mini.conditioning.sketch import sketch
from lmdm_mini.corpus.data import load_manifest, read_stems
from lmdm_mini.corpus.piece import STEMS
from lmdm_mini.latents import encode_corpus, find_latents, read_latents, read_packed
from lmdm_mini.latents.encode import beats_of, draw_pairs, latent_path, quantised
from lmdm_mini.latents.packed import pack_splits


def entry_of(name, style="jazz", split="test"):
    return {
        "id": name,
        "audio": "one.flac",
        "style": style,
        "split": split,
        "seconds": 2.0,
        "bpm": 90.0,
        "beat_times": [0.0, 0.5, 1.0],
        "recipe": f"of {name}",
        "instruments": {"drums": ["brushes"], "bass": ["double bass"], "lead": ["trumpet"]},
        "captions": {"mix": [style], "lead": ["a trumpet alone"]},
    }


def write_corpus(folder, entries):
    """Pieces of two seconds that share one file: three stems of noise, and one that is silent."""
    stems = np.random.default_rng(0).normal(0, 0.1, (88200, 8))
    stems[:, 4:6] = 0
    soundfile.write(folder / "one.flac", stems, 44100, subtype="PCM_16")
    (folder / "manifest.json").write_text(json.dumps({"pieces": entries}))
    return folder


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path, [entry_of("one")])


@pytest.fixture
def codec():
    torch.manual_seed(0)
    codec = Codec().eval()
    codec.fingerprint = "a"
    return codec


def test_pairs_leave_something_to_play():
    drawn = [draw_pairs(["lead", "drums", "bass"], random.Random(seed)) for seed in range(200)]
    pairs = [pair for some in drawn for pair in some]
    assert {len(pair) for pair in pairs} == {1, 2} and len(set(pairs)) == 6
    assert all(list(pair) == sorted(pair, key=STEMS.index) for pair in pairs)
    assert sum(first == second for first, second in drawn) == 0
    assert draw_pairs(["lead"], random.Random(0)) == []


def test_stem_and_rest_are_encoded_apart(corpus):
    """What is decoded from stem and rest sums to the mix about as well as the codec keeps a sound at all."""
    codec = load_codec()
    entry = load_manifest(corpus)["pieces"][0]
    assert encode_corpus(corpus, codec) == 1
    tensors, pairs = read_latents(entry, codec.fingerprint)
    stems = dict(zip(STEMS, read_stems(entry)))
    for number, pair in enumerate(pairs):
        stem = torch.stack([stems[name] for name in pair["stems"]]).sum(0)
        rest = torch.stack([stems[name] for name in STEMS if name not in pair["stems"]]).sum(0)
        for name, audio in ((f"stem{number}", stem), (f"rest{number}", rest)):
            expected = codec.encode(audio[None])[0]
            found = tensors[name] * tensors[f"{name}.scale"][:, None]
            assert (found - expected).abs().max() <= tensors[f"{name}.scale"].max() / 2 + 1e-5
        assert not torch.equal(tensors[f"heard{number}"], tensors[f"stem{number}"])
        expected = sketch(rest).values[0, -4:]  # its loudness
        assert (tensors[f"rest{number}.sketch.loudness"] / 255 - expected).abs().max() < 0.01
    assert tensors["mix"].shape[1] == len(tensors["beats"]) == len(tensors["bpm"]) == 44


def test_beats_follow_the_piece_and_go_on_after_its_last():
    entry = {"bpm": 60.0, "beat_times": [0.0, 0.5, 1.0, 2.0]}  # slower from the third beat on
    beats, bpm = beats_of(entry, 86)
    times = (torch.arange(86) + 0.5) / (44100 / 2048)
    assert torch.allclose(beats[times < 1], times[times < 1] * 2, atol=1e-4)
    assert torch.allclose(beats[times > 1], times[times > 1] + 1, atol=1e-4)  # past 2 s: at the usual tempo
    assert set(bpm[times < 0.98].tolist()) == {120.0} and set(bpm[times > 1.02].tolist()) == {60.0}


def test_encodes_what_is_missing_and_no_more(corpus, codec):
    assert encode_corpus(corpus, codec) == 1 and encode_corpus(corpus, codec) == 0
    write_corpus(corpus, [entry_of("one") | {"recipe": "another"}, entry_of("two")])
    assert encode_corpus(corpus, codec) == 2  # a piece that was made anew, and a new one
    assert not latent_path(load_manifest(corpus)["pieces"][0]).with_suffix(".part").exists()


def test_another_encoder_and_missing_latents_are_refused(corpus, codec):
    entry = load_manifest(corpus)["pieces"][0]
    with pytest.raises(FileNotFoundError, match="corpus encode"):
        read_latents(entry, "a")
    encode_corpus(corpus, codec)
    with pytest.raises(ValueError, match="made by encoder a, not by b"):
        read_latents(entry, "b")
    codec.fingerprint = "b"  # a new encoder makes everything anew
    assert encode_corpus(corpus, codec) == 1 and read_latents(entry, "b")[0]["mix"].shape[0] == 64


def test_packed_latents_are_those_of_the_corpus(tmp_path, codec):
    """Every split packed, hours limited, styles in turn; one pair without the microphone's copy."""
    kinds = [("jazz", "train"), ("jazz", "train"), ("house", "train"), ("house", "valid"), ("jazz", "test")]
    entries = [entry_of(f"{style}_{i}", style, split) for i, (style, split) in enumerate(kinds)]
    write_corpus(tmp_path, entries)
    encode_corpus(tmp_path, codec)
    hours = {"train": 4.5 / 3600, "valid": 1.0, "test": 1.0}
    pack_splits(tmp_path, "a", hours, folder=tmp_path / "packed")
    packed = read_packed(tmp_path / "packed" / "train.safetensors", "a")
    assert sorted(piece.style for piece in packed) == ["house", "jazz"]  # room for two: one of each
    whole = {piece.id: piece for piece in find_latents(tmp_path, "train", "a")}
    assert len(whole) == 3
    for piece in packed:
        other = whole[piece.id]
        assert piece.captions == [piece.style] and piece.bpm == 90
        assert torch.equal(piece.latents, other.latents) and torch.equal(piece.beats, other.beats)
        (pair,), (same, _) = piece.pairs, other.pairs
        assert pair.heard is None and same.heard is not None and pair.captions == same.captions
        assert torch.equal(pair.rest.frames(3, 9), same.rest.frames(3, 9))
        assert torch.equal(piece.sketch_of(0, 9, 0).values, other.sketch_of(0, 9, 0).values)
    assert [piece.id for piece in find_latents(tmp_path / "packed", "train", "a")] == [p.id for p in packed]
    with pytest.raises(ValueError, match="encoder a, but the codec here is b"):
        read_packed(tmp_path / "packed" / "test.safetensors", "b")


def test_eight_bits_are_enough():
    latents = torch.randn(64, 2000)
    values, scale = quantised(latents)
    assert values.dtype == torch.int8 and (values * scale[:, None] - latents).abs().max() < 0.03


@pytest.mark.parametrize("kept", [0, 5, 200, -100])
def test_a_set_that_was_cut_off_gets_one_sentence(kept, tmp_path):
    """Nothing of it, a part of its header, and all but its last numbers: as a download leaves it."""
    path = tmp_path / "train.safetensors"
    path.write_bytes((LATENTS / "valid.safetensors").read_bytes()[:kept])
    with pytest.raises(ValueError) as refused:
        read_packed(path, "a")
    said = str(refused.value)
    assert said.startswith(f"{path} is damaged") and "\n" not in said
    assert said.endswith(how_to_restore())
