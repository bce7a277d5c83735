"""Why pods are not ready: the closed table, over pods as Kubernetes 1.36 writes them."""

from __future__ import annotations

import pytest

from sluice.rollout import health
from tests.unit.rollout import causes_after_start, causes_before_start, judging, messages
from tests.unit.rollout import pod_json as k8s

TABLE = (*causes_before_start.ROWS, *causes_after_start.ROWS)


@pytest.mark.parametrize(("one", "at", "cause", "effect", "reason"), TABLE, ids=[f"{row[2]}: {row[4]}" for row in TABLE])
def test_each_kind_of_pod_has_one_cause_and_class(
    one: k8s.Json, at: float, cause: str, effect: health.CauseClass, reason: str
) -> None:
    """The closed table, row by row."""
    found = judging.judge(one, at=at)

    assert (found.cause, found.effect) == (health.Cause(cause), effect), reason
    assert found.message


def test_every_cause_is_in_the_table() -> None:
    """A cause that no row shows is untested."""
    refused = {judging.judge(failure=messages.QUOTA).cause, judging.judge(failure=messages.POLICY).cause}

    assert {health.Cause(row[2]) for row in TABLE} | refused == set(health.Cause)


@pytest.mark.parametrize(
    ("failure", "cause"),
    [(messages.QUOTA, health.Cause.QUOTA_EXCEEDED), (messages.POLICY, health.Cause.PODS_REFUSED)],
    ids=["quota", "policy"],
)
def test_pods_that_the_api_server_refuses_are_the_environments(failure: str, cause: health.Cause) -> None:
    """Without a pod the Deployment tells why, and the message reaches the user."""
    found = judging.judge(replicas=2, failure=failure)

    assert (found.cause, found.effect) == (cause, health.CauseClass.ENVIRONMENT)
    assert found.message.startswith(failure)
