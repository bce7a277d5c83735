"""What goes on beside reconciles: warm-up of the pods in rollout, and requests in flight as far as they are known."""

from __future__ import annotations

import dataclasses

import pytest

from sluice.reconcile import inflight, warmup
from sluice.reconcile.models import beside
from sluice.rollout import persisted
from tests.support import clock
from tests.unit.reconcile import parts
from tests.unit.rollout import deciding, scenario

NOW = deciding.NOW


@pytest.mark.parametrize(
    ("state", "settling", "reason"),
    [
        (None, False, "no rollout"),
        (deciding.rollout(step="few", weight=500, step_entered_at=None), True, "its first weight is on its way"),
        (deciding.rollout(step="few", weight=500, step_entered_at=NOW - 29), True, "and 29 s old"),
        (deciding.rollout(step="few", weight=500, step_entered_at=NOW - 31), False, "it has answered for 31 s"),
        (deciding.rollout(step="some", step_entered_at=NOW - 1), False, "a later weight is not its first"),
        (deciding.rollout(step="evals", weight=0, step_entered_at=NOW - 1), False, "nothing reaches it"),
    ],
)
def test_latencies_after_the_first_weight_say_nothing(state: persisted.State | None, settling: bool, reason: str) -> None:
    """For as long as the frozen plan says, 30 s here."""
    assert beside.is_settling_in(state, scenario.make_plan(), NOW) == settling, reason


def test_requests_in_flight_are_known_once_they_were_asked_for() -> None:
    """Asking is what makes the proxies be read."""
    table = inflight.InFlight()
    known = beside.Beside(clock.FakeClock(), table)

    assert known.requests_in_flight(parts.KEY, "abc") is None
    (cluster,) = table.wanted(0.0)[parts.KEY]
    table.put({cluster: inflight.Load(5, 3)})
    assert known.requests_in_flight(parts.KEY, "abc") == 5
    assert table.most(parts.EDGE, cluster) == 3
    assert table.most(parts.EDGE, "another") is None


async def test_pods_in_rollout_are_warmed_and_waited_for() -> None:
    """Only those of the revision in rollout, by the name that it serves; nothing is left over when the rollout ends."""
    asked: list[tuple[str, str]] = []

    async def ask(address: str, _: int, model: str, __: str) -> None:
        asked.append((address, model))

    world = parts.World()
    world.apply(parts.edge())
    world.apply(parts.model(gated=True))
    await world.reconcile()
    world.apply(parts.model("file:///two", gated=True))
    await world.reconcile(2)
    told: list[object] = []
    world.models.beside.warmer = warmup.Warmer(ask, world.clock, told.append)
    observed = world.models.gatherer.observe(parts.KEY.namespace, parts.KEY.name)
    assert observed is not None
    assert observed.state is not None
    names = (observed.state.revision, world.status["stableRevision"])
    pods = [
        {
            "metadata": {"name": name, "uid": name, "labels": {"sluice.dev/revision": name}},
            "status": {"podIP": f"10.0.0.{number}", "conditions": [{"type": "Ready", "status": "True"}]},
        }
        for number, name in enumerate(names, start=1)
    ]
    plan = dataclasses.replace(scenario.make_plan(), warmup=dataclasses.replace(scenario.make_plan().warmup, requests=3))

    assert "answered 0 of 3" in world.models.beside.cold(observed, observed.state, plan, pods)
    while not told:
        await world.clock.sleep(0)
    assert world.models.beside.cold(observed, observed.state, plan, pods) == ""
    assert asked == [("10.0.0.1", "chat")] * 3
    await world.models.beside.stop()
