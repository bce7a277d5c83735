"""What the demo leaves behind: a table, `build/demo/report.json` and an HTML page with weights and errors over time."""

from __future__ import annotations

import dataclasses
import html
import json
import pathlib
from typing import Any, Literal

import rich.console
import rich.table


@dataclasses.dataclass(frozen=True)
class Sample:
    """One second of a story: the canary's weight in percent, requests and errors that clients saw, bad canary attempts."""

    at: float
    weight: float
    requests: int
    client_errors: int
    bad_attempts: int


@dataclasses.dataclass(frozen=True)
class Story:
    """How one story went."""

    name: Literal["promote", "reject", "rollback"]
    outcome: str
    requests: int
    canary_requests: int
    client_errors: int
    seconds: float
    bad_to_zero_seconds: float | None
    started_at: float
    revision: str
    reason: str = ""
    message: str = ""
    samples: tuple[Sample, ...] = ()
    steps: tuple[tuple[float, str], ...] = ()
    """What happened when: seconds from the story's start, and a sentence."""


@dataclasses.dataclass(frozen=True)
class Report:
    """The whole demo."""

    engine: Literal["vllm", "simulator"]
    seconds: float
    stories: tuple[Story, ...]
    setup_seconds: float
    phases: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data for report.json."""
        return dataclasses.asdict(self)


def write(report: Report, folder: pathlib.Path) -> None:
    """Writes report.json and report.html into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=2) + "\n")
    (folder / "report.html").write_text(_page(report))


def print_table(report: Report, console: rich.console.Console) -> None:
    """The table at the end of the demo."""
    table = rich.table.Table(title=f"Three revisions, served by {report.engine}")
    for column, justify in (
        ("story", "left"),
        ("outcome", "left"),
        ("requests", "right"),
        ("on the canary", "right"),
        ("client errors", "right"),
        ("seconds", "right"),
        ("bad to weight 0 (s)", "right"),
    ):
        table.add_column(column, justify="right" if justify == "right" else "left", no_wrap=True)
    for story in report.stories:
        table.add_row(
            story.name,
            story.outcome,
            str(story.requests),
            str(story.canary_requests),
            str(story.client_errors),
            f"{story.seconds:.0f}",
            "-" if story.bad_to_zero_seconds is None else f"{story.bad_to_zero_seconds:.1f}",
        )
    console.print(table)


_WIDTH, _HEIGHT = 860, 220
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:920px;margin:2rem auto;padding:0 1rem;color:#1c2733}
svg{width:100%;height:auto;background:#fff;border:1px solid #d5dce3;border-radius:6px}
table{border-collapse:collapse}td,th{padding:.25rem .8rem;border-bottom:1px solid #d5dce3;text-align:right}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}
.weight{fill:none;stroke:#1668c7;stroke-width:2}.bad{fill:#d9480f}.errors{fill:#c2255c}
.axis{stroke:#8795a1;stroke-width:1}text{font-size:11px;fill:#52606d}
"""


def _page(report: Report) -> str:
    rows = "".join(
        f"<tr><td>{story.name}</td><td>{story.outcome}</td><td>{story.requests}</td><td>{story.canary_requests}</td>"
        f"<td>{story.client_errors}</td><td>{story.seconds:.0f}</td>"
        f"<td>{'-' if story.bad_to_zero_seconds is None else f'{story.bad_to_zero_seconds:.1f}'}</td></tr>"
        for story in report.stories
    )
    plots = "".join(_plot(story) for story in report.stories)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sluice demo</title><style>{_STYLE}</style>'
        f"<h1>Three revisions, served by {report.engine}</h1>"
        "<table><tr><th>story</th><th>outcome</th><th>requests</th><th>on the canary</th><th>client errors</th>"
        f"<th>seconds</th><th>bad to weight 0 (s)</th></tr>{rows}</table>{plots}</html>\n"
    )


def _plot(story: Story) -> str:
    """Weight as a line, failed canary attempts and errors that clients saw as bars, over the seconds of the story."""
    if not story.samples:
        return ""
    start, end = story.samples[0].at, max(story.samples[-1].at, story.samples[0].at + 1)
    most = max(1, *(max(sample.bad_attempts, sample.client_errors) for sample in story.samples))

    def x(at: float) -> float:
        return 40 + (at - start) / (end - start) * (_WIDTH - 60)

    def y(share: float) -> float:
        return _HEIGHT - 30 - share * (_HEIGHT - 50)

    line = " ".join(f"{x(sample.at):.1f},{y(sample.weight / 100):.1f}" for sample in story.samples)
    bars = "".join(
        f'<rect class="{kind}" x="{x(sample.at) - 2:.1f}" y="{y(value / most):.1f}" width="4" '
        f'height="{y(0) - y(value / most):.1f}"><title>{value} {label}</title></rect>'
        for sample in story.samples
        for kind, value, label in (
            ("bad", sample.bad_attempts, "failed attempts on the canary"),
            ("errors", sample.client_errors, "errors that clients saw"),
        )
        if value
    )
    steps = "".join(f"<li>{at:.1f} s: {html.escape(text)}</li>" for at, text in story.steps)
    return (
        f"<h2>{story.name}: {story.outcome}</h2><p>{html.escape(story.message)}</p>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="weight and errors over time">'
        f'<line class="axis" x1="40" x2="{_WIDTH - 20}" y1="{y(0)}" y2="{y(0)}"/>'
        f'<text x="2" y="{y(1) + 4}">100 %</text><text x="14" y="{y(0)}">0</text>'
        f'<text x="40" y="{_HEIGHT - 10}">0 s</text><text x="{_WIDTH - 60}" y="{_HEIGHT - 10}">{end - start:.0f} s</text>'
        f'{bars}<polyline class="weight" points="{line}"/></svg>'
        "<p>Line: percent of traffic for the new revision. Orange: its failed attempts, answered by the stable revision. "
        f"Red: errors that clients saw (at most {most} a second).</p><ol>{steps}</ol>"
    )
