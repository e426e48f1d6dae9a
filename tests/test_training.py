"""Training the base: what is drawn, that it learns, resumes, repeats and is the same on two processes."""

import csv
import random
import re
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from lmdm_mini.checkpoints import how_to_restore
from lmdm_mini.codec import load_codec
from lmdm_mini.conditioning import Conditions, no_text
from lmdm_mini.conditioning.sketch import pack_sketch, sketch
from lmdm_mini.conditioning.stem import MAX_VISIBILITY, STEM_LOOK_BACK
from lmdm_mini.corpus.captions import PARAPHRASES
from lmdm_mini.diffusion import distil
from lmdm_mini.diffusion import train as latent_training
from lmdm_mini.diffusion.batches import (
    DRAWS,
    FlowBatch,
    blurred,
    draw_context,
    draw_frames,
    draw_levels,
    draw_presence,
)
from lmdm_mini.diffusion.distil import base_velocity
from lmdm_mini.diffusion.dit import DiT, DiTConfig, live_model
from lmdm_mini.diffusion.flow import noised_sample
from lmdm_mini.diffusion.train import flow_loss
from lmdm_mini.latents import LATENTS, LatentPiece, LatentSet, find_latents, read_packed, windows
from lmdm_mini.latents.encode import quantised
from lmdm_mini.latents.packed import LatentPair, Quantised
from lmdm_mini.latents.windows import draw_context_dropout
from lmdm_mini.training import Run, Schedule, TrainSettings, muon
from lmdm_mini.training.muon import Muon, orthogonalize
from lmdm_mini.transformer import attention

SMALL = DiTConfig(width=48, depth=2, heads=2, window=48)


@pytest.fixture(autouse=True)
def few_paraphrases(monkeypatch):
    """Of one style: all of them take seconds to embed, in each test that makes a set."""
    monkeypatch.setattr(windows, "PARAPHRASES", {"house": PARAPHRASES["house"][:3]})


def test_context_leaves_something_to_do():
    mask = draw_context(500, 48, random.Random(0))
    assert ((1 - mask).sum(1) >= 12).all()
    assert 0.3 < (mask.sum(1) == 0).float().mean() < 0.7


def test_batches_stay_of_one_size():
    rng = random.Random(0)
    drawn = [draw_frames(16, 240, rng) for _ in range(300)]
    lengths = [frames for _, frames in drawn]
    assert lengths.count(240) > 150 and max(lengths) > 600 and min(lengths) < 60
    assert all(
        items * frames <= 16 * 240 and (items == 16 or items * frames > 8 * 240) for items, frames in drawn
    )


def test_all_levels_of_the_schedule_are_learned():
    """Samplers start at t = 1 and take half of their steps above .95: levels that training has to know."""
    t = draw_levels((20_000, 1), torch.Generator().manual_seed(0))
    assert (
        0.02 < (t == 1).float().mean() < 0.04
        and (t > 0.953).float().mean() > 0.15
        and (t < 0.1).float().mean() > 0.02
    )
    assert t.min() >= 0 and t.max() <= 1


def test_captions_are_thinned_out():
    piece = LatentPiece(
        "one", "house", 124.0, ["a house track with synth bass, 124 bpm"], torch.randn(64, 30).half()
    )
    data = LatentSet([piece], 0)
    heard = [data.draw_text(piece.captions[0], piece.bpm) for _ in range(300)]
    lengths = [text.tokens.shape[1] for text in heard]
    whole = len(data.words[piece.captions[0]])
    assert min(lengths) == 0 and 1 in lengths and max(lengths) == whole and len(set(lengths)) > 5
    assert all(
        (text.bpm.item() == 124) == (text.tokens.shape[1] > 0) == bool(text.sentence.any()) for text in heard
    )
    music = data.batch(3, 48)  # a piece that is all ending: its first granule is taken
    windows, present, beats = music.latents, music.present, music.conditions.beats
    assert windows.shape == (3, 64, 48) and windows[..., 12:].abs().max() == 0 and len(music.conditions) == 3
    assert present[:, :12].all() and not present[:, 12:].any()
    assert torch.allclose(beats[0, 1:] - beats[0, :-1], torch.tensor(2048 / 44100 * 124 / 60), atol=1e-4)


