"""Signal `ErrorRate`: the share of attempts that ended with a 5xx or broke."""

from __future__ import annotations

from sluice.gates import attempts, readings


class ErrorRate:
    """Bad attempts of all that count."""

    def tally(self, delta: readings.Delta, revision: str) -> attempts.Tally:
        """Bad and counted requests of a revision (its cluster name) in a difference of counters."""
        return attempts.tally(delta.attempts, revision)
