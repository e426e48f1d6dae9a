"""The complexity lab: sliders, the picture that follows them, and a button that measures where they stand.

Sliders and menus are ipywidgets; the picture is SVG from `lab_views.py`, made here and shown by a few lines
of JavaScript, so a move of a slider is answered in some milliseconds. A measurement runs in a thread: sliders
still move, but it is refused while a cell runs, whose work would be in the numbers.

Notebook: 08_complexity_lab.
"""

import threading
import uuid
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anywidget
import ipywidgets
import traitlets
from IPython import get_ipython

from lmdm_mini.complexity.compare import measure_block
from lmdm_mini.complexity.machines import MACHINES
from lmdm_mini.complexity.roofline import Machine, measure_machine
from lmdm_mini.discrete.lmm import LMM
from lmdm_mini.evaluation.lab import read_points
from lmdm_mini.live.threads import start_thread
from lmdm_mini.models import load, untrained_like
from lmdm_mini.transformer import WINDOW
from lmdm_mini.widgets import lab_settings
from lmdm_mini.widgets import lab_views as views
from lmdm_mini.widgets.arguments import instance_of
from lmdm_mini.widgets.browser import hear_pages, joined, styles
from lmdm_mini.widgets.lab_settings import SYSTEMS, Setting

COMM_TARGET = "lmdm_mini.lab"
VIEWS = {
    "cost": "Cost of a block",
    "against": "Context and block",
    "timeline": "Timeline",
    "quality": "Latency and quality",
    "agreement": "Measured",
}


class LabPicture(anywidget.AnyWidget):
    """The picture under the sliders; what the page says of it goes to `on_page(message)`."""

    _esm = joined("lab.js")
    _css = styles("lab.css")
    lab_id = traitlets.Unicode().tag(sync=True)
    svg = traitlets.Unicode().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)
    measuring = traitlets.Bool(False).tag(sync=True)

    _all = weakref.WeakValueDictionary()  # lab_id -> picture, for messages from the browser

    def __init__(self, on_page):
        super().__init__(lab_id=uuid.uuid4().hex)
        self.on_page = on_page
        LabPicture._all[self.lab_id] = self
        hear_pages(COMM_TARGET, LabPicture._all)
        self.on_msg(lambda _, content, buffers: self._heard(content))  # front ends that cannot open a comm

    def _heard(self, message, buffers=None):
        self.on_page(message)


class Busy:
    """Whether a cell is running, as IPython tells it."""

    def __init__(self):
        self.cells = 0  # begun so far
        self.running = False
        shell = get_ipython()
        if shell is not None:
            self.running = True  # the cell that makes the lab
            shell.events.register("pre_run_cell", self._begin)
            shell.events.register("post_run_cell", self._end)

    def _begin(self, *_):
        self.cells, self.running = self.cells + 1, True

    def _end(self, *_):
        self.running = False

    def close(self):
        shell = get_ipython()
        if shell is not None:
            shell.events.unregister("pre_run_cell", self._begin)
            shell.events.unregister("post_run_cell", self._end)