def test_a_tempo_is_given_mostly_when_the_caption_names_none():
    data = LatentSet(
        [LatentPiece("one", "house", 124.0, ["club music"], torch.randn(64, 300).half())], 0, empty=0.0
    )
    given = [data.draw_text("club music", 124.0).bpm.item() for _ in range(300)]
    assert set(given) == {0.0, 124.0} and 0.6 < given.count(124.0) / 300 < 0.8


def test_no_latents_say_where_they_come_from(tmp_path):
    with pytest.raises(ValueError, match="corpus"):
        LatentSet([])
    with pytest.raises(ValueError, match="another|made by encoder"):
        read_packed(LATENTS / "test.safetensors", "another")
    with pytest.raises(FileNotFoundError, match="none.safetensors is not there"):
        read_packed(tmp_path / "none.safetensors", "a")
    with pytest.raises(FileNotFoundError, match=re.escape(how_to_restore())):  # one of the shipped ones
        read_packed(LATENTS / "none.safetensors", "a")
    assert (
        len(find_latents(tmp_path, "test", load_codec().fingerprint)) > 8
    )  # no corpus there: the shipped ones


def test_training_learns_resumes_and_repeats(tmp_path):
    """Twenty steps lower the loss; a run stopped half-way goes on to the very same weights."""
    torch.manual_seed(0)
    x0, text, none = torch.randn(8, 64, 1).expand(8, 64, 24).contiguous(), no_text(8), torch.zeros(8, 24)

    def loss(model, seed):
        generator = torch.Generator().manual_seed(seed)
        t, noise = torch.rand(8, generator=generator), torch.randn(x0.shape, generator=generator)
        return flow_loss(model, FlowBatch(x0, Conditions(text), t, noise, none, 1 - none)).mean()

    def train(folder, stops):
        for stop in stops:
            torch.manual_seed(1)
            model = DiT(SMALL)
            run = Run(tmp_path / folder, model, Schedule(20, 3e-3, warmup=2), matrices="layers.")
            for step in run.loop():
                if step == stop:
                    run.save()
                    break
                run.update({"flow": loss(run.forward, step)})
        return model

    model = train("whole", [20])
    assert loss(model, 5) < 0.9 * loss(DiT(SMALL), 5)
    again = train("halves", [10, 20])
    for a, b in zip(model.parameters(), again.parameters()):
        assert torch.allclose(a, b, atol=1e-6)


def test_steps_of_matrices_are_orthogonal_and_of_adams_size(monkeypatch):
    """Whatever the gradient, all directions of a matrix move alike; a stack of matrices moves as each of them
    alone would. bfloat16 makes nearly the same of it."""
    monkeypatch.setattr(muon, "fast_dtype", lambda: torch.float32)
    generator = torch.Generator().manual_seed(0)
    for shape in ((24, 64), (64, 24)):
        steep = torch.randn(shape, generator=generator) @ torch.diag(torch.logspace(0, -2, shape[1]))
        values = torch.linalg.svdvals(orthogonalize(steep))
        apart = orthogonalize(steep, dtype=torch.bfloat16) - orthogonalize(steep)
        assert 0 < apart.norm() < 0.08 * orthogonalize(steep).norm()
        assert (
            0.3 < values.min()
            and values.max() < 1.3
            and torch.linalg.svdvals(steep).max() > 10 * torch.linalg.svdvals(steep).min()
        )
    weight, start = torch.nn.Parameter(torch.zeros(48, 24)), torch.randn(48, 24, generator=generator)
    for parts, alone in ((2, start[:24]), (1, start)):
        weight.data.zero_()
        weight.grad = start.clone()
        Muon([{"params": [weight], "parts": parts}], lr=0.1).step()
        moved = -weight.data[: len(alone)]
        assert torch.allclose(moved, 0.02 * max(alone.shape) ** 0.5 * orthogonalize(alone), atol=1e-5)
        assert weight.data.square().mean().sqrt() == pytest.approx(0.02, rel=0.2)


