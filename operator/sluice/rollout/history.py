"""Which stored revisions are old enough to be forgotten. Deleting them is in `reconcile`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sluice.api import rollout_status
from sluice.workloads import revision


def recent(revisions: Iterable[revision.Revision], *, serving: str | None, limit: int) -> frozenset[str]:
    """Hashes of the revisions that were promoted last, without the one that serves: they may come back without steps."""
    promoted = [
        (known.result.finished_at, known.hash)
        for known in revisions
        if known.hash != serving and known.result is not None and known.result.outcome == rollout_status.Outcome.PROMOTED
    ]
    return frozenset(known for _, known in sorted(promoted, reverse=True)[:limit])


def surplus(revisions: Iterable[revision.Revision], *, limit: int, needed: Collection[str]) -> tuple[str, ...]:
    """Hashes of the revisions to delete, the oldest first.

    What is in `needed` or labelled Stable stays and does not count. Of the others the newest `limit` stay, and among them the
    one that served last: it is what a person goes back to, and who serves if the stable one's object is lost.
    """
    old = sorted(
        (
            known
            for known in revisions
            if known.hash not in needed and known.outcome not in (revision.OutcomeLabel.STABLE, revision.OutcomeLabel.CANDIDATE)
        ),
        key=lambda known: known.number,
    )
    served = next((known for known in reversed(old) if known.outcome is revision.OutcomeLabel.PREVIOUS), None)
    ranked = sorted(old, key=lambda known: (known is served, known.number))
    gone = {known.hash for known in ranked[: max(0, len(ranked) - limit)]}
    return tuple(known.hash for known in old if known.hash in gone)
