"""Which signals exist. Every signal becomes bad and counted requests of a revision, so one engine judges them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from sluice.gates import attempts, error_rate, sequential


class Signal(Protocol):
    """Turns a difference of attempt counters into evidence."""

    def tally(self, delta: attempts.Counters, revision: str) -> attempts.Tally:
        """Bad and counted requests of a revision (its cluster name)."""
        ...


SIGNALS: Final[Mapping[str, Signal]] = {"ErrorRate": error_rate.ErrorRate()}
"""By `signal.type` of the API."""


class UnknownSignalError(LookupError):
    """A metric names a signal that this version does not know."""


def signal(name: str) -> Signal:
    """The signal of that name.

    Raises:
        UnknownSignalError: there is none.
    """
    try:
        return SIGNALS[name]
    except KeyError:
        raise UnknownSignalError(f"Cannot judge signal {name!r}: known are {', '.join(sorted(SIGNALS))}") from None


def block(name: str, delta: attempts.Counters, canary: str, stable: str | None) -> sequential.Block:
    """One block of a signal from a difference of counters over one span of time.

    `canary` and `stable` are cluster names; without a stable revision its side is empty.

    Raises:
        UnknownSignalError: no signal has that name.
    """
    reading = signal(name)
    new = reading.tally(delta, canary)
    old = reading.tally(delta, stable) if stable is not None else attempts.Tally()
    return sequential.Block(new.bad, new.total, old.bad, old.total)
