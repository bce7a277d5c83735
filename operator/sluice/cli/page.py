"""The page that `status` prints and `watch` keeps up to date: what serves, the rollout with steps and gates, what was before.

Pure: a view and the time in, what rich prints out. Every text of the cluster goes through `texts.clean`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import rich.console
import rich.progress_bar
import rich.table
import rich.text

from sluice.api import rollout_status
from sluice.cli import texts, view

_STYLES: Final[Mapping[str, str]] = {
    rollout_status.Verdict.PASS.value: "green",
    rollout_status.Verdict.FAIL.value: "bold red",
    rollout_status.Verdict.INCONCLUSIVE.value: "yellow",
    rollout_status.Verdict.ERROR.value: "red",
    rollout_status.Verdict.RUNNING.value: "cyan",
    rollout_status.Outcome.PROMOTED.value: "green",
    rollout_status.Outcome.ROLLED_BACK.value: "red",
    rollout_status.Outcome.REJECTED.value: "red",
    "True": "green",
    "False": "yellow",
}
_DONE, _HERE, _AHEAD = "✓", "▸", "·"
_PASSED: Final = (rollout_status.Phase.PROMOTING.value, rollout_status.Phase.BAKING.value)
"""Phases that come after the last step."""
_BAR: Final = 20
HISTORY_LINES: Final = 5


def build(model: view.Model, now: float, *, bars: bool = False, short: bool = False) -> rich.console.Group:
    """The page at `now` (epoch seconds); with `bars` holds are drawn, `short` leaves out conditions and history."""
    parts: list[rich.console.RenderableType] = [_summary(model, now)]
    if model.rollout is not None:
        if model.rollout.steps:
            parts += ["", steps(model.rollout, now, bars=bars)]
        parts += _titled("Gates", gates(model.rollout.gates))
    elif model.last_rollout is not None:
        parts += _titled("Gates of the last rollout", gates(model.last_rollout.gates))
    if not short:
        parts += _titled("Conditions", conditions(model.conditions))
        parts += _titled("History", history(model.history[:HISTORY_LINES], now))
    return rich.console.Group(*parts)


def _titled(title: str, table: rich.table.Table) -> list[rich.console.RenderableType]:
    return ["", rich.text.Text(title, style="bold"), table] if table.row_count else []


def _summary(model: view.Model, now: float) -> rich.table.Table:
    grid = rich.table.Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in _facts(model, now):
        grid.add_row(label, value)
    return grid


def _facts(model: view.Model, now: float) -> Iterator[tuple[str, rich.text.Text]]:
    name = model.served_name
    served = f", as model {texts.clean(name)}" if name and name != model.name else ""
    yield "Model", _text(f"{texts.clean(model.namespace)}/{texts.clean(model.name)}{served}")
    pods = f", {texts.clean(model.pods_ready)} pods ready" if model.pods_ready else ""
    at = f", at {texts.clean(model.url)}" if model.url else ""
    yield "Serves", _text(f"revision {texts.clean(model.stable)}{pods}{at}" if model.stable else "nothing yet")
    ready = model.condition("Ready")
    if ready is not None:
        yield "Ready", _text(" ").join([_styled(ready.status), _text(because(ready.reason, ready.message))])
    if model.generation > model.observed_generation:
        yield "Note", _text("the operator has not seen the latest change of the spec yet")
    if model.undone is not None:
        yield "Holds", _text(undone(model.undone))
    yield from _rollout_facts(model, now)
    yield from _order_facts(model, now)


def _rollout_facts(model: view.Model, now: float) -> Iterator[tuple[str, rich.text.Text]]:
    current, last = model.rollout, model.last_rollout
    if current is not None:
        yield (
            "Rollout",
            _text(f"revision {texts.clean(current.revision)}, {where(current)}, for {_age(current.started_at, now)}"),
        )
        if current.peak_gpus:
            yield "Needs", _text(f"{texts.counted(current.peak_gpus, 'GPU')} at its height, of both revisions together")
        if current.reason or current.message:
            yield "Because", _text(because(current.reason, current.message))
    elif last is not None:
        ago = f", {_age(last.finished_at, now)} ago" if last.finished_at else ""
        revision = f"revision {texts.clean(last.revision)} "
        yield "Last rollout", rich.text.Text.assemble(revision, _styled(last.outcome), ago)
        yield "Because", _text(because(last.reason, last.message))


def _order_facts(model: view.Model, now: float) -> Iterator[tuple[str, rich.text.Text]]:
    if model.pending:
        yield "Order", _text(f"{texts.clean(model.command)} by {texts.or_dash(model.command_by)}, not handled yet")
    elif model.handled is not None:
        handled = model.handled
        state = "followed" if handled.accepted else "refused"
        what = "/".join(handled.command.split("/")[:2])
        said = f": {texts.clean(handled.message)}" if handled.message else ""
        ago = f", {_age(handled.at, now)} ago" if handled.at else ""
        yield "Last order", _text(f"{texts.clean(what)} by {texts.or_dash(handled.by)}{ago}, {state}{said}")


def undone(given: view.Undone) -> str:
    """What a person went back to."""
    by = f", by {texts.clean(given.by)}" if given.by else ""
    return f"revision {texts.clean(given.held)} in place of {texts.clean(given.revision)}, until spec.template changes{by}"


def where(rollout: view.Rollout) -> str:
    """Phase, step and weight in one line."""
    number = rollout.number
    parts = [texts.clean(rollout.phase)]
    if number is not None:
        parts.append(f'step {number + 1} of {len(rollout.steps)} "{texts.clean(rollout.step)}"')
    elif rollout.step:
        parts.append(f'step "{texts.clean(rollout.step)}"')
    parts.append(f"weight {texts.percent(rollout.weight)}")
    if rollout.mirror:
        parts.append(f"mirror {texts.percent(rollout.mirror)}")
    return ", ".join(parts)


def because(reason: str, message: str) -> str:
    """`Reason: message`, whichever there are."""
    return ": ".join(texts.clean(part) for part in (reason, message) if part)


def steps(rollout: view.Rollout, now: float, *, bars: bool = False) -> rich.table.Table:
    """The plan: what is done, what is under way, what is to come."""
    table = _table("", "STEP", "WEIGHT", "HOLD", "GATES")
    if bars:
        table.add_column("", no_wrap=True)
    number = len(rollout.steps) if rollout.phase in _PASSED else rollout.number
    for index, step in enumerate(rollout.steps):
        mark = _AHEAD if number is None or index > number else _DONE if index < number else _HERE
        cells: list[rich.console.RenderableType] = [
            _text(mark),
            _text(texts.clean(step.name)),
            _text(weight(step)),
            _text(held(rollout, step, now)),
            _text(wanted(step)),
        ]
        if bars:
            cells.append(_bar(rollout, step, now) if mark == _HERE else _text(""))
        table.add_row(*cells, style="bold" if mark == _HERE else "dim" if mark == _AHEAD else "")
    return table


def weight(step: view.Step) -> str:
    """What a step gives the revision."""
    return f"mirror {texts.percent(step.mirror)}" if step.mirror else texts.percent(step.weight)


def wanted(step: view.Step) -> str:
    """What a step asks for beside its hold."""
    names = [texts.clean(name) for name in step.gates]
    return ", ".join([*names, "approval"] if step.approval else names) or texts.NOTHING


def elapsed(rollout: view.Rollout, now: float) -> float | None:
    """Seconds since every proxy had the present step's weight; None while they have not."""
    entered = texts.moment(rollout.step_entered_at)
    return None if entered is None else max(0.0, now - entered)


