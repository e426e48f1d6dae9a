"""The points of the complexity lab: every one has times, a judgement and a sound."""

import json

import pytest
import soundfile
import torch
from small import small

from lmdm_mini.__main__ import main
from lmdm_mini.evaluation import lab as labs
from lmdm_mini.evaluation.judges import FIRST_STYLES, Clap


@pytest.mark.long
def test_points_of_small_models(reference, tmp_path, monkeypatch):
    clap = Clap().eval().requires_grad_(False)
    monkeypatch.setattr(labs, "load_clap", lambda: clap)
    monkeypatch.setattr(labs, "load_reference", lambda *args: reference)
    monkeypatch.setattr(labs, "load", small)
    monkeypatch.setattr(
        labs,
        "prefixes",
        lambda test, count: [
            (torch.randn(1, 64, 192), f"{style} music", style) for style in FIRST_STYLES[:count]
        ],
    )
    points = (("block_causal", 12, 1), ("lmm", 48, 0))
    out, sounds = tmp_path / "lab.json", tmp_path / "sounds"
    rows = labs.evaluate_lab(points, rollouts=2, out=out, sounds=sounds)
    assert [row["key"] for row in rows] == ["block_causal-12-1", "lmm-48"] and rows[0][
        "label"
    ] == "block 12, K = 1"
    assert all(row["ttff"] > 0 and row["rtf"] > 0 and row["fd_clap"] > 0 for row in rows)
    read = labs.read_points(out, sounds)
    assert [row["floor"] for row in read] == 2 * [json.loads(out.read_text())["floor"]["fd_clap"]]
    assert all(soundfile.info(row["sound"]).duration == pytest.approx(8.0, abs=0.1) for row in read)


def test_too_few_roll_outs_are_refused(capsys):
    assert main(["evaluate", "lab", "--rollouts", "1"]) == 2 and "at least 2" in capsys.readouterr().err