class ComplexityLab(ipywidgets.VBox):
    """Sliders for context, block, steps, codes, size, guidance and machine, over five views.

    machine: this machine, if it was measured before (:func:`lmdm_mini.complexity.roofline.measure_machine`);
    None: measured now, in some seconds. agreement: measured and predicted times that are shown in the last
    view from the start. points: of the view of latency and quality; None: those in data/results/lab.json.

    `.setting` is where the sliders stand, `.measured` what was measured so far: by :meth:`Setting.played_as`,
    seconds of every system by part. Raises ValueError for arguments of another kind.
    """

    def __init__(
        self, machine: Machine | None = None, agreement: Sequence[dict] = (), points: list[dict] | None = None
    ):
        machine = instance_of(machine, "machine", Machine, what="what measure_machine() returns")
        self.agreement = _rows(agreement, "agreement", ("system", "setting", "predicted", "measured"))
        points = read_points() if points is None else _rows(points, "points", ("key", "sound"))
        self.points = {p["key"]: p for p in points}
        self.machine = machine or measure_machine()
        self.measured, self._models = {}, {}
        self._busy = Busy()
        self.picture = LabPicture(self._on_page)
        start, wide = Setting(), ipywidgets.Layout(width="310px")

        def slider(name: str, value: int, low: int, high: int, step: int = 1):
            return ipywidgets.IntSlider(
                value, low, high, step, description=name, layout=wide, style={"description_width": "60px"}
            )

        def menu(name: str, options):
            return ipywidgets.Dropdown(
                options=list(options), description=name, layout=wide, style={"description_width": "60px"}
            )

        self.controls = {
            "context_latents": slider("context", start.context_latents, 12, 768, 12),
            "block_latents": slider("block", start.block_latents, 12, 96, 12),
            "steps": slider("steps K", start.steps, 1, 50),
            "n_q": slider("codes n_q", start.n_q, 1, 24),
            "size": menu("size", lab_settings.SIZES),
            "machine": menu("machine", [self.machine.name, *MACHINES]),
            "guided": ipywidgets.Checkbox(
                start.guided, description="guidance", indent=False, layout=ipywidgets.Layout(width="120px")
            ),
        }
        self.view = ipywidgets.ToggleButtons(
            options=[(name, key) for key, name in VIEWS.items()], style={"button_width": "auto"}
        )
        for control in (*self.controls.values(), self.view):
            control.observe(lambda _: self.draw(), "value")
        rows = [
            self.controls[name]
            for name in ("context_latents", "block_latents", "steps", "n_q", "size", "machine", "guided")
        ]
        super().__init__(
            [ipywidgets.HBox(rows, layout=ipywidgets.Layout(flex_flow="row wrap")), self.view, self.picture]
        )
        self.draw()

    @property
    def setting(self) -> Setting:
        values: dict[str, Any] = {name: control.value for name, control in self.controls.items()}
        return Setting(**values)

    def machine_of(self, setting: Setting) -> Machine:
        return self.machine if setting.machine == self.machine.name else MACHINES[setting.machine]

    def draw(self) -> None:
        """Makes the picture anew."""
        setting = self.setting
        machine, here = self.machine_of(setting), setting.machine == self.machine.name
        if self.view.value == "cost":
            svg = views.cost_view(
                setting, machine, self.measured.get(setting.played_as(), {}) if here else {}
            )
        elif self.view.value == "quality":
            svg = views.quality_view(list(self.points.values()))
        elif self.view.value == "agreement":
            svg = views.agreement_view(self.agreement)
        else:
            svg = {"against": views.against_view, "timeline": views.timeline_view}[self.view.value](
                setting, machine
            )
        self.picture.svg = svg
        if not self.picture.measuring:
            self.picture.note = self.why_not(setting)

    def why_not(self, setting: Setting) -> str:
        """Why this setting cannot be measured; "" if it can."""
        return lab_settings.why_not_measured(
            setting, self.machine.name, WINDOW, n_q=lab_settings.SIZES[lab_settings.OURS][1].n_q
        )

    # -- what the page asks for ------------------------------------------------------------------------

    def _on_page(self, message: dict) -> None:
        if message.get("kind") == "measure":
            self.measure()
        elif message.get("kind") == "sound" and message.get("key") in self.points:
            try:
                sound = self.points[message["key"]]["sound"].read_bytes()
            except OSError as error:
                self.picture.note = f"The sound is not there ({error})."
            else:
                self.picture.send({"kind": "sound", "key": message["key"]}, [sound])

    def measure(self) -> threading.Thread | None:
        """Times the present setting in all four systems, in a thread that is returned; None if it is refused,
        and the picture says why."""
        setting = self.setting
        if self.picture.measuring:
            return None
        why = self.why_not(setting) or (
            "A cell is running, and its work would be in the numbers: press again when it is done."
            if self._busy.running
            else ""
        )
        if why:
            self.picture.note = why
            return None
        self.picture.measuring = True
        return start_thread(
            self._measure, setting, self._busy.cells, name="ComplexityLab", report=self._not_measured
        )

    def _measure(self, setting: Setting, cells: int) -> None:
        try:
            found, rows = {}, []
            for system, (name, _) in SYSTEMS.items():
                self.picture.note = f"measuring {name} …"
                found[system] = measure_block(
                    self._model(system, setting.n_q),
                    setting.context_latents,
                    setting.block_latents,
                    steps=setting.steps,
                    guided=setting.guided,
                )
                predicted = sum(lab_settings.seconds_of(setting, system, self.machine).values())
                rows.append(
                    {
                        "system": system,
                        "setting": f"{setting.context_latents} + {setting.block_latents} frames",
                        "predicted": predicted,
                        "measured": sum(found[system].values()),
                        "here": True,
                    }
                )
            if cells != self._busy.cells:
                self.picture.note = "A cell ran meanwhile, so this measurement was thrown away: press again."
                return
            self.measured[setting.played_as()] = found
            self.agreement += rows
            self.draw()  # while `measuring` is set, which leaves the note alone
            self.picture.note = "measured / predicted: " + ", ".join(
                f"{SYSTEMS[row['system']][0]} {1000 * row['measured']:.0f} / {1000 * row['predicted']:.0f} ms"
                for row in rows
            )
        finally:
            self.picture.measuring = False

    def _not_measured(self, why: str) -> None:
        self.picture.note = f"This could not be measured: {why}."

    def _model(self, system: str, n_q: int):
        """The book's models; with fewer codes than the quantiser has, a discrete one that has learnt nothing,
        which takes as long."""
        key = (system, n_q if system == "lmm" else 0)
        if key not in self._models:
            model = load(system)
            if isinstance(model, LMM) and n_q != model.config.n_q:
                model.config = replace(model.config, n_q=n_q, context_n_q=min(n_q, model.config.context_n_q))
                model = untrained_like(model)
            self._models[key] = model
        return self._models[key]

    def close(self) -> None:
        if hasattr(self, "_busy"):  # the collector closes a lab that was refused, too
            self._busy.close()
            self.picture.close()
            super().close()


def _rows(rows, name: str, keys: tuple[str, ...]) -> list[dict]:
    """Rows of a table that have these keys. Raises ValueError."""
    if isinstance(rows, list | tuple) and all(isinstance(r, dict) and set(keys) <= set(r) for r in rows):
        return list(rows)
    raise ValueError(f"{name} must be a list of rows, dictionaries with at least: {', '.join(keys)}.")
