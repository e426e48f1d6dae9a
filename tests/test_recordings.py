"""The table of real recordings is free, attributed and cleanly split; shipped files match their sheet."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini.corpus import recordings
from lmdm_mini.corpus.recordings import LICENCES, Recording, fetch_recordings, list_packages, list_recordings

DATA = Path(__file__).resolve().parents[1] / "data"


def test_every_recording_is_free_and_attributed():
    for row in list_recordings():
        assert row.licence in LICENCES and row.author.strip() and row.title.strip(), row
        assert row.package in list_packages() and not row.path.startswith("/"), row


def test_names_are_unique_and_authors_stay_in_one_split():
    rows = list_recordings()
    assert len({row.name for row in rows}) == len(rows)
    splits = {}
    for row in rows:
        assert splits.setdefault(row.author, row.split) == row.split, f"{row.author} is in two splits"


def test_splits_have_what_the_sheet_promises():
    test = list_recordings("test")
    assert sum(row.kind == "excerpt" for row in test) >= 20
    assert sum(row.package == "sonic-pi-samples" for row in test) == 12
    assert all(row.seconds == 15 for row in list_recordings() if row.kind == "excerpt")
    assert len(list_recordings("train")) >= 90 and list_recordings("valid")
    with pytest.raises(ValueError, match="choose one of"):
        list_recordings("dev")


def test_listening_set_is_shipped_and_on_the_sheet():
    sheet = (DATA / "RECORDINGS.md").read_text(encoding="utf-8")
    shipped = [row for row in list_recordings() if row.shipped]
    files = sorted((DATA / "recordings").glob("*.flac"))
    assert [file.stem for file in files] == sorted(row.name for row in shipped)
    assert sum(file.stat().st_size for file in files) < 9e6
    assert all(row.split == "test" for row in shipped)
    for row in shipped:
        line = next((line for line in sheet.splitlines() if f"{row.name}.flac" in line), "")
        assert row.author in line and row.licence in line and row.package in line, row.name
        info = soundfile.info(str(DATA / "recordings" / f"{row.name}.flac"))
        assert info.samplerate == 44100 and info.channels == 2 and 5 <= info.duration <= 15
        audio, _ = soundfile.read(str(DATA / "recordings" / f"{row.name}.flac"))
        assert np.sqrt((audio**2).mean()) > 10 ** (-45 / 20), f"{row.name} is nearly silent"


def test_every_author_is_on_the_sheet():
    sheet = (DATA / "RECORDINGS.md").read_text(encoding="utf-8")
    assert not [row.author for row in list_recordings() if row.author not in sheet]


def _tone(frequency, rate=48000, seconds=1.0):
    return 0.6 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two mono tracks to be summed and a zip archive; needs no .deb tool and no network."""
    content, packed = {}, io.BytesIO()
    for path, frequency in (("usr/share/x/song.wav", 220), ("usr/share/x/guitar.wav", 330)):
        content[path] = io.BytesIO()
        soundfile.write(content[path], _tone(frequency), 48000, format="WAV")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("music/a.wav", content["usr/share/x/song.wav"].getvalue())
    content["usr/share/x/all.pk3"] = packed
    tar = tmp_path / "x.tar"
    with tarfile.open(tar, "w") as archive:
        for path, data in {**content, "usr/share/x/other.txt": io.BytesIO(b"not in the table")}.items():
            entry = tarfile.TarInfo(f"./{path}")
            entry.size = len(data.getvalue())
            archive.addfile(entry, io.BytesIO(data.getvalue()))
    tool = tmp_path / "bin" / "dpkg-deb"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat {tar}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    packages = tmp_path / "out" / "packages"
    packages.mkdir(parents=True)
    (packages / "x_1_all.deb").touch()
    common = {"package": "x", "author": "A", "licence": "CC0 1.0", "evidence": "copyright", "title": "T"}
    common |= {"split": "test", "kind": "track"}
    cut = {"start": 0.25, "seconds": 0.5}
    rows = [
        Recording(name="mix", path="usr/share/x/song.wav", add=("usr/share/x/guitar.wav",), **common),
        Recording(name="cut", path="usr/share/x/all.pk3", member="music/a.wav", **cut, **common),
        Recording(name="gone", path="usr/share/x/gone.wav", **common),
    ]
    monkeypatch.setattr(recordings, "list_recordings", lambda split=None: rows)
    return tmp_path / "out"


def test_fetch_converts_sums_and_cuts_and_is_idempotent(package):
    with pytest.warns(UserWarning, match="gone"):
        mix, cut = fetch_recordings(package, ("test",), progress=False)
    audio, rate = soundfile.read(str(mix))
    assert audio.shape == (44100, 2) and rate == 44100 and np.abs(audio).max() <= 1.0
    peaks = np.argsort(np.abs(np.fft.rfft(audio[:, 0])))[-2:]
    assert set(peaks) == {220, 330}  # one second: bins are hertz
    assert soundfile.info(str(cut)).frames == 22050
    stamp = mix.stat().st_mtime_ns
    with pytest.warns(UserWarning, match="gone"):
        fetch_recordings(package, ("test",), progress=False)
    assert mix.stat().st_mtime_ns == stamp
    assert sorted(path.name for path in package.iterdir()) == ["audio", "packages"]  # no scratch folder left
    assert not (package / "audio" / "test" / "gone.flac").exists()


def test_a_missing_tool_is_said_clearly(package, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FileNotFoundError, match="dpkg-deb is missing"):
        fetch_recordings(package, ("test",), progress=False)


def test_sum_keeps_a_quiet_mix_and_scales_a_loud_one():
    quiet = recordings._sum([torch.full((2, 4), 0.25), torch.full((2, 3), 0.25)])
    assert torch.allclose(quiet[0], torch.tensor([0.5, 0.5, 0.5, 0.25]))
    assert recordings._sum([torch.ones(2, 4), torch.ones(2, 4)]).max() == 1.0
