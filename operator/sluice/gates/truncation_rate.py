"""Signal `TruncationRate`: the share of answers that ended at a token limit."""

from __future__ import annotations

from sluice.gates import attempts, readings


class TruncationRate:
    """Truncated answers of all that ended by themselves or so, as the engine counts them."""

    def tally(self, delta: readings.Delta, revision: str) -> attempts.Tally:
        """Truncated and counted answers of a revision (its cluster name) in a difference of counters."""
        bins = delta.bins(readings.Measure.TRUNCATED, revision)
        return attempts.Tally(int(readings.at_least(bins, readings.NOT_BAD)), readings.total(bins))
