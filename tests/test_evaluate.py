"""The judge is judged: scores move the way the sound does, and nothing unscorable gets a score."""

import json
import os

import pytest
import torch
import torchaudio.functional as AF
from small import PlainCodec

from lmdm_mini import complexity
from lmdm_mini.discrete.rvq import RVQ, RVQConfig
from lmdm_mini.evaluation import codec as evaluate
from lmdm_mini.evaluation import metrics, other_codecs
from lmdm_mini.evaluation.latent_health import look_ahead

RATE = 44100
LENGTH = int(2.2 * RATE)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with complexity.threads(1):
        yield


@pytest.fixture(scope="module")
def music():
    """2.2 s of plucked notes, left and right a little apart, with a noisy beat: (2, N)."""
    time_axis = torch.arange(LENGTH) / RATE
    generator = torch.Generator().manual_seed(1)
    notes = [
        torch.sin(6.2832 * hz * time_axis) * torch.exp(-8 * ((time_axis + shift) % 0.5))
        for hz, shift in ((110, 0.0), (220, 0.1), (330, 0.2), (555, 0.3), (1760, 0.15), (4000, 0.25))
    ]
    beat = 0.1 * torch.randn(2, LENGTH, generator=generator) * torch.exp(-30 * (time_axis % 0.25))
    left = notes[0] + notes[1] + 0.3 * notes[2] + notes[4]
    right = notes[0] + 0.3 * notes[1] + notes[2] + notes[3] + 0.5 * notes[5]
    return 0.15 * torch.stack([left, right]) + beat


@pytest.fixture(scope="module")
def noise():
    return torch.randn(2, LENGTH, generator=torch.Generator().manual_seed(2))


@pytest.mark.long
def test_identical_audio_scores_top(music):
    scores = metrics.all_scores(music, music.clone())
    assert scores.pop("visqol") > 4.7
    assert max(scores.values()) < 1e-6


@pytest.mark.long
def test_scores_follow_the_damage(music, noise):
    ladder = [music, music + 1e-3 * noise, music + 1e-2 * noise, music + 1e-1 * noise]
    scores = [metrics.all_scores(music, rung) for rung in ladder]
    for better, worse in zip(scores, scores[1:]):
        assert better["visqol"] > worse["visqol"]
        assert better["mel"] < worse["mel"] and better["stft"] < worse["stft"]
    dull, duller = (metrics.all_scores(music, AF.lowpass_biquad(music, RATE, hz)) for hz in (10000, 1500))
    assert 4.7 > dull["visqol"] > duller["visqol"] and dull["mel"] < duller["mel"]


def test_fold_down_is_heard_by_the_stereo_error_alone(music):
    folded = music.mean(0, keepdim=True).repeat(2, 1)
    assert metrics.visqol(music, folded) > 4.7
    error = metrics.stereo_error(music, folded)
    assert error["level_db"] > 1 and error["correlation"] > 0.05
    swapped = metrics.stereo_error(music, music.flip(0))
    assert swapped["level_db"] > error["level_db"] and swapped["correlation"] < 1e-4
    flipped = metrics.stereo_error(folded, torch.stack([folded[0], -folded[1]]))
    assert flipped["correlation"] == pytest.approx(2, abs=0.01)
    louder = torch.stack([folded[0] * 2, folded[1]])
    assert metrics.stereo_error(folded, louder)["level_db"] == pytest.approx(6.02, abs=0.1)


def test_fast_visqol_equals_the_plain_tool(music, noise):
    from visqol import VisqolApi

    plain = VisqolApi()
    plain.create(mode="audio")
    degraded = AF.lowpass_biquad(music, RATE, 9000) + 3e-3 * noise
    clips = [AF.resample(a[:, : 2 * RATE].mean(0).double(), RATE, 48000).numpy() for a in (music, degraded)]
    expected = plain.measure_from_arrays(*clips, 48000).moslqo
    assert metrics.visqol(music[:, : 2 * RATE], degraded[:, : 2 * RATE]) == pytest.approx(expected, abs=2e-3)


def test_distances_are_those_of_auraloss(music, noise):
    auraloss = pytest.importorskip("auraloss")
    degraded = music + 1e-2 * noise
    theirs = auraloss.freq.MultiResolutionSTFTLoss()(degraded[None], music[None])
    assert metrics.stft_distance(music, degraded) == pytest.approx(float(theirs), rel=1e-4)
    mel = auraloss.freq.STFTLoss(fft_size=1024, hop_size=256, win_length=1024, sample_rate=RATE)
    mel.scale = "mel"  # MelSTFTLoss with the same filters, which it would take from librosa
    mel.register_buffer("fb", metrics.mel_bands(1024, 128)[None])
    expected = float(mel(degraded[None], music[None]))
    assert metrics.mel_distance(music, degraded) == pytest.approx(expected, rel=1e-4)
    assert (metrics.mel_bands(1024, 128).sum(1) > 0).all()  # no empty band: its logarithm would be no number


