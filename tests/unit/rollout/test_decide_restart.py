"""What a decision makes of a state that is late, ahead or lost."""

from __future__ import annotations

from sluice.api import rollout_status
from sluice.rollout import model
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
