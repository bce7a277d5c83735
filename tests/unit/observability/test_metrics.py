"""The names and the life of the operator's metrics."""

from __future__ import annotations

import pytest

from sluice.observability import metrics


def lines(made: metrics.Metrics, prefix: str) -> list[str]:
    return sorted(line for line in made.render().decode().splitlines() if line.startswith(prefix))


@pytest.mark.parametrize(
    "name",
    [
        "sluice_queue_depth",
        "sluice_reconcile_seconds",
        "sluice_reconcile_errors_total",
        "sluice_leader",
        "sluice_protect_only",
        "sluice_xds_streams",
        "sluice_xds_rejected",
        "sluice_rollout_weight",
        "sluice_rollout_phase",
        "sluice_scrape_seconds",
        "sluice_scrape_errors_total",
    ],
)
def test_names_are_kept(name: str) -> None:
    """Dashboards and alerts of users depend on them."""
    assert lines(metrics.Metrics(), f"# TYPE {name} ")


def test_a_rollout_has_one_phase_and_the_weights_of_now() -> None:
    """A series of an earlier phase or revision would be summed up for ever."""
    made = metrics.Metrics()
    made.set_rollout("ns", "chat", phase="Progressing", weights={"aaa": 0.95, "bbb": 0.05})
    made.set_rollout("ns", "chat", phase="Promoting", weights={"bbb": 1.0})
    assert lines(made, "sluice_rollout") == [
        'sluice_rollout_phase{name="chat",namespace="ns",phase="Promoting"} 1.0',
        'sluice_rollout_weight{name="chat",namespace="ns",revision="bbb"} 1.0',
    ]


def test_a_deleted_model_leaves_no_series() -> None:
    """And forgetting it twice, or one never seen, is no error."""
    made = metrics.Metrics()
    made.set_rollout("ns", "chat", phase="Progressing", weights={"aaa": 1.0})
    made.forget_rollout("ns", "chat")
    made.forget_rollout("ns", "chat")
    assert lines(made, "sluice_rollout") == []


def test_the_role_is_two_flags() -> None:
    """A sum over replicas of the first is 1 in good times."""
    made = metrics.Metrics()
    made.set_role(leader=False, protect_only=True)
    assert lines(made, "sluice_leader") == ["sluice_leader 0.0"]
    assert lines(made, "sluice_protect_only") == ["sluice_protect_only 1.0"]
