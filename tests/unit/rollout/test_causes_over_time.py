"""How long a cause may last: the budget of a start, and when a person has to look at what the environment does not mend."""

from __future__ import annotations

import pytest

from sluice.rollout import health
from tests.unit.rollout import judging, messages
from tests.unit.rollout import pod_json as k8s


def test_the_next_limit_is_told() -> None:
    """A rollout is woken when the startup budget ends, for no pod changes then."""
    assert judging.judge(k8s.pod(phase="Running", engine=k8s.running(20)), at=100).recheck_after == judging.STARTUP - 80


def test_a_start_that_never_ran_uses_up_no_budget() -> None:
    """The kubelet gives such an end the year 1970 as its start."""
    assert judging.judge(k8s.start_error(messages.NO_COMMAND, 0), at=judging.STARTUP * 2).cause is health.Cause.STARTING


@pytest.mark.parametrize(
    ("one", "at", "lasting"),
    [
        (k8s.unschedulable(messages.NO_GPU), judging.STARTUP - 1, False),
        (k8s.unschedulable(messages.NO_GPU), judging.STARTUP, True),
        (k8s.pod(engine=k8s.waiting("ContainerCreating")), 90000, False),
        (k8s.downloading(state={"running": {"startedAt": k8s.stamp(5)}}), 90000, False),
        (k8s.download_ended(3, "403"), judging.STARTUP, True),
        (k8s.pod(phase="Running", engine=k8s.back_off(messages.TRACE, restarts=2)), 90000, False),
    ],
    ids=["at first", "as long as a start", "pulling", "downloading", "denied", "the revision's own"],
)
def test_what_the_environment_does_not_mend_lasts(one: k8s.Json, at: float, lasting: bool) -> None:
    """After spec.startupTimeout a person has to look; large things on their way are no fault. The time is told before."""
    found = judging.judge(one, at=at)

    assert found.trouble is not None
    assert found.trouble.lasting is lasting
    assert found.recheck_after is None or found.recheck_after > 0, "a time that is over is no reason to look again"
    if found.trouble.effect is health.CauseClass.ENVIRONMENT and found.trouble.cause not in health.PROGRESS and not lasting:
        assert found.recheck_after == judging.STARTUP - at