@pytest.mark.parametrize(
    "metric", [metrics.visqol, metrics.mel_distance, metrics.stft_distance, metrics.stereo_error]
)
def test_what_cannot_be_scored_is_refused(metric, music):
    broken = music.clone()
    broken[1, 1000] = float("nan")
    for pair in ((music, broken), (broken, music)):
        with pytest.raises(ValueError, match="NaN"):
            metric(*pair)
    with pytest.raises(ValueError, match="align"):
        metric(music, music[:, 1:])
    with pytest.raises(ValueError, match="stereo"):
        metric(music[0], music[0])


def test_silence_has_defined_scores(music):
    silence = torch.zeros_like(music)
    scores = metrics.all_scores(silence, silence)
    assert scores.pop("visqol") > 4.7 and max(scores.values()) == 0
    for pair in ((music, silence), (silence, music)):
        scores = metrics.all_scores(*pair)
        assert scores["visqol"] == 1
        assert all(torch.isfinite(torch.tensor(value)) for value in scores.values()) and scores["mel"] > 1
    with pytest.raises(ValueError, match="at least 2 s"):
        metrics.visqol(music[:, :RATE], music[:, :RATE])


@pytest.mark.parametrize("delay", [-1105, 0, 312])
def test_alignment_finds_a_known_delay(music, noise, delay):
    late = torch.nn.functional.pad(music, (delay, 100 - delay))  # negative padding cuts the start
    aligned, found = metrics.align(music, late + 1e-3)
    assert found == delay and aligned.shape == music.shape
    assert (aligned - music)[:, 1200:-1200].abs().max() < 2e-3


def test_alignment_refuses_another_recording(music, noise):
    with pytest.raises(ValueError, match="not the same recording"):
        metrics.align(music, 0.1 * noise)


def test_look_ahead_is_measured():
    assert look_ahead(PlainCodec()) == {"encoder": 1.0, "decoder": 0.0}


@pytest.mark.long
def test_table_is_made_written_and_cached(music, tmp_path, monkeypatch):
    if not _has_ffmpeg():
        pytest.skip("no ffmpeg with Opus and MP3 here")

    def table():
        scoring = evaluate.Scoring(
            ("Opus 16 kbit/s", "MP3 128 kbit/s"), cache=tmp_path / "cache", workers=1, progress=False
        )
        return evaluate.evaluate_codec(
            PlainCodec(),
            {"real": [("plucked", music[:, : 2 * RATE])]},
            tmp_path / "results" / "codec.json",
            scoring=scoring,
            source="made here",
            health=False,
            rvq=two_codes,
        )

    two_codes = RVQ(RVQConfig(n_q=2, codebook_size=8))
    two_codes.codebooks.normal_(std=0.05, generator=torch.Generator().manual_seed(0))

    first = table()
    rows = {row["name"]: row for row in first["sets"]["real"]["rows"]}
    assert list(rows) == ["ours", "ours, 2 codes", "features alone", "Opus 16 kbit/s", "MP3 128 kbit/s"]
    assert rows["features alone"]["mel"]["mean"] < 0.5 * rows["ours"]["mel"]["mean"]
    assert rows["ours, 2 codes"]["mel"]["mean"] > rows["ours"]["mel"]["mean"]
    assert rows["ours"]["kbps"] is None and rows["ours, 2 codes"]["kbps"] == pytest.approx(
        2 * 3 * 44.1 / 2048
    )
    mel = {name: row["mel"]["mean"] for name, row in rows.items()}
    assert mel["MP3 128 kbit/s"] < mel["Opus 16 kbit/s"] < mel["ours"]
    assert rows["ours"]["visqol"]["mean"] < rows["Opus 16 kbit/s"]["visqol"]["mean"]
    assert rows["ours"]["parameters"] == 3 and 100 < rows["MP3 128 kbit/s"]["kbps"] < 150
    assert json.loads((tmp_path / "results" / "codec.json").read_text()) == first
    assert "| Opus 16 kbit/s |" in (tmp_path / "results" / "codec.md").read_text()

    monkeypatch.setattr(
        evaluate, "through_ffmpeg", lambda *_: pytest.fail("a score on disk was computed again")
    )
    assert table()["sets"]["real"]["rows"][3]["clips"] == rows["Opus 16 kbit/s"]["clips"]
    with pytest.raises(ValueError, match="at least one clip"):
        evaluate.evaluate_codec(PlainCodec(), {"real": []})


def _has_ffmpeg() -> bool:
    try:
        return os.path.exists(other_codecs.find_ffmpeg())
    except FileNotFoundError:
        return False


def test_a_seam_is_told_from_music(music):
    """Blocks of unrelated sound stand out at their joins; a sound that simply goes on does not."""
    block = 8192
    going_on = metrics.seam_ratio(music, block)
    blocks = music[:, : music.shape[1] // block * block].unflatten(1, (-1, block))
    levels = torch.tensor([1.0, 0.02] * 50)[: blocks.shape[1]]
    cut = (blocks * levels[None, :, None]).flatten(1)
    assert 0.6 < going_on < 1.5 and metrics.seam_ratio(cut, block) > going_on + 0.5
    with pytest.raises(ValueError, match="no join"):
        metrics.seam_ratio(music[:, :block], block)
