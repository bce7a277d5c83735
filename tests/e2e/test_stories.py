"""The main job, on real parts: promoted, rejected before any traffic, rolled back with no user noticing."""

from __future__ import annotations

import pytest

from hack.demo import report

pytestmark = pytest.mark.timeout(2400)


def story(told: report.Report, name: str) -> report.Story:
    """The story of that name."""
    return next(each for each in told.stories if each.name == name)


def test_a_better_revision_is_promoted(told: report.Report) -> None:
    """It passes its eval and its live gates, and its canary had traffic on the way."""
    promoted = story(told, "promote")
    assert promoted.outcome == "Promoted", promoted
    assert promoted.canary_requests > 0


def test_a_revision_that_answers_wrongly_is_rejected_before_any_traffic(told: report.Report) -> None:
    """No user's request ever reached it."""
    rejected = story(told, "reject")
    assert rejected.outcome == "Rejected", rejected
    assert rejected.canary_requests == 0
    assert "golden/capitals" in rejected.message


def test_a_revision_that_starts_to_fail_is_rolled_back(told: report.Report) -> None:
    """By the live gate: it had traffic, failed, and then had none."""
    rolled_back = story(told, "rollback")
    assert rolled_back.outcome == "RolledBack", rolled_back
    assert rolled_back.canary_requests > 0
    assert rolled_back.bad_to_zero_seconds is not None


@pytest.mark.parametrize("name", ["promote", "reject", "rollback"])
def test_no_client_sees_an_error(told: report.Report, name: str) -> None:
    """All the while users were answered, and there were users."""
    told_story = story(told, name)
    assert told_story.requests > 0
    assert told_story.client_errors == 0


def test_users_kept_asking_all_the_while(told: report.Report) -> None:
    """Traffic never paused while a rollout went on, so that the absence of errors means something."""
    for each in told.stories:
        silent = [sample.at for sample in each.samples[1:-2] if sample.requests == 0]
        assert len(silent) <= len(each.samples) // 10, f"{each.name}: no requests in seconds {silent}"
