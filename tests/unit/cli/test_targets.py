"""Which revision an order is meant for, and what is refused before it is sent."""

from __future__ import annotations

import pytest

from sluice.api import commands
from sluice.cli import exits, targets, view

Verb = commands.Verb
HISTORY = (
    view.Entry("ca9a12e0", number=4, outcome="Candidate"),
    view.Entry("5e77ab1e", number=3, outcome="Stable"),
    view.Entry("f012e100", number=2, outcome="Previous"),
    view.Entry("0ddba112", number=1, outcome="Previous"),
)
REST = view.Model("shop", "chat", stable="5e77ab1e", history=HISTORY)
ROLLING = view.Model("shop", "chat", stable="5e77ab1e", history=HISTORY, rollout=view.Rollout("ca9a12e0", "Progressing"))
FAILED = view.Model("shop", "chat", stable="5e77ab1e", history=HISTORY, last_rollout=view.Last("ca9a12e0", "RolledBack"))


def refused(model: view.Model, verb: Verb, named: str | None = None) -> exits.Failure:
    """How the order is refused."""
    with pytest.raises(exits.Failure) as raised:
        targets.choose(model, verb, named)
    return raised.value


@pytest.mark.parametrize("verb", [Verb.PROMOTE, Verb.SKIP_STEP, Verb.APPROVE, Verb.PAUSE, Verb.RESUME, Verb.ABORT])
def test_orders_about_a_rollout_mean_its_revision(verb: Verb) -> None:
    """And without one there is nothing that they could mean."""
    assert targets.choose(ROLLING, verb) == "ca9a12e0"
    assert refused(REST, verb).code is exits.Exit.REFUSED
    assert "`kubectl sluice retry`" in str(refused(FAILED, verb))


def test_retry_means_what_failed_last() -> None:
    """Of a status that was lost, the newest rejected revision of the history; during a rollout nothing."""
    assert targets.choose(FAILED, Verb.RETRY) == "ca9a12e0"
    entries = (view.Entry("a", number=7, outcome="Rejected"), view.Entry("b", number=9, outcome="Rejected"), *HISTORY)
    assert targets.choose(view.Model("shop", "chat", history=entries), Verb.RETRY) == "b"
    assert "a rollout is under way" in str(refused(ROLLING, Verb.RETRY))
    assert "no revision is rejected" in str(refused(REST, Verb.RETRY))


def test_undo_means_the_one_before_or_the_one_that_is_named() -> None:
    """During a rollout it has to be named: taking that back is another order."""
    assert targets.choose(REST, Verb.UNDO) == "f012e100"
    assert targets.choose(ROLLING, Verb.UNDO, "0ddba112") == "0ddba112"
    assert "kubectl sluice abort" in str(refused(ROLLING, Verb.UNDO))
    assert "no revision served before" in str(refused(view.Model("shop", "chat", stable="x"), Verb.UNDO))


@pytest.mark.parametrize(
    ("named", "found"), [("f012e100", "f012e100"), ("f0", "f012e100"), ("1", "0ddba112"), ("0", "0ddba112")]
)
def test_revisions_are_named_by_hash_beginning_or_number(named: str, found: str) -> None:
    """A beginning goes before a number, as hashes may be digits."""
    assert targets.find(REST, named) == found


def test_a_name_that_fits_none_or_several_is_not_guessed() -> None:
    """The message lists what there is."""
    twice = view.Model("shop", "chat", history=(view.Entry("abc1"), view.Entry("abc2")))
    assert "it begins more than one" in str(refused(twice, Verb.UNDO, "abc"))
    missing = refused(REST, Verb.UNDO, "\x1b[2J")
    assert missing.code is exits.Exit.NOT_FOUND
    assert "ca9a12e0, 5e77ab1e, f012e100, 0ddba112" in str(missing)
    assert "\x1b" not in str(missing)


def test_rerender_means_what_serves() -> None:
    """Also during a rollout: whether that may be is the operator's to say."""
    assert targets.choose(ROLLING, Verb.RERENDER) == "5e77ab1e"
    assert "no revision serves" in str(refused(view.Model("shop", "chat"), Verb.RERENDER))
