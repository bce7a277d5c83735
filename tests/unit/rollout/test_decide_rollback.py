"""What takes a revision's weight away, at once and whatever else is broken, and how that ends."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import rollout_status
from sluice.rollout import health, model, persisted, times
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Label = revision.OutcomeLabel
Verdict = rollout_status.Verdict
Phase = rollout_status.Phase
Outcome = rollout_status.Outcome

FAILURES = [
    ({"verdicts": deciding.said(scenario.METRIC, Verdict.FAIL)}, "GateFailed", "a gate of the step"),
    ({"verdicts": deciding.said(scenario.ANALYSIS, Verdict.FAIL)}, "GateFailed", "the analysis, in any step"),
    ({"verdicts": deciding.said(scenario.EVAL, Verdict.FAIL)}, "GateFailed", "a gate of an earlier step"),
    (
        {"verdicts": deciding.said(scenario.METRIC, Verdict.FAIL), "state": deciding.rollout(step="few", weight=500)},
        "GateFailed",
        "a gate of a later step: its metric is measured already",
    ),
    ({"new": deciding.sick(deciding.CRASHED)}, "CrashLoop", "the pods, by the revision's fault"),
    (
        {"new": dataclasses.replace(deciding.NEW, outcome=Label.REJECTED)},
        "MarkedRejected",
        "a process died after it wrote the label",
    ),
]
HANDICAPS: dict[str, dict[str, Any]] = {
    "everything works": {},
    "the API server is down": {"protect_only": True},
    "the counters cannot be read": {"source_ok": False},
    "the plan is lost": {"plan": None},
    "no gateway accepts": {"split": model.Split.UNAVAILABLE},
    "proxies lag": {"acknowledged": 3},
}


@pytest.mark.parametrize("handicap", HANDICAPS.values(), ids=HANDICAPS.keys())
@pytest.mark.parametrize(("change", "cause", "reason"), FAILURES, ids=[row[2] for row in FAILURES])
def test_nothing_blocks_a_rollback(change: dict[str, Any], cause: str, reason: str, handicap: dict[str, Any]) -> None:
    """A failure takes the weight away at once, at the proxies first, whatever else is broken."""
    decision = deciding.act(deciding.facts(**{"state": deciding.rollout(), **change, **handicap}))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.reason) == (Phase.ROLLING_BACK, cause), reason
    assert decision.traffic == rollout_traffic.Traffic("old", epoch=8)
    assert decision.order is model.Order.PROXIES_FIRST
    assert {"old", "new"} <= decision.keep, "in-flight requests are not cut"
    assert {write.outcome for write in decision.labels} <= {Label.REJECTED}


ENDS = [
    (deciding.rollout(Phase.ROLLING_BACK, reason="GateFailed"), Label.REJECTED, Outcome.ROLLED_BACK, "it had traffic"),
    (
        deciding.rollout(Phase.ROLLING_BACK, reason="CrashLoop", had_traffic=False),
        Label.REJECTED,
        Outcome.REJECTED,
        "it never had any",
    ),
    (
        deciding.rollout(Phase.ROLLING_BACK, reason="Superseded"),
        Label.SUPERSEDED,
        Outcome.SUPERSEDED,
        "nothing was wrong with it",
    ),
    (
        deciding.rollout(Phase.ROLLING_BACK, reason="Withdrawn"),
        Label.SUPERSEDED,
        Outcome.SUPERSEDED,
        "nothing was wrong with it",
    ),
]


@pytest.mark.parametrize(("state", "label", "outcome", "reason"), ENDS, ids=[f"{row[2]}: {row[0].reason}" for row in ENDS])
def test_a_rollback_ends_when_acknowledged_and_labelled(
    state: persisted.State, label: Label, outcome: Outcome, reason: str
) -> None:
    """The outcome follows from whether users ever met the revision, and the label comes before the end."""
    unlabelled = deciding.act(deciding.facts(state, verdicts=()))
    lagging = deciding.act(deciding.facts(state, new=dataclasses.replace(deciding.NEW, outcome=label), acknowledged=6))
    done = deciding.act(deciding.facts(state, new=dataclasses.replace(deciding.NEW, outcome=label)))

    assert unlabelled.state is not None
    assert deciding.plain(unlabelled) == (model.LabelWrite("new", label),)
    assert lagging.state is not None
    assert done.state is None
    assert done.ended is not None
    assert (done.ended.outcome, done.ended.reason) == (outcome, state.reason), reason
    assert done.keep == {"old"}, "its pods may go now"
    assert unlabelled.labels[0].result is not None, "how it ended is written with the label, for a status that is lost"
    assert unlabelled.labels[0].result.outcome == done.ended.outcome
    assert (unlabelled.labels[0].result.reason, unlabelled.labels[0].result.message) == (done.ended.reason, done.ended.message)
    assert unlabelled.labels[0].result.started_at == times.time_text(state.started_at)


SPEC_CHANGES = [("old", "Withdrawn", "back to the stable one"), ("third", "Superseded", "on to a third")]


@pytest.mark.parametrize(("wanted", "why", "reason"), SPEC_CHANGES, ids=[row[2] for row in SPEC_CHANGES])
@pytest.mark.parametrize("phase", [Phase.WARMING_UP, Phase.PROGRESSING, Phase.PROMOTING])
def test_a_spec_that_changes_takes_the_revision_back(wanted: str, why: str, reason: str, phase: Phase) -> None:
    """In any phase before the label is written; nothing is said against the revision."""
    third = model.Revision("third", 3, Label.CANDIDATE)

    decision = deciding.act(
        deciding.facts(deciding.rollout(phase), revisions=(deciding.OLD, deciding.NEW, third), wanted=wanted)
    )

    assert decision.state is not None
    assert (decision.state.phase, decision.state.reason) == (Phase.ROLLING_BACK, why), reason
    assert decision.traffic.weight == 0
    assert model.LabelWrite("new", Label.SUPERSEDED) in deciding.plain(decision)


def test_environment_takes_the_weight_and_the_step_stays() -> None:
    """Pods that the cluster took: weight 0, WarmingUp with the cause, no label, and back to the same step later."""
    lost = deciding.act(deciding.facts(deciding.rollout(), new=deciding.sick(deciding.NO_ROOM)))
    assert lost.state is not None
    back = deciding.act(deciding.facts(lost.state))

    assert (lost.state.phase, lost.state.step, lost.state.reason) == (Phase.WARMING_UP, "some", "Unschedulable")
    assert (lost.traffic, lost.order, lost.labels) == (rollout_traffic.Traffic("old", epoch=8), model.Order.PROXIES_FIRST, ())
    assert back.state is not None
    assert (back.state.step, back.traffic) == ("some", rollout_traffic.Traffic("old", "new", 2500, 9))


def test_a_canary_that_answers_keeps_its_traffic_while_stable_does_not() -> None:
    """Half a canary is better than no stable revision."""
    dead = dataclasses.replace(
        deciding.OLD, health=health.Health(2, 0, health.Cause.NODE_LOST, health.CauseClass.ENVIRONMENT, "gone")
    )

    decision = deciding.act(deciding.facts(deciding.rollout(), revisions=(dead, deciding.sick(deciding.NO_ROOM))))

    assert decision.traffic.weight == 2500
