"""How a rollout that is watched goes on and ends: what changed between two looks, and the exit code when it is over. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

from sluice.api import rollout_status
from sluice.cli import exits, page, texts, view

_CODES: Final = {
    rollout_status.Outcome.PROMOTED.value: exits.Exit.DONE,
    rollout_status.Outcome.SUPERSEDED.value: exits.Exit.SUPERSEDED,
}
"""All other outcomes are failures, also ones that a newer operator knows."""


@dataclasses.dataclass(frozen=True)
class End:
    """How it ended."""

    code: exits.Exit
    message: str


def end(model: view.Model, watched: str) -> End | None:
    """How the rollout of revision `watched` ended; None while it is under way, or about to begin.

    With `watched` empty no rollout was seen yet: what rests is at its end, what has not been looked at is not.
    """
    if model.generation > model.observed_generation:
        return None
    if model.rollout is not None and (not watched or model.rollout.revision == watched):
        return None
    last = model.last_rollout
    if watched and last is not None and last.revision == watched:
        said = page.because(last.reason, last.message)
        code = _CODES.get(last.outcome, exits.Exit.ROLLOUT_FAILED)
        return End(code, f"Revision {texts.clean(watched)} of {model.title}: {texts.clean(last.outcome)}. {said}")
    if watched:
        return End(exits.Exit.SUPERSEDED, f"Revision {texts.clean(watched)} of {model.title} is no longer rolled out")
    return _at_rest(model)


def _at_rest(model: view.Model) -> End | None:
    ready, stalled = model.condition("Ready"), model.condition("Stalled")
    if stalled is not None and stalled.status == "True":
        return End(exits.Exit.ROLLOUT_FAILED, f"{model.title} is stalled. {page.because(stalled.reason, stalled.message)}")
    if ready is not None and ready.status == "True":
        return End(exits.Exit.DONE, f"{model.title} is at rest. {page.because(ready.reason, ready.message)}")
    return None


def changes(before: view.Model | None, after: view.Model) -> Iterator[str]:
    """What is new, a line each: the rollout's place and reason, and gates whose verdict is another."""
    now, then = _place(after), _place(before) if before is not None else None
    if now != then:
        yield now
    known = {(gate.name, gate.metric): gate for gate in before.rollout.gates} if before is not None and before.rollout else {}
    for gate in after.rollout.gates if after.rollout is not None else ():
        earlier = known.get((gate.name, gate.metric))
        if earlier is None or (earlier.verdict, earlier.reason) != (gate.verdict, gate.reason):
            yield _gate(gate, earlier)


def _place(model: view.Model) -> str:
    if model.rollout is not None:
        said = page.because(model.rollout.reason, model.rollout.message)
        return f"revision {texts.clean(model.rollout.revision)}: {page.where(model.rollout)}{f'. {said}' if said else ''}"
    ready = model.condition("Ready")
    serves = f"revision {texts.clean(model.stable)} serves" if model.stable else "nothing serves"
    return f"no rollout, {serves}" + (f". {page.because(ready.reason, ready.message)}" if ready is not None else "")


def _gate(gate: view.Gate, earlier: view.Gate | None) -> str:
    numbers = [f"n {gate.n}"]
    for name, value in (("estimate", gate.estimate), ("limit", gate.limit), ("needs", gate.needs)):
        numbers += [f"{name} {texts.clean(value)}"] if value else []
    was = f"{texts.clean(earlier.verdict)} -> " if earlier is not None and earlier.verdict != gate.verdict else ""
    says = " ".join(texts.clean(part) for part in (gate.verdict, gate.reason) if part)
    return f"gate {texts.clean(gate.name)}/{texts.clean(gate.metric)}: {was}{says} ({', '.join(numbers)})"
