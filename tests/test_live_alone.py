"""The live session without a page: its process and its commands load nothing that shows it in a notebook."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.long  # each starts a Python of its own
SHOWN_WITH = ("anywidget", "ipywebrtc", "ipywidgets", "matplotlib", "IPython", "lmdm_mini.widgets")
REPORT = f"import sys; print(*(name for name in {SHOWN_WITH} if name in sys.modules))"

PROCESS = """
import multiprocessing, threading, time
from lmdm_mini.live.process import work

here, there = multiprocessing.Pipe()
kinds = []

def play():
    here.send(("start", "one"))
    while "block" not in kinds and "error" not in kinds:
        kinds.append(here.recv()[0])
    here.close()  # which ends the process

threading.Thread(target=play).start()
work(there, "block_causal", None, None, {"steps": 1, "cfg_scale": 1.0, "prompt": "house"})
assert kinds == ["ready", "started", "block"], kinds
"""
COMMAND = """
if __name__ == "__main__":
    from lmdm_mini.__main__ import main
    try:
        assert main({words}) == 0
    except SystemExit as asked_for_help:
        assert not asked_for_help.code
"""
BENCH = ["bench", "live", "--seconds", "1.5", "--steps", "1", "--cfg-scale", "1"]


@pytest.mark.parametrize(
    "script",
    [
        "import lmdm_mini.live, lmdm_mini.live.recording",
        "import lmdm_mini.evaluation.hearing",
        pytest.param(PROCESS, id="process"),
        pytest.param(COMMAND.format(words=BENCH), id="bench live"),
        pytest.param(COMMAND.format(words=["evaluate", "hearing", "--help"]), id="evaluate hearing"),
    ],
)
def test_nothing_is_loaded_that_shows(script, tmp_path):
    (tmp_path / "script.py").write_text(f"{script}\n{REPORT}")
    told = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=300
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[-1] == ""
