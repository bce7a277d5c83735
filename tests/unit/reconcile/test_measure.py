"""One look at all rollouts: what is read, what it is fed to, and what is left out after a weight rise."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.kube import resources
from sluice.observability import metrics
from sluice.reconcile import evidence, inflight, measure
from sluice.reconcile.models import store
from sluice.rollout import traffic
from sluice.sources import engines, envoy, external, poller
from sluice.workloads import gateway as gateway_objects
from tests.support import clock
from tests.unit.reconcile import parts, test_evidence, test_outside

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "edge-1", "namespace": "ml", "uid": "p1", "labels": gateway_objects.labels("edge")},
    "status": {"phase": "Running", "podIP": "10.0.0.1"},
}
ROLLOUT = {
    "revision": "new",
    "step": "half",
    "phase": "Progressing",
    "weight": "5",
    "epoch": 1,
    "startedAt": "2027-01-15T08:00:00Z",
}
DURATION = 'duration_bucket{revision="ml/chat-old",route="chat"'


class Table:
    """Traffic as a test says."""

    def __init__(self) -> None:
        self.weight = 0
        self.unknown = False
        """A successor that has not looked at the model yet."""

    def traffic(self, _: object) -> traffic.Traffic | None:
        """Who gets what."""
        return None if self.unknown else traffic.Traffic("old", "new" if self.weight else None, self.weight)


class Stage:
    """A measurer of one model whose gateway has one proxy."""

    def __init__(self) -> None:
        self.world = parts.World()
        self.world.cache.put(resources.MODEL_DEPLOYMENTS, {**parts.model(gated=True), "status": {"rollout": ROLLOUT}})
        self.world.cache.put(resources.PODS, POD)
        self.clock = clock.FakeClock()
        self.table = Table()
        table: Any = self.table
        self.family: evidence.Family | None = test_evidence.opened(evidence.Book())
        self.reading: envoy.Reading | None = envoy.Reading(1_000_000.0, 600, {})
        self.targets: list[poller.Target] = []
        self.emptied: list[object] = []
        self.warming = False
        self.measurer = measure.Measurer(
            cache=self.world.cache,
            lookup=self.world.lookup,
            table=table,
            poller=poller.Poller(self._read),
            port=9902,
            clock=self.clock,
            numbers=metrics.Metrics(),
            interval=1.0,
            family_of=lambda _: self.family,
            on_verdict=lambda _: None,
            on_empty=self.emptied.append,
            is_warming=lambda _: self.warming,
        )

    async def _read(self, target: poller.Target) -> envoy.Reading:
        self.targets.append(target)
        if self.reading is None:
            raise envoy.ScrapeError("down")
        return self.reading

    async def look(self, *, weight: int = 0) -> None:
        """A second later."""
        self.table.weight = weight
        await self.clock.advance(1)
        await self.measurer.look()

    def feed(self, count: int, seconds: float) -> None:
        """The proxy has answered so many more requests on stable, each in just less than that time."""
        assert self.reading is not None
        known = self.reading.histograms.get(DURATION, {})
        bins = {**known, 1000 * seconds: known.get(1000 * seconds, 0) + count}
        at = self.reading.at + 1
        self.reading = dataclasses.replace(self.reading, at=at, uptime=self.reading.uptime + 1, histograms={DURATION: bins})


def fed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """(settling, warming) of each look from now on."""
    seen: list[tuple[bool, bool]] = []

    def observe(*_: object, seconds: float, settling: bool, warming: bool, pods: object) -> bool:
        assert seconds >= 0
        assert pods == {}
        seen.append((settling, warming))
        return False

    monkeypatch.setattr(stage.family, "observe", observe)
    return seen


@pytest.fixture
def stage() -> Stage:
    """A rollout under way."""
    return Stage()


async def test_a_proxy_is_read_for_what_is_compared_alone(stage: Stage) -> None:
    """Its page is long: only the revisions of rollouts are asked for."""
    await stage.look()
    (target,) = stage.targets
    assert target == poller.Target("p1", ("ml", "edge"), "10.0.0.1", 9902, frozenset({"ml/chat-new", "ml/chat-old"}))


async def test_four_measured_medians_after_a_rise_are_left_out(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests take just below 3 s: the look of the rise and the eleven that follow within 12 s are skipped."""
    await stage.look()
    stage.feed(100, 3.0)
    await stage.look()
    assert stage.family is not None
    assert stage.family.median_latency == 3.0
    seen = fed(stage, monkeypatch)
    for _ in range(14):
        await stage.look(weight=500)
    assert [settling for settling, _ in seen] == [True] * 12 + [False] * 2
    seen.clear()
    await stage.look(weight=100)
    await stage.look(weight=500)
    assert [settling for settling, _ in seen] == [False, True], "a fall is none, the next rise is one"


