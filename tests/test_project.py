"""The project around the package: what is declared, documented and tracked agrees with what is there."""

import ast
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lmdm_mini"
MODULES = sorted(PACKAGE.rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
KNOWN = {"lmdm_mini", "IPython", "comm", "nbformat", "traitlets"}  # ourselves; what Jupyter cannot be without
GENERATED = (".venv", "book/", "runs/")  # README may name these though a fresh clone has none

every_module = pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, encoding="utf-8"
    )


def distribution(requirement: str) -> str:
    """`torch==2.11.*` -> `torch`; names are compared as pip does, without case and with `-` for `_`."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


# ---------------------------------------------------------------- installing


def test_environment_and_pyproject_give_one_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    packages = [d for d in environment["dependencies"] if isinstance(d, str)]
    from_pip = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert from_pip == [["-e ."]], "pip installs this project and with it what pyproject.toml names"
    assert sorted(re.split("[=<>]", p)[0] for p in packages) == ["pip", "python"], "the rest comes from pip"
    python = next(p for p in packages if p.startswith("python"))
    lowest = re.fullmatch(r">=(\d+)\.(\d+)", PROJECT["requires-python"]).groups()
    chosen = re.fullmatch(r"python=(\d+)\.(\d+)", python).groups()
    assert tuple(map(int, chosen)) >= tuple(map(int, lowest))
    assert environment["name"] == PROJECT["name"]


def test_torch_and_torchaudio_are_one_release():
    pins = {distribution(d): d.split("==")[1] for d in PROJECT["dependencies"] if d.startswith("torch")}
    assert pins == {"torch": "2.11.*", "torchaudio": "2.11.*"}


def test_every_import_is_declared():
    """A package that is there only because another brought it may be gone tomorrow."""
    extras = [d for group in PROJECT["optional-dependencies"].values() for d in group]
    declared = {distribution(d) for d in PROJECT["dependencies"] + extras}
    owners = importlib.metadata.packages_distributions()
    undeclared = set()
    for path in MODULES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            else:
                continue
            for name in {n.split(".")[0] for n in names} - set(sys.stdlib_module_names) - KNOWN:
                if not {distribution(o) for o in owners.get(name, [name])} & declared:
                    undeclared.add(f"{path.relative_to(ROOT)}: {name}")
    assert not undeclared


def test_data_files_of_the_package_are_installed():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    covered = {p.removeprefix("*") for p in patterns["package-data"]["*"]}
    others = {p.suffix for p in PACKAGE.rglob("*") if p.is_file()} - {".py", ".pyc"}
    assert others <= covered, f"add {others - covered} to package-data in pyproject.toml"
    folders = {p.parent for p in MODULES}
    assert all((folder / "__init__.py").exists() for folder in folders), "a folder without __init__.py"


def test_the_package_list_is_complete():
    """Data is a part of the package in a wheel, so the list is written out; it names every folder."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {".".join(p.parent.relative_to(ROOT).parts) for p in PACKAGE.rglob("__init__.py")}
    assert set(listed["packages"]) == folders | {"lmdm_mini.data"}
    assert listed["package-dir"] == {"lmdm_mini.data": "data"}


WHERE = """
import sys
import lmdm_mini as lm
from lmdm_mini.checkpoints import DATA, LATENTS, how_to_restore
there = (LATENTS / "train.safetensors").is_file()
print(DATA, sorted(row["name"] for row in lm.list_models()), there, sep="|")
print(how_to_restore())
"""


