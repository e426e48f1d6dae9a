"""The table of a text-to-music model: complete, its controls come out worse than music, and it needs no
corpus."""

import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from small import small

from lmdm_mini.codec import load_codec
from lmdm_mini.evaluation import real_music as references
from lmdm_mini.evaluation import text as evaluate_text
from lmdm_mini.evaluation.judges import FIRST_STYLES, Clap, load_clap
from lmdm_mini.evaluation.real_music import (
    REFERENCE,
    build_reference,
    load_reference,
    real_windows,
    save_reference,
)
from lmdm_mini.latents import LatentPiece
from lmdm_mini.models import sampling

FRAMES = 112


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A piece of every style and split: chords of its own with a pulse, 6 s."""
    entries = []
    monkeypatch.setattr(evaluate_text, "FRAMES", FRAMES)
    monkeypatch.setattr(references, "FRAMES", FRAMES)
    time = np.arange(6 * 44100) / 44100
    for number, style in enumerate(FIRST_STYLES):
        for shift, split in enumerate(("train", "test")):
            chord = sum(
                np.sin(2 * np.pi * 110 * 2 ** ((number * 2 + step) / 12) * (1 + 0.002 * shift) * time)
                for step in (0, 4, 7)
            )
            sound = 0.02 * chord * np.exp(-3 * (time % 0.5))
            name = f"{style}_{split}"
            soundfile.write(
                tmp_path / f"{name}.flac", np.repeat(sound[:, None], 8, 1), 44100, subtype="PCM_16"
            )
            entries.append(
                {
                    "id": name,
                    "audio": f"{name}.flac",
                    "style": style,
                    "split": split,
                    "bpm": 120.0,
                    "samples": len(time),
                    "captions": {"mix": [f"{style} music, 120 bpm"]},
                }
            )
    (tmp_path / "manifest.json").write_text(json.dumps({"pieces": entries}))
    return tmp_path


@pytest.fixture
def judge():
    torch.manual_seed(0)
    clap = Clap().eval().requires_grad_(False)
    clap.facts = {"recall_at_1": 0.5, "recall_at_5": 0.9, "style_accuracy": 0.8, "candidates": 8}
    return clap


@pytest.mark.long
@pytest.mark.parametrize(
    "variant", ["bidirectional", pytest.param("block_causal", marks=pytest.mark.slow), "lmm"]
)
def test_the_table_is_complete_and_its_controls_are_worse(variant, corpus, judge, tmp_path, monkeypatch):
    codec, model = load_codec(), small(variant)
    train = [LatentPiece("one", "jazz", 100.0, [], torch.randn(64, 400).half())]
    save_reference(
        build_reference(judge, codec, corpus, train=train, clips=16), tmp_path / "reference.safetensors"
    )
    reference = load_reference(judge, codec, tmp_path / "reference.safetensors")
    assert len(reference.prompts) == len(reference.novelty) == 16 and len(reference.train["clap"]) == 48
    monkeypatch.setattr(evaluate_text, "load_clap", lambda: judge)
    model.name = "made"
    out = tmp_path / "table.json"
    table = evaluate_text.evaluate_text(model, **sampling(model, steps=2), out=out, reference=reference)
    assert json.loads(out.read_text())["clips"] == 16
    rows = table["rows"]
    assert list(rows) == [
        "real",
        "codec",
        "real, shuffled in time",
        "white-noise latents",
        "untrained",
        "made",
    ]
    assert all(
        np.isfinite(row[key])
        for row in rows.values()
        for key in ("fd_clap", "fd_crepe", "kl", "clap_score", "beat", "key_clarity")
    )
    assert rows["real"]["fd_crepe"] < rows["codec"]["fd_crepe"] < rows["white-noise latents"]["fd_crepe"]
    assert rows["real"]["key_clarity"] > rows["white-noise latents"]["key_clarity"]
    assert rows["real"]["tempo_right"] == 1.0
    text = out.with_suffix(".md").read_text()
    assert "white-noise latents" in text and "styles missing" in text


def test_endings_are_not_heard(corpus, monkeypatch):
    """Windows are cut from where at least the ending follows."""
    starts = []
    monkeypatch.setattr(
        references,
        "read_piece",
        lambda entry, start, seconds: starts.append((start, seconds)) or {"mix": torch.zeros(2, 9)},
    )
    monkeypatch.setattr(references, "ENDING", 10)
    entries, audio = real_windows(corpus, ("train",), 5, styles=FIRST_STYLES)
    assert len(entries) == 40 and sum(len(batch) for batch in audio) == 40
    assert max(start + seconds for start, seconds in starts) <= 6 - 10 * 2048 / 44100


def test_a_small_number_of_clips_is_refused(corpus, judge):
    with pytest.raises(ValueError, match="at least one"):
        build_reference(judge, load_codec(), corpus, train=[], clips=3)


def test_a_reference_of_another_judge_or_none_says_what_to_do(judge, tmp_path):
    with pytest.raises(FileNotFoundError, match="evaluate reference"):
        load_reference(judge, load_codec(), tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="damaged"):
        load_reference(judge, load_codec(), tmp_path / "bad.safetensors")
    save_file(load_file(str(REFERENCE)), str(tmp_path / "bare.safetensors"))
    with pytest.raises(ValueError, match="damaged"):
        load_reference(judge, load_codec(), tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="made with judge"):
        load_reference(judge, load_codec())


def test_the_shipped_reference_tells_music_from_noise():
    """The judge and what it heard belong together, and real music is nearer to real music than the same out
    of order."""
    rows = load_reference(load_clap(), load_codec()).rows
    for name in ("fd_clap", "fd_crepe"):
        assert rows["real"][name] <= rows["codec"][name] < rows["real, shuffled in time"][name]
    assert rows["codec"]["style_right"] > 0.9 > rows["real, shuffled in time"]["style_right"]
    assert rows["real"]["beat"] > rows["real, shuffled in time"]["beat"] + 0.1
