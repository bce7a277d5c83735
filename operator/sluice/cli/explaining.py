"""Why a ModelDeployment is where it is, what would move it, and what can be ordered now: in sentences. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from sluice.api import commands, rollout_status
from sluice.cli import page, texts, view

Phase = rollout_status.Phase
Verb = commands.Verb

_QUIET: Final[Mapping[str, str]] = {
    "Ready": "",
    "Available": "True",
    "Reconciling": "",
    "ResolvedRefs": "True",
    "TrafficSplit": "True",
    "ModelLoaded": "",
    "CanaryHealthy": "",
    "AutoscalingReady": "True",
    "Accepted": "True",
    "Programmed": "True",
}
"""Conditions that are said elsewhere ("") or are as they should be with this status. Others are worth a sentence while True."""
_STEPPED: Final = (Phase.PROGRESSING.value, Phase.AWAITING_APPROVAL.value, Phase.PAUSED.value)


@dataclasses.dataclass(frozen=True)
class Order:
    """Something that can be ordered now."""

    verb: Verb
    line: str
    """What to type, without the name of the ModelDeployment."""
    what: str
    may: bool = True
    """Whether this person may."""


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The whole answer."""

    now: tuple[str, ...]
    """Where it is and why."""
    needs: tuple[str, ...]
    """What would move it on."""
    trouble: tuple[str, ...]
    """What else is wrong or worth knowing."""
    orders: tuple[Order, ...]


def explain(
    model: view.Model, now: float, *, pods: str = "", may: Callable[[commands.Permission], bool] = lambda _: True
) -> Explanation:
    """The explanation at `now` (epoch seconds).

    Args:
        model: the view.
        now: epoch seconds.
        pods: what keeps pods from being ready, if anything does.
        may: which virtual verbs this person has.
    """
    rollout = model.rollout
    orders = (dataclasses.replace(order, may=may(commands.PERMISSION_OF[order.verb])) for order in _orders(model, rollout, now))
    return Explanation(
        now=(*_serves(model), *(_under_way(rollout) if rollout is not None else _at_rest(model))),
        needs=tuple(_needs(model, rollout, now)) if rollout is not None else (),
        trouble=(*([f"Pods: {texts.clean(pods)}"] if pods else []), *_trouble(model)),
        orders=tuple(orders),
    )


def _serves(model: view.Model) -> Iterator[str]:
    if model.generation > model.observed_generation:
        yield "The operator has not seen the latest change of the spec yet: what follows is about the one before."
    if not model.stable:
        yield "Nothing serves yet: no revision was promoted."
        return
    pods = f" with {texts.clean(model.pods_ready)} pods ready" if model.pods_ready else ""
    yield f"Revision {texts.clean(model.stable)} serves{pods}."


def _under_way(rollout: view.Rollout) -> Iterator[str]:
    revision, step = texts.clean(rollout.revision), texts.clean(rollout.step)
    weight = texts.percent(rollout.weight)
    said: Mapping[str, str] = {
        Phase.WARMING_UP.value: f"Revision {revision} warms up: its pods load the model, and it gets no requests before.",
        Phase.PROGRESSING.value: f'Revision {revision} is at step "{step}" and gets {weight} of the traffic.',
        Phase.AWAITING_APPROVAL.value: f'Revision {revision} has passed step "{step}" at {weight}: a person has to approve it.',
        Phase.PAUSED.value: f'Revision {revision} is paused at step "{step}" with {weight}: nothing rises, protection goes on.',
        Phase.PROMOTING.value: f"Revision {revision} has passed everything, gets all traffic and becomes the one that serves.",
        Phase.BAKING.value: f"Revision {revision} has all traffic and bakes: {texts.or_dash(rollout.previous)} stays warm.",
        Phase.ROLLING_BACK.value: f"Revision {revision} is taken back: it gets no requests any more, and its pods drain.",
    }
    yield said.get(rollout.phase, f"Revision {revision}: {page.where(rollout)}.")
    if rollout.reason or rollout.message:
        yield _sentence(page.because(rollout.reason, rollout.message))


def _at_rest(model: view.Model) -> Iterator[str]:
    yield "No rollout is under way."
    last, ready = model.last_rollout, model.condition("Ready")
    if last is not None:
        said = _sentence(page.because(last.reason, last.message))
        yield f"The last one, of revision {texts.clean(last.revision)}, ended as {texts.clean(last.outcome)}: {said}"
    if ready is not None and ready.status != "True":
        yield _sentence(page.because(ready.reason, ready.message))


