"""JamSession in a real browser: JupyterLab, headless Chromium with a microphone that plays a recording, cells
that run meanwhile."""

import os
import time
from pathlib import Path

import psutil
import pytest
from browser import (
    BUSY,
    CLIPS,
    JAM,
    jupyter_lab,
    microphone,
    numbers,
    open_notebook,
    run_all,
    wait_for,
    write_notebook,
)

pytestmark = pytest.mark.browser
FUNK_BPM = 112  # of the clip that the microphone hears


def engines():
    """Processes of sessions that are alive."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "multiprocessing.spawn" in line and "spawn_main" in line:
            found.append(process)
    return found


def jam_for(page, seconds):
    """Plays for so long, moving the puck every ten seconds; returns the counters two seconds after the start,
    and at the end."""
    page.click("button.lmdm-start")
    begun = wait_for(page, JAM, lambda jam: float(jam["playedSeconds"]) > 2, 30)
    page.focus(".lmdm-puck")
    end, i = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for _ in range(5):
            page.keyboard.press(("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown")[i % 4])
        i += 1
        page.wait_for_timeout(min(10.0, seconds) * 1000)
    return begun, numbers(page, JAM)


def check_jam(played, seconds):
    """What holds on a busy machine too: it went on playing, and heard all that was played."""
    print(
        {
            key: played[key]
            for key in ("playedSeconds", "underruns", "answerMs", "leadMs", "firstSoundMs", "rtf")
        }
    )
    # half of it: somebody else may hold the processors for a while. `check_times` is strict
    assert float(played["playedSeconds"]) > 0.5 * seconds
    assert int(played["firstSoundMs"]) > 0 and int(played["answerMs"]) > 300
    assert int(played["heard"]) / 44100 > float(played["playedSeconds"]) - 2
    assert 0.05 < float(played["peak"]) <= 1


def check_times(begun, played, seconds):
    """What holds on two quiet cores: a benchmark asks for it."""
    assert float(played["playedSeconds"]) > 0.95 * seconds
    assert played["underruns"] == begun["underruns"], "it ran out of sound"
    assert int(played["firstSoundMs"]) < 3000 and int(played["answerMs"]) < 1800


def test_a_jam_while_cells_run(tmp_path):
    seconds = 70
    write_notebook(
        tmp_path / "jam.ipynb",
        [
            "from lmdm_mini.live import JamSession\njam = JamSession(seed=1)\njam",
            BUSY.format(seconds=seconds),
        ],
    )
    with (
        jupyter_lab(tmp_path) as lab,
        open_notebook(lab, "jam.ipynb", JAM, microphone(tmp_path), accept_downloads=True) as page,
    ):
        wait_for(page, JAM, lambda jam: jam["engine"] == "ready", 90)
        assert len(engines()) == 1
        page.click(".lmdm-mic")
        wait_for(page, JAM, lambda jam: jam["mic"] == "on" and float(jam["micDb"]) > -40, 20)
        _, played = jam_for(page, 40)
        check_jam(played, 40)
        follows = wait_for(page, JAM, lambda jam: jam["follows"] == "true", 60)
        assert abs(float(follows["bpm"]) / FUNK_BPM - 1) < 0.05
        if os.environ.get("LMDM_SCREENSHOT"):
            page.wait_for_timeout(3000)
            page.locator(JAM).screenshot(path=os.environ["LMDM_SCREENSHOT"])

        # a page whose sound was put to sleep says so, and a click wakes it
        page.eval_on_selector(JAM, "root => root.jam.context().suspend()")
        wait_for(page, JAM, lambda jam: "sleep" in jam["note"])
        page.click("canvas")
        heard = float(numbers(page, JAM)["playedSeconds"])
        wait_for(page, JAM, lambda jam: float(jam["playedSeconds"]) > heard + 1)

        page.click(".lmdm-freeze")
        page.wait_for_timeout(1500)
        page.click(".lmdm-freeze")
        page.click(".lmdm-forget")
        page.click(".lmdm-panic")
        wait_for(page, JAM, lambda jam: 0.5 < float(jam["playedSeconds"]) < 20)
        page.click("button.lmdm-start")
        stopped = wait_for(page, JAM, lambda jam: jam["state"] == "idle")
        page.wait_for_timeout(600)
        assert numbers(page, JAM)["playedSeconds"] == stopped["playedSeconds"]

        page.click(".lmdm-save")
        names = wait_for(page, JAM, lambda jam: jam["saved"])["saved"].split()
        assert [Path(name).suffix for name in names] == [".wav", ".mp3", ".json"] and all(
            (tmp_path / name).exists() for name in names
        )
        with page.expect_download() as download:
            page.get_by_role("button", name=names[1]).click()
        download.value.save_as(tmp_path / "shared.mp3")
        assert (tmp_path / "shared.mp3").read_bytes() == (tmp_path / names[1]).read_bytes()


@pytest.mark.slow
def test_a_page_that_is_loaded_again_and_cells_that_are_run_again(tmp_path):
    write_notebook(
        tmp_path / "jam.ipynb",
        ["from lmdm_mini.live import JamSession\njam = JamSession(seed=1, steps=4)\njam"],
    )
    with jupyter_lab(tmp_path) as lab, open_notebook(lab, "jam.ipynb", JAM, microphone(tmp_path)) as page:
        wait_for(page, JAM, lambda jam: jam["engine"] == "ready", 90)
        # the page is loaded again: the widget is there, and plays
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        page.reload()
        page.wait_for_selector(JAM, timeout=60_000)
        page.click("button.lmdm-start")
        wait_for(page, JAM, lambda jam: float(jam["playedSeconds"]) > 1.5, 30)

        # the cells are run again: one session, and it plays
        before = engines()[0].pid
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Interrupt Kernel").click()
        wait_for(page, JAM, lambda jam: jam["state"] == "idle")
        run_all(page, JAM)
        for _ in range(100):
            if [engine.pid for engine in engines()] not in ([], [before]):
                break
            page.wait_for_timeout(100)
        wait_for(page, JAM, lambda jam: jam["engine"] == "ready" and float(jam["playedSeconds"]) == 0, 90)
        assert len(engines()) == 1 and engines()[0].pid != before


def test_without_a_microphone_and_with_a_loop_back(tmp_path):
    clip = f"sound={str(CLIPS / 'house-1.flac')!r}"
    write_notebook(
        tmp_path / "jam.ipynb",
        [f"from lmdm_mini.live import JamSession\njam = JamSession({clip}, steps=4)\njam"],
    )
    dark = jupyter_lab(tmp_path, theme="JupyterLab Dark")
    with (
        dark as lab,
        open_notebook(lab, "jam.ipynb", JAM, ["--deny-permission-prompts"], color_scheme="dark") as page,
    ):
        ink, paper = page.eval_on_selector(
            JAM,
            """root => {
            const style = getComputedStyle(root);
            const brightest = (color) => Math.max(...color.match(/\\d+/g).slice(0, 3).map(Number));
            return [style.color, style.backgroundColor].map(brightest);
        }""",
        )
        assert ink > 180 and paper < 60, "light on dark"
        page.click(".lmdm-mic")
        wait_for(page, JAM, lambda jam: jam["mic"] == "failed", 30)
        assert "not allowed" in page.text_content(".lmdm-mic-error")
        wait_for(page, JAM, lambda jam: jam["engine"] == "ready", 90)

        page.click(".lmdm-file")  # the recording that Python was given
        wait_for(page, JAM, lambda jam: jam["file"] and float(jam["micDb"]) > -40)
        page.click("button.lmdm-start")
        wait_for(page, JAM, lambda jam: int(jam["heard"]) > 2 * 44100, 30)
        page.click(".lmdm-file")
        wait_for(page, JAM, lambda jam: float(jam["micDb"]) < -60)
        cells = len(page.query_selector_all(".jp-Cell"))
        page.click(".lmdm-keys")
        page.keyboard.down("a")
        page.keyboard.down("d")
        wait_for(page, JAM, lambda jam: float(jam["micDb"]) > -40)
        page.keyboard.up("a")
        page.keyboard.up("d")
        wait_for(page, JAM, lambda jam: float(jam["micDb"]) < -50)
        assert len(page.query_selector_all(".jp-Cell")) == cells, (
            "keys are notes here, not commands to the notebook"
        )
        if os.environ.get("LMDM_SCREENSHOT_DARK"):
            page.locator(JAM).screenshot(path=os.environ["LMDM_SCREENSHOT_DARK"])
        page.click("button.lmdm-start")
        wait_for(page, JAM, lambda jam: jam["state"] == "idle")

        # a microphone that hears the speaker 80 ms later: the chirp finds that out
        page.eval_on_selector(
            JAM,
            """root => {
            const context = root.jam.context(), ear = new MediaStreamAudioDestinationNode(context);
            const air = new DelayNode(context, { maxDelayTime: 1, delayTime: 0.08 });
            air.connect(ear);
            root.jam.loopback = air;
            navigator.mediaDevices.getUserMedia = async () => ear.stream;
        }""",
        )
        page.click(".lmdm-mic")
        wait_for(page, JAM, lambda jam: jam["mic"] == "on")
        page.click(".lmdm-delay")
        measured = wait_for(page, JAM, lambda jam: jam["measured"] == "true", 20)
        assert 80 <= float(measured["roundTripMs"]) < 250


@pytest.mark.slow
def test_ten_minutes(tmp_path):
    """A benchmark, for a machine that does nothing else: the times that the book promises."""
    write_notebook(
        tmp_path / "jam.ipynb",
        ["from lmdm_mini.live import JamSession\njam = JamSession(seed=1)\njam", BUSY.format(seconds=640)],
    )
    with jupyter_lab(tmp_path) as lab, open_notebook(lab, "jam.ipynb", JAM, microphone(tmp_path)) as page:
        wait_for(page, JAM, lambda jam: jam["engine"] == "ready", 90)
        page.click(".lmdm-mic")
        wait_for(page, JAM, lambda jam: jam["mic"] == "on", 20)
        begun, first = jam_for(page, 60)
        memory = engines()[0].memory_info().rss
        page.wait_for_timeout(530_000)
        last = numbers(page, JAM)
        check_jam(last, 600)
        check_times(begun, last, 600)
        assert engines()[0].memory_info().rss < memory * 1.05 + 2e7
        assert abs(int(last["answerMs"]) - int(first["answerMs"])) < 300, "the latency is constant"
