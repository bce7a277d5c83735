"""Sizes during a rollout: enough for what each side carries, and never more because of what we asked for ourselves."""

from __future__ import annotations

import math
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.rollout import capacity

ONE = {"type": "Pods", "pods": {"metric": {"name": "sluice_requests_waiting"}, "target": {"averageValue": "10"}}}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}}
OUTSIDE = {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"averageValue": "5"}}}


def seen(target: dict[str, Any], value: str | int) -> dict[str, Any]:
    """A metric as `status.currentMetrics` has it."""
    member = target["type"][0].lower() + target["type"][1:]
    (field,) = target[member]["target"]
    return {"type": target["type"], member: {"current": {field: value}}}


def side(ready: int, *metrics: tuple[dict[str, Any], str | int | None]) -> capacity.Side:
    """A revision whose HPA reads these."""
    current = [seen(target, value) if value is not None else {"type": ""} for target, value in metrics]
    return capacity.Side({"spec": {"metrics": [target for target, _ in metrics]}, "status": {"currentMetrics": current}}, ready)


@pytest.mark.parametrize(
    ("sides", "pods", "reason"),
    [
        ([side(3, (ONE, "20"))], 6, "60 requests wait, 10 a pod"),
        ([side(3, (ONE, "20")), side(1, (ONE, "5500m"))], 7, "the load of both sides: 65.5"),
        ([side(4, (CPU, 25), (ONE, "1"))], 2, "the metric that needs most"),
        ([side(4, (OUTSIDE, "10")), side(1, (OUTSIDE, "40"))], 8, "a queue outside is one queue for both"),
        ([side(4, (ONE, None))], 0, "what could not be read says nothing"),
        ([side(0, (ONE, "20"))], 0, "no pod, no load"),
        ([capacity.Side({"spec": {"metrics": [ONE]}, "status": {}}, 3)], 0, "nobody has looked yet"),
        ([], 0, "nobody autoscales"),
    ],
)
def test_pods_that_the_load_needs(sides: list[capacity.Side], pods: int, reason: str) -> None:
    """From averages times ready pods over the target, never from what an autoscaler wants."""
    assert capacity.wanted(sides) == pods, reason


@hypothesis.given(
    load=st.integers(0, 400), start=st.integers(1, 20), most=st.integers(20, 60), shares=st.lists(st.integers(0, 10_000))
)
def test_constant_load_gives_a_constant_floor(load: int, start: int, most: int, shares: list[int]) -> None:
    """However the load is divided between the sides, and whatever size our floors have given them."""
    rules = capacity.Rules(at_start=start)
    bases: set[int] = set()
    for share in sorted(shares):
        base = capacity.base(rules, capacity.Load(max_replicas=most, wanted=0 if not bases else max(bases)))
        new = capacity.needed(rules, capacity.Load(max_replicas=most, wanted=base), share)
        divided = load * share / 10_000
        sides = [side(base, (ONE, _average(load - divided, base))), side(new, (ONE, _average(divided, new)))]
        bases.add(capacity.base(rules, capacity.Load(max_replicas=most, wanted=capacity.wanted(sides))))

    assert len(bases) <= 1


def _average(load: float, pods: int) -> str:
    """As a HPA reports it, in thousandths; rounded down as there."""
    return f"{math.floor(load * 1000 / pods)}m"


@hypothesis.given(st.integers(1, 200), st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_share_needs_its_share_of_the_pods(replicas: int, one: int, other: int) -> None:
    """Enough to carry it, at least one, never more than all, and no fewer for more."""
    rules, load = capacity.Rules(), capacity.Load(replicas=replicas)
    low, high = (capacity.needed(rules, load, share) for share in sorted((one, other)))

    assert 1 <= low <= high <= replicas
    assert high * 10_000 >= replicas * max(one, other)
    assert capacity.needed(rules, load, 10_000) == capacity.base(rules, load) == replicas
    assert capacity.needed(capacity.Rules(full=True), load, 0) == replicas


@pytest.mark.parametrize(
    ("load", "base"),
    [
        (capacity.Load(replicas=3, wanted=9), 3),
        (capacity.Load(max_replicas=6, wanted=9), 6),
        (capacity.Load(max_replicas=6, wanted=2), 4),
        (capacity.Load(wanted=5), 5),
        (capacity.Load(replicas=0), 0),
    ],
)
def test_what_decides_the_base(load: capacity.Load, base: int) -> None:
    """The spec's number alone; else the size at the start or what the load needs, up to the ceiling."""
    assert capacity.base(capacity.Rules(at_start=4), load) == base


def test_what_a_rollout_costs() -> None:
    """Both sides whole."""
    assert capacity.peak_gpus(capacity.DEFAULT, capacity.Load(replicas=3), (1, 2)) == 9
