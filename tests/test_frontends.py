"""JamSession in other front ends and with other kernels than the ones that are installed: each is put into a
folder of its own."""

import os
import subprocess
import sys

import pytest
from browser import BUSY, JAM, jupyter_lab, microphone, numbers, open_notebook, wait_for, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
CELL = "from lmdm_mini.live import JamSession\njam = JamSession(seed=1, steps=4)\njam"


def installed(folder, *packages, dependencies=True):
    """Packages in `folder`, and the environment in which Python and Jupyter find them there first."""
    plain = [] if dependencies else ["--no-deps"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", folder, *plain, *packages], check=True
    )
    paths = {"PYTHONPATH": ".", "JUPYTER_PATH": "share/jupyter", "JUPYTER_CONFIG_PATH": "etc/jupyter"}
    return {
        name: os.pathsep.join(filter(None, [str(folder / where), os.environ.get(name)]))
        for name, where in paths.items()
    }


def play(page, seconds=20):
    wait_for(page, JAM, lambda jam: jam["engine"] == "ready", 90)
    page.click(".lmdm-mic")
    wait_for(page, JAM, lambda jam: jam["mic"] == "on", 20)
    page.click("button.lmdm-start")
    wait_for(page, JAM, lambda jam: float(jam["playedSeconds"]) > 2, 30)
    begun = numbers(page, JAM)
    played = wait_for(page, JAM, lambda jam: float(jam["playedSeconds"]) > seconds, seconds + 20)
    assert int(played["underruns"]) - int(begun["underruns"]) <= 1
    return played


@pytest.mark.parametrize("version", ["6.31.*", "7.3.*"])
def test_kernels(tmp_path, version):
    environment = installed(tmp_path / "packages", f"ipykernel=={version}", dependencies=False)
    write_notebook(
        tmp_path / "jam.ipynb",
        [CELL, "import ipykernel; print('ipykernel', ipykernel.__version__)\n" + BUSY.format(seconds=25)],
    )
    with (
        jupyter_lab(tmp_path, environment=environment) as lab,
        open_notebook(lab, "jam.ipynb", JAM, microphone(tmp_path)) as page,
    ):
        play(page)
        assert page.get_by_text(f"ipykernel {version[:-1]}").count() or page.wait_for_selector(
            f"text=ipykernel {version[:-1]}", timeout=60_000
        )
        # 6.31 hands on no message of the page while a cell runs, so the player is heard when it is over
        wait_for(page, JAM, lambda jam: int(jam["heard"]) / 44100 > float(jam["playedSeconds"]) - 2, 60)


@pytest.mark.parametrize(
    ("app", "view", "package"),
    [(("notebook",), "notebooks", "notebook>=7.5"), (("jupyter", "lab"), "voila/render", "voila>=0.5")],
)
def test_front_ends(tmp_path, app, view, package):
    environment = installed(tmp_path / "packages", package)
    write_notebook(tmp_path / "jam.ipynb", [CELL])
    with (
        jupyter_lab(tmp_path, app, environment) as server,
        open_notebook(server, "jam.ipynb", JAM, microphone(tmp_path), view) as page,
    ):
        assert int(play(page)["heard"]) > 10 * 44100