@pytest.mark.parametrize(("away", "expected"), [(5, True), (60, False)])
async def test_a_restart_is_no_rise(stage: Stage, monkeypatch: pytest.MonkeyPatch, away: int, expected: bool) -> None:
    """What failed while nobody looked counts at once, unless the weight had risen just before."""
    await stage.look()
    await stage.look(weight=500)
    assert stage.family is not None
    persisted = store.dumps(stage.family.to_json())
    await stage.clock.advance(away)
    stage.family = test_evidence.opened(evidence.Book(), persisted)
    seen = fed(stage, monkeypatch)
    stage.table.unknown = True
    await stage.look(weight=500)
    stage.table.unknown = False
    await stage.look(weight=500)
    assert [settling for settling, _ in seen] == [expected, expected]


async def test_until_a_latency_is_measured_a_long_one_is_assumed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip may be too long, never too short."""
    seen = fed(stage, monkeypatch)
    for _ in range(42):
        await stage.look(weight=500)
    assert [settling for settling, _ in seen] == [True] * 40 + [False] * 2


async def test_a_revision_that_warms_up_is_said_to(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows of warm-ups says so with every look."""
    seen = fed(stage, monkeypatch)
    await stage.look()
    stage.warming = True
    await stage.look()
    assert [warming for _, warming in seen] == [False, True]


async def test_a_revision_that_leaves_is_read_after_its_rollout(stage: Stage) -> None:
    """Asked for, its gateway is read on; shadows are in flight too; an unreadable proxy makes the answer unknown."""
    stage.family = None
    table = stage.measurer.in_flight
    await stage.look()
    assert (stage.targets, table.load(parts.KEY, "old", stage.clock.monotonic())) == ([], None)
    assert stage.reading is not None
    full = dataclasses.replace(stage.reading, active={"ml/chat-old": 3, "ml/chat-old/shadow": 2, "ml/chat-new": 9})
    stage.reading = full
    await stage.look()
    assert table.load(parts.KEY, "old", stage.clock.monotonic()) == inflight.Load(5, 5)
    stage.reading = None
    await stage.look()
    assert table.load(parts.KEY, "old", stage.clock.monotonic()) is None
    stage.reading = full
    await stage.look()
    stage.reading = dataclasses.replace(full, active={})
    await stage.look()
    assert table.load(parts.KEY, "old", stage.clock.monotonic()) == inflight.Load(0, 0)
    assert stage.emptied == [parts.KEY]


ENGINE_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "chat-new-1",
        "namespace": "ml",
        "uid": "e1",
        "labels": {"sluice.dev/model-deployment": "chat", "sluice.dev/revision": "new"},
    },
    "spec": {"containers": [{"name": "engine", "ports": [{"name": "http", "containerPort": 8000}]}]},
    "status": {"phase": "Running", "podIP": "10.0.0.2"},
}


async def test_engines_are_read_only_for_metrics_of_theirs(stage: Stage) -> None:
    """Pods of both revisions, once a look; a rollout without such a metric reads none."""
    asked: list[engines.Target] = []

    async def read(target: engines.Target) -> engines.Reading:
        asked.append(target)
        return engines.Reading(envoy.Reading(1.0, 1, {}), {}, 0.5)

    stage.world.cache.put(resources.PODS, ENGINE_POD)
    stage.measurer.engines = poller.Poller(read)
    await stage.look(weight=500)
    assert asked == []
    stage.family = test_outside.opened(test_outside.CACHE)
    await stage.look(weight=500)
    assert asked == [engines.Target("e1", "ml/chat-new", "10.0.0.2", 8000)]
    assert test_outside.status(stage.family, "cache").estimate == "0.5"


async def test_outside_sources_are_told_of_the_rollout(stage: Stage) -> None:
    """What is due is asked with the step and the weight of the moment."""
    asked: list[external.Context] = []

    class Outside:
        def ask(self, _: object, __: object, due: list[object], context: external.Context) -> None:
            assert len(due) == 1
            asked.append(context)

    outside: Any = Outside()
    stage.measurer.outside = outside
    stage.family = test_outside.opened(test_outside.SCORE)
    await stage.look()
    await stage.look(weight=500)
    assert asked == [external.Context("ml", "chat", "new", "old", "half", 5.0)]
