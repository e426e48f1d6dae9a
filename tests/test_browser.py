"""The live player in a real browser: JupyterLab, headless Chromium, a click on Start, sound, a click on
Stop."""

import os

import pytest
from browser import jupyter_lab, numbers, open_notebook, wait_for, write_notebook

pytestmark = pytest.mark.browser
STRIP = ".lmdm-player"

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
        bend = 1 + (block // 4 % 3) / 8
        left = sum(np.sin(2 * np.pi * f * t * bend) / (k + 1) for k, f in enumerate(chord))
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


@pytest.fixture
def page(tmp_path):
    """The notebook in the browser, all cells started; the last one is still running."""
    write_notebook(tmp_path / "player.ipynb", CELLS)
    with jupyter_lab(tmp_path) as lab, open_notebook(lab, "player.ipynb", STRIP) as page:
        yield page


def test_plays_while_a_cell_is_running_and_stops(page):
    assert numbers(page, STRIP)["state"] == "idle" and numbers(page, STRIP)["playedSeconds"] == "0.000"
    page.click("button.lmdm-start")
    heard = wait_for(page, STRIP, lambda strip: float(strip["playedSeconds"]) > 3)
    assert heard["state"] == "playing"
    assert heard["underruns"] == "0"
    assert int(heard["blocks"]) >= 7, "3 s heard and some lead, in blocks of 0.5 s"
    assert 0.1 < float(heard["peak"]) <= 1, "what is heard is not silence"
    assert 100 < int(heard["leadMs"]) < 2600
    # that the times are told; how long they are is the machine's affair
    assert float(heard["rtf"]) > 0 and int(heard["firstSoundMs"]) > 0
    if os.environ.get("LMDM_SCREENSHOT"):
        page.wait_for_timeout(12_000)
        page.screenshot(path=os.environ["LMDM_SCREENSHOT"])

    page.click("button.lmdm-start")  # now says Stop
    stopped = wait_for(page, STRIP, lambda strip: strip["state"] == "idle")
    page.wait_for_timeout(700)
    assert numbers(page, STRIP)["playedSeconds"] == stopped["playedSeconds"]
    assert numbers(page, STRIP)["blocks"] == stopped["blocks"]

    page.click("button.lmdm-start")  # and again, from the beginning
    again = wait_for(
        page, STRIP, lambda strip: strip["state"] == "playing" and 0.5 < float(strip["playedSeconds"]) < 3
    )
    assert again["underruns"] == "0"


# A browser that finds no loudspeaker: its sound stays suspended, without an error, until
# `letItPlay` is called.
SILENT = """() => {
  const Real = window.AudioContext;
  let allowed = false;
  const waiting = [];
  window.AudioContext = class extends Real {
    constructor(options) { super(options); super.suspend(); }
    get state() { return allowed ? super.state : "suspended"; }
    resume() {
      return allowed ? super.resume() : new Promise((done) => waiting.push(() => super.resume().then(done)));
    }
  };
  window.letItPlay = () => { allowed = true; };
  document.addEventListener("pointerdown", () => { if (allowed) waiting.splice(0).forEach((go) => go()); });
}"""


def test_a_browser_that_stays_silent_is_explained_and_a_click_goes_on(page):
    page.evaluate(SILENT)
    page.click("button.lmdm-start")
    told = wait_for(page, STRIP, lambda strip: strip["asleep"] == "true")
    assert "does not play sound yet: click here" in told["note"]
    assert told["playedSeconds"] == "0.000" and page.text_content(".lmdm-note") == told["note"]
    page.evaluate("() => window.letItPlay()")
    page.click("canvas")
    wait_for(page, STRIP, lambda strip: float(strip["playedSeconds"]) > 0.5 and strip["asleep"] == "false")
