"""What the complexity lab shows: counts and predictions as pictures, a function for each view.

A :class:`Setting` is where the sliders stand. Every view is SVG text, the same for a web page and for the
widget (`lab.py`). Two kinds of numbers are told apart everywhere: what is *predicted* from counts and a
machine is filled, what was *measured* is hollow.

Notebook: 08_complexity_lab.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lmdm_mini.complexity.counts import Pass
from lmdm_mini.complexity.roofline import Machine
from lmdm_mini.widgets.chart import Chart, Scale, legend, picture
from lmdm_mini.widgets.lab_settings import (
    PARTS,
    SYSTEMS,
    WIDTH,
    Setting,
    first_frame_seconds,
    first_seconds,
    passes_of,
    seconds_of,
)
from lmdm_mini.widgets.listen import PALETTE


def crossings(xs: Sequence[float], one: list[float], other: list[float]) -> list[tuple[float, float]]:
    """Where two curves over the same places meet, straight between those: (x, y)."""
    found = []
    for i in range(len(xs) - 1):
        before, after = one[i] - other[i], one[i + 1] - other[i + 1]
        if before * after < 0:
            share = before / (before - after)
            found.append((xs[i] + share * (xs[i + 1] - xs[i]), one[i] + share * (one[i + 1] - one[i])))
    return found


# -- views -------------------------------------------------------------------------------------------


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds < 10 else f"{seconds:,.1f} s"


def cost_view(setting: Setting, machine: Machine, measured: dict[str, dict[str, float]]) -> str:
    """What a block costs in each system, by part, against how long it lasts. measured: seconds by part, of
    the systems that were measured at this setting."""
    costs = {system: seconds_of(setting, system, machine) for system in SYSTEMS}
    totals = [sum(c.values()) for c in costs.values()] + [sum(m.values()) for m in measured.values()]
    chart = Chart(
        Scale(0, 1.18 * max([*totals, 1e-6]) * 1000, 130, WIDTH - 20),
        Scale(-0.6, 3.6, 262, 34),
        f"One block of {setting.block_latents} frames ({setting.block_seconds:.2f} s of music) "
        f"on {machine.name}",
        "predicted time (ms)",
        yticks={3 - i: name for i, (name, _) in enumerate(SYSTEMS.values())},
    )
    for i, (system, parts) in enumerate(costs.items()):
        at, y, times = 0.0, 3 - i, {p.part: p.times for p in passes_of(setting, system)}
        for part, value in parts.items():
            chart.bar(
                1000 * at,
                1000 * (at + value),
                y,
                PARTS[part],
                24,
                f"{part}: {_ms(value)} in {times[part]} pass" + "es" * (times[part] > 1),
            )
            at += value
        label = f"{_ms(at)}, RTF {at / setting.block_seconds:.3f}"
        if system in measured:
            total = sum(measured[system].values())
            chart.point(1000 * total, y, "currentColor", hollow=True, title=f"measured: {_ms(total)}")
            label += f", measured {_ms(total)}"
        chart.words(
            1000 * max(at, sum(measured.get(system, {}).values())), y - 0.08, "\u2002" + label, anchor="start"
        )
    if 1000 * setting.block_seconds < chart.x.high:
        chart.rule(PALETTE["fake"], x=1000 * setting.block_seconds, text="real time")
    return picture(
        [chart],
        WIDTH,
        316,
        legend(PARTS, 130, 312, across=110),
        "Stacked bars: time for one block in the four systems",
    )


def against_view(setting: Setting, machine: Machine) -> str:
    """Real-time factor against context and against block, with the points where the live models meet the
    discrete one."""
    charts = []
    for number, (name, values, here) in enumerate(
        (
            ("context", [0, 24, 48, 96, 144, 192, 288, 384, 576, 768], setting.context_latents),
            ("block", [1, 2, 4, 8, 12, 24, 36, 48, 72, 96], setting.block_latents),
        )
    ):
        places = sorted({*values, here})
        curves = {}
        for system in SYSTEMS:
            changes: list[dict[str, Any]] = [{f"{name}_latents": v} for v in places]
            settings = [replace(setting, **change) for change in changes]
            curves[system] = [
                sum(seconds_of(s, system, machine).values()) / s.block_seconds for s in settings
            ]
        low, high = min(map(min, curves.values())), max(map(max, curves.values()))
        left = 62 + number * (WIDTH // 2)
        chart = Chart(
            Scale(
                max(1, places[0]) if name == "block" else 0, places[-1], left, left + 400, log=name == "block"
            ),
            Scale(0.8 * low, 1.3 * high, 280, 34, log=True),
            f"against {name}",
            f"{name} (latent frames)",
            "" if number else "RTF: seconds of computing a second of music",
        )
        for system, curve in curves.items():
            chart.line(list(zip(places, curve)), SYSTEMS[system][1])
        for system in ("enc_dec", "block_causal"):
            for x, y in crossings(places, curves[system], curves["lmm"]):
                chart.point(
                    x,
                    y,
                    PALETTE["fake"],
                    hollow=True,
                    title=f"{system} meets the discrete model at {x:.0f} frames",
                )
                chart.words(x, y * 0.86, f"{x:.0f}", PALETTE["fake"])
        chart.rule(x=here, dash="2 4", text="here")
        if low < 1 < high:
            chart.rule(PALETTE["fake"], y=1, text="real time")
        charts.append(chart)
    names = legend(dict(SYSTEMS.values()), 62, 336, across=130)
    return picture(
        charts, WIDTH, 344, names, "Two line charts: real-time factor against context and against block"
    )


def _timeline(chart: Chart, y: float, passes: list[Pass], *, parts: dict[str, float]) -> None:
    """Every pass of a block as a bar of its own; what takes turns (temporal, depth) is drawn in turns."""
    times, at = {p.part: p.times for p in passes}, 0.0
    for part in ("text", "context"):
        if part in parts:
            chart.bar(1000 * at, 1000 * (at + parts[part]), y, PARTS[part], 20, f"{part}: {_ms(parts[part])}")
            at += parts[part]
    turns = times["temporal"] if "temporal" in parts else times["denoising"]
    for _ in range(turns):
        for part in ("denoising", "temporal", "depth"):
            if part in parts:
                each = parts[part] / turns
                # a tenth of each is left free, so that one can count
                chart.bar(
                    1000 * at,
                    1000 * (at + (0.9 if part != "temporal" else 1) * each),
                    y,
                    PARTS[part],
                    20,
                    f"{part}: {1000 * each:.2f} ms, {turns} times",
                )
                at += each
    chart.bar(1000 * at, 1000 * (at + parts["codec"]), y, PARTS["codec"], 20, f"codec: {_ms(parts['codec'])}")


def timeline_view(setting: Setting, machine: Machine) -> str:
    """What runs when, to scale: until the first sound, and for one block in steady state."""
    charts = []
    lasts = f"one block, once the context is full; it lasts {1000 * setting.block_seconds:,.0f} ms"
    for number, (title, seconds) in enumerate(
        (("until the first sound, from nothing", first_seconds), (lasts, seconds_of))
    ):
        parts = {system: seconds(setting, system, machine) for system in SYSTEMS}
        high = 1080 * max(sum(p.values()) for p in parts.values())
        left = 104 + number * 456
        chart = Chart(
            Scale(0, high, left, left + 380),
            Scale(-0.6, 3.6, 220, 34),
            title,
            "predicted time (ms)",
            yticks={3 - i: name if not number else "" for i, (name, _) in enumerate(SYSTEMS.values())},
        )
        for i, system in enumerate(SYSTEMS):
            passes = passes_of(setting if number else replace(setting, context_latents=0), system)
            _timeline(chart, 3 - i, list(passes), parts=parts[system])
        if number == 0:
            first = 1000 * first_frame_seconds(setting, machine)
            chart.point(
                first,
                0.42,
                "currentColor",
                hollow=True,
                radius=4,
                title=f"its first frame could be heard after {first:.0f} ms",
            )
            chart.words(first, 0.36, "\u2002\u2002first frame", anchor="start", size=10)
        elif 1000 * setting.block_seconds < high:
            chart.rule(PALETTE["fake"], x=1000 * setting.block_seconds, text="too late")
        charts.append(chart)
    return picture(
        charts,
        WIDTH,
        282,
        legend(PARTS, 104, 276, across=110),
        "Timelines of the four systems, every pass a bar",
    )


def agreement_view(rows: list[dict]) -> str:
    """Measured against predicted seconds: rows have "system", "setting" (in words), "measured", "predicted"
    and, if it is the reader's own, "here"."""
    values = [1000 * row[key] for row in rows for key in ("measured", "predicted")] or [1, 1000]
    low, high = 0.7 * min(values), 1.4 * max(values)
    chart = Chart(
        Scale(low, high, 70, 520, log=True),
        Scale(low, high, 330, 34, log=True),
        "a block, measured against predicted",
        "predicted (ms)",
        "measured (ms)",
    )
    for factor, dash in ((1, ""), (1 / 1.3, "3 4"), (1 / 0.7, "3 4")):
        ends = [
            (max(low, low / factor), max(low, low * factor)),
            (min(high, high / factor), min(high, high * factor)),
        ]
        chart.line(ends, PALETTE["noise"], 1, dash)
    for row in rows:
        name, color = SYSTEMS[row["system"]]
        title = (
            f"{name}, {row['setting']}: measured {_ms(row['measured'])}, predicted {_ms(row['predicted'])}"
        )
        chart.point(
            1000 * row["predicted"],
            1000 * row["measured"],
            color,
            title=title,
            hollow=row.get("here", False),
            radius=5,
        )
    notes = legend(dict(SYSTEMS.values()), 560, 60)
    notes += (
        '<text x="560" y="150" font-size="11" fill="currentColor">on the line: as predicted</text>'
        '<text x="560" y="167" font-size="11" fill="currentColor">'
        "dashed: predicted 30 % too much or too little</text>"
        '<text x="560" y="184" font-size="11" fill="currentColor">'
        "rings: measured by you, with the button</text>"
    )
    return picture([chart], WIDTH, 372, notes, "Scatter: measured against predicted time a block")


