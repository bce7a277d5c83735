"""Which scorers exist, by `scorer.type` of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from sluice.evals.scorers import exact_match


class Scorer(Protocol):
    """Judges one answer."""

    def is_right(self, answer: str, reference: str) -> bool:
        """Whether the model's answer counts as right."""
        ...


SCORERS: Final[Mapping[str, Scorer]] = {"ExactMatch": exact_match.ExactMatch()}


class UnknownScorerError(LookupError):
    """An eval names a scorer that this version does not know."""


def scorer(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        UnknownScorerError: there is none.
    """
    try:
        return SCORERS[name]
    except KeyError:
        raise UnknownScorerError(f"Cannot score by {name!r}: known are {', '.join(sorted(SCORERS))}") from None