def test_attention_that_is_written_out_is_the_same():
    """With a mask, with a bias and without either, in values and gradients, up to bfloat16's rounding."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 20, 16, generator=generator) for _ in range(3))
    mask = torch.rand(2, 1, 20, 20, generator=generator) > 0.4
    mask |= torch.eye(20, dtype=torch.bool)
    for given in (None, mask, torch.where(mask, 0.0, -2.0)):
        made = []
        for dtype in (torch.float32, torch.bfloat16):  # fused, and written out
            some = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
            bias = given if given is None or given.dtype == torch.bool else given.to(dtype)
            y = attention(*some, bias)
            assert y.dtype == dtype
            y.square().sum().backward()
            made.append([y, *(x.grad for x in some)])
        for a, b in zip(*made):
            assert 0 < (a - b).abs().max() < 0.06 * a.abs().max()


def test_windows_keep_away_from_the_end():
    """Endings are not learned, and no window is padded while pieces are long enough."""
    latents = torch.zeros(64, 700).half()
    latents[:, -172:] = 1
    data = LatentSet(
        [
            LatentPiece("a", "jazz", 100.0, ["jazz"], latents),
            LatentPiece("b", "jazz", 100.0, ["jazz"], latents[:, -300:]),
        ],
        0,
    )
    for frames in (12, 240, 480):
        music = data.batch(20, frames)
        assert music.latents.abs().max() == 0 and music.present.mean() > 0.9


def test_another_run_is_not_gone_on_with(tmp_path):
    run = Run(tmp_path, DiT(SMALL), Schedule(5, 1e-3), about={"codec": "a", "seed": "0"})
    run.save()
    Run(tmp_path, DiT(SMALL), Schedule(5, 1e-3), about={"codec": "a", "seed": "0"})
    with pytest.raises(ValueError, match="begun with codec a, now it is b"):
        Run(tmp_path, DiT(SMALL), Schedule(5, 1e-3), about={"codec": "b", "seed": "0"})


def test_diverged_training_stops_with_a_reason(tmp_path):
    run = Run(tmp_path, DiT(SMALL), Schedule(5, 1e-3))
    with pytest.raises(ArithmeticError, match="not finite"):
        run.update({"flow": torch.tensor(float("nan"), requires_grad=True)})


def small_set(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LatentSet(
        [
            LatentPiece(
                str(i),
                "house",
                120.0,
                ["house, 120 bpm", "club music"],
                torch.randn(64, 700, generator=generator).half(),
            )
            for i in range(3)
        ],
        seed,
    )


@pytest.mark.parametrize("variant", DRAWS)
def test_every_variant_learns_from_what_is_drawn(variant):
    """Losses are finite, every parameter that is used gets a gradient, and what weighs is target."""
    torch.manual_seed(0)
    model = DiT(DiTConfig(width=48, depth=2, heads=2, window=240, variant=variant))
    batch = DRAWS[variant](small_set(), 8, model.config, random.Random(1), torch.Generator().manual_seed(1))
    assert (batch.weight * batch.context_mask).max() == 0 and (batch.weight.sum(1) > 0).all()
    loss = flow_loss(model, batch)
    assert loss.shape == (len(batch.x0),) and torch.isfinite(loss).all()
    for p in model.parameters():
        p.data += 0.02 * torch.randn_like(p)
    flow_loss(model, batch).mean().backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert not unused
    half = batch.part(slice(0, 1), lambda x: x)
    assert torch.allclose(flow_loss(model, half), flow_loss(model, batch)[:1], atol=1e-5)


def test_splices_can_be_left_out():
    """Without them, every target frame of a stretch is learned; with them, some only from the cut on."""
    weights = [
        DRAWS["block_causal"](
            small_set(), 64, DiTConfig(), random.Random(3), torch.Generator(), splices=splices
        ).weight[:, 480:]
        for splices in (False, True)
    ]
    assert weights[0].min() == 1 and weights[1].min() == 0 and weights[1].mean() > 0.7


def test_context_goes_missing_from_its_old_end():
    missing = draw_context_dropout(2000, 192, random.Random(0))
    assert (
        0.15 < (missing == 192).float().mean() < 0.27
        and (missing == 0).float().mean() > 0.45
        and (missing % 12 == 0).all()
    )


@pytest.mark.parametrize("variant", ["enc_dec", "block_causal"])
def test_a_live_model_starts_as_the_base(variant):
    """Without context both are the same function; the clean frames' projection is the base's, too."""
    torch.manual_seed(0)
    base = DiT(DiTConfig(width=48, depth=2, heads=2))
    for p in base.parameters():
        p.data += 0.05 * torch.randn_like(p)
    model = live_model(base, variant)
    x, t = torch.randn(2, 64, 24), torch.rand(2)
    assert torch.allclose(base(x, t, no_text(2)), model(x, t, no_text(2)), atol=1e-6)
    assert torch.equal(model.clean_in.weight, base.frames_in.weight)


def rough(variant: str = "bidirectional") -> DiT:
    """A small model of which no part is zero."""
    torch.manual_seed(0)
    model = DiT(DiTConfig(width=48, depth=2, heads=2, window=240, variant=variant))
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return model.requires_grad_(False)


def test_the_base_is_asked_in_a_window_of_its_own(monkeypatch):
    """For both live variants it answers as it outpaints the block alone; of another piece's context it hears
    nothing."""
    for module in (latent_training, distil):
        monkeypatch.setattr(module, "fast_autocast", lambda device: nullcontext())
    base = rough()

    def outpainted(batch, row, first, block, place, context):  # with `context` frames before the block
        where = torch.cat([torch.arange(place - context, place), torch.arange(first, first + block)])
        mask = torch.cat([torch.ones(1, context), torch.zeros(1, block)], 1)
        t = batch.t[row : row + 1] if batch.t.ndim == 1 else batch.t[row : row + 1, first]
        noisy = noised_sample(batch.x0[row : row + 1], t, batch.noise[row : row + 1]).x_t
        x = torch.where(mask[:, None] > 0, batch.x0[row : row + 1, :, where], noisy[..., where])
        return base(x, t, batch.conditions[row : row + 1].take(where), mask)[0, :, context:]

    generator, spliced = torch.Generator().manual_seed(2), 0
    for seed in range(4):
        batch = DRAWS["enc_dec"](small_set(), 16, base.config, random.Random(seed), generator)
        v, known = base_velocity(base, batch), 192
        assert v.shape == batch.x0.shape and not v[..., :known].any()
        missing = (~batch.attention_mask[:, 0, known, :known]).sum(1)
        for row in range(len(v)):
            context = 0 if batch.splice_end[row] else known - int(missing[row])
            spliced += int(batch.splice_end[row] > 0)
            assert torch.allclose(
                v[row, :, known:], outpainted(batch, row, known, batch.block, known, context), atol=1e-4
            )
    assert spliced > 2
    for seed in range(6):
        batch = DRAWS["block_causal"](small_set(), 16, base.config, random.Random(seed), generator, count=3)
        v, frames = base_velocity(base, batch), 480
        assert v.shape[-1] == frames + 3 * batch.block == batch.x0.shape[-1]
        for row in range(len(v)):
            for first in range(frames, v.shape[-1], batch.block):
                place = int(batch.positions[first])
                begin = max(int(batch.missing[row]), int(batch.splice_end[row]), place - 192)
                answer = outpainted(batch, row, first, batch.block, place, max(0, place - begin))
                assert torch.allclose(v[row, :, first : first + batch.block], answer, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("variant", ["enc_dec", "block_causal"])
def test_distilled_models_come_nearer_to_the_base(variant, tmp_path, monkeypatch):
    """From a live model that is a little off, twenty steps towards what the base says; the data are noise and
    teach nothing."""
    monkeypatch.setattr(latent_training, "find_latents", lambda *args: small_set().pieces)
    monkeypatch.setattr(latent_training, "find_base", lambda out: rough())
    settings = TrainSettings(tmp_path, tmp_path, 40, 8, 2e-3, accelerator="cpu", compiled=False)
    path = latent_training.train_model(settings, variant)
    rows = list(csv.DictReader((tmp_path / variant / "log.csv").open()))
    assert path.is_file() and float(rows[-1]["valid_base"]) < 0.8 * float(rows[0]["valid_base"])


def test_there_are_three_ways_to_learn(tmp_path):
    with pytest.raises(ValueError, match="distil, from_data, scratch"):
        latent_training.train_model(
            TrainSettings(tmp_path, tmp_path, 1, 8, 1e-3), "enc_dec", learn="by heart"
        )


SCRIPT = """
import sys
from pathlib import Path

