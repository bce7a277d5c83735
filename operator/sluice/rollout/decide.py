"""The only entry to the rollout: facts in, one decision out.

Total over its inputs and the same for the same input: restarts, repeated wake-ups and lost ones change nothing. Each chain
is an order of precedence: the first check that finds something decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sluice.rollout import bake, checks, model, orders, progress, promote, rollback, start, warmup
from sluice.rollout import case as case_

Check = Callable[[case_.Case], model.Decision | None]

IDLE: Final[tuple[Check, ...]] = (
    orders.retry,
    orders.undo,
    orders.rerender,
    start.nothing_wanted,
    start.rejected_before,
    start.may_only_protect,
    start.paused,
    start.others_leaving,
    start.plan_missing,
    start.not_labelled,
    start.begin,
)
"""No rollout is under way."""

UNDER_WAY: Final[tuple[Check, ...]] = (
    # Durable facts before everything: what is written is not decided again.
    bake.became_stable,
    rollback.under_way,
    checks.marked_as_failed,
    # Traffic is taken away, which is never blocked.
    checks.withdrawn,
    checks.superseded,
    checks.gate_failed,
    checks.pods_failed,
    bake.interrupted,
    checks.pods_lost,
    orders.abort,
    orders.undo,
    # From here on traffic may be given.
    checks.plan_missing,
    checks.protect_only,
    bake.restored,
    orders.pause,
    orders.resume,
    orders.approve,
    orders.release,
    bake.under_way,
    warmup.not_warm,
    warmup.warm,
    promote.under_way,
    progress.split_gone,
    progress.gateway_unavailable,
    progress.not_acknowledged,
    progress.not_entered,
    progress.holding,
    progress.gates_pending,
    progress.awaiting_approval,
    progress.passed,
)
"""A rollout is under way, in any phase."""


def decide(inputs: model.Input, now: float) -> model.Decision:
    """What to do about one ModelDeployment. `now` is in epoch seconds."""
    case = case_.Case.of(inputs, now)
    chain = IDLE if case.state is None else UNDER_WAY
    found = (check(case) for check in chain)
    return next(decision for decision in found if decision is not None)