def places(folder: Path, **settings: str) -> list[str]:
    """What a Python that finds lmdm_mini in `folder` says about its data, and how to restore it."""
    environment = os.environ | {"PYTHONPATH": str(folder)} | settings
    done = subprocess.run(
        [sys.executable, "-c", WHERE],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [*done.stdout.splitlines()[0].split("|"), done.stdout.splitlines()[1]]


@pytest.mark.long
def test_a_setting_names_another_folder_of_data(tmp_path):
    folder, models, _, advice = places(ROOT, LMDM_MINI_DATA=str(tmp_path))
    assert folder == str(tmp_path) and models == "[]" and "LMDM_MINI_DATA is" in advice


@pytest.mark.slow
def test_a_wheel_brings_checkpoints_along(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("lmdm_mini", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("no network for the build's own setuptools")
    assert done.returncode == 0, done.stderr
    shutil.unpack_archive(next(tmp_path.glob("*.whl")), tmp_path / "site", "zip")
    folder, models, latents, advice = places(tmp_path / "site")
    assert folder == str(tmp_path / "site" / "lmdm_mini" / "data")
    assert models == "['bidirectional', 'block_causal', 'enc_dec', 'lmm']" and latents == "True"
    assert advice.startswith("Install the package again") and "git" not in advice
    assert not list((tmp_path / "site").rglob("*.ipynb"))


@pytest.mark.long
def test_importing_the_package_is_light():
    """`import lmdm_mini` brings nothing but itself; the first name that is used brings torch and little more.

    Modules are counted, not seconds: they are the same on every machine.
    """
    code = """
import json, sys
before = set(sys.modules)
import lmdm_mini
bare = set(sys.modules) - before
import torch, torchaudio, numpy
with_torch = set(sys.modules)
lmdm_mini.generate
print(json.dumps([sorted(bare), sorted(set(sys.modules) - with_torch)]))
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    bare, used = json.loads(done.stdout.splitlines()[-1])
    own = [name for name in bare if name.startswith("lmdm_mini")]
    assert "lmdm_mini" in own and len(own) < 5, "the import finds the package and nothing of what is in it"
    assert len(bare) < 60 and not {"torch", "numpy", "scipy", "IPython"} & set(bare)
    assert "lmdm_mini.models" in used, "the name was looked up"
    others = [name for name in used if not name.startswith("lmdm_mini")]
    assert len(others) < 60, (
        f"{len(others)} modules of others, of {sorted({n.split('.')[0] for n in others})}"
    )
    heavy = {"torchcodec", "music21", "fluidsynth", "transformers", "lightning", "matplotlib", "anywidget"}
    assert not heavy & {name.split(".")[0] for name in others}


# ---------------------------------------------------------------- the code


@every_module
def test_module_is_a_short_chapter(path):
    source = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(source)), "a module starts by saying what it is"
    assert len(source.splitlines()) < 400, "split it: a module is a short chapter"
    assert path.stem not in {"utils", "helpers", "misc", "common"}, "a name that says what is inside"


@every_module
def test_one_word_for_a_block(path):
    """Names and parameters readers meet say block, context or target; one thing has one word."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    assert not {n for n in names if "chunk" in n.lower() and not n.startswith("_")}


@every_module
def test_no_file_can_run_code(path):
    """Checkpoints are safetensors and JSON: loading somebody's model must not run somebody's program."""
    bad = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            bad += names & {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"torch.load", "torch.save", "torch.jit.load"}:
                bad.append(called)
            if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
                bad.append(f"{called}(allow_pickle)")
    assert not bad


@every_module
def test_audio_files_go_through_soundfile(path):
    """torchaudio's own reading and writing needs torchcodec, which we do not install."""
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"torchaudio\.(load|save|info)\(|import torchcodec", source)


# ---------------------------------------------------------------- README


def code_of_readme() -> list[str]:
    """The lines of README's code blocks and its inline code."""
    blocks = re.findall(r"```\w*\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))


def test_readme_names_only_files_that_exist():
    links = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", README) if not re.match(r"[a-z]+:|#", t)]
    code = [c for c in code_of_readme() if re.fullmatch(r"[\w.\-/]+", c)]
    files = [c for c in code if c.endswith("/") or re.search(r"\.(py|ipynb|md|toml|yml|cff|safetensors)$", c)]
    files += re.findall(r"[\w\-/]+\.ipynb", README)
    missing = {f for f in links + files if not f.startswith(GENERATED) and not (ROOT / f).exists()}
    assert not missing


def test_readme_make_targets_exist():
    listed = set(re.findall(r"^  make ([\w-]+)", run("make", "help").stdout, flags=re.MULTILINE))
    defined = set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = {m for line in code_of_readme() for m in re.findall(r"^make ([\w-]+)", line)}
    assert used, "README shows how to start"
    assert used <= listed <= defined


def shell_commands() -> list[str]:
    found = {m for line in code_of_readme() for m in re.findall(r"python -m lmdm_mini (.+)", line)}
    return sorted(c.split("  #")[0].strip() for c in found)


@pytest.mark.parametrize("command", shell_commands())
def test_readme_commands_exist(command):
    words = shlex.split(command)
    names = []
    for word in words:
        if not re.fullmatch(r"[a-z][a-z_-]*", word):
            break
        names.append(word)
    assert names or words == ["--help"], f"no command in {command!r}"
    shown = run(sys.executable, "-m", "lmdm_mini", *names, "--help")
    assert shown.returncode == 0, f"README shows 'python -m lmdm_mini {command}': {shown.stderr}"
    options = [w for w in words if re.match(r"--?[a-z]", w)]
    unknown = [w for w in options if not re.search(rf"(?<![\w-]){w}\b", shown.stdout)]
    assert not unknown, f"README shows options which are not there: {unknown}"


def test_readme_shows_commands():
    assert shell_commands()


# ---------------------------------------------------------------- size


def tracked() -> list[Path]:
    """What git tracks or would add; in a copy without git, everything that is not generated."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        skip = {".venv", "runs", "book", "build", "__pycache__", ".git"}
        paths = [p for p in ROOT.rglob("*") if not skip & set(p.relative_to(ROOT).parts)]
    return [p for p in paths if p.is_file()]


def test_the_tree_stays_small():
    sizes = {path: path.stat().st_size for path in tracked()}
    large = {str(p.relative_to(ROOT)): f"{s / 1e6:.0f} MB" for p, s in sizes.items() if s >= 45e6}
    assert not large
    assert sum(sizes.values()) < 300e6, f"{sum(sizes.values()) / 1e6:.0f} MB, at most 300 are wanted"
    assert len(sizes) > 5


def test_ci_runs_make_test():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100, "chmod +x .ci/run"
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "exec make test" in text
