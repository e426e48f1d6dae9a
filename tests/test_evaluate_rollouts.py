"""Roll-outs: what they are primed with, the floor, and a table that is complete for every variant."""

import json

import pytest
import torch
from small import second_embeddings, small

from lmdm_mini import models
from lmdm_mini.__main__ import main
from lmdm_mini.evaluation import rollouts as rollouts
from lmdm_mini.evaluation.judges import FIRST_STYLES, Clap
from lmdm_mini.latents import LatentPiece
from lmdm_mini.models import sampling


def test_roll_outs_begin_in_every_style_and_not_at_the_end():
    pieces = []
    for i, style in enumerate((*FIRST_STYLES, *FIRST_STYLES)):
        latents = torch.full((64, 700), float(i))
        latents[:, -172:] = -1
        pieces.append(LatentPiece(str(i), style, 100.0, [f"{style} one", f"{style} two"], latents.half()))
    given = rollouts.prefixes(pieces, 32)
    assert [style for _, _, style in given[:8]] == list(FIRST_STYLES) and len(given) == 32
    assert all(context.shape == (1, 64, 192) and context.min() >= 0 for context, _, _ in given)
    assert all(prompt.startswith(style) for _, prompt, style in given)
    assert len({float(context[0, 0, 0]) for context, _, _ in given}) == 16  # all pieces are used


def test_the_floor_is_lower_for_more_seconds_and_higher_for_other_music(reference):
    few, many = (rollouts.floor(reference, count)["fd_crepe"] for count in (25, 150))
    assert many < few and rollouts.floor(reference, 150, 1)["fd_crepe"] > many
    reference.real_seconds = second_embeddings(175, shift=1.0)
    assert rollouts.floor(reference, 150)["fd_crepe"] > many + 32


@pytest.mark.long
@pytest.mark.parametrize("variant", ["bidirectional", "block_causal", "lmm"])
def test_the_table_of_a_small_model_is_complete(variant, reference, tmp_path, monkeypatch):
    model = small(variant)
    settings = sampling(model, steps=1, temperature=1.2)
    if variant == "block_causal":  # other blocks and look-backs are judged alike
        settings |= {"block_latents": 12, "context_latents": 48}
    model.name, clap = "made", Clap().eval().requires_grad_(False)
    given = [(torch.randn(1, 64, 192), f"{style} music", style) for style in FIRST_STYLES[:4]]
    row = rollouts.judge_rollouts(model, clap, reference, given, True, seconds=6, cfg_scale=3.0, **settings)
    assert all(torch.isfinite(torch.tensor(value)) for value in row.values()) and row["seam_ratio"] > 0
    monkeypatch.setattr(rollouts, "load_clap", lambda: clap)
    monkeypatch.setattr(rollouts, "prefixes", lambda test, count: given[:count])
    monkeypatch.setattr(rollouts, "judge_rollouts", lambda *args, **kwargs: row)
    monkeypatch.setattr(
        rollouts, "drift_curve", lambda *args, **kwargs: [{"second": 0, "fd_clap": 1.0, "fd_crepe": 1.0}]
    )
    table = rollouts.evaluate_rollouts(
        model, [settings], rollouts=2, long=2, out=tmp_path / "table.json", reference=reference
    )
    assert json.loads((tmp_path / "table.json").read_text())["rows"][1]["primed"] is True
    assert table["change"]["seconds"][:3] == [0, 0.5, 1.0] and len(table["change"]["clap_score"]) > 20
    text = "\n".join(rollouts.lines(table))
    assert (
        f"primed, {'temperature 1.2, top 40' if variant == 'lmm' else '1 steps'}" in text
        and "from nothing" in text
        and "floor" in text
    )
    short = rollouts.evaluate_rollouts(model, [settings], rollouts=2, long=0, reference=reference)
    assert (
        "drift" not in short and "change" not in short and text.startswith("\n".join(rollouts.lines(short)))
    )


@pytest.mark.parametrize(
    "words, own, steps",
    [("", {}, [8, 50]), ("", {"steps": 2}, [2]), ("--steps 1 4", {"steps": 2}, [1, 4])],
)
def test_a_model_is_judged_in_its_own_steps_unless_asked(words, own, steps, tmp_path, monkeypatch):
    model, asked = small("block_causal"), []
    model.facts = {"play": own}
    monkeypatch.setattr(models, "load", lambda *args: model)
    monkeypatch.setattr(
        rollouts, "evaluate_rollouts", lambda _, settings, *args, **how: asked.extend(settings)
    )
    monkeypatch.setattr(rollouts, "lines", lambda table: [])
    out = str(tmp_path / "table.json")
    assert main(["evaluate", "rollouts", "--model", "block_causal", "--out", out, *words.split()]) == 0
    assert [some["steps"] for some in asked] == steps


def test_a_change_of_the_prompt_needs_two_styles():
    with pytest.raises(ValueError, match="two styles"):
        rollouts.prompt_change(None, None, [(None, "jazz", "jazz")] * 3)


@pytest.mark.long
def test_drift_is_counted_in_bins_of_ten_seconds(reference):
    clap, given = Clap().eval().requires_grad_(False), [(torch.randn(1, 64, 192), "x", "jazz")]
    curve = rollouts.drift_curve(
        small("bidirectional"), clap, reference, given=given, seconds=20, steps=1, cfg_scale=1.0
    )
    assert [point["second"] for point in curve] == [0, 10] and all(point["fd_clap"] > 0 for point in curve)
