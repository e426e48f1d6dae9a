"""A JupyterLab of its own and a headless Chromium in front of it, for tests of the widgets."""

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import soundfile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--mute-audio",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--no-first-run",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
]
JAM = ".lmdm-jam"  # the element of a JamSession
CLIPS = Path(__file__).parent.parent / "data" / "clips"
BUSY = """
import time, torch
import matplotlib.pyplot as plt
end = time.monotonic() + {seconds}
while time.monotonic() < end:
    for _ in range(3):
        sum(i * i for i in range(200_000))          # a Python loop
        x = torch.randn(400, 400); x = x @ x        # work for torch
    time.sleep(0.2)
    fig, ax = plt.subplots(); ax.plot(x[0].numpy()); fig.canvas.draw(); plt.close(fig)
print("done")
"""


@contextlib.contextmanager
def jupyter_lab(folder, app=("jupyter", "lab"), environment=None, theme="JupyterLab Light"):
    """A server in `folder`; yields its address. app: the module that is run, with its first arguments;
    environment: for it alone."""
    assert CHROMIUM, "no Chromium is installed: apt-get install chromium"
    settings = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    settings |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "IPYTHONDIR": str(folder / "ipython")}
    settings |= {"JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"), "OMP_NUM_THREADS": "1"}
    chosen = folder / "settings" / "@jupyterlab" / "apputils-extension"
    chosen.mkdir(parents=True)
    (chosen / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )  # or a question covers the notebook
    (chosen / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                *app,
                "--no-browser",
                "--ip=127.0.0.1",
                "--ServerApp.port_retries=200",  # it chooses a port that is free, and says which
                "--IdentityProvider.token=",
                f"--ServerApp.root_dir={folder}",
                "--allow-root",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            env=os.environ | settings | (environment or {}),
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    port = None
    try:
        port = _wait_until_up(server, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        for kernel in (port and _request(port, "GET", "/api/kernels")) or []:
            _request(port, "DELETE", f"/api/kernels/{kernel['id']}")
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _request(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        body = connection.getresponse().read()
    return json.loads(body) if body else None


def _wait_until_up(server, folder, seconds=240):
    """The port of the server, once it answers."""
    end, log = time.monotonic() + seconds, folder / "server.log"
    while time.monotonic() < end:
        assert server.poll() is None, f"JupyterLab ended:\n{log.read_text()}"
        for page in (folder / "jupyter_runtime_dir").glob("jpserver-*.json"):
            with contextlib.suppress(OSError, json.JSONDecodeError, KeyError):
                port = json.loads(page.read_text())["port"]
                _request(port, "GET", "/api/status")
                return port
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()}")


def write_notebook(path, cells):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, path)


@contextlib.contextmanager
def open_notebook(lab, name, waits_for, flags=(), view="lab/tree", **page_options):
    """A page with the notebook, all of whose cells were started; `waits_for` is there. view: the part of the
    address before the name."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        page = browser.new_page(**{"viewport": {"width": 1150, "height": 1000}, **page_options})
        page.goto(f"{lab}/{view}/{name}" + ("?reset" if view == "lab/tree" else ""), timeout=120_000)
        if view != "voila/render":  # Voila runs them itself
            run_all(page, waits_for)
        page.wait_for_selector(waits_for, timeout=120_000)
        yield page
        browser.close()


def run_all(page, waits_for):
    """Run → Run All Cells, until `waits_for` is there."""
    from playwright.sync_api import Error as PlaywrightError

    page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=120_000)
    for _ in range(
        10
        # a click that comes before the kernel is ready does nothing, silently, or what it has started is
        # forgotten
    ):
        try:
            for accept in page.query_selector_all(".jp-Dialog .jp-mod-accept"):
                accept.click(
                    timeout=3000
                )  # on a slow start JupyterLab asks which kernel, and lies over its own menu
            page.get_by_role("menuitem", name="Run", exact=True).click(timeout=3000)
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click(timeout=3000)
            page.wait_for_selector(waits_for, timeout=30_000)
            return
        except PlaywrightError:
            continue
    raise AssertionError(f"the cells did not run: {waits_for} is not there")


def numbers(page, selector):
    """What a widget writes into its own element: counters as text."""
    return page.eval_on_selector(selector, "strip => ({...strip.dataset})")


def wait_for(page, selector, condition, seconds=60):
    """Poll the counters; `time.sleep` would stop Playwright's own loop."""
    for _ in range(int(seconds * 20)):
        if condition(numbers(page, selector)):
            return numbers(page, selector)
        page.wait_for_timeout(50)
    raise AssertionError(f"waited {seconds} s in vain; the widget says {numbers(page, selector)}")


def microphone(folder, clip="funk-1.flac"):
    """Flags for a fake microphone that plays a clip, and is allowed."""
    sound, rate = soundfile.read(CLIPS / clip)
    soundfile.write(folder / "microphone.wav", sound, rate, "PCM_16")
    return [
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'microphone.wav'}",
    ]