def _needs(model: view.Model, rollout: view.Rollout, now: float) -> Iterator[str]:
    """What is still missing, in the order in which it is asked for."""
    if rollout.phase not in _STEPPED:
        if rollout.phase == Phase.WARMING_UP.value:
            yield "all its pods ready"
        return
    if rollout.phase == Phase.PAUSED.value:
        who = texts.clean(rollout.paused_by)
        yield f"the end of the pause that {who} ordered" if who else "the end of the pause: spec.paused is true"
    step = rollout.present
    if rollout.released == rollout_status.Release.STEP.value:
        return
    if step is not None and not rollout.released:
        yield from _hold(rollout, step, now)
    yield from (f"gate {each}" for each in _open_gates(rollout))
    if step is not None and step.approval and not rollout.approved_by:
        yield "the approval of a person"
    if model.paused and rollout.phase != Phase.PAUSED.value:
        yield "spec.paused to be false"


def _hold(rollout: view.Rollout, step: view.Step, now: float) -> Iterator[str]:
    since = page.elapsed(rollout, now)
    if since is None:
        yield "every proxy to acknowledge the step's weight"
    elif step.hold_seconds > since:
        yield f"the rest of the step's hold: {texts.span(step.hold_seconds - since)} of {texts.clean(step.hold)}"


def _open_gates(rollout: view.Rollout) -> Iterator[str]:
    for gate in rollout.gates:
        if gate.verdict == rollout_status.Verdict.PASS.value:
            continue
        why = [texts.clean(gate.verdict)]
        why += [texts.clean(part) for part in (gate.message or gate.reason,) if part]
        why += [f"needs {texts.clean(gate.needs)}"] if gate.needs else []
        yield f"{texts.clean(gate.name)}/{texts.clean(gate.metric)}: {'; '.join(why)}"


def _trouble(model: view.Model) -> Iterator[str]:
    if model.undone is not None:
        yield f"A person went back to {page.undone(model.undone)}"
    for condition in model.conditions:
        good = _QUIET.get(condition.type, "False")
        if good and condition.status != good:
            state = f"{texts.clean(condition.type)}={texts.clean(condition.status)}/{texts.clean(condition.reason)}"
            yield f"{state}: {texts.clean(condition.message)}"
    if model.pending:
        yield f"An order waits for the operator: {texts.clean(model.command)} by {texts.or_dash(model.command_by)}"


def _orders(model: view.Model, rollout: view.Rollout | None, now: float) -> Iterator[Order]:
    if rollout is None:
        yield from _orders_at_rest(model)
        return
    if rollout.phase in _STEPPED:
        step = rollout.present
        if step is not None and step.approval and not rollout.approved_by:
            yield Order(Verb.APPROVE, "approve", "approves the step")
        if step is not None and not rollout.released and step.hold_seconds > (page.elapsed(rollout, now) or 0.0):
            yield Order(Verb.PROMOTE, "promote", "ends the step's hold; its gates are still needed")
        yield Order(Verb.SKIP_STEP, "promote --skip-step", "leaves the step with its gates and approval")
    if rollout.phase == Phase.BAKING.value:
        yield Order(Verb.PROMOTE, "promote", "ends the bake: the revision before leaves")
    if rollout.paused_by:
        yield Order(Verb.RESUME, "resume", "ends the pause")
    elif rollout.phase in (*_STEPPED, Phase.WARMING_UP.value):
        yield Order(Verb.PAUSE, "pause", "stops increases; protection goes on")
    if rollout.phase != Phase.ROLLING_BACK.value:
        yield Order(Verb.ABORT, "abort", "takes the revision back")


def _orders_at_rest(model: view.Model) -> Iterator[Order]:
    last = model.last_rollout
    if last is not None and last.outcome in (rollout_status.Outcome.REJECTED.value, rollout_status.Outcome.ROLLED_BACK.value):
        yield Order(Verb.RETRY, "retry", f"tries revision {texts.clean(last.revision)} again")
    if any(entry.outcome == "Previous" for entry in model.history):
        yield Order(Verb.UNDO, "undo", "goes back to the revision that served before")
    if model.stable:
        yield Order(Verb.RERENDER, "rerender", "renders what serves anew by this version of Sluice, and rolls that out")


def _sentence(text: str) -> str:
    return text if not text or text[-1] in ".!?" else f"{text}."
