"""The table of a text-to-music model: complete, and its controls come out worse than music."""

import json

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from lmdm_mini import evaluate_text
from lmdm_mini.clap import STYLES, Clap
from lmdm_mini.codec import load_codec
from lmdm_mini.dit import DiT, DiTConfig

FRAMES = 112


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A piece of every style and split: chords of its own with a pulse, 6 s, and its latents."""
    codec, entries = load_codec(), []
    monkeypatch.setattr(evaluate_text, "FRAMES", FRAMES)
    (tmp_path / "latents").mkdir()
    time = np.arange(6 * 44100) / 44100
    for number, style in enumerate(STYLES):
        for shift, split in enumerate(("train", "test")):
            chord = sum(np.sin(2 * np.pi * 110 * 2 ** ((number * 2 + step) / 12) * (1 + 0.002 * shift) * time) for step in (0, 4, 7))
            sound = 0.02 * chord * np.exp(-3 * (time % 0.5))
            name = f"{style}_{split}"
            soundfile.write(tmp_path / f"{name}.flac", np.repeat(sound[:, None], 8, 1), 44100, subtype="PCM_16")
            mix = torch.from_numpy(np.repeat(4 * sound[None], 2, 0)).float()
            save_file({"mix": codec.encode(mix).half()}, str(tmp_path / "latents" / f"{name}.safetensors"), metadata={"codec": codec.fingerprint})
            entries.append({"id": name, "audio": f"{name}.flac", "style": style, "split": split, "bpm": 120.0,
                            "captions": {"mix": [f"{style} music, 120 bpm"]}})
    (tmp_path / "manifest.json").write_text(json.dumps({"pieces": entries}))
    return tmp_path


def test_the_table_is_complete_and_its_controls_are_worse(corpus, tmp_path, monkeypatch):
    torch.manual_seed(0)
    judge, model = Clap().eval(), DiT(DiTConfig(width=48, depth=1, heads=2)).eval().requires_grad_(False)
    judge.facts = {"recall_at_1": 0.5, "recall_at_5": 0.9, "style_accuracy": 0.8, "candidates": 8}
    monkeypatch.setattr(evaluate_text, "load_clap", lambda: judge)
    object.__setattr__(model, "codec", load_codec())
    model.name = "made"
    out = tmp_path / "table.json"
    table = evaluate_text.evaluate_text(model, corpus, clips=16, steps=2, out=out)
    assert json.loads(out.read_text())["clips"] == 16
    rows = table["rows"]
    assert list(rows) == ["real", "codec", "real, shuffled in time", "white-noise latents", "untrained", "made"]
    assert all(np.isfinite(row[key]) for row in rows.values() for key in ("fd_clap", "fd_crepe", "kl", "clap_score", "beat", "key_clarity"))
    assert rows["real"]["fd_crepe"] < rows["codec"]["fd_crepe"] < rows["white-noise latents"]["fd_crepe"]
    assert rows["real"]["key_clarity"] > rows["white-noise latents"]["key_clarity"]
    assert rows["real"]["tempo_right"] == 1.0
    text = out.with_suffix(".md").read_text()
    assert "white-noise latents" in text and "styles missing" in text


def test_a_small_number_of_clips_is_refused():
    from lmdm_mini.__main__ import main

    assert main(["evaluate", "text", "--clips", "3"]) == 2
