"""The shell: quick help, every command with its arguments and its run, and one sentence for what is wrong,
before the work is done."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from lmdm_mini import models
from lmdm_mini.__main__ import COMMANDS, main
from lmdm_mini.evaluation import codec as evaluation_codec

HEAVY = {
    "torch",
    "torchaudio",
    "ipywidgets",
    "anywidget",
    "ipywebrtc",
    "matplotlib",
    "transformers",
    "lightning",
}


def commands() -> list[tuple[str, str]]:
    """Every command in words, and its module."""
    found = []
    for name, (_, inside) in COMMANDS.items():
        if isinstance(inside, dict):
            found += [(f"{name} {kind}", module) for kind, (_, module) in inside.items()]
        else:
            found.append((name, inside))
    return found


@pytest.fixture
def nothing_loads(monkeypatch):
    """What takes long fails the test."""

    def load(*args, **kwargs):
        raise AssertionError("loaded before the arguments were checked")

    monkeypatch.setattr(models, "load", load)
    monkeypatch.setattr(evaluation_codec, "evaluate_codec", load)


# ---------------------------------------------------------------- help


def test_help_imports_neither_torch_nor_widgets(root):
    """The bar: `python -X importtime -m lmdm_mini --help`."""
    command = [sys.executable, "-X", "importtime", "-m", "lmdm_mini", "--help"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in imported and not HEAVY & imported
    assert all(name in done.stdout for name in COMMANDS)


def test_help_of_every_command_is_as_light(root):
    code = f"""
import sys
from lmdm_mini.__main__ import main
for words in {[words for words, _ in commands()]!r}:
    try:
        main([*words.split(), "--help"])
    except SystemExit as end:
        assert end.code == 0, words
    else:
        raise AssertionError(words)
