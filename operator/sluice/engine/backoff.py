"""How long to wait after failures in a row."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Backoff:
    """Seconds that double from `first` to `longest`, each shortened at random by up to the share `jitter`."""

    first: float = 0.2
    longest: float = 60.0
    jitter: float = 0.3

    def delay(self, failures: int, chance: float) -> float:
        """The wait after so many failures in a row (from 1). `chance` is uniform in [0, 1)."""
        doublings = min(failures - 1, 60)  # beyond that the float would overflow, and `longest` holds anyway
        full: float = min(self.longest, self.first * 2.0**doublings)
        return full * (1.0 - self.jitter * chance)
