"""The judge: it learns what belongs together, and its weights are refused when damaged."""

import json

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.evaluation.judges import (
    EMBEDDING,
    FIRST_STYLES,
    Clap,
    embed_audio,
    embed_prompts,
    load_clap,
    log_mel,
    retrieval,
    train_clap,
)
from lmdm_mini.training import TrainSettings


@pytest.fixture
def corpus(tmp_path):
    """Two pieces a split, of 12 s: a low hum and a high hiss, each with captions of its own."""
    rng, entries = np.random.default_rng(0), []
    time = np.arange(12 * 44100) / 44100
    for split in ("train", "valid", "test"):
        for style, captions in (
            ("ambient", ["a low hum", "deep drone"]),
            ("chiptune", ["bright hiss", "high noise"]),
        ):
            sound = (
                0.1 * np.sin(2 * np.pi * 80 * time)
                if style == "ambient"
                else np.diff(rng.normal(0, 0.05, len(time) + 1))
            )
            name = f"{style}_{split}"
            soundfile.write(
                tmp_path / f"{name}.flac", np.repeat(sound[:, None] / 4, 8, 1), 44100, subtype="PCM_16"
            )
            entries.append(
                {
                    "id": name,
                    "audio": f"{name}.flac",
                    "style": style,
                    "split": split,
                    "captions": {"mix": captions},
                }
            )
    (tmp_path / "manifest.json").write_text(json.dumps({"pieces": entries}))
    return tmp_path


@pytest.mark.long
def test_learns_to_tell_two_sounds_apart(corpus, tmp_path, capsys):
    path = train_clap(TrainSettings(tmp_path / "run", corpus, steps=40, batch=2, lr=2e-3))
    clap = load_clap(path)
    assert "recall_at_1" in capsys.readouterr().out and clap.facts["candidates"] == 2
    assert clap.facts["style_accuracy"] == clap.facts["recall_at_1"] == 1.0
    assert set(clap.facts) >= {"recall_at_1", "recall_at_5", "style_accuracy", "steps", "minutes", "seed"}
    words = embed_prompts(clap, ["a low hum", "bright hiss"])
    assert words.shape == (2, EMBEDDING) and torch.allclose(words.norm(dim=1), torch.ones(2), atol=1e-4)
    audio = torch.stack(
        [0.1 * torch.sin(torch.arange(200000) * 0.0114).expand(2, -1), 0.05 * torch.randn(2, 200000)]
    )
    assert embed_audio(clap, audio).shape == (2, EMBEDDING)


def test_retrieval_of_a_perfect_judge_is_one(corpus):
    """A judge that knows the answer gets full marks, one that mixes the two up gets none."""
    from lmdm_mini.evaluation.judges import MelSet

    class Knows(Clap):
        def sound(self, mel):
            self.order = mel.mean((1, 2)).argsort()
            return torch.eye(EMBEDDING)[: len(mel)]

        def words(self, sentences):
            return torch.eye(EMBEDDING)[[0, 1] if self.right else [1, 0]]

    judge = Knows().eval()
    data = MelSet(corpus, "test", styles=FIRST_STYLES)
    for judge.right in (True, False):
        assert retrieval(judge, data, rounds=2)["recall_at_1"] == float(judge.right)


def test_mel_of_level_and_silence():
    loud, quiet = (
        log_mel(a * torch.randn(1, 2, 44100, generator=torch.Generator().manual_seed(0))) for a in (0.3, 0.03)
    )
    assert (loud - quiet).mean() == pytest.approx(np.log(100) / 7, abs=0.1)
    assert torch.isfinite(log_mel(torch.zeros(1, 2, 8192))).all() and len(FIRST_STYLES) == 8


def test_a_missing_or_damaged_judge_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="train clap"):
        load_clap(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="damaged"):
        load_clap(tmp_path / "bad.safetensors")