print(sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words, module", commands())
def test_a_command_is_a_module_with_two_functions(words, module):
    found = importlib.import_module(module)
    assert callable(found.add_arguments) and callable(found.run)


def test_an_unknown_command_names_those_that_are_there(capsys):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", "nonsense"])
    assert end.value.code == 2 and "rollouts" in capsys.readouterr().err


# ---------------------------------------------------------------- what is refused, and when


@pytest.mark.parametrize(
    "words, complaint",
    [
        ("generate -o x.wav --cfg-scale 100", "--cfg-scale is 100; it must be from 0 to 20"),
        ("generate -o x.wav --cfg-scale nan", "--cfg-scale is nan"),
        ("generate -o x.wav --steps 0", "--steps is 0; a whole number from 1 on"),
        ("generate -o x.wav --top-k 0", "--top-k is 0"),
        ("generate -o x.wav --model lmm --temperature 1e-45", "--temperature is 1e-45"),
        ("generate -o x.wav --seed 18446744073709551616", "--seed is 18446744073709551616"),
        ("generate -o x.wav --seconds inf", "--seconds is inf"),
        ("generate -o x.wav --seconds -1", "--seconds is -1"),
        ("generate -o x.wav --hear 1e-9 --continue a.wav", "--hear is 1e-09"),
        ("generate -o x.wav --model lmm --stem a.wav", "--stem and --sketch are for diffusion models"),
        ("generate -o x.wav --mix", "--mix adds the recording of --stem"),
        ("generate -o x.wav --visibility 3", "--visibility is 3; it must be from -2 to 2 seconds"),
        ("generate -o x.wav --sketch-scale 21", "--sketch-scale is 21"),
        ("generate -o x.wav --keep", "--keep keeps the recording of --continue"),
        ("generate -o x.xyz", "use one of .wav, .flac, .ogg, .mp3"),
        ("generate -o x", "a file without suffix"),
        ("generate -o x.wav --prompt a\udcffb", "holds a byte that is no text"),
        ("generate -o x.wav --prompt funk:-1+choir:2", "weight of 'funk' is -1"),
        ("--threads 100000 generate -o x.wav", "--threads is 100000"),
        ("bench stream --model bidirectional lmm", "bench stream counts denoising steps"),
        ("bench stream --cfg-scale 1e6", "--cfg-scale is 1e+06"),
        ("bench stream --blocks 0", "--blocks is 0"),
        ("bench live --model lmm", "--model lmm cannot play in a session"),
        ("bench live --seconds nan", "--seconds is nan"),
        ("bench codec --seconds 0", "--seconds is 0.0"),
        ("bench codec --repeats 0", "--repeats is 0"),
        ("bench compare --steps 0", "--steps is 0"),
        ("evaluate hearing --model lmm", "--model lmm cannot play in a session"),
        ("evaluate accompaniment --visibility 99", "--visibility is 99"),
        ("evaluate accompaniment --clips 1", "--clips is 1"),
        ("evaluate text --out /dev", "/dev is a folder"),
        ("evaluate rollouts --look-back 0", "--look-back is 0"),
        ("evaluate rollouts --block 0", "--block is 0"),
        ("evaluate rollouts --out /dev", "/dev is a folder"),
        ("evaluate codec --out /dev", "/dev is a folder"),
        ("evaluate text --top-k 0", "--top-k is 0"),
        ("evaluate reference --clips 1", "--clips is 1"),
        ("train base --steps 0", "--steps and --batch must be at least 1"),
        ("train lmm --lr nan", "--lr is nan"),
        ("train lmm --lr -1", "--lr is -1"),
        ("train rvq --n-q 0", "--n-q is 0"),
        ("train base --start none.safetensors", "no file of weights at none.safetensors"),
        ("train clap --out README.md", "--out is README.md, which is a file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    words, complaint, capsys, nothing_loads, root, monkeypatch
):
    monkeypatch.chdir(root)
    assert main(words.split()) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.startswith("lmdm_mini: ") and said.count("\n") == 1


def test_a_destination_is_tried_before_the_music_is_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(models, "load", lambda name: None)
    monkeypatch.setattr(models, "sampling", lambda *args, **more: {})
    monkeypatch.setattr(models, "generate", lambda *args, **settings: pytest.fail("made before"))
    for path, complaint in (
        (tmp_path / ("n" * 300 + ".wav"), "File name too long"),
        (tmp_path / "file" / "a.wav", "is a file, not a folder"),
        (tmp_path / "folder.wav", "is a folder"),
    ):
        (tmp_path / "file").write_text("")
        (tmp_path / "folder.wav").mkdir(exist_ok=True)
        assert main(["generate", "-o", str(path)]) == 2
        assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.raw", "none.wav", "text.mp3"])
def test_a_recording_that_cannot_be_read_is_named(tmp_path, name, capsys, monkeypatch):
    monkeypatch.setattr(models, "load", lambda name: None)
    monkeypatch.setattr(models, "sampling", lambda *args, **more: {})
    monkeypatch.setattr(models, "generate", lambda *args, **settings: pytest.fail("made before"))
    if name != "none.wav":
        (tmp_path / name).write_bytes(b"no sound" * 100)
    assert main(["generate", "-o", str(tmp_path / "x.wav"), "--continue", str(tmp_path / name)]) == 2
    assert name in capsys.readouterr().err


# ---------------------------------------------------------------- what is made


def test_music_is_made_and_what_was_understood_is_said(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(44100 * 3), 44100)
    words = ["generate", "--prompt", "funk, 110 bpm:70% + choir:30%", "--seconds", "0.5", "--steps", "1"]
    assert main([*words, "--continue", str(tmp_path / "a.wav"), "-o", str(tmp_path / "b" / "x.ogg")]) == 0
    said = capsys.readouterr().out
    assert "prompt: funk, 110 bpm (70%) + choir (30%); tempo: 110 beats a minute\n" in said
    assert f"0.5 s in {tmp_path / 'b' / 'x.ogg'}" in said
    assert soundfile.info(tmp_path / "b" / "x.ogg").frames == 22050


def test_a_stem_and_a_sketch_are_handed_on_and_mixed(tmp_path, capsys, monkeypatch):
    """To a model that was trained with them; one that was not says so before it plays."""
    sound = 0.1 * np.random.default_rng(0).standard_normal((44100, 2)).astype("float32")
    soundfile.write(tmp_path / "a.wav", sound, 44100, subtype="FLOAT")
    given = [f"--{name}={tmp_path / 'a.wav'}" for name in ("stem", "sketch")]
    words = ["generate", "--seconds", "0.5", "--steps", "1", "-o", str(tmp_path / "x.wav"), *given]
    assert main([*words, "--model", "block_causal"]) == 2
    assert "not trained with sketch; it has no controls" in capsys.readouterr().err
    seen = {}

    def made(model, prompt, seconds, **settings):
        seen.update(settings)
        return torch.zeros(2, 22050)

    monkeypatch.setattr(models, "generate", made)
    assert main([*words, "--mix", "--visibility=-0.5", "--sketch-scale=2"]) == 0
    assert seen["visibility"] == -0.5 and seen["sketch_scale"] == 2 and seen["sketch"].shape == (2, 44100)
    mixed, _ = soundfile.read(tmp_path / "x.wav")
    assert np.allclose(mixed, sound[:22050], atol=1e-4)


def test_the_precision_reaches_the_music(tmp_path, monkeypatch, capsys):
    asked = []

    def generate(*args, precision, **settings):
        asked.append(precision)
        return torch.zeros(2, 4410)

    monkeypatch.setattr(models, "generate", generate)
    words = ["generate", "-o", str(tmp_path / "x.wav")]
    assert main(words) == main([*words, "--precision", "auto"]) == 0 and asked == ["float32", "auto"]
    for command in ("generate -o x.wav", "evaluate rollouts", "bench stream", "bench compare", "bench live"):
        with pytest.raises(SystemExit):
            main([*command.split(), "--precision", "half"])
        assert "invalid choice: 'half'" in capsys.readouterr().err


def test_what_was_made_is_kept_when_the_disk_refuses(tmp_path, capsys, monkeypatch):
    from lmdm_mini import audio

    write, refused = audio.write_audio, tmp_path / "x.wav"

    def full(path, sound):
        if path == refused:
            raise OSError(f"{path} could not be written: the disk is full.")
        return write(path, sound)

    monkeypatch.setattr(audio, "write_audio", full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    words = ["generate", "--seconds", "0.5", "--steps", "1", "--cfg-scale", "1", "-o", str(refused)]
    assert main(words) == 2
    said = capsys.readouterr()
    kept = tmp_path / f"lmdm_mini-{os.getpid()}.flac"
    assert "the disk is full" in said.err and f"What was made is in {kept}" in said.err
    assert soundfile.info(kept).frames == 22050
    assert "no prompt: plays what comes" in said.out


def test_ctrl_c_ends_with_a_line(capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "load", interrupted)
    assert main(["generate", "-o", "x.wav"]) == 130
    assert capsys.readouterr().err == "lmdm_mini: stopped.\n"
