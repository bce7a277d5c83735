"""When a rollout that is watched is over, by which exit code, and what is said on the way."""

from __future__ import annotations

import dataclasses

import pytest

from sluice.cli import exits, progress, view

MODEL = view.Model("shop", "chat", generation=2, observed_generation=2, stable="5e77ab1e")
ROLLOUT = view.Rollout("ca9a12e0", "Progressing", step="first", weight="5")
READY = view.Condition("Ready", "True", "Serving", "It serves")


def after(outcome: str, revision: str = "ca9a12e0") -> view.Model:
    """The model once the rollout is over."""
    return dataclasses.replace(MODEL, last_rollout=view.Last(revision, outcome, "Because"), conditions=(READY,))


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("Promoted", exits.Exit.DONE),
        ("RolledBack", exits.Exit.ROLLOUT_FAILED),
        ("Rejected", exits.Exit.ROLLOUT_FAILED),
        ("Superseded", exits.Exit.SUPERSEDED),
        ("SomethingNew", exits.Exit.ROLLOUT_FAILED),
    ],
)
def test_the_exit_code_says_how_it_ended(outcome: str, code: exits.Exit) -> None:
    """An outcome that this version does not know is no success."""
    ended = progress.end(after(outcome), "ca9a12e0")
    assert ended is not None
    assert ended.code is code


def test_a_rollout_that_is_under_way_has_not_ended() -> None:
    """Nor has one that the operator has not begun: it has not seen the change yet."""
    assert progress.end(dataclasses.replace(MODEL, rollout=ROLLOUT), "ca9a12e0") is None
    assert progress.end(dataclasses.replace(after("Promoted"), generation=3), "ca9a12e0") is None
    assert progress.end(dataclasses.replace(MODEL, generation=3, conditions=(READY,)), "") is None


def test_another_revision_in_its_place_supersedes_it() -> None:
    """Whether the status still says how it ended or not."""
    other = dataclasses.replace(MODEL, rollout=dataclasses.replace(ROLLOUT, revision="07e40000"))
    for model in (other, dataclasses.replace(other, last_rollout=view.Last("ca9a12e0", "Superseded")), after("Promoted", "x")):
        ended = progress.end(model, "ca9a12e0")
        assert ended is not None
        assert ended.code is exits.Exit.SUPERSEDED


def test_without_a_rollout_rest_is_the_end() -> None:
    """Ready is good, stalled is not, and anything between may yet become a rollout."""
    ready = progress.end(dataclasses.replace(MODEL, conditions=(READY,)), "")
    stalled = view.Condition("Stalled", "True", "RevisionRejected", "It failed")
    failed = progress.end(dataclasses.replace(MODEL, conditions=(READY, stalled)), "")
    assert ready is not None
    assert failed is not None
    assert (ready.code, failed.code) == (exits.Exit.DONE, exits.Exit.ROLLOUT_FAILED)
    assert progress.end(MODEL, "") is None


def test_only_what_changed_is_said() -> None:
    """A gate's numbers move all the time; its verdict is news."""
    gate = view.Gate("default", "errors", "Inconclusive", n=10)
    first = dataclasses.replace(MODEL, rollout=dataclasses.replace(ROLLOUT, gates=(gate,)))
    counted = dataclasses.replace(gate, n=20)
    second = dataclasses.replace(MODEL, rollout=dataclasses.replace(ROLLOUT, gates=(counted,)))
    passed = dataclasses.replace(gate, verdict="Pass", n=30)
    third = dataclasses.replace(MODEL, rollout=dataclasses.replace(ROLLOUT, weight="25", gates=(passed,)))
    assert len(list(progress.changes(None, first))) == 2
    assert list(progress.changes(first, second)) == []
    assert list(progress.changes(second, third)) == [
        'revision ca9a12e0: Progressing, step "first", weight 25 %',
        "gate default/errors: Inconclusive -> Pass (n 30)",
    ]
