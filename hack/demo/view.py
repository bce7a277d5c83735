"""The live view in the terminal: weights, gates and requests while a story is told."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import rich.bar
import rich.console
import rich.panel
import rich.table

from hack.demo import traffic


class View:
    """Renders the latest look at the ModelDeployment; give it to `rich.live.Live`."""

    def __init__(self, load: traffic.Traffic) -> None:
        self.title = ""
        self._load = load
        self._model: Mapping[str, Any] = {}
        self._since = time.time()

    def begin(self, title: str) -> None:
        """A new story."""
        self.title, self._since = title, time.time()

    def see(self, model: Mapping[str, Any]) -> None:
        """Takes note of one look at the ModelDeployment."""
        self._model = model

    def line(self) -> str:
        """The same in one line, for output that is no terminal."""
        rollout = (self._model.get("status") or {}).get("rollout") or {}
        results = self._load.since(self._since)
        errors = sum(result.error is not None for result in results)
        where = (
            f"{rollout.get('phase')} {rollout.get('step', '')} weight {rollout.get('weight')} %" if rollout else "no rollout"
        )
        elapsed = time.time() - self._since
        return f"{elapsed:5.0f} s  {where}: {rollout.get('message', '')} ({len(results)} requests, {errors} errors)"

    def __rich__(self) -> rich.panel.Panel:
        rollout = (self._model.get("status") or {}).get("rollout") or {}
        weight = float(rollout.get("weight", 0))
        results = self._load.since(self._since)
        recent = [result for result in results if result.started > time.time() - 5]
        table = rich.table.Table.grid(padding=(0, 2))
        table.add_row("revision", rollout.get("revision", "-"), rollout.get("phase", "no rollout"), rollout.get("step", ""))
        table.add_row("weight", f"{weight:g} %", rich.bar.Bar(100, 0, weight, width=40))
        table.add_row(
            "requests",
            str(len(results)),
            f"{len(recent) / 5:.0f}/s",
            f"[red]{sum(result.error is not None for result in results)} errors[/red]",
        )
        for gate in rollout.get("gates") or ():
            table.add_row(
                f"{gate['name']}/{gate['metric']}",
                gate["verdict"],
                f"n={gate.get('n', 0)}  {gate.get('estimate', '')}  limit {gate.get('limit', '')}",
                gate.get("needs", ""),
            )
        table.add_row("", "", rollout.get("message", ""))
        return rich.panel.Panel(table, title=self.title, subtitle=f"{time.time() - self._since:.0f} s")
