"""What is counted is what runs, and what is measured has its words."""

import time
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from small import PlainCodec
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import lmdm_mini as lm
from lmdm_mini.codec import load_codec
from lmdm_mini.complexity import bench, counts, roofline, timing
from lmdm_mini.complexity import compare as bench_systems
from lmdm_mini.complexity import machines as systems
from lmdm_mini.complexity.operations import OperationCounter
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.diffusion.kv_cache import CachedTarget, prefill
from lmdm_mini.discrete.cache import CachedBlock
from lmdm_mini.discrete.lmm import LMM, LMMConfig, start_from
from lmdm_mini.discrete.rvq import load_rvq
from lmdm_mini.models import sampling
from lmdm_mini.streaming import with_no_text


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with timing.threads(1):
        yield


def test_rtf_and_time_to_first_audio():
    assert timing.rtf(5.0, 20.0) == 0.25
    for compute, audio in ((1.0, 0.0), (-1.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError):
            timing.rtf(compute, audio)

    def stream():
        time.sleep(0.05)
        yield torch.zeros(1, 2, 0)  # nothing in hand yet
        time.sleep(0.05)
        yield SimpleNamespace(audio=torch.zeros(2, 10))
        raise AssertionError("the first block was enough")

    assert timing.time_to_first_audio(stream) >= 0.1
    with pytest.raises(ValueError, match="before it gave any audio"):
        timing.time_to_first_audio([torch.zeros(2, 0)])
    calls = []
    found = timing.timed(lambda: calls.append(1), warmup=2, repeats=5)
    assert len(calls) == 7 and len(found.runs) == 5 and found.low <= found.median <= found.high


# ---------------------------------------------------------------- counts

PROMPT = "funk, 110 bpm"
SMALL_DISCRETE = LMMConfig(
    n_q=5,
    context_n_q=3,
    codebook_size=1024,
    width=64,
    heads=2,
    encoder_layers=1,
    temporal_layers=3,
    depth_width=32,
    depth_heads=2,
    depth_layers=1,
)
SMALL = [
    *(
        DiTConfig(width=64, depth=2, heads=2, variant=variant)
        for variant in ("bidirectional", "enc_dec", "block_causal")
    ),
    SMALL_DISCRETE,
]
LATENTS = [
    *(DiTConfig(variant=variant) for variant in ("bidirectional", "enc_dec", "block_causal")),
    LMMConfig(),
]


@lru_cache
def untrained(index, shipped):
    config = (LATENTS if shipped else SMALL)[index]
    model = (
        (start_from(load_rvq(), config) if config.variant == "lmm" else DiT(config))
        .eval()
        .requires_grad_(False)
    )
    object.__setattr__(model, "codec", load_codec())
    return model


def playing_and_passes(model, context, block, steps, guided):
    """A stream whose context is full, and what the next block should cost."""
    settings = {"block_latents": block, "cfg_scale": 2.0 if guided else 1.0, "context_latents": context}
    playing = lm.stream(model, PROMPT, **sampling(model, steps), **settings)
    tokens = playing.text.tokens.shape[1] + 1
    return bench.in_steady_state(playing, context), counts.block_passes(
        model.config, context, block, steps=steps, tokens=tokens, guided=guided
    )


def counted_flops(run):
    """By PyTorch; with the plain attention, because the fused one of a processor counts as nothing."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


SETTINGS = [  # the first four are the quick ones
    (0, 36, 7, 1, False),
    (1, 48, 12, 3, True),
    (2, 48, 24, 2, True),
    (3, 20, 13, 1, False),
    (0, 48, 12, 2, True),
    (1, 192, 24, 1, False),
    (2, 96, 12, 3, False),
    (3, 48, 7, 1, True),
]
LATENTS_SETTINGS = [(index, 192, 12, 2, guided) for index in range(4) for guided in (False, True)]


@pytest.mark.parametrize(
    "setting",
    [
        *SETTINGS[:4],
        *(pytest.param(setting, marks=pytest.mark.long) for setting in SETTINGS[4:]),
        *(pytest.param((*setting, "shipped"), marks=pytest.mark.long) for setting in LATENTS_SETTINGS),
    ],
    ids=str,
)
def test_a_block_costs_what_is_counted(setting):
    """The steady block of a real stream against counts of PyTorch: exact for products and operations, less so
    for the numbers that are moved between them."""
    index, *rest = setting[:5]
    playing, passes = playing_and_passes(untrained(index, len(setting) == 6), *rest)
    assert counts.flops(passes) == pytest.approx(counted_flops(lambda: next(playing)), rel=1e-6)
    with OperationCounter() as counter:
        next(playing)
    assert sum(p.times * p.operations for p in passes) == counter.operations
    assert sum(p.times * p.moved for p in passes) == pytest.approx(counter.moved, rel=0.15)


@pytest.mark.parametrize("index", range(4))
def test_each_part_costs_what_is_counted(index):
    playing, passes = playing_and_passes(untrained(index, False), 48, 12, 1, True)
    part = {p.part: counts.flops([p]) for p in passes}
    assert part["codec"] == counted_flops(lambda: playing.decoder(torch.randn(1, 64, 12)))
    if index in (1, 2):
        cost = counted_flops(
            lambda: prefill(playing.model, playing.cache, torch.randn(1, 64, 48 if index == 1 else 12))
        )
        assert part["context"] == cost and cost > 0
        text = playing.text
        target = CachedTarget(playing.model, playing.cache, 12, conditions=text)
        unguided = counts.block_passes(
            playing.model.config, 48, 12, steps=1, tokens=text.tokens.shape[1] + 1
        )[-2]
        assert counts.flops([unguided]) == counted_flops(
            lambda: target(torch.randn(1, 64, 12), torch.ones(1))
        )
    if index == 3:
        codes = playing.codes[..., -48:]
        assert part["context"] == counted_flops(
            lambda: [
                keys(playing.model.encode(codes), playing.model.rope(torch.arange(48)))
                for keys in playing.model.context_keys
            ]
        ) - 2 * counted_flops(lambda: playing.model.encode(codes))
        both = with_no_text(playing.text)
        block = CachedBlock(playing.model, playing.memory, codes, 12, text=both, beats=torch.zeros(2, 12))
        cost = counted_flops(lambda: [block(lambda logits: logits[:1].argmax(-1)) for _ in range(12)])
        assert part["temporal"] + part["depth"] == pytest.approx(cost)


def test_what_follows_from_the_passes():
    frames = {
        variant: counts.frame_forwards(variant, 192, 48, steps=8, guided=True)
        for variant in ("bidirectional", "enc_dec", "block_causal")
    }
    assert frames == {"bidirectional": 16 * 240, "enc_dec": 192 + 16 * 48, "block_causal": 48 + 16 * 48}
    passes = counts.block_passes(DiTConfig(variant="enc_dec"), 192, 48, steps=8, tokens=10, guided=True)
    discrete = counts.block_passes(LMMConfig(), 192, 48, steps=8, tokens=10, guided=True)
    assert counts.sequential_steps(passes) == 1 + 8 and counts.network_evaluations(passes) == 16
    assert (
        counts.sequential_steps(discrete) == 1 + 48 + 48 * 12
        and counts.network_evaluations(discrete) == 2 * 48 * 12
    )
    step = [p for p in passes if p.part == "denoising"]
    layers = DiT(DiTConfig(variant="enc_dec")).layers
    once = sum(
        m.weight.numel()
        for name, m in layers.named_modules()
        if isinstance(m, torch.nn.Linear) and not name.endswith("key_value")
    )
    ends = 2 * 64 * 224 + (256 + 224 + 6 * 224) * 224  # frames in and out, and the modulation
    assert counts.bytes_read(step, True) == 8 * 4 * (once + ends) == 2 * counts.bytes_read(step, True, 2)
    # keys and values, layers, width, branches: context, slack and target; words
    kept = 2 * 6 * 224 * 2 * (192 + 48 + 48 + 10)
    assert counts.bytes_read(step, False) == 8 * 4 * kept


@pytest.mark.parametrize("config", [*SMALL, *LATENTS], ids=lambda config: f"{config.variant}-{config.width}")
def test_parameters_are_counted_without_any(config):
    model = (LMM if config.variant == "lmm" else DiT)(config)
    assert counts.parameter_count(config) == sum(p.numel() for p in model.parameters())


# ---------------------------------------------------------------- predictions

UNIT = roofline.Machine("unit", ((1, 1e9), (4, 4e9)), ((1, 1e9),), 1e9, 1e9, 1e-6)


def test_the_slower_of_arithmetic_and_reading_counts():
    few, many = counts.Product(1, 100, 100), counts.Product(4, 100, 100)
    assert roofline.product_seconds(few, UNIT) == pytest.approx(
        4e-5
    )  # 40 kB are read while 20 kFLOP are computed
    assert roofline.product_seconds(many, UNIT) == pytest.approx(4e-5)
    assert roofline.product_seconds(counts.Product(40, 100, 100), UNIT) == pytest.approx(80e4 / 4e9)
    assert (
        roofline.rate(UNIT.products, 2) == pytest.approx(2.5e9) and roofline.rate(UNIT.products, 0.5) == 1e9
    )
    step = counts.Pass("denoising", 3, 1, 1, (few,), 10, 250)
    assert roofline.predict([step], UNIT) == {"denoising": pytest.approx(3 * (4e-5 + 1e-5 + 1e-6))}


def test_predictions_follow_the_machine():
    passes = counts.block_passes(DiTConfig(variant="enc_dec"), 192, 48, steps=8, tokens=10, guided=True)
    whole = sum(roofline.predict(passes, UNIT).values())
    for better in (
        {"overhead": 0.0},
        {"moving": 2e9},
        {"products": ((1, 2e9), (4, 8e9))},
        {"attention": ((1, 2e9),)},
    ):
        assert sum(roofline.predict(passes, replace(UNIT, **better)).values()) < whole
    low = roofline.saturating(8e12, 64)
    assert roofline.rate(low, 64) == pytest.approx(4e12) and all(
        a[1] < b[1] < 8e12 for a, b in zip(low, low[1:])
    )


@pytest.mark.long
def test_a_machine_is_measured_and_predicts_this_one(capsys):
    """Nothing here depends on how fast it is: a busy machine may be many times off."""
    machine = roofline.measure_machine(seconds=1.0)
    assert min(machine.overhead, machine.bandwidth, machine.moving) > 0
    assert all(speed > 0 for rates in (machine.products, machine.attention) for _, speed in rates)
    rows = bench_systems.compare_predictions(
        [untrained(1, False), untrained(3, False)],
        machine,
        (12,),
        steps=(2,),
        guidance=(True,),
        context_latents=24,
        repeats=1,
    )
    assert [(row["system"], row["part"]) for row in rows] == [
        (system, part) for system in ("enc_dec", "lmm") for part in ("context", "network", "codec", "block")
    ]
    assert all(row["predicted"] > 0 and row["measured"] > 0 for row in rows)
    assert "worst block" in capsys.readouterr().out


@pytest.mark.slow
def test_predictions_are_near_on_a_quiet_machine():
    """A benchmark: the pieces fit, to a few times. Another program in between spoils it."""
    machine = roofline.measure_machine(seconds=4.0)
    assert 1e-7 < machine.overhead < 1e-3 and min(machine.bandwidth, machine.moving) > 1e8
    assert all(1e7 < speed < 1e13 for rates in (machine.products, machine.attention) for _, speed in rates)
    assert roofline.rate(machine.products, 96) > roofline.rate(machine.products, 1) / 2
    rows = bench_systems.compare_predictions(
        [untrained(1, False), untrained(3, False)],
        machine,
        (12,),
        steps=(2,),
        guidance=(True,),
        context_latents=24,
        repeats=5,
    )
    assert all(0.1 < row["predicted"] / row["measured"] < 10 for row in rows)


@pytest.mark.long
def test_systems_side_by_side():
    """Every system has a row a setting, the discrete one is what the others are compared with, and it speaks
    after a frame."""
    rows = bench_systems.compare_systems(
        [untrained(1, False), untrained(2, False), untrained(3, False)],
        12,
        (2, 1),
        guidance=(True,),
        context_latents=24,
        repeats=1,
    )
    assert [(row["system"], row["steps"]) for row in rows] == [
        (system, 0 if system == "lmm" else steps)
        for steps in (2, 1)
        for system in ("enc_dec", "block_causal", "lmm")
    ]
    assert all(
        row["seconds"] == pytest.approx(sum(row[part] for part in ("context", "network", "codec", "rest")))
        for row in rows
    )
    assert (
        rows[2]["lmm"] == 1
        and rows[2]["first_frame"] < rows[2]["ttff"]
        and rows[0]["nfe"] == 4
        and rows[0]["sequential"] == 3
    )
    held, layers = (
        bench_systems.memory_of(untrained(1, False), lm.stream(untrained(1, False), context_latents=24)),
        untrained(1, False),
    )
    assert held > 4 * sum(p.numel() for p in layers.parameters())
    text = bench_systems.system_lines(rows)
    assert len(text) == 7 and "1st frame" in text[0] and "1.0x" in text[3]


def test_real_systems_have_their_size_and_their_order():
    for system in systems.REAL_SYSTEMS.values():
        assert counts.parameter_count(system.config) == pytest.approx(
            1e6 * system.million_parameters, rel=0.06
        )
    chip, phone = systems.MACHINES["data centre (H100)"], systems.MACHINES["phone (A17 Pro)"]
    seconds = {name: system.seconds(chip) for name, system in systems.REAL_SYSTEMS.items()}
    published = {row.name: row.seconds for row in systems.PUBLISHED if row.name in seconds}
    assert (
        len(published) == 5
        and seconds["LMDM BC+ARC"] < seconds["LMDM ED+ARC"] < seconds["LMDM ED"] < seconds["Magenta RealTime"]
    )
    assert all(1 / 4 < seconds[name] / published[name] < 4 for name in published if name.startswith("LMDM"))
    real_time = {
        name: system.seconds(phone) < system.block_seconds for name, system in systems.REAL_SYSTEMS.items()
    }
    assert real_time["LMDM BC+ARC"] and not real_time["Magenta RealTime 2 base"]


# ---------------------------------------------------------------- measurements


def test_bench_codec_gives_a_table(capsys):
    table = bench.bench_codec(PlainCodec(), seconds=2, repeats=2)
    parts = ("all at once", "first block", "later blocks")
    assert set(table) == {f"{way}, {part}" for way in ("encode", "decode") for part in parts}
    for row in table.values():
        assert row["rtf"] == pytest.approx(row["seconds"] / row["audio_seconds"])
        assert row["rtf"] * row["times_real_time"] == pytest.approx(1)
    assert table["encode, later blocks"]["threads"] == 1 and "times real time" in capsys.readouterr().out


@pytest.mark.long
def test_models_are_compared_setting_by_setting(capsys):
    from lmdm_mini.diffusion.dit import live_model

    base = lm.load("bidirectional")
    live = live_model(base, "block_causal")
    live.name = "live"
    rows = bench.compare_streams([base, live], (12,), (96,), steps=(2,), cfg_scale=1.0, repeats=2)
    assert [row["model"] for row in rows] == ["bidirectional", "live"] and rows[0]["speedup"] == 1
    assert rows[1]["counted"] == rows[1]["frame_forwards"] == 36 and rows[1]["speedup"] > 0
    assert rows[1]["limit"] > 0 and "speed-up" in capsys.readouterr().out


def test_frame_forwards_are_what_is_counted(capsys):
    model = lm.load("bidirectional")
    rows = bench.bench_stream(model, blocks=(12,), contexts=(24,), steps=(1, 2), repeats=2)
    assert [row["counted"] for row in rows] == [row["frame_forwards"] for row in rows] == [72, 144]
    assert counts.frame_forwards("bidirectional", 192, 48, steps=8) == 1920
    printed = capsys.readouterr().out
    assert "RTF" in printed and "TTFF" in printed
    for row in rows:
        assert row["network"] > 0 and row["codec"] > 0 and row["seconds"] >= row["network"] + row["codec"]
        assert row["rtf"] == pytest.approx(row["seconds"] / (12 * 2048 / 44100))


@pytest.mark.long
def test_peak_memory_is_in_megabytes():
    before = bench.peak_memory()
    assert before > 50
    held = torch.ones(int(before + 200) * 250_000)  # as much again, and 200 MB
    assert before + 100 < bench.peak_memory() < 100_000 and held[0] == 1
