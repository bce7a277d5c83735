"""What one attempt at the gateway says of the revision that answered it: good, bad, or nothing.

Everything starts from Envoy's per-attempt counter, whose tags are the fields of `AttemptKey`. What stays out: reading
the counters (`sources`), and every statistic (`sequential`).

Known limits of the counter, accepted on purpose:

- A client that leaves in the middle of a stream looks like a success (`200`, no flag); before the headers it is code 0.
- vLLM refuses for a full queue with a 503 that cannot be told from any other 503 at the gateway: it counts as bad. A 429
  from the engine can mean nothing but capacity (the gateway's own 429 never reaches a revision), which says nothing of
  the revision's quality: it counts as neither, so that a revision that only answers 429 has no data and never passes.
- Stable's attempts include the retries that shield the canary's users: see `sequential.Block.without_retries`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final

SHADOW_SUFFIX: Final = "/shadow"
"""A mirrored request goes to the cluster `<revision>/shadow`."""
OVERRIDE_SUFFIX: Final = "/override"
"""Testers who ask for the canary by header use the route `<route>/override`."""

BAD_FLAGS: Final = frozenset({"UC", "UF", "UPE", "UR", "UT", "UMSDR", "SI"})
"""Envoy response flags of an upstream that refused, broke, timed out or fell silent."""
OVERFLOW_FLAG: Final = "UO"
"""A circuit breaker of ours stopped the attempt: the revision never saw it."""


@dataclasses.dataclass(frozen=True, slots=True)
class AttemptKey:
    """The tags of one attempt counter: `revision` is the cluster, `flags` Envoy's comma-separated response flags."""

    revision: str
    route: str
    code: int
    flags: str
    stream: bool
    placeholder: bool


Counters = Mapping[AttemptKey, int]
"""Attempts by tags: a running total of one proxy, or a difference of totals."""


class AttemptClass(enum.StrEnum):
    """What an attempt is evidence of."""

    GOOD = "Good"
    """The revision answered the request."""
    BAD = "Bad"
    """The revision answered with a 5xx, or broke."""
    NEITHER = "Neither"
    """The client left or asked for nonsense (4xx), or the attempt never reached the revision, or it was refused for capacity.

    A 4xx is no proof of health: a revision that refuses everything has no data, and so never passes.
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Attempts that count as evidence: `bad` of `total`."""

    bad: int = 0
    total: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.bad + other.bad, self.total + other.total)


def classify(key: AttemptKey) -> AttemptClass:
    """What the attempts under `key` say of the revision."""
    flags = {flag for flag in key.flags.split(",") if flag not in {"", "-"}}
    if key.placeholder or OVERFLOW_FLAG in flags:
        return AttemptClass.NEITHER
    if key.code >= 500 or (flags & BAD_FLAGS and key.code != 429):
        return AttemptClass.BAD
    if not key.code and key.revision.endswith(SHADOW_SUFFIX):
        return AttemptClass.BAD  # no client can end a copy: it got no answer for the whole time that the route allows
    return AttemptClass.GOOD if 200 <= key.code < 400 else AttemptClass.NEITHER


def is_evidence(key: AttemptKey) -> bool:
    """Whether the attempt was not one of testers, who ask for the canary by themselves."""
    return not key.route.endswith(OVERRIDE_SUFFIX)


def tally(delta: Counters, revision: str) -> Tally:
    """Bad and counted attempts of one revision in a difference of counters.

    `revision` is its cluster name, or the one of its shadow: copied requests count apart.
    """
    bad = total = 0
    for key, count in delta.items():
        if key.revision != revision or not is_evidence(key):
            continue
        seen = classify(key)
        bad += count if seen is AttemptClass.BAD else 0
        total += count if seen is not AttemptClass.NEITHER else 0
    return Tally(bad, total)
