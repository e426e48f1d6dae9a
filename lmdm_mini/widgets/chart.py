"""Charts as SVG text: for pictures that follow a slider, where a full plotting library takes longer than a
hand does.

A chart is an area with two axes, and lines, bars, points and words in it. Text and axes have the colour of
the page (dark or light). The same text is a figure on a web page and what the widget of 08_complexity_lab
shows.

Notebook: 08_complexity_lab.
"""

import math
from dataclasses import dataclass, field
from html import escape

FONT = 'font-family="system-ui, sans-serif"'


@dataclass
class Scale:
    """Numbers from `low` to `high` as places from `start` to `stop` in a picture; what lies outside is put at
    the edge."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __post_init__(self):
        if not self.high > self.low or (self.log and self.low <= 0):
            raise ValueError(
                f"a scale from {self.low} to {self.high}{' (logarithmic)' if self.log else ''} has no room."
            )

    def __call__(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.start + (self.stop - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round numbers, about four to seven of them."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            wanted = (1,) if len(decades) > 5 else (1, 3) if len(decades) > 3 else (1, 2, 5)
            found = [m * 10.0**d for d in decades for m in wanted]
        else:
            raw = (self.high - self.low) / 5
            unit = 10 ** math.floor(math.log10(raw))
            step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= raw)
            found = [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [tick for tick in found if self.low <= tick <= self.high]


def _number(value: float) -> str:
    """A tick's label: 0.25, 40, 1,500."""
    return f"{value:,.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.3g}"


@dataclass
class Chart:
    """An area of `x` and `y` with its axes; what is drawn later lies on top."""

    x: Scale
    y: Scale
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    xticks: dict[float, str] | None = None  # None: round numbers; {}: none
    yticks: dict[float, str] | None = None
    parts: list[str] = field(default_factory=list)

    def __post_init__(self):
        left, right, top, bottom = self.x.start, self.x.stop, self.y.stop, self.y.start
        self.words(left, top - 8, self.title, anchor="start", size=13, bold=True, pixels=True)
        self.words((left + right) / 2, bottom + 32, self.xlabel, pixels=True)
        if self.ylabel:
            self.parts.append(
                f'<text transform="translate({left - 42:.1f} {(top + bottom) / 2:.1f}) rotate(-90)" '
                f'text-anchor="middle" '
                f'font-size="11" fill="currentColor">{escape(self.ylabel)}</text>'
            )
        for value, label in (
            self.xticks if self.xticks is not None else {v: _number(v) for v in self.x.ticks()}
        ).items():
            at = self.x(value)
            self._stroke(at, bottom, at, y2=top, color="currentColor", width=0.5, opacity=0.12)
            self.words(at, bottom + 15, label, pixels=True)
        for value, label in (
            self.yticks if self.yticks is not None else {v: _number(v) for v in self.y.ticks()}
        ).items():
            at = self.y(value)
            if self.yticks is None:
                self._stroke(left, at, right, y2=at, color="currentColor", width=0.5, opacity=0.12)
            self.words(left - 6, at + 4, label, anchor="end", pixels=True)
        self._stroke(left, bottom, right, y2=bottom, color="currentColor", width=1, opacity=0.5)
        self._stroke(left, bottom, left, y2=top, color="currentColor", width=1, opacity=0.5)

    def _stroke(self, x1, y1, x2, *, y2, color, width, opacity=1.0, dash="") -> None:
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{color}" stroke-width="{width}" '
            f'opacity="{opacity}"' + (f' stroke-dasharray="{dash}"' if dash else "") + "/>"
        )

    def words(
        self,
        x: float,
        y: float,
        text: str,
        color: str = "currentColor",
        anchor: str = "middle",
        size: int = 11,
        bold: bool = False,
        pixels: bool = False,
    ) -> None:
        """Text at a place of the scales, or of the picture with `pixels`."""
        if text:
            x, y = (x, y) if pixels else (self.x(x), self.y(y))
            self.parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}"'
                + (' font-weight="600"' if bold else "")
                + f">{escape(text)}</text>"
            )

    def line(self, points: list[tuple[float, float]], color: str, width: float = 2, dash: str = "") -> None:
        places = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="{width}"'
            + (f' stroke-dasharray="{dash}"' if dash else "")
            + "/>"
        )

    def rule(
        self,
        color: str = "currentColor",
        x: float | None = None,
        y: float | None = None,
        *,
        dash: str = "5 4",
        text: str = "",
    ) -> None:
        """A straight line across the chart at x or at y."""
        if x is not None:
            at = self.x(x)
            self._stroke(at, self.y.start, at, y2=self.y.stop, color=color, width=1.2, opacity=0.7, dash=dash)
            self.words(at + 4, self.y.stop + 10, text, color, "start", 10, pixels=True)
        elif y is not None:
            at = self.y(y)
            self._stroke(self.x.start, at, self.x.stop, y2=at, color=color, width=1.2, opacity=0.7, dash=dash)
            self.words(self.x.stop - 2, at - 4, text, color, "end", 10, pixels=True)

    def bar(self, x1: float, x2: float, y: float, color: str, height: float = 18, title: str = "") -> None:
        """A horizontal bar, `height` in pixels, in the middle of y."""
        left, right = self.x(x1), self.x(x2)
        if right - left < 0.05:
            return
        self.parts.append(
            f'<rect x="{left:.2f}" y="{self.y(y) - height / 2:.1f}" width="{right - left:.2f}" '
            f'height="{height}" fill="{color}">'
            + (f"<title>{escape(title)}</title>" if title else "")
            + "</rect>"
        )

    def point(
        self,
        x: float,
        y: float,
        color: str,
        key: str = "",
        title: str = "",
        hollow: bool = False,
        radius: float = 6,
    ) -> None:
        """A dot; with a `key` it can be clicked, and reached with the Tab key."""
        handle = (
            f' data-key="{escape(key)}" tabindex="0" role="button" aria-label="{escape(title)}" '
            f'style="cursor:pointer"'
            if key
            else ""
        )
        look = (
            f'fill="none" stroke="{color}" stroke-width="2"'
            if hollow
            else f'fill="{color}" stroke="white" stroke-width="1"'
        )
        self.parts.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" {look}{handle}>'
            + (f"<title>{escape(title)}</title>" if title else "")
            + "</circle>"
        )


def legend(entries: dict[str, str], x: float, y: float, *, across: float = 0) -> str:
    """Names with the colours they go by: one below the other, or `across` pixels apart."""
    parts = []
    for i, (name, color) in enumerate(entries.items()):
        left, top = (x + i * across, y) if across else (x, y + 17 * i)
        parts.append(
            f'<rect x="{left:.1f}" y="{top - 9:.1f}" width="10" height="10" fill="{color}"/>'
            f'<text x="{left + 15:.1f}" y="{top:.1f}" font-size="11" fill="currentColor">'
            f"{escape(name)}</text>"
        )
    return "".join(parts)


def on_paper(svg: str) -> str:
    """A picture on white, for pages that say nothing about the colour of text."""
    return svg.replace("<svg ", '<svg style="background:white;color:#222" ', 1)


def picture(charts: list[Chart], width: float, height: float, more: str = "", about: str = "") -> str:
    """Charts in one SVG; about: what is to be seen, for those who cannot."""
    inside = "".join(part for chart in charts for part in chart.parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="100%" '
        f'{FONT} role="img" '
        f'aria-label="{escape(about)}">{inside}{more}</svg>'
    )
