"""The widgets' JavaScript without a browser: its modules join to one, and Node.js tests what draws nothing."""

import re
import shutil
import subprocess

import pytest

from lmdm_mini.widgets.browser import HERE, joined

MODULES = sorted(HERE.glob("*.js"))
WIDGETS = ("jam.js", "player.js", "lab.js")
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")


def node(*words) -> None:
    told = subprocess.run(
        ["node", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_modules_stay_small(path):
    assert len(path.read_text().splitlines()) < 400


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_widget_is_one_module_whose_names_do_not_clash(widget):
    text = joined(widget)
    assert not re.search(r"^import |^export (?!default)", text, re.MULTILINE)
    assert text.count("export default") == 1
    names = re.findall(r"^(?:async )?(?:const|let|function|class) (\w+)", text, re.MULTILINE)
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_every_module_is_part_of_a_widget():
    text = "\n".join(map(joined, WIDGETS))
    for path in MODULES:
        assert path.read_text().splitlines()[0] in text, path.name


@needs_node
@pytest.mark.parametrize("widget", WIDGETS)
def test_a_widget_can_be_parsed(widget, tmp_path):
    (tmp_path / "widget.mjs").write_text(joined(widget))
    node("--check", str(tmp_path / "widget.mjs"))


@needs_node
@pytest.mark.parametrize("name", ["sound", "jam_books", "worklet"])
def test_by_node(name, tmp_path, root):
    for path in MODULES:
        shutil.copy(path, tmp_path)
    shutil.copy(root / "tests" / "js" / f"{name}.test.js", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    node("--test", str(tmp_path / f"{name}.test.js"))
