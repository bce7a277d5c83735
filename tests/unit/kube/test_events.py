"""What becomes of an event before anything is sent."""

from __future__ import annotations

from typing import Any

from sluice.kube import events

NOW = 1_800_000_000.0


def event(note: str = "weight 5", *, uid: str = "u1", reason: str = "Progressing", name: str = "chat") -> events.Event:
    regarding: dict[str, Any] = {
        "apiVersion": "sluice.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "ns", "uid": uid},
    }
    return events.Event(regarding, events.Type.NORMAL, reason, note)


def test_the_same_again_is_counted_on_the_one_event() -> None:
    """`kubectl describe` shows it once, with a count."""
    ledger = events.Ledger()
    first = ledger.enter(event(), NOW)
    again = ledger.enter(event(), NOW + 5)
    assert first
    assert again is first
    assert (again.count, again.last) == (2, NOW + 5)


def test_another_note_reason_or_object_is_another_event() -> None:
    """Names differ too, so that none overwrites another."""
    ledger = events.Ledger()
    made = [ledger.enter(e, NOW) for e in (event(), event("weight 25"), event(reason="Promoted"), event(uid="u2"))]
    assert all(series and series.count == 1 for series in made)
    assert len({series.name for series in made if series}) == 4


def test_the_same_after_a_long_time_is_a_new_event() -> None:
    """A count over hours tells nobody when it happened."""
    ledger = events.Ledger()
    first = ledger.enter(event(), NOW)
    later = ledger.enter(event(), NOW + 601)
    assert first
    assert later
    assert later.name != first.name
    assert later.count == 1


def test_an_object_that_flaps_is_cut_off_and_comes_back_slowly() -> None:
    """25 at once, then one a minute; other objects are not affected."""
    ledger = events.Ledger()
    taken = [ledger.enter(event(f"n{index}"), NOW) for index in range(40)]
    assert sum(series is not None for series in taken) == 25
    assert ledger.enter(event("other", uid="u2"), NOW)
    assert ledger.enter(event("late"), NOW + 30) is None
    assert ledger.enter(event("later"), NOW + 61)


def test_memory_is_bounded() -> None:
    """Whatever comes, only the latest are remembered."""
    ledger = events.Ledger()
    for index in range(5000):
        ledger.enter(event(uid=f"u{index}"), NOW)
    assert len(ledger._series) == 2000
    assert len(ledger._budgets) == 2000


def test_an_event_names_its_object_and_is_within_the_limits_of_the_api() -> None:
    """A note of more than 1024 bytes, or a name of more than 253 characters, would be refused."""
    told = event("ü" * 2000, name="x" * 253)
    series = events.Ledger().enter(told, NOW)
    assert series
    built = events.build(told, series, "pod-1")
    assert len(built["note"].encode()) <= 1024
    assert built["note"].endswith("…")
    assert len(built["metadata"]["name"]) <= 253
    assert built["regarding"] == told.reference()
    assert built["regarding"]["uid"] == "u1"
    assert built["eventTime"] == "2027-01-15T08:00:00.000000Z"
