"""The quantiser: latents to codes and back, what few codes keep, its training and its file."""

import copy
from dataclasses import replace

import pytest
import torch
from small import latents_of

from lmdm_mini import checkpoints
from lmdm_mini.codec import load_codec
from lmdm_mini.discrete import rvq as rvq_module
from lmdm_mini.discrete import train_rvq as rvq_training
from lmdm_mini.discrete.rvq import RVQ, RVQConfig, load_rvq, round_trip_error, save_rvq
from lmdm_mini.discrete.train_rvq import RVQLearner, all_frames, train_rvq
from lmdm_mini.latents import ENDING, LATENTS, LatentPiece, read_packed
from lmdm_mini.training import TrainSettings

SMALL = RVQConfig(n_q=4, codebook_size=32)


def test_codes_have_their_shape_and_more_codes_keep_more(quantiser):
    z = latents_of(seed=1).expand(2, -1, -1)
    codes = quantiser.encode(z)
    assert codes.shape == (2, 4, 600) and codes.dtype == torch.int64 and len(codes.unique()) == 32
    assert quantiser.decode(codes).shape == z.shape
    assert torch.equal(quantiser.encode(z[0]), codes[0]) and torch.equal(
        quantiser.decode(codes[0]), quantiser.decode(codes)[0]
    )
    assert torch.equal(quantiser.encode(z, 2), codes[:, :2])
    error = round_trip_error(quantiser, z)
    assert error.shape == (4,) and (error[1:] < error[:-1]).all() and 0.01 < error[-1] < 0.5 < 1 > error[0]
    assert quantiser.encode(z[..., :0]).shape == (2, 4, 0)


def test_each_code_is_the_nearest_to_what_is_left(quantiser):
    z = latents_of(40, seed=2)
    left, codes = z[0].T, quantiser.encode(z)
    for q, codebook in enumerate(quantiser.codebooks):
        assert torch.equal(torch.cdist(left, codebook).argmin(1), codes[0, q])
        left = left - codebook[codes[0, q]]
        assert torch.allclose(quantiser.decode(codes[:, : q + 1]), z - left.T, atol=1e-5)


def test_long_latents_are_encoded_part_by_part(quantiser, monkeypatch):
    z, whole = latents_of(100, seed=3), quantiser.encode(latents_of(100, seed=3))
    monkeypatch.setattr(rvq_module, "FRAMES_AT_ONCE", 7)
    assert torch.equal(quantiser.encode(z), whole)


def test_training_and_encoding_mean_the_same_codes(learner, quantiser):
    """The library's own pass, which training goes through, finds the same codes and leaves the same over."""
    z = latents_of(seed=4)
    learner = copy.deepcopy(learner).eval()
    made, codes, _ = learner.quantiser(z.transpose(1, 2))
    codes = codes.transpose(1, 2)
    assert torch.equal(codes, quantiser.encode(z)) and torch.allclose(
        made.transpose(1, 2), quantiser.decode(codes), atol=1e-5
    )
    assert torch.allclose(
        learner.train()(z[0].T)[-1], (quantiser.decode(quantiser.encode(z)) - z).square().mean(), rtol=1e-3
    )


@pytest.mark.parametrize("dropout", [False, True])
def test_with_dropout_some_codebooks_sit_out(dropout):
    torch.manual_seed(0)
    learner, frames = RVQLearner(SMALL, dropout), latents_of()[0].T
    learner.init_from(frames)
    losses = torch.stack([learner(frames) for _ in range(12)])
    assert losses.shape == (12, 4) and (losses[:, 0] > 0).all()
    assert bool((losses == 0).any()) == dropout


def test_gradients_of_a_codebook_are_its_own():
    learner, frames = RVQLearner(SMALL), latents_of()[0].T
    learner.init_from(frames)
    learner(frames)[1].backward()
    reached = [
        layer._codebook.embed.grad is not None and bool(layer._codebook.embed.grad.any())
        for layer in learner.quantiser.layers
    ]
    assert reached == [False, True, False, False]


def pieces(corpus, split, fingerprint):
    return [
        LatentPiece(str(i), "house", 120.0, ["house"], latents_of(500 + ENDING, i)[0].half())
        for i in range(2)
    ]


