"""Roles: what a leader, a protector and a follower do, and that one broken object stops nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.api import naming
from sluice.kube import election
from sluice.observability import metrics
from sluice.reconcile import controller, measure
from sluice.reconcile import programmer as programmer_  # a member is named programmer
from sluice.sources import poller
from tests.support import clock as clock_
from tests.unit.reconcile import parts

OTHER = naming.ObjectKey(parts.KEY.kind, "ml", "other")


class Ads(parts.Ads):
    """Says whether it serves."""

    serving = False

    def serve(self, *, leading: bool) -> None:
        self.serving = leading

    def expect(self, *_: Any) -> None:
        return


class Models:
    """Stands in for the reconciler of ModelDeployments: remembers, and fails for one of them."""

    def __init__(self, world: parts.World) -> None:
        self.table, self.book, self.beside = world.table, world.models.book, world.models.beside
        self.protected: list[str] = []
        self.reconciled: list[str] = []
        self.waiting = True

    def protect(self, key: naming.ObjectKey) -> None:
        self.protected.append(key.name)
        if key == parts.KEY:
            raise KeyError("data")

    async def reconcile(self, key: naming.ObjectKey) -> float | None:
        self.reconciled.append(key.name)
        return None

    def waits_for_proxies(self, _: naming.ObjectKey) -> bool:
        return self.waiting


class Quiet:
    """Stands in for the other reconcilers."""

    def __init__(self, programmer: programmer_.Programmer) -> None:
        self.programmer = programmer

    async def reconcile(self, _: naming.ObjectKey) -> None:
        return None


class Stage:
    """A controller with two ModelDeployments, of which one is broken."""

    def __init__(self) -> None:
        self.world = parts.World(ads=Ads())
        self.models = Models(self.world)
        models: Any = self.models
        quiet: Any = Quiet(self.world.programmer)
        self.world.apply(parts.model(gated=True))
        other = parts.model(gated=True)
        self.world.apply({**other, "metadata": {**other["metadata"], "name": "other"}})
        self.controller = controller.Controller(
            cache=self.world.cache,
            lookup=self.world.lookup,
            reconcilers=controller.Reconcilers(models, quiet, quiet, quiet),
            ads=self.world.ads,
            workers=1,
            numbers=metrics.Metrics(),
        )
        self.controller.measurer = measure.Measurer(
            cache=self.world.cache,
            lookup=self.world.lookup,
            table=self.world.table,
            poller=poller.Poller(self._read),
            port=1,
            clock=self.world.clock,
            numbers=metrics.Metrics(),
            interval=1.0,
            family_of=lambda _: None,
            on_verdict=self.controller.verdict_changed,
        )

    @staticmethod
    async def _read(_: poller.Target) -> Any:
        raise AssertionError("nothing is to be read")


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_leader_protects_before_it_serves_whatever_is_broken(stage: Stage) -> None:
    """Every model is judged before ADS opens; one that cannot be does not keep the others from it."""
    await stage.controller.assume(election.Role.LEADER)
    assert stage.models.protected == ["chat", "other"]
    assert stage.world.ads.serving
    await clock_.settle()
    assert set(stage.models.reconciled) == {"chat", "other"}
    await stage.controller.assume(election.Role.FOLLOWER)
    assert not stage.world.ads.serving


async def test_follower_does_nothing(stage: Stage) -> None:
    """Changes, verdicts and proxies move nothing on a replica that does not lead."""
    stage.world.apply(parts.model("file:///two"))
    stage.controller.verdict_changed(OTHER)
    stage.controller.proxies_changed(("ml", "edge"))
    await clock_.settle()
    assert (stage.models.protected, stage.models.reconciled) == ([], [])


async def test_verdict_protects_at_once(stage: Stage) -> None:
    """A verdict takes weight away in the same turn of the loop, before any queue; a broken model stops nothing."""
    await stage.controller.assume(election.Role.LEADER)
    stage.models.protected.clear()
    stage.controller.verdict_changed(OTHER)
    stage.controller.verdict_changed(parts.KEY)
    assert stage.models.protected == ["other", "chat"]
    await stage.controller.assume(election.Role.FOLLOWER)


async def test_protector_writes_nothing(stage: Stage) -> None:
    """Out of the API server's reach models are protected and never reconciled; back in reach all are looked at again."""
    await stage.controller.assume(election.Role.LEADER)
    await clock_.settle()
    stage.models.reconciled.clear()
    await stage.controller.assume(election.Role.PROTECT_ONLY)
    stage.controller.verdict_changed(OTHER)
    await clock_.settle()
    assert stage.models.reconciled == []
    assert stage.world.ads.serving
    await stage.controller.assume(election.Role.LEADER)
    await clock_.settle()
    assert set(stage.models.reconciled) == {"chat", "other"}
    await stage.controller.assume(election.Role.FOLLOWER)


@pytest.mark.parametrize(
    ("gateway", "waiting", "woken"), [("edge", True, {"chat", "other"}), ("edge", False, set()), ("another", True, set())]
)
async def test_acknowledgement_wakes_those_who_wait_for_it(stage: Stage, gateway: str, waiting: bool, woken: set[str]) -> None:
    """A proxy that acknowledges wakes the models of its gateway that wait for that, and no others."""
    await stage.controller.assume(election.Role.LEADER)
    await clock_.settle()
    stage.models.reconciled.clear()
    stage.models.waiting = waiting
    stage.controller.proxies_changed(("ml", gateway))
    await clock_.settle()
    assert set(stage.models.reconciled) == woken
    await stage.controller.assume(election.Role.FOLLOWER)


async def test_measuring_never_ends(stage: Stage) -> None:
    """A look that fails is one look: the next one comes after the interval."""
    measurer = stage.controller.measurer
    assert measurer is not None
    looks: list[float] = []

    async def look() -> None:
        looks.append(stage.world.clock.monotonic())
        raise KeyError("data")

    measurer.look = look  # type: ignore[method-assign]
    await stage.controller.assume(election.Role.LEADER)
    await stage.world.clock.advance(3)
    assert looks[-3:] == [1.0, 2.0, 3.0]
    await stage.controller.assume(election.Role.FOLLOWER)
