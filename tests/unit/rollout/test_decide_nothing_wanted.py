"""The spec asks for no revision that can be made: what runs, and a rollout under way, go on as if nothing had changed."""

from __future__ import annotations

import dataclasses

import pytest

from sluice.api import rollout_status
from sluice.rollout import decide, model
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import deciding, scenario

Label = revision.OutcomeLabel
Phase = rollout_status.Phase
NOW = deciding.NOW


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.IDLE])
@pytest.mark.parametrize("verdicts", [(), deciding.PASSED], ids=["undecided", "passed"])
def test_a_rollout_goes_on_as_if_its_revision_were_still_wanted(
    phase: Phase, verdicts: tuple[rollout_status.GateStatus, ...]
) -> None:
    """It is neither withdrawn nor superseded, in no phase."""
    inputs = deciding.facts(deciding.rollout(phase), plan=scenario.make_plan(), verdicts=verdicts)
    assert decide.decide(dataclasses.replace(inputs, wanted=None), NOW) == decide.decide(inputs, NOW)


def test_a_failing_gate_still_takes_the_revision_back() -> None:
    """Protection does not depend on what is wanted."""
    failed = (deciding.gate(scenario.ANALYSIS, rollout_status.Verdict.FAIL),)
    inputs = deciding.facts(deciding.rollout(), plan=scenario.make_plan(), verdicts=failed)
    decision = decide.decide(dataclasses.replace(inputs, wanted=None), NOW)
    assert decision.order is model.Order.PROXIES_FIRST
    assert decision.traffic == rollout_traffic.Traffic("old", epoch=8)


@pytest.mark.parametrize("label", [None, Label.CANDIDATE, Label.PREVIOUS, Label.REJECTED, Label.SUPERSEDED])
def test_nothing_starts(label: Label | None) -> None:
    """No rollout, no label, no plan: the stable revision keeps its traffic and its pods, whatever else is stored."""
    other = dataclasses.replace(deciding.NEW, outcome=label, has_pods=False, health=None)
    decision = decide.decide(dataclasses.replace(deciding.facts(new=other), wanted=None), NOW)
    assert (decision.state, decision.ended, decision.labels, decision.store_plan) == (None, None, (), False)
    assert (decision.stable, decision.keep, decision.traffic.stable) == ("old", frozenset({"old"}), "old")


def test_without_any_revision_nothing_serves_and_nothing_starts() -> None:
    """The very first spec cannot be made into a revision."""
    decision = decide.decide(model.Input(wanted=None, revisions=()), NOW)
    assert (decision.state, decision.labels, decision.keep) == (None, (), frozenset())
