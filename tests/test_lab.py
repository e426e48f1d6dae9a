"""The complexity lab: its charts, its views, what can be measured, and what is refused."""

import re
import threading
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from lmdm_mini.complexity.machines import MACHINES
from lmdm_mini.complexity.roofline import Machine, saturating
from lmdm_mini.evaluation.lab import read_points
from lmdm_mini.transformer import WINDOW
from lmdm_mini.widgets import lab as labs
from lmdm_mini.widgets import lab_settings
from lmdm_mini.widgets import lab_views as views
from lmdm_mini.widgets.chart import Chart, Scale, picture
from lmdm_mini.widgets.lab_settings import OURS, SYSTEMS, Setting

FAST = Machine("this machine", saturating(4e11, 8), saturating(1e11, 8), 2e10, 2e10, 5e-6)


@pytest.fixture
def lab():
    made = labs.ComplexityLab(machine=FAST, points=[])
    yield made
    made.close()


def circles(svg):
    return re.findall(r"<circle[^>]*>", svg)


def test_scales_put_numbers_where_they_belong():
    line, log = Scale(0, 10, 100, 200), Scale(1, 100, 100, 200, log=True)
    assert (line(0), line(5), line(10), line(12), line(-1)) == (100, 150, 200, 200, 100)
    assert log(10) == pytest.approx(150) and log.ticks()[0] == 1 and log.ticks()[-1] == 100
    assert line.ticks() == [0, 2, 4, 6, 8, 10] and Scale(200, 0.1 + 200, 0, 1).ticks()
    assert Scale(0, 10, 200, 100)(10) == 100  # upwards in a picture
    for wrong in ({"low": 1, "high": 1}, {"low": 0, "high": 1, "log": True}):
        with pytest.raises(ValueError, match="no room"):
            Scale(**{"start": 0, "stop": 1} | wrong)


def test_words_in_a_picture_cannot_break_it():
    chart = Chart(Scale(0, 1, 0, 10), Scale(0, 1, 10, 0), "a < b & c")
    chart.point(0.5, 0.5, "red", key='"x"', title="<b>")
    root = ET.fromstring(picture([chart], 10, 10, about="a & b"))
    assert root.attrib["aria-label"] == "a & b"
    assert [c.attrib["data-key"] for c in root.iter() if "data-key" in c.attrib] == ['"x"']


def test_what_no_model_can_play_is_refused():
    for wrong in ({"steps": 0}, {"n_q": 0}, {"block_latents": 0}, {"context_latents": -1}, {"size": "huge"}):
        with pytest.raises(ValueError):
            Setting(**wrong)


@pytest.mark.parametrize("machine", [FAST, *MACHINES.values()], ids=lambda m: m.name)
@pytest.mark.parametrize("size", lab_settings.SIZES)
def test_every_view_is_a_picture_for_every_machine_and_size(machine, size):
    for setting in (
        Setting(size=size),
        Setting(768, 96, 50, 24, False, size),
        Setting(12, 12, 1, 1, True, size),
    ):
        for svg in (
            views.cost_view(setting, machine, {}),
            views.against_view(setting, machine),
            views.timeline_view(setting, machine),
        ):
            ET.fromstring(svg)
            assert "nan" not in svg and "inf" not in svg
        costs = {
            system: sum(lab_settings.seconds_of(setting, system, machine).values()) for system in SYSTEMS
        }
        assert all(0 < cost < 1e5 for cost in costs.values())
        assert costs["block_causal"] <= costs["enc_dec"] * (
            1 if setting.context_latents > setting.block_latents else 2
        )


def test_a_setting_changes_what_it_should():
    def cost(system, **changes):
        return sum(lab_settings.seconds_of(replace(Setting(), **changes), system, FAST).values())

    for system in ("bidirectional", "enc_dec", "block_causal"):
        assert cost(system, steps=16) > 1.5 * cost(system) and cost(system, n_q=4) == cost(system)
        assert cost(system, guided=False) < cost(system)
    assert cost("lmm", steps=16) == cost("lmm") and cost("lmm", n_q=4) < 0.7 * cost("lmm")
    assert (
        cost("bidirectional", context_latents=384)
        > cost("enc_dec", context_latents=384)
        > cost("block_causal", context_latents=384)
    )


def test_the_first_frame_is_there_before_the_first_block():
    frame, block = (
        lab_settings.first_frame_seconds(Setting(), FAST),
        sum(lab_settings.first_seconds(Setting(), "lmm", FAST).values()),
    )
    assert 0 < frame < block / 10


