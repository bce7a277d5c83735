"""When a failed request is sent again, as a pure function: the client only sleeps what this says."""

from __future__ import annotations

import dataclasses

from sluice.kube import errors


@dataclasses.dataclass(frozen=True)
class Policy:
    """Each attempt takes `timeout` seconds at most, and there are at most `attempts`.

    The delays between them double from `first` to `longest` seconds, each shortened by up to half at random. A `Retry-After`
    above `patience` is not waited for: the caller has its own queue to come back by.
    """

    timeout: float = 5.0
    attempts: int = 4
    first: float = 0.1
    longest: float = 2.0
    patience: float = 5.0


def delay(policy: Policy, attempt: int, error: errors.ApiError, chance: float) -> float | None:
    """Seconds to wait after the failure of `attempt` (from 1), or None to give up. `chance` is uniform in [0, 1)."""
    if not isinstance(error, errors.Transient) or attempt >= policy.attempts:
        return None
    backoff: float = min(policy.longest, policy.first * 2.0 ** (attempt - 1)) * (1.0 - chance / 2.0)
    if isinstance(error, errors.TooManyRequests) and error.retry_after is not None:
        if error.retry_after > policy.patience:
            return None
        return max(backoff, error.retry_after)
    return backoff