def test_training_learns_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(rvq_training, "find_latents", pieces)
    settings = TrainSettings(tmp_path, tmp_path, steps=10, batch=128, lr=1e-2)
    train_rvq(settings, config=SMALL)
    path = train_rvq(replace(settings, steps=30), config=SMALL)
    head, *rows = (tmp_path / "rvq" / "log.csv").read_text().splitlines()
    log = [dict(zip(head.split(","), map(float, row.split(",")))) for row in rows]
    assert [row["step"] for row in log] == [*range(1, 11), *range(12, 31, 3)]  # ten rows a run
    assert log[-1]["valid_error_4"] < 0.95 * log[0]["valid_error_4"] and "valid_error_8" not in log[0]
    assert load_rvq(path).facts["steps"] == 30
    with pytest.raises(ValueError, match="begun with"):
        train_rvq(replace(settings, steps=30, batch=64), config=SMALL)


def test_endings_are_left_out():
    z = torch.zeros(64, 200 + ENDING).half()
    z[:, 200:] = 1
    frames = all_frames([LatentPiece("a", "jazz", 100.0, ["jazz"], z)] * 2)
    assert frames.shape == (400, 64) and not frames.any()


def test_a_file_gives_back_the_codebooks(quantiser, tmp_path, monkeypatch):
    path = tmp_path / "rvq.safetensors"
    save_rvq(quantiser, path, load_codec().fingerprint, steps=3)
    loaded = load_rvq(path)
    assert (
        (loaded.codebooks - quantiser.codebooks).abs().max() < 2e-3
        and loaded.facts == {"steps": 3}
        and loaded.n_q == 4
    )
    assert torch.equal(
        loaded.encode(loaded.decode(loaded.encode(latents_of(20), 1)), 1), loaded.encode(latents_of(20), 1)
    )
    assert loaded.fingerprint == load_rvq(path).fingerprint and len(loaded.fingerprint) == 16
    quantiser_of_others = RVQ(SMALL)
    quantiser_of_others.codebooks.copy_(quantiser.codebooks + 0.01)
    save_rvq(quantiser_of_others, tmp_path / "other.safetensors", load_codec().fingerprint)
    assert load_rvq(tmp_path / "other.safetensors").fingerprint != loaded.fingerprint
    monkeypatch.setattr(checkpoints, "CHECKPOINTS", tmp_path)
    assert checkpoints.list_models() == []  # a quantiser is no model


def test_a_full_size_file_is_small(tmp_path):
    save_rvq(RVQ(), tmp_path / "rvq.safetensors", "codec")
    assert (tmp_path / "rvq.safetensors").stat().st_size < 2e6


def test_wrong_files_are_refused(quantiser, tmp_path):
    path = tmp_path / "rvq.safetensors"
    with pytest.raises(FileNotFoundError, match="train rvq"):
        load_rvq(path)
    save_rvq(quantiser, path, "another")
    with pytest.raises(ValueError, match="encoder another"):
        load_rvq(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged"):
        load_rvq(path)
    with pytest.raises(ValueError, match="not a quantiser but a set of latents"):
        load_rvq(LATENTS / "test.safetensors")


def test_bad_requests_are_refused(quantiser):
    z = latents_of(5)
    codes = quantiser.encode(z)
    for n_q in (0, 5):
        with pytest.raises(ValueError, match="4 codebooks"):
            quantiser.encode(z, n_q)
    with pytest.raises(ValueError, match="4 codebooks"):
        quantiser.decode(torch.cat([codes, codes], 1))
    for wrong in (codes + 32, codes - 32):
        with pytest.raises(ValueError, match="32 entries"):
            quantiser.decode(wrong)
    with pytest.raises(ValueError, match="whole numbers"):
        quantiser.decode(codes.float())
    with pytest.raises(ValueError, match="NaN"):
        quantiser.encode(z * torch.nan)
    with pytest.raises(ValueError, match="expected"):
        quantiser.encode(z[:, :10])
    with pytest.raises(ValueError, match="codebooks"):
        RVQ(RVQConfig(n_q=0))


def test_real_latents_keep_more_with_more_codes():
    """Of the shipped latents, a quantiser of k-means alone keeps a good part."""
    frames = all_frames(read_packed(LATENTS / "test.safetensors", load_codec().fingerprint)).float()
    torch.manual_seed(0)
    learner = RVQLearner(RVQConfig(n_q=3, codebook_size=128))
    learner.init_from(frames[torch.randint(len(frames), (3000,))])
    error = round_trip_error(learner.rvq(), frames[::40].T[None])
    assert 0.3 < error[2] < error[1] < error[0] < 0.85


def test_the_shipped_quantiser_keeps_what_its_row_in_readme_says():
    frames = all_frames(read_packed(LATENTS / "test.safetensors", load_codec().fingerprint)).float()
    error = round_trip_error(load_rvq(), frames[::20].T[None])
    assert (error.diff() < 0).all() and error[0] < 0.6 and error[7] < 0.17 and error[11] < 0.09
