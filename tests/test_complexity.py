"""What is counted is what runs, and what is measured has its words."""

import time
from types import SimpleNamespace

import pytest
import torch
from test_evaluate import PlainCodec

import lmdm_mini as lm
from lmdm_mini import bench, complexity


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with complexity.threads(1):
        yield


def test_rtf_and_time_to_first_audio():
    assert complexity.rtf(5.0, 20.0) == 0.25
    for compute, audio in ((1.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError):
            complexity.rtf(compute, audio)

    def stream():
        time.sleep(0.05)
        yield torch.zeros(1, 2, 0)  # nothing in hand yet
        time.sleep(0.05)
        yield SimpleNamespace(audio=torch.zeros(2, 10))
        raise AssertionError("the first block was enough")

    assert 0.1 <= complexity.time_to_first_audio(stream) < 0.5
    with pytest.raises(ValueError, match="before it gave any audio"):
        complexity.time_to_first_audio([torch.zeros(2, 0)])
    calls = []
    timing = complexity.timed(lambda: calls.append(1), warmup=2, repeats=5)
    assert len(calls) == 7 and len(timing.runs) == 5 and timing.low <= timing.median <= timing.high


def test_bench_codec_gives_a_table(capsys):
    table = bench.bench_codec(PlainCodec(), seconds=2, repeats=2)
    parts = ("all at once", "first block", "later blocks")
    assert set(table) == {f"{way}, {part}" for way in ("encode", "decode") for part in parts}
    for row in table.values():
        assert row["rtf"] == pytest.approx(row["seconds"] / row["audio_seconds"])
        assert row["rtf"] * row["times_real_time"] == pytest.approx(1)
    assert table["encode, later blocks"]["threads"] == 1 and "times real time" in capsys.readouterr().out


def test_flops_are_those_that_torch_counts():
    """Of one layer without a prompt; and cached blocks cost what the module's docstring says."""
    from torch.utils.flop_counter import FlopCounterMode

    from lmdm_mini.dit import DiT, DiTConfig

    config = DiTConfig(width=64, depth=1, heads=2)
    model = DiT(config).eval()
    h, table = torch.randn(2, 24, 64), model.rope(torch.arange(24))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.layers[0](h, torch.zeros(2, 1, 384), table, lambda q, k, v: (q @ k.mT).softmax(-1) @ v, None)
    assert counter.get_total_flops() == complexity.flops(config, 48, 24)
    cost = {variant: complexity.block_flops(DiTConfig(variant=variant), 192, 48, 8, 10) for variant in ("bidirectional", "enc_dec", "block_causal")}
    assert 3 < cost["bidirectional"] / cost["enc_dec"] < 3.7 and 4 < cost["bidirectional"] / cost["block_causal"] < 5


def test_models_are_compared_setting_by_setting(capsys):
    from lmdm_mini.dit import live_model

    base = lm.load("bidirectional")
    live = live_model(base, "block_causal")
    live.name = "live"
    rows = bench.compare_streams([base, live], (12,), (96,), (2,), cfg_scale=1.0, repeats=2)
    assert [row["model"] for row in rows] == ["bidirectional", "live"] and rows[0]["speedup"] == 1
    assert rows[1]["counted"] == rows[1]["frame_forwards"] == 36 and rows[1]["speedup"] > 1
    assert 0 < rows[1]["limit"] <= 1.2 and "speed-up" in capsys.readouterr().out


def test_frame_forwards_are_what_is_counted(capsys):
    model = lm.load("bidirectional")
    rows = bench.bench_stream(model, blocks=(12,), contexts=(24,), steps=(1, 2), repeats=2)
    assert [row["counted"] for row in rows] == [row["frame_forwards"] for row in rows] == [72, 144]
    assert complexity.frame_forwards("bidirectional", 192, 48, 8) == 1920
    printed = capsys.readouterr().out
    assert "RTF" in printed and "TTFF" in printed
    for row in rows:
        assert row["network"] > 0 and row["codec"] > 0 and row["seconds"] >= row["network"] + row["codec"]
        assert row["rtf"] == pytest.approx(row["seconds"] / (12 * 2048 / 44100))


def test_peak_memory_is_in_megabytes():
    before = bench.peak_memory()
    assert before > 50
    held = torch.ones(int(before + 200) * 250_000)  # as much again, and 200 MB
    assert before + 100 < bench.peak_memory() < 100_000 and held[0] == 1
