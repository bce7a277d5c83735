"""When an engine has started, may get requests, or is ended."""

from __future__ import annotations

import pathlib

import pytest

from sluice.workloads import pod_template, probes
from sluice.workloads.engine_files import liveness

DOCUMENT = pathlib.Path(__file__).parents[3] / "docs" / "pods.md"


@pytest.mark.parametrize("seconds", [0.5, 10, 601, 86_400])
def test_the_start_gets_all_the_time_it_is_given(seconds: float) -> None:
    """Never less, and at most one period more."""
    probe = probes.startup("http", seconds)
    budget = probe["periodSeconds"] * probe["failureThreshold"]
    assert seconds <= budget < seconds + 2 * probe["periodSeconds"]


def test_the_probe_of_hangs_has_time_for_its_three_requests() -> None:
    """One that the kubelet cuts short counts as failed, on a busy node where nothing hangs."""
    assert probes.liveness("liveness.py", 8000, 120)["timeoutSeconds"] >= 3 * liveness.REQUEST_SECONDS + 1


def test_a_failed_container_ends_soon_and_not_before_its_pre_stop() -> None:
    """A hung engine does not drain: without a grace period of its own it would be waited for as long as a stream may last."""
    for probe in (probes.startup("http", 60), probes.liveness("liveness.py", 8000, 120)):
        assert pod_template.PRE_STOP_SECONDS < probe["terminationGracePeriodSeconds"] <= 30


def test_one_bad_look_ends_nothing() -> None:
    """Neither readiness nor liveness goes by a single one."""
    assert probes.readiness("http")["failureThreshold"] > 1
    assert probes.liveness("liveness.py", 8000, 120)["failureThreshold"] > 1


def test_the_documented_limit_holds_what_the_probe_adds() -> None:
    """Stall, looks and the end: the figure that users read."""
    assert f"within {probes.longest_detection()} seconds" in DOCUMENT.read_text()
