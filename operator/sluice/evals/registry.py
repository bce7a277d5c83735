"""Which runners exist, by `runner.type` of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from sluice.evals import builtin, request
from sluice.evals import result as results


class Runner(Protocol):
    """Builds the Job of an eval and reads what it came to."""

    def build_job(self, wanted: request.Request) -> dict[str, Any]:
        """The Job's manifest; the same request always gives the same name."""
        ...

    def parse_job(self, job: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> results.Outcome | None:
        """What the Job came to, from it and its pods; None while it runs."""
        ...


RUNNERS: Final[Mapping[str, Runner]] = {"Builtin": builtin.Builtin()}


class UnknownRunnerError(LookupError):
    """An eval names a runner that this version does not know."""


def runner(name: str) -> Runner:
    """The runner of that name.

    Raises:
        UnknownRunnerError: there is none.
    """
    try:
        return RUNNERS[name]
    except KeyError:
        raise UnknownRunnerError(f"Cannot run evals by {name!r}: known are {', '.join(sorted(RUNNERS))}") from None
