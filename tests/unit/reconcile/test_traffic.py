"""The traffic table: nothing older is ever sent, and each gateway's version is that of the traffic in force."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.reconcile import traffic
from sluice.rollout import model as rollout
from sluice.rollout import traffic as rollout_traffic
from tests.unit.reconcile import parts


def sent(epoch: int, weight: int = 0) -> rollout.Sent:
    return rollout.Sent(None, rollout_traffic.Traffic("a", "b" if weight else None, weight, epoch))


@pytest.mark.parametrize(
    ("epoch", "weight", "reason"),
    [(4, 10, "an older epoch"), (5, 10, "the same epoch with other contents"), (4, 50, "an older epoch with the same split")],
)
def test_stale_traffic_is_refused(epoch: int, weight: int, reason: str) -> None:
    """What is not newer than what is in force is refused, and what is in force stays."""
    table = traffic.TrafficTable()
    table.put(parts.KEY, sent(5, 50))
    with pytest.raises(traffic.StaleTrafficError):
        table.put(parts.KEY, sent(epoch, weight))
    assert table.sent(parts.KEY) == sent(5, 50), reason


def test_first_version_counts_until_the_traffic_changes() -> None:
    """A gateway that is programmed again for another reason needs no second acknowledgement; new traffic does."""
    table = traffic.TrafficTable()
    assert table.put(parts.KEY, sent(1))
    assert table.version(parts.KEY, parts.EDGE) is None
    table.told(parts.KEY, parts.EDGE, 7)
    table.told(parts.KEY, parts.EDGE, 8)
    assert not table.put(parts.KEY, sent(1))
    assert table.version(parts.KEY, parts.EDGE) == 7
    assert table.put(parts.KEY, sent(2, 50))
    assert table.version(parts.KEY, parts.EDGE) is None


def test_forgotten_models_have_no_traffic() -> None:
    """A model that is gone, or a process that no longer leads, holds nothing."""
    table = traffic.TrafficTable()
    table.put(parts.KEY, sent(3))
    table.forget(parts.KEY)
    assert table.traffic(parts.KEY) is None
    table.told(parts.KEY, parts.EDGE, 1)
    table.put(parts.KEY, sent(1))
    table.clear()
    assert table.sent(parts.KEY) is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 100)), max_size=20))
def test_epochs_in_force_never_fall(puts: list[tuple[int, int]]) -> None:
    """Whatever is asked for, the epoch in force only rises."""
    table, epochs = traffic.TrafficTable(), [-1]
    for epoch, weight in puts:
        try:
            table.put(parts.KEY, sent(epoch, weight))
        except traffic.StaleTrafficError:
            continue
        in_force = table.traffic(parts.KEY)
        assert in_force is not None
        epochs.append(in_force.epoch)
    assert epochs == sorted(epochs)
