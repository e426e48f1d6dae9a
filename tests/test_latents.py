"""The corpus as latents: the views, what is resumed, and what is refused."""

import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from lmdm_mini.checkpoints import LATENTS, how_to_restore
from lmdm_mini.codec import Codec
from lmdm_mini.corpus.data import load_manifest
from lmdm_mini.corpus.piece import STEMS
from lmdm_mini.latents import encode_corpus, find_latents, read_latents, read_packed
from lmdm_mini.latents.encode import latent_path, views_of
from lmdm_mini.latents.packed import pack_splits


@pytest.fixture
def corpus(tmp_path):
    """A corpus of one second: four stems of noise in one file."""
    stems = np.random.default_rng(0).normal(0, 0.1, (44100, 8))
    soundfile.write(tmp_path / "one.flac", stems, 44100, subtype="PCM_16")
    (tmp_path / "manifest.json").write_text(
        json.dumps({"pieces": [{"id": "one", "audio": "one.flac", "style": "jazz", "split": "test"}]})
    )
    return tmp_path


@pytest.fixture
def codec():
    torch.manual_seed(0)
    codec = Codec().eval()
    codec.fingerprint = "a"
    return codec


def test_views_are_sums_of_stems():
    stems = torch.randn(4, 2, 100)
    mix, bass, rest = views_of(stems, ["mix", "bass", "minus_bass"])
    assert torch.equal(bass, stems[STEMS.index("bass")])
    assert torch.allclose(mix, stems.sum(0)) and torch.allclose(rest + bass, mix, atol=1e-6)


def test_encodes_what_is_missing_and_no_more(corpus, codec):
    assert encode_corpus(corpus, codec, ("mix",)) == 1
    assert encode_corpus(corpus, codec, ("mix",)) == 0
    assert encode_corpus(corpus, codec, ("mix", "minus_lead")) == 1
    entry = load_manifest(corpus)["pieces"][0]
    stems = torch.from_numpy(soundfile.read(corpus / "one.flac", dtype="float32")[0].T.copy()).view(4, 2, -1)
    expected = codec.encode(views_of(stems, ["minus_lead"]))[0]
    assert torch.allclose(
        read_latents(entry, "minus_lead", "a"), expected, atol=5e-3
    )  # kept in half precision


def test_another_encoder_and_missing_latents_are_refused(corpus, codec):
    entry = load_manifest(corpus)["pieces"][0]
    with pytest.raises(FileNotFoundError, match="corpus encode"):
        read_latents(entry, "mix", "a")
    encode_corpus(corpus, codec, ("mix",))
    with pytest.raises(ValueError, match="made by encoder a, not by b"):
        read_latents(entry, "mix", "b")
    with pytest.raises(FileNotFoundError, match="--views bass"):
        read_latents(entry, "bass", "a")
    with pytest.raises(ValueError, match="no view 'voice'"):
        encode_corpus(corpus, codec, ("voice",))
    codec.fingerprint = "b"  # a new encoder makes everything anew
    assert encode_corpus(corpus, codec, ("mix",)) == 1 and read_latents(entry, "mix", "b").shape[0] == 64
    assert not latent_path(entry).with_suffix(".part").exists()


def test_packed_latents_are_the_same_but_for_a_little(tmp_path, codec):
    """Eight bits a number: every split packed, hours limited for train, styles in turn, read back close."""
    entries = []
    for number, (style, split) in enumerate(
        [("jazz", "train"), ("jazz", "train"), ("house", "train"), ("house", "valid"), ("jazz", "test")]
    ):
        name = f"{style}_{number}"
        entries.append(
            {
                "id": name,
                "audio": "none",
                "style": style,
                "split": split,
                "seconds": 360.0,
                "bpm": 100.0,
                "captions": {"mix": [style]},
            }
        )
        latents = {"mix": torch.randn(64, 40).half()}
        (tmp_path / "latents").mkdir(exist_ok=True)
        save_file(latents, str(tmp_path / "latents" / f"{name}.safetensors"), metadata={"codec": "a"})
    (tmp_path / "manifest.json").write_text(json.dumps({"pieces": entries}))
    pack_splits(tmp_path, "a", 0.2, folder=tmp_path / "packed")
    packed = read_packed(tmp_path / "packed" / "train.safetensors", "a")
    assert sorted(piece.style for piece in packed) == ["house", "jazz"]  # 0.2 hours: one of each
    whole = {piece.id: piece for piece in find_latents(tmp_path, "train", "a")}
    assert len(whole) == 3
    for piece in packed:
        assert piece.captions == [piece.style] and piece.bpm == 100
        assert 0 < (piece.latents - whole[piece.id].latents).abs().max() < 0.03
    with pytest.raises(ValueError, match="encoder a, but the codec here is b"):
        read_packed(tmp_path / "packed" / "test.safetensors", "b")


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