def held(rollout: view.Rollout, step: view.Step, now: float) -> str:
    """How much of a step's hold is over, where it is the present one."""
    if not step.hold:
        return texts.NOTHING
    since = elapsed(rollout, now) if step.name == rollout.step else None
    hold = texts.clean(step.hold)
    return hold if since is None else f"{texts.span(min(since, step.hold_seconds))} of {hold}"


def _bar(rollout: view.Rollout, step: view.Step, now: float) -> rich.console.RenderableType:
    since = elapsed(rollout, now)
    if not step.hold_seconds or since is None:
        return _text("")
    return rich.progress_bar.ProgressBar(total=step.hold_seconds, completed=min(since, step.hold_seconds), width=_BAR)


def gates(given: Iterable[view.Gate]) -> rich.table.Table:
    """What each gate says, with the numbers that it says it by."""
    table = _table("GATE", "METRIC", "VERDICT", "N", "ESTIMATE", "INTERVAL", "LIMIT", "NEEDS")
    for gate in given:
        verdict = rich.text.Text.assemble(_styled(gate.verdict), f" {texts.clean(gate.reason)}" if gate.reason else "")
        cells = (gate.estimate, gate.interval, gate.limit, gate.needs)
        table.add_row(
            _text(texts.clean(gate.name)),
            _text(texts.clean(gate.metric)),
            verdict,
            _text(str(gate.n)),
            *(_text(texts.or_dash(cell)) for cell in cells),
        )
    return table


def conditions(given: Iterable[view.Condition]) -> rich.table.Table:
    """All conditions."""
    table = _table("TYPE", "STATUS", "REASON", "MESSAGE")
    for condition in given:
        kind, reason = texts.clean(condition.type), texts.or_dash(condition.reason)
        table.add_row(_text(kind), _styled(condition.status), _text(reason), _text(texts.or_dash(condition.message)))
    return table


def history(given: Iterable[view.Entry], now: float) -> rich.table.Table:
    """What became of revisions, the newest first."""
    table = _table("NUMBER", "REVISION", "IS", "RESULT", "AGE", "MODEL", "IMAGE", "WHY")
    for entry in given:
        result = " ".join(part for part in (entry.result, entry.reason) if part)
        cells = (entry.revision, entry.outcome, result, _age(entry.created_at, now), entry.model, entry.image, entry.message)
        table.add_row(_text(str(entry.number)), *(_text(texts.or_dash(cell)) for cell in cells))
    return table


def _table(*columns: str) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("", "STEP", "WEIGHT", "GATE", "METRIC", "N", "REVISION"))
    return table


def _text(text: str) -> rich.text.Text:
    return rich.text.Text(text)


def _styled(word: str) -> rich.text.Text:
    return rich.text.Text(texts.clean(word), style=_STYLES.get(word, ""))


def _age(text: str, now: float) -> str:
    return texts.age(text, now)
