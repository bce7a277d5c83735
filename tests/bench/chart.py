"""Draws steps over time as an SVG, panel below panel: enough for a benchmark's picture, and no library for it."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 960
PANEL: Final = 200
_LEFT: Final = 60
_RIGHT: Final = 20
_GAP: Final = 46
_TITLE: Final = 50
_TICKS: Final = 5
_COLOURS: Final = ("#1f6feb", "#d1570a", "#2da44e", "#8250df")


@dataclasses.dataclass(frozen=True)
class Line:
    """One named line of steps: seconds and values, oldest first."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Panel:
    """Lines over one axis. `limit` is a dashed level."""

    title: str
    lines: Sequence[Line]
    limit: tuple[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class Span:
    """A time to shade in every panel."""

    name: str
    first: float
    last: float


def svg(title: str, panels: Sequence[Panel], *, seconds: float, spans: Sequence[Span] = ()) -> str:
    """The picture as a document; the time axis is 0 to `seconds`."""
    height = _TITLE + len(panels) * (PANEL + _GAP)
    body = [_text(_LEFT, 24, title, size=16)]
    for number, panel in enumerate(panels):
        body += _panel(panel, _TITLE + number * (PANEL + _GAP), seconds, spans)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">'
    return "\n".join([opening, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *body, "</svg>\n"])


def _panel(panel: Panel, top: float, seconds: float, spans: Sequence[Span]) -> list[str]:
    values = [value for line in panel.lines for _, value in line.points] + ([panel.limit[1]] if panel.limit else [])
    highest = _ceiling(max(values, default=1.0))
    bottom, width = top + PANEL, WIDTH - _LEFT - _RIGHT

    def x(second: float) -> float:
        return round(_LEFT + width * min(max(second / seconds, 0.0), 1.0), 1)

    def y(value: float) -> float:
        return round(bottom - PANEL * value / highest, 1)

    parts = [
        f'<rect x="{x(span.first)}" y="{top}" width="{round(x(span.last) - x(span.first), 1)}" height="{PANEL}" '
        f'fill="{("#ddf4ff", "#fff8c5")[number % 2]}"/>' + _text(x(span.first) + 4, top + 14, span.name, size=11)
        for number, span in enumerate(spans)
    ]
    for tick in range(_TICKS + 1):
        value, second = highest * tick / _TICKS, seconds * tick / _TICKS
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y(value)}" y2="{y(value)}" stroke="#d0d7de"/>')
        parts.append(_text(_LEFT - 8, y(value) + 4, f"{value:g}", anchor="end"))
        parts.append(_text(x(second), bottom + 16, f"{second:.0f} s", anchor="middle"))
    parts.append(_text(_LEFT, top - 6, panel.title, size=13))
    for number, line in enumerate(panel.lines):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<path d="{_steps(line, seconds, x, y)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(_LEFT + width - 200 * number, top - 6, line.name, anchor="end", colour=colour))
    if panel.limit:
        name, level = panel.limit
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y(level)}" y2="{y(level)}" stroke="#cf222e" stroke-dasharray="6 4"/>'
        )
        parts.append(_text(_LEFT + width - 4, y(level) - 4, name, anchor="end", colour="#cf222e"))
    return parts


def _steps(line: Line, seconds: float, x: object, y: object) -> str:
    """The path of a line whose values hold until the next one."""
    assert callable(x)
    assert callable(y)
    path: list[str] = []
    for at, value in line.points:
        path.append(f"M{x(at)} {y(value)}" if not path else f"H{x(at)} V{y(value)}")
    return " ".join([*path, f"H{x(seconds)}"]) if path else "M0 0"


def _ceiling(value: float) -> float:
    """The next number that five ticks divide well."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * step for step in (1, 2, 2.5, 5, 10) if unit * step >= value)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "#24292f") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">{html.escape(text)}</text>'
