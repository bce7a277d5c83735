"""The state of a rollout and its status: one to one, and forgiving of what people write into a status."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import rollout_status
from sluice.rollout import model, persisted, times
from sluice.rollout import reasons as rollout_reasons
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision

PHASES = [phase for phase in rollout_status.Phase if phase is not rollout_status.Phase.IDLE]
TIMES = st.floats(0, 4e9).map(times.at)

STATES = st.builds(
    persisted.State,
    revision=st.from_regex(r"[0-9a-f]{8}", fullmatch=True),
    phase=st.sampled_from(PHASES),
    started_at=TIMES,
    step=st.none() | st.sampled_from(["evals", "some"]),
    weight=st.integers(0, rollout_traffic.FULL_WEIGHT),
    epoch=st.integers(0, 2**53),
    step_entered_at=st.none() | TIMES,
    had_traffic=st.booleans(),
    gates=st.lists(
        st.builds(
            rollout_status.GateStatus,
            name=st.just("slo"),
            metric=st.sampled_from(["errors", "ttft"]),
            verdict=st.sampled_from(rollout_status.Verdict),
            n=st.integers(0, 10**9),
        ),
        max_size=2,
    ).map(tuple),
    reason=st.none() | st.sampled_from([str(reason) for reason in rollout_reasons.Reason]),
    message=st.none() | st.text(max_size=40),
)


@given(state=STATES)
def test_a_state_survives_the_status_and_its_wire_form(state: persisted.State) -> None:
    """Nothing that a decision needs is lost between two processes."""
    status = persisted.to_status(state)
    assert status is not None

    assert persisted.from_status(rollout_status.RolloutStatus.model_validate(status.to_wire())) == state


def test_no_rollout_is_no_status() -> None:
    """Idle is the absence of a state."""
    idle = rollout_status.RolloutStatus(revision="a", phase=rollout_status.Phase.IDLE)

    assert persisted.to_status(None) is None
    assert persisted.from_status(None) is persisted.from_status(idle) is None


@given(weight=st.text(max_size=8), started=st.text(max_size=12), entered=st.none() | st.text(max_size=12))
def test_a_spoiled_status_still_reads(weight: str, started: str, entered: str | None) -> None:
    """Total: whatever somebody wrote there, the rollout goes on from a legal state."""
    status = rollout_status.RolloutStatus(
        revision="a", phase=rollout_status.Phase.PROGRESSING, weight=weight, started_at=started, step_entered_at=entered
    )

    state = persisted.from_status(status)

    assert state is not None
    assert 0 <= state.weight <= rollout_traffic.FULL_WEIGHT


def test_a_long_log_fits_into_the_status() -> None:
    """The CRD bounds messages; the end of one is cut rather than the write refused."""
    status = persisted.to_status(persisted.State("a", rollout_status.Phase.ROLLING_BACK, 0.0, message="x" * 9000))

    assert status is not None
    assert status.message is not None
    assert len(status.message) == 2048


@pytest.mark.parametrize(
    ("change", "urgent"),
    [
        ({}, False),
        ({"message": "1 of 2 pods"}, False),
        ({"gates": (rollout_status.GateStatus(name="slo", metric="errors", verdict="Inconclusive", n=50),)}, False),
        ({"gates": (rollout_status.GateStatus(name="slo", metric="errors", verdict="Pass", n=50),)}, True),
        ({"phase": rollout_status.Phase.PROMOTING}, True),
        ({"step": "half"}, True),
        ({"epoch": 8}, True),
        ({"reason": "Unschedulable"}, True),
    ],
)
def test_only_figures_may_wait(change: dict[str, object], urgent: bool) -> None:
    """A status whose phase, step or verdict changed is written at once, one whose counts did is not."""
    gates = (rollout_status.GateStatus(name="slo", metric="errors", verdict=rollout_status.Verdict.INCONCLUSIVE, n=9),)
    old = persisted.State("a", rollout_status.Phase.PROGRESSING, 0.0, step="some", epoch=7, gates=gates)

    assert model.is_urgent(old, dataclasses.replace(old, **change)) is urgent  # type: ignore[arg-type]


LABEL = revision.OutcomeLabel
ROWS = [
    ((), None, "nothing was ever promoted"),
    (((1, LABEL.CANDIDATE), (2, LABEL.REJECTED), (3, LABEL.SUPERSEDED)), None, "none of these ever served"),
    (((1, LABEL.PREVIOUS), (2, LABEL.STABLE), (3, LABEL.CANDIDATE)), 2, "the one that is labelled"),
    (((1, LABEL.STABLE), (2, LABEL.STABLE)), 2, "a crash in the middle of a promotion: the newer"),
    (((1, LABEL.PREVIOUS), (2, LABEL.PREVIOUS)), 2, "the stable one's object is gone: what served before it"),
]


@pytest.mark.parametrize(("known", "serves", "reason"), ROWS, ids=[row[2] for row in ROWS])
def test_labels_alone_say_what_serves(
    known: tuple[tuple[int, revision.OutcomeLabel], ...], serves: int | None, reason: str
) -> None:
    """A restored or re-created object without status resumes at the stable revision."""
    found = model.stable_revision(model.Revision(f"r{number}", number, outcome) for number, outcome in known)

    assert (found.number if found is not None else None) == serves, reason


def test_weight_without_a_canary_is_no_traffic() -> None:
    """A canary and its weight come and go together, so equal traffic is an equal value."""
    with pytest.raises(ValueError, match="Cannot split"):
        rollout_traffic.Traffic("a", "b", 0)
