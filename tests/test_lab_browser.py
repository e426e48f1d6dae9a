"""The complexity lab in a real browser: sliders moved, figures changed, a measurement taken, a sound played,
and how fast it redraws."""

import os
import statistics

import pytest
from browser import jupyter_lab, numbers, open_notebook, wait_for, write_notebook

pytestmark = pytest.mark.browser
LAB = ".lmdm-lab"
PATIENCE = 60_000  # ms for what takes one: a time-out for a machine that is busy, not a claim
CELLS = [
    "from lmdm_mini.widgets.lab import ComplexityLab\nlab = ComplexityLab()\nlab",
    "import time\ntime.sleep(90 if globals().get('again') else 0)\nagain = True",
]  # the second one is busy when it is run again
# from the key that moves a slider to the next frame of the page that shows another picture
WATCH = """() => {
  window.redraws = [];
  let pressed = 0;
  document.addEventListener("keydown", () => { pressed = performance.now(); }, true);
  const picture = document.querySelector(".lmdm-lab-picture");
  new MutationObserver(() => requestAnimationFrame(() => {
    if (pressed) window.redraws.push(performance.now() - pressed);
    pressed = 0;
  })).observe(picture, { childList: true });
}"""


def view(page, name):
    before = numbers(page, LAB)["draws"]
    page.get_by_role("button", name=name, exact=True).click()
    wait_for(page, LAB, lambda lab: lab["draws"] != before)


def test_the_lab(tmp_path):
    write_notebook(tmp_path / "lab.ipynb", CELLS)
    with jupyter_lab(tmp_path) as server, open_notebook(server, "lab.ipynb", LAB + " svg") as page:
        page.wait_for_timeout(1000)
        page.evaluate(WATCH)
        handle = page.locator(".widget-slider .noUi-handle").nth(2)  # of the steps
        for i in range(50):
            before = page.inner_html(".lmdm-lab-picture")
            handle.press("ArrowRight" if i < 25 else "ArrowLeft")
            page.wait_for_function(
                "before => document.querySelector('.lmdm-lab-picture').innerHTML != before",
                arg=before,
                timeout=PATIENCE,
            )
        page.wait_for_function("() => window.redraws.length >= 50", timeout=PATIENCE)
        median = statistics.median(page.evaluate("() => window.redraws"))
        print(f"redrawn in {median:.0f} ms (median of 50 moves; below 100 on a quiet machine)")

        for name in ("Context and block", "Timeline", "Cost of a block"):
            view(page, name)
            before = page.inner_html(".lmdm-lab-picture")
            handle.press("ArrowRight")
            page.wait_for_function(
                "before => document.querySelector('.lmdm-lab-picture').innerHTML != before",
                arg=before,
                timeout=PATIENCE,
            )
            if os.environ.get("LMDM_SCREENSHOT"):
                page.locator(".jp-OutputArea").first.screenshot(
                    path=os.environ["LMDM_SCREENSHOT"].replace(".", f"-{name.split()[0]}.", 1)
                )

        page.click(".lmdm-lab-measure")
        page.wait_for_function(
            "() => document.querySelector('.lmdm-lab-note').textContent.startsWith('measured / predicted')",
            timeout=120_000,
        )
        assert page.text_content(".lmdm-lab-picture").count(", measured") == 4

        view(page, "Latency and quality")
        point = page.locator("[data-key^=block_causal]").first
        point.click()
        wait_for(page, LAB, lambda lab: float(lab.get("seconds", 0)) > 0.3)
        assert numbers(page, LAB)["playing"].startswith("block_causal")
        point.click()
        assert numbers(page, LAB)["playing"] == ""

        # while a cell runs it refuses to measure, at once
        view(page, "Cost of a block")
        page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
        page.keyboard.press("Control+Enter")
        page.wait_for_selector('.jp-Notebook-ExecutionIndicator[data-status="busy"]', timeout=PATIENCE)
        page.click(".lmdm-lab-measure")
        page.wait_for_function(
            "() => document.querySelector('.lmdm-lab-note').textContent.includes('A cell is running')",
            timeout=PATIENCE,
        )
        assert page.query_selector('.jp-Notebook-ExecutionIndicator[data-status="busy"]'), "while it runs"
