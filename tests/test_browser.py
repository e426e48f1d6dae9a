"""The live player in a real browser: JupyterLab, headless Chromium, a click on Start, sound, a click on Stop."""

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time

import nbformat
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")

FLAGS = [
    "--no-sandbox", "--mute-audio", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-default-apps", "--no-first-run", "--disable-gpu",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
]

MUSIC = """
import time, numpy as np
from types import SimpleNamespace
from lmdm_mini.live import StreamPlayer

RATE = 44100

def music(block_seconds=0.5, chord=(220, 277.18, 329.63, 440)):
    n = int(block_seconds * RATE)
    for block in range(1000):
        began = time.perf_counter()
        t = (np.arange(n) + block * n) / RATE
        beat = np.exp(-6 * (t % 0.5))
        left = sum(np.sin(2 * np.pi * f * t * (1 + (block // 4 % 3) / 8)) / (k + 1) for k, f in enumerate(chord))
        hat = np.random.default_rng(block).normal(size=n) * np.exp(-40 * (t % 0.25))
        audio = (0.2 * np.stack([left * beat, left[::-1] * beat]) + 0.05 * hat).astype(np.float32)
        time.sleep(block_seconds * (0.25 + 0.2 * np.sin(block)))
        yield SimpleNamespace(audio=audio, seconds_to_make=time.perf_counter() - began)
"""
CELLS = [
    MUSIC + "StreamPlayer(music, title='Four notes and a hat')",
    # busy for the whole test: nothing below may wait for the end of a cell
    "time.sleep(300)",
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab in an empty folder of its own."""
    folder = tmp_path_factory.mktemp("lab")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, folder / "player.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    settings |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "IPYTHONDIR": str(folder / "ipython")}
    settings |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "OMP_NUM_THREADS": "1"}
    news = folder / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')  # or a question covers the notebook
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter", "lab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
                "--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}",
                "--allow-root", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            env=os.environ | settings, stdout=log, stderr=log, cwd=folder,
        )
    try:
        wait_until_up(server, port, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        for kernel in request(port, "GET", "/api/kernels") or []:
            request(port, "DELETE", f"/api/kernels/{kernel['id']}")
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def request(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        body = connection.getresponse().read()
    return json.loads(body) if body else None


def wait_until_up(server, port, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, f"JupyterLab ended:\n{log.read_text()}"
        with contextlib.suppress(OSError):
            request(port, "GET", "/api/status")
            return
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()}")


@pytest.fixture
def page(lab):
    """The notebook in the browser, all cells started; the last one is still running."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1150, "height": 1000})
        page.goto(f"{lab}/lab/tree/player.ipynb?reset")
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=60_000)
        for _ in range(10):  # a click that comes before the kernel is ready does nothing, silently
            for accept in page.query_selector_all(".jp-Dialog .jp-mod-accept"):
                accept.click()  # on a slow start JupyterLab asks which kernel, and lies over its own menu
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            page.wait_for_timeout(1000)
            if page.query_selector_all("text=/^\\[(\\*|\\d+)\\]:$/"):
                break
        page.wait_for_selector(".lmdm-player", timeout=60_000)
        yield page
        browser.close()


def numbers(page):
    return page.eval_on_selector(".lmdm-player", "strip => ({...strip.dataset})")


def wait_for(page, condition, seconds=20):
    """Poll the counters in the strip; `time.sleep` would stop Playwright's own loop."""
    for _ in range(int(seconds * 20)):
        if condition(numbers(page)):
            return numbers(page)
        page.wait_for_timeout(50)
    raise AssertionError(f"waited {seconds} s in vain; the strip says {numbers(page)}")


def test_plays_while_a_cell_is_running_and_stops(page):
    assert numbers(page)["state"] == "idle" and numbers(page)["playedSeconds"] == "0.000"
    page.click("button.lmdm-start")
    heard = wait_for(page, lambda strip: float(strip["playedSeconds"]) > 3)
    assert heard["state"] == "playing"
    assert heard["underruns"] == "0"
    assert int(heard["blocks"]) >= 7, "3 s heard and some lead, in blocks of 0.5 s"
    assert 0.1 < float(heard["peak"]) <= 1, "what is heard is not silence"
    assert 100 < int(heard["leadMs"]) < 2600
    assert 0 < float(heard["rtf"]) < 1 and int(heard["firstSoundMs"]) < 3000
    if os.environ.get("LMDM_SCREENSHOT"):
        page.wait_for_timeout(12_000)
        page.screenshot(path=os.environ["LMDM_SCREENSHOT"])

    page.click("button.lmdm-start")  # now says Stop
    stopped = wait_for(page, lambda strip: strip["state"] == "idle")
    page.wait_for_timeout(700)
    assert numbers(page)["playedSeconds"] == stopped["playedSeconds"]
    assert numbers(page)["blocks"] == stopped["blocks"]

    page.click("button.lmdm-start")  # and again, from the beginning
    again = wait_for(page, lambda strip: strip["state"] == "playing" and 0.5 < float(strip["playedSeconds"]) < 3)
    assert again["underruns"] == "0"
