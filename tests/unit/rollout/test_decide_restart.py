"""What a decision makes of a state that is late, ahead or lost."""

from __future__ import annotations

import dataclasses

from sluice.api import rollout_status
from sluice.rollout import model
from sluice.workloads import outcome
from tests.unit.rollout import deciding, scenario

Verdict = rollout_status.Verdict
Phase = rollout_status.Phase


def test_what_was_sent_but_not_written_counts() -> None:
    """A decrease went to the proxies while the API server was down: the old weight of the status is not sent again."""
    back = deciding.act(
        deciding.facts(deciding.rollout(), verdicts=deciding.said(scenario.METRIC, Verdict.FAIL), protect_only=True)
    )
    sent = model.Sent(back.state, back.traffic)

    decision = deciding.act(deciding.facts(deciding.rollout(), sent=sent, protect_only=True))

    assert decision.state is not None
    assert decision.state.phase is Phase.ROLLING_BACK
    assert decision.traffic == back.traffic


def test_a_late_cache_does_not_undo_a_step() -> None:
    """The status was written and sent; the cache still shows the step before."""
    ahead = deciding.act(deciding.facts(deciding.rollout()), deciding.NOW + 60)

    decision = deciding.act(
        deciding.facts(deciding.rollout(), sent=model.Sent(ahead.state, ahead.traffic), acknowledged=7), deciding.NOW + 61
    )

    assert decision.traffic == ahead.traffic
    assert decision.waiting is not None
    assert decision.waiting.reason == "ProxiesPending"


def test_a_step_that_the_plan_does_not_know_starts_at_the_first() -> None:
    """The stored plan was lost and made again from a spec with other steps."""
    decision = deciding.act(deciding.facts(deciding.rollout(step="gone")))

    assert decision.state is not None
    assert (decision.state.step, decision.traffic.weight) == ("evals", 0)
    assert decision.order is model.Order.PROXIES_FIRST


def test_what_was_written_with_a_label_is_why_it_failed() -> None:
    """A process that died, or met a conflict, between the label and the status takes no reason with it."""
    result = outcome.Result("Rejected", "CrashLoop", "exit code 1")
    marked = dataclasses.replace(deciding.NEW, outcome=deciding.Label.REJECTED, result=result)
    back = deciding.act(deciding.facts(deciding.rollout(deciding.Phase.WARMING_UP), new=marked))

    assert back.state is not None
    assert (back.state.reason, back.state.message) == ("CrashLoop", "exit code 1")
