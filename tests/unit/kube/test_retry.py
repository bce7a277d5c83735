"""Which failures are tried again, and when."""

from __future__ import annotations

import pytest

from sluice.kube import errors, retry

POLICY = retry.Policy(attempts=3, first=0.1, longest=0.15, patience=5.0)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (errors.Unreachable("get x", "refused"), True),
        (errors.ServerError("get x", "500"), True),
        (errors.TooManyRequests("get x", "429"), True),
        (errors.NotFound("get x", "404"), False),
        (errors.Conflict("get x", "409"), False),
        (errors.Forbidden("get x", "403"), False),
        (errors.Invalid("get x", "422"), False),
        (errors.Unauthorized("get x", "401"), False),
    ],
)
def test_only_transient_faults_are_retried(error: errors.ApiError, again: bool) -> None:
    """A refusal will be the same the next time."""
    assert (retry.delay(POLICY, 1, error, 0.0) is not None) is again


def test_delays_double_up_to_the_longest_and_end_with_the_attempts() -> None:
    """Three attempts have two waits between them."""
    error = errors.Unreachable("get x", "refused")
    assert [retry.delay(POLICY, attempt, error, 0.0) for attempt in (1, 2, 3)] == [0.1, 0.15, None]


def test_jitter_shortens_a_delay_by_up_to_half() -> None:
    """Replicas that failed together do not come back together."""
    error = errors.Unreachable("get x", "refused")
    assert retry.delay(POLICY, 1, error, 0.999) == pytest.approx(0.05, abs=0.001)


def test_retry_after_is_a_lower_bound() -> None:
    """The API server's word counts more than our own haste, and not beyond our patience."""
    assert retry.delay(POLICY, 1, errors.TooManyRequests("get x", "429", retry_after=2.0), 0.0) == 2.0
    assert retry.delay(POLICY, 1, errors.TooManyRequests("get x", "429", retry_after=0.0), 0.0) == 0.1
    assert retry.delay(POLICY, 1, errors.TooManyRequests("get x", "429", retry_after=6.0), 0.0) is None