def quality_view(points: list[dict]) -> str:
    """How long until the first sound against how near to real music: measured points, each with a sound.
    points: "key", "system", "label", "ttff" (s), "fd_clap"; "floor" of the first is what real music gets."""
    firsts, distances = [1000 * p["ttff"] for p in points], [p["fd_clap"] for p in points]
    chart = Chart(
        Scale(0.7 * min(firsts), 1.6 * max(firsts), 70, 640, log=True),
        Scale(0, 1.12 * max(distances), 330, 34),
        "click a point to hear it",
        "time to the first sound (ms), measured",
        "distance to real music (FD CLAP)",
    )
    chart.rule(PALETTE["real"], y=points[0]["floor"], text="real music")
    labels: list[tuple[float, float]] = []  # where they are: of neighbours, the next goes above
    for p in sorted(points, key=lambda p: p["fd_clap"]):
        x, y = 1000 * p["ttff"], p["fd_clap"]
        labels.append(
            (x, max([y, *(b + 0.035 * chart.y.high for a, b in labels if abs(math.log(x / a)) < 0.5)]))
        )
        chart.words(
            x, labels[-1][1] - 0.012 * chart.y.high, "\u2002\u2002" + p["label"], anchor="start", size=10
        )
        chart.point(
            x,
            y,
            SYSTEMS[p["system"]][1],
            key=p["key"],
            title=f"{SYSTEMS[p['system']][0]}, {p['label']}: play",
        )
    notes = legend(dict(SYSTEMS.values()), 700, 60)
    notes += '<text x="700" y="150" font-size="11" fill="currentColor">lower left is better</text>'
    return picture([chart], WIDTH, 372, notes, "Scatter: latency against quality, every point with a sound")