import torch

from lmdm_mini.diffusion import train
from lmdm_mini.diffusion.dit import DiTConfig
from lmdm_mini.latents import LatentPiece, windows
from lmdm_mini.training import Schedule, TrainSettings


def pieces(corpus, split, fingerprint):
    generator = torch.Generator().manual_seed(0)
    latents = [torch.randn(64, 400, generator=generator).half() for _ in range(4)]
    captions = ["house, 120 bpm", "club music"]
    return [LatentPiece(str(i), "house", 120.0, captions, z) for i, z in enumerate(latents)]


train.find_latents = pieces
windows.PARAPHRASES = {}
train.Schedule = lambda steps, lr, warmup, **more: Schedule(steps, lr, 1, **more | {"check_every": 1})
settings = TrainSettings(Path(sys.argv[1]), Path("none"), 3, 8, 1e-3, accelerator="cpu", compiled=False)
train.train_model(settings, "bidirectional", config=DiTConfig(width=48, depth=2, heads=2, window=48))
"""


@pytest.mark.long
@pytest.mark.parametrize("processes", [2])
def test_two_processes_see_the_same_losses_as_one(tmp_path, processes):
    """The same command under torchrun: validation losses of the first steps agree, so gradients were shared
    rightly."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    logs = []
    for launcher in (
        [],
        ["-m", "torch.distributed.run", f"--nproc_per_node={processes}", "--standalone"],
    ):
        out = tmp_path / f"out{len(launcher)}"
        subprocess.run(
            [sys.executable, *launcher, str(script), str(out)],
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        rows = (out / "bidirectional" / "log.csv").read_text().splitlines()
        assert rows[0].split(",")[-1] == "valid_flow" and len(rows) == 4
        logs.append([float(row.split(",")[-1]) for row in rows[1:]])
        assert (out / "bidirectional.safetensors").is_file()
    assert logs[0] == pytest.approx(logs[1], abs=2e-5) and logs[0][2] < logs[0][0] - 1e-4


INTERRUPTED = """
import sys, time
from pathlib import Path
import torch
from lmdm_mini.training import Run, Schedule
model = torch.nn.Linear(4, 4)
run = Run(Path(sys.argv[1]), model, Schedule(10_000, 1e-3))
for step in run.loop():
    run.update({"loss": run.forward(torch.ones(2, 4)).square().mean()})
    if step == 20:
        print("going", flush=True)
    time.sleep(0.002)
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_is_saved_and_goes_on(number, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as training:
        training.stdout.readline()
        training.send_signal(number)
        _, said = training.communicate(timeout=120)
    assert training.returncode != 0 and "the same command goes on from there" in said
    run = Run(tmp_path / "run", torch.nn.Linear(4, 4), Schedule(10_000, 1e-3))
    assert run.step > 20 and f"at step {run.step} of 10000" in said


def test_a_full_disk_does_not_end_a_training(tmp_path, monkeypatch):
    """A save on the way that fails is said and tried again; the one at the end says so, and the state before
    it stays."""
    run = Run(tmp_path, DiT(SMALL), Schedule(3, 1e-3, save_minutes=0.0))
    run.save()
    before, calls = (tmp_path / "run.safetensors").read_bytes(), []

    def full():
        calls.append(run.step)
        raise OSError("no space left")

    monkeypatch.setattr(run, "save", full)
    with pytest.raises(OSError, match="no space"):
        for _ in run.loop():
            run.update({"loss": sum(p.square().sum() for p in run.forward.parameters())})
    assert calls == [1, 2, 3] and (tmp_path / "run.safetensors").read_bytes() == before


# -- controls ----------------------------------------------------------------------------------------


def set_with_pairs():
    """Pieces whose frames count up, in mix, stem (from 1000 on) and rest (from 2000 on)."""
    count = torch.arange(900.0).expand(64, -1)
    found = []
    for i in range(3):
        packed = pack_sketch(
            sketch(0.1 * torch.randn(2, 2048 * 900, generator=torch.Generator().manual_seed(i)))
        )
        stem, rest = (Quantised(*quantised(count / 900 + more)) for more in (1, 2))
        pair = LatentPair(("drums",), ("bass",), stem, None, rest, packed, ["house without it"])
        beats = torch.arange(900) / 10
        found.append(LatentPiece(str(i), "house", 120.0, ["house"], count.half(), beats, packed, [pair]))
    return LatentSet(found, 0, paraphrased=0.0)


@pytest.fixture(scope="module")
def paired():
    return set_with_pairs()


def test_windows_bring_the_stem_of_the_same_time(paired):
    music = paired.batch(20, 96, stem=(50, 20), sketch=True)
    assert music.stem.shape == (20, 64, 166) and music.sketch.shape == (20, 88, 96)
    for row in range(20):
        place = (music.conditions.beats[row] * 10).round()
        heard, there = (music.stem[row, 0] - 1) * 900, music.stem_present[row]
        wanted = place[0] + torch.arange(-50, 116)
        assert torch.equal(there, (wanted >= 0) & (wanted < 900))
        assert ((heard - wanted)[there].abs() < 25).all()  # 8 bits of a ramp
        assert ((music.latents[row, 0] - 2) * 900 - place).abs().max() < 25  # the rest
    mixes = paired.batch(4, 96)
    assert mixes.stem is None and mixes.sketch is None


@pytest.mark.parametrize("variant", DRAWS)
def test_batches_hold_every_control_and_each_is_often_missing(variant, paired):
    """A target attends to nothing of the stem beyond its visibility, and gradients say so, too."""
    config = DiTConfig(
        48, 2, 2, window=96, variant=variant, granule=4, blocks=(4, 12, 24), controls=("stem", "sketch")
    )
    model, rng, generator = DiT(config), random.Random(0), torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data += 0.05 * torch.randn_like(p)
    stems, sketched, seen = 0, [], set()
    for _ in range(12):
        batch = DRAWS[variant](paired, 8, config, rng, generator)
        sketched.append(batch.conditions.sketch.present.amax((1, 2)))
        stem = batch.conditions.stem
        assert torch.isfinite(flow_loss(model, batch)).all()
        if stem is None:
            continue
        stems += 1
        latents = stem.latents.requires_grad_()
        row = 0
        target = (batch.context_mask[row] == 0).nonzero()[0]  # its first frame
        visible = stem.visible[row, target if stem.visible.shape[1] > 1 else 0].flatten()
        with torch.autocast("cpu", enabled=False):
            v = model(
                batch.x0, batch.t, batch.conditions, batch.context_mask,
                positions=batch.positions, attention_mask=batch.attention_mask,
            )  # fmt: skip
        (grad,) = torch.autograd.grad(v[row, :, target].sum(), latents)
        used = grad[row].abs().amax(0) > 0
        assert not used[stem.positions >= visible[1]].any()
        some = (stem.positions >= visible[0]) & (stem.positions < visible[1]) & stem.present[row]
        assert used[some].all()
        latents.requires_grad_(False)
        seen.add(int(visible[1] - visible[0]))
    assert 2 < stems < 10 and len(seen) > 2
    assert max(seen) <= STEM_LOOK_BACK + MAX_VISIBILITY + 768
    assert 0.2 < torch.cat(sketched).mean() < 0.6


def test_sketches_are_blurred_and_lose_their_newest_frames(paired):
    rng = random.Random(0)
    values = paired.batch(30, 96, sketch=True).sketch
    soft = blurred(values, rng)
    assert soft.shape == values.shape and 0 <= soft.min() and soft.max() <= 1
    changed = (soft != values).flatten(2).any(2)
    assert changed[:, :84].any(1).float().mean() < 1 and changed[:, 84:].any(1).float().mean() > 0.4
    begins = torch.arange(96).expand(400, -1) // 24 * 24
    present = draw_presence(begins, torch.full_like(begins, 24), rng)
    pitch, loudness = present.amax(2).bool().unbind(1)
    assert 0.3 < (pitch | loudness).float().mean() < 0.5
    assert (pitch & ~loudness).any() and (loudness & ~pitch).any() and (pitch & loudness).any()
    ends = present.amax(1).unflatten(1, (4, 24))[(pitch | loudness)]
    assert (ends[..., :12] == 1).all() and 0.3 < (ends[..., -1] == 0).float().mean() < 0.7
    assert not torch.equal(present[..., -1], present[..., 0])