def test_crossings_are_where_curves_meet():
    assert views.crossings([0, 10, 20], [0, 10, 20], [5, 5, 5]) == [(5.0, 5.0)]
    assert views.crossings([0, 10], [0, 1], [2, 3]) == []


def test_measured_points_are_rings():
    told = {"system": "lmm", "setting": "192 + 48", "measured": 0.4, "predicted": 0.38}
    drawn = circles(views.agreement_view([told, told | {"here": True}]))
    assert [('fill="none"' in circle) for circle in drawn] == [False, True]
    assert "measured 123 ms" in views.cost_view(Setting(), FAST, {"lmm": {"depth": 0.123}})


def test_points_have_their_sounds():
    points = read_points()
    assert {p["system"] for p in points} == set(SYSTEMS) and all(p["floor"] < p["fd_clap"] for p in points)
    svg = views.quality_view(points)
    assert len(re.findall("data-key", svg)) == len(points)


def test_missing_points_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="evaluate lab"):
        read_points(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="lacks"):
        read_points(sounds=tmp_path)


# -- the widget ------------------------------------------------------------------------------------


def test_sliders_redraw(lab):
    seen = {lab.picture.svg}
    for name, value in (
        ("context_latents", 96),
        ("block_latents", 24),
        ("steps", 2),
        ("guided", False),
        ("machine", next(iter(MACHINES))),
    ):
        lab.controls[name].value = value
        assert lab.picture.svg not in seen, name
        seen.add(lab.picture.svg)
    assert lab.setting == Setting(96, 24, 2, 12, False, OURS, next(iter(MACHINES)))
    for view in labs.VIEWS:
        if view != "quality":  # it has no points here
            lab.view.value = view
            ET.fromstring(lab.picture.svg)


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("block_latents", 36, "not of 36"),
        ("context_latents", WINDOW + 12, "not 204"),
        ("n_q", 13, "not 13"),
        ("machine", next(iter(MACHINES)), "this machine"),
        ("size", list(lab_settings.SIZES)[1], OURS),
    ],
)
def test_what_cannot_be_measured_is_explained(lab, name, value, says):
    lab.controls[name].value = value
    assert says in lab.picture.note and lab.measure() is None and not lab.picture.measuring


def test_a_measurement_appears_next_to_its_prediction(lab, monkeypatch):
    monkeypatch.setattr(
        labs, "measure_block", lambda model, *args, **more: {"denoising": 0.25, "codec": 0.05}
    )
    monkeypatch.setattr(labs, "load", lambda name: name)
    monkeypatch.setattr(lab, "_model", lambda system, n_q: system)
    lab._on_page({"kind": "measure"})
    [t.join(20) for t in threading.enumerate() if t.name == "ComplexityLab"]
    assert "outpainting 300 /" in lab.picture.note and not lab.picture.measuring
    assert "measured 300 ms" in lab.picture.svg and len(lab.agreement) == 4
    lab.controls["steps"].value = 9
    assert "measured 300 ms" not in lab.picture.svg  # it was of another setting


def test_measuring_while_a_cell_runs_is_refused(lab, monkeypatch):
    monkeypatch.setattr(labs, "measure_block", lambda *args, **more: {"denoising": 1.0})
    monkeypatch.setattr(lab, "_model", lambda system, n_q: system)
    lab._busy._begin()
    assert lab.measure() is None and "A cell is running" in lab.picture.note
    lab._busy._end()
    monkeypatch.setattr(labs, "measure_block", lambda *args, **more: lab._busy._begin() or {"denoising": 1.0})
    lab.measure().join(20)
    assert "thrown away" in lab.picture.note and not lab.measured and not lab.picture.measuring


def test_a_measurement_that_fails_says_why(lab, monkeypatch):
    def fail(*args, **more):
        raise RuntimeError("no memory")

    monkeypatch.setattr(labs, "measure_block", fail)
    monkeypatch.setattr(lab, "_model", lambda system, n_q: system)
    lab.measure().join(20)
    assert "no memory" in lab.picture.note and not lab.picture.measuring


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"machine": "laptop"}, "machine is of type str"),
        ({"machine": FAST, "agreement": "none"}, "agreement must be a list of rows"),
        ({"machine": FAST, "agreement": [{"system": "lmm"}]}, "agreement must be a list of rows"),
        ({"machine": FAST, "points": 3}, "points must be a list of rows"),
    ],
)
def test_wrong_types_get_a_sentence(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        labs.ComplexityLab(**arguments)
