"""Which revisions are forgotten: never one that is needed, and never more are kept than was asked for."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from sluice.rollout import history
from sluice.workloads import outcome as outcome_
from sluice.workloads import revision

Label = revision.OutcomeLabel


def stored(number: int, outcome: Label | None) -> revision.Revision:
    """A revision of that number and label."""
    return revision.Revision(f"r{number}", number, {}, {}, {}, {}, outcome)


STORES = st.lists(st.sampled_from([None, *Label]), max_size=30).map(
    lambda labels: tuple(stored(number, label) for number, label in enumerate(labels, start=1))
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[tuple[revision.Revision, ...], int, frozenset[str]]:
    """Stored revisions, a limit, and those that are needed."""
    revisions = draw(STORES)
    names = [known.hash for known in revisions]
    needed = draw(st.frozensets(st.sampled_from(names))) if names else frozenset()
    return revisions, draw(st.integers(0, 12)), needed


@given(situations())
def test_what_serves_or_is_needed_is_never_forgotten(
    situation: tuple[tuple[revision.Revision, ...], int, frozenset[str]],
) -> None:
    """Whatever the limit, and whatever the labels say."""
    revisions, limit, needed = situation
    gone = set(history.surplus(revisions, limit=limit, needed=needed))
    assert not gone & needed
    assert not gone & {known.hash for known in revisions if known.outcome in (Label.STABLE, Label.CANDIDATE)}


@given(situations())
def test_exactly_the_limit_is_kept_of_the_others(situation: tuple[tuple[revision.Revision, ...], int, frozenset[str]]) -> None:
    """No more, and no fewer where there are as many; what is left has no surplus."""
    revisions, limit, needed = situation
    gone = set(history.surplus(revisions, limit=limit, needed=needed))
    left = tuple(known for known in revisions if known.hash not in gone)
    others = [known for known in revisions if known.hash not in needed and known.outcome not in (Label.STABLE, Label.CANDIDATE)]
    assert len(others) - len(gone) == min(limit, len(others))
    assert history.surplus(left, limit=limit, needed=needed) == ()


@given(situations())
def test_the_newest_are_kept(situation: tuple[tuple[revision.Revision, ...], int, frozenset[str]]) -> None:
    """All that is forgotten is older than all that is kept, but for the one that served last."""
    revisions, limit, needed = situation
    gone = set(history.surplus(revisions, limit=limit, needed=needed))
    others = [known for known in revisions if known.hash not in needed and known.outcome not in (Label.STABLE, Label.CANDIDATE)]
    served = max((known for known in others if known.outcome is Label.PREVIOUS), key=lambda known: known.number, default=None)
    kept = [known.number for known in others if known.hash not in gone and known is not served]
    assert max((known.number for known in others if known.hash in gone), default=0) < min(kept, default=99)
    assert served is None or limit == 0 or served.hash not in gone


def test_the_one_that_served_last_outlives_newer_failures() -> None:
    """It is what a person goes back to."""
    revisions = (
        stored(1, Label.PREVIOUS),
        stored(2, Label.PREVIOUS),
        stored(3, Label.STABLE),
        *(stored(number, Label.REJECTED) for number in (4, 5, 6)),
    )
    assert history.surplus(revisions, limit=2, needed={"r3"}) == ("r1", "r4", "r5")


def test_the_revisions_promoted_last_are_recent() -> None:
    """By when they were promoted, not by their numbers; what serves and what failed are not among them."""

    def known(name: str, number: int, outcome: str, finished: str) -> revision.Revision:
        return dataclasses.replace(
            stored(number, None), hash=name, result=outcome_.Result(outcome, "AllGatesPassed", finished_at=finished)
        )

    revisions = [
        known("a", 9, "Promoted", "2026-01-01T00:00:00.000Z"),
        known("b", 2, "Promoted", "2026-01-03T00:00:00.000Z"),
        known("c", 3, "RolledBack", "2026-01-04T00:00:00.000Z"),
        known("d", 4, "Promoted", "2026-01-05T00:00:00.000Z"),
    ]

    assert history.recent(revisions, serving="d", limit=1) == {"b"}
    assert history.recent(revisions, serving="d", limit=3) == {"a", "b"}
    assert history.recent(revisions, serving="d", limit=0) == frozenset()
