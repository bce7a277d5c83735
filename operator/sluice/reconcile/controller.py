"""Runs the reconcilers as this replica's role allows: all of it as leader, only protection while the API server is away.

As leader it opens ADS only after every rollout under way was judged once on the counters since its evidence was persisted,
so that a weight which the former leader took away is never sent again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from sluice.api import evalgate, gateway, modeldeployment, naming, ratelimitpolicy
from sluice.engine import queue as queue_
from sluice.kube import cache as kube_cache
from sluice.kube import election, errors, resources
from sluice.observability import logs, metrics
from sluice.reconcile import lookup as lookup_
from sluice.reconcile import measure, triggers
from sluice.reconcile import policies as policies_
from sluice.reconcile.gateways import reconcile as gateways
from sluice.reconcile.models import reconcile as models
from sluice.xds import server

_log = logs.get(__name__)

JUDGE_LIMIT: Final = 2.0
"""Seconds that the first judgement may take before ADS opens anyway: proxies that can't be read can't be judged."""
CONFLICT_RETRY: Final = 0.05
NEEDED: Final = tuple(resource for resource in resources.ALL if resource not in (resources.EVENTS, resources.LEASES))
"""Resources whose cache must be complete before anything is decided."""


@dataclasses.dataclass
class Reconcilers:
    """One for each kind."""

    models: models.ModelReconciler
    gateways: gateways.GatewayReconciler
    policies: policies_.PolicyReconciler
    gates: policies_.GateReconciler


class Observer:
    """Tells of the work queue: see `engine.queue.Observer`."""

    def __init__(self, numbers: metrics.Metrics) -> None:
        self._numbers = numbers

    def depth(self, waiting: int) -> None:
        """The number of keys that are due but not running."""
        self._numbers.queue_depth.set(waiting)

    def finished(self, key: naming.ObjectKey, seconds: float, error: Exception | None) -> None:
        """A run ended; one that failed is retried."""
        self._numbers.reconcile_seconds.labels(key.kind).observe(seconds)
        if error is not None:
            self._numbers.reconcile_errors.labels(key.kind, type(error).__name__).inc()
            expected = isinstance(error, errors.ApiError)
            _log.warning("reconcile failed", object=str(key), cause=str(error), exc_info=None if expected else error)


class Controller:
    """Turns cache changes, verdicts, acknowledgements and roles into runs of reconcilers."""

    def __init__(
        self,
        *,
        cache: kube_cache.Cache,
        lookup: lookup_.Lookup,
        reconcilers: Reconcilers,
        ads: server.AdsServer,
        workers: int,
        numbers: metrics.Metrics,
    ) -> None:
        self.role = election.Role.FOLLOWER
        self.queue: queue_.KeyedQueue[naming.ObjectKey] = queue_.KeyedQueue(
            self._run, workers=workers, observer=Observer(numbers)
        )
        self._cache = cache
        self._lookup = lookup
        self._reconcilers = reconcilers
        self._ads = ads
        self._triggers = triggers.Triggers(lookup)
        self._measuring: asyncio.Task[None] | None = None
        self.measurer: measure.Measurer | None = None
        cache.subscribe(self._changed)

    async def assume(self, role: election.Role) -> None:
        """Does what the new role asks for. Calls must not overlap."""
        former, self.role = self.role, role
        _log.info("role", former=former.value, now=role.value)
        match role:
            case election.Role.LEADER if former is election.Role.FOLLOWER:
                await self._take_over()
            case election.Role.LEADER:
                self._add_all()  # what protection decided meanwhile is written now
            case election.Role.FOLLOWER:
                await self.step_down()
            case election.Role.PROTECT_ONLY:
                self._add_all()

    async def step_down(self) -> None:
        """Stops everything that only a leader does. Proxies keep what they have."""
        self.role = election.Role.FOLLOWER
        self._ads.serve(leading=False)
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)
            self._measuring = None
        await self.queue.stop()
        self._reconcilers.models.table.clear()
        self._reconcilers.models.book.clear()
        await self._reconcilers.models.beside.stop()

    def proxies_changed(self, owner: tuple[str, str]) -> None:
        """A proxy connected, left, acknowledged or refused something."""
        if self.role is election.Role.FOLLOWER:
            return
        self.say_again(naming.ObjectKey(gateway.KIND, *owner))
        for model in self._lookup.models():
            if owner in lookup_.gateway_refs(model) and self._reconcilers.models.waits_for_proxies(lookup_.model_key(model)):
                self.queue.add(lookup_.model_key(model))

    def say_again(self, owner: naming.ObjectKey) -> None:
        """What is to be said of a gateway has changed, and with it of its policies."""
        self.queue.add(owner)
        for policy in self._lookup.policies(owner.namespace):
            if any(reference.name == owner.name for reference in policy.spec.target_refs):
                self.queue.add(naming.ObjectKey(ratelimitpolicy.KIND, owner.namespace, policy.metadata.name))

    def models_may_have_changed(self) -> None:
        """Something that every ModelDeployment's status may speak of is different."""
        if self.role is not election.Role.FOLLOWER:
            for model in self._lookup.models():
                self.queue.add(lookup_.model_key(model))

    def verdict_changed(self, model: naming.ObjectKey) -> None:
        """The evidence says something new: what it takes away leaves at once, even while a write hangs; the rest in turn."""
        if self.role is not election.Role.FOLLOWER:
            self._protect(model)
        self.queue.add(model)

    async def _take_over(self) -> None:
        assert self.measurer is not None
        keys = []
        for model in self._lookup.models():  # a thousand of them are parsed in longer than judging may take
            keys.append(lookup_.model_key(model))
            await asyncio.sleep(0)
        try:
            await asyncio.wait_for(self.measurer.look(), JUDGE_LIMIT)
        except TimeoutError:
            _log.warning("rollouts not judged before serving", cause=f"proxies did not answer in {JUDGE_LIMIT} s")
        except Exception as error:  # noqa: BLE001 - one rollout that can't be judged must not keep all gateways waiting
            _log.error("rollouts not judged before serving", cause=str(error), exc_info=error)
        programmer = self._reconcilers.gateways.programmer
        with programmer.held():
            for key in keys:
                self._protect(key)
                await asyncio.sleep(0)
        for owner in list(self._lookup.gateways()):
            self._reconcilers.gateways.expect(owner)
            programmer.program(owner)
            await asyncio.sleep(0)
        self._ads.serve(leading=True)
        self._measuring = asyncio.create_task(self.measurer.run(), name="measurer")
        self.queue.start()
        self._add_all()

    def _protect(self, model: naming.ObjectKey) -> None:
        try:
            self._reconcilers.models.protect(model)
        except Exception as error:  # noqa: BLE001 - one broken object must not stop the others, nor the measurements
            _log.error("protection failed", object=str(model), cause=str(error), exc_info=error)

    def _add_all(self) -> None:
        for key in self._all():
            self.queue.add(key)

    def _all(self) -> Iterator[naming.ObjectKey]:
        for resource, kind in (
            (resources.GATEWAYS, gateway.KIND),
            (resources.MODEL_DEPLOYMENTS, modeldeployment.KIND),
            (resources.RATE_LIMIT_POLICIES, ratelimitpolicy.KIND),
            (resources.EVAL_GATES, evalgate.KIND),
        ):
            for obj in self._cache.list(resource):
                yield naming.ObjectKey(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])

    def _changed(self, resource: resources.Resource, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if self.role is election.Role.FOLLOWER:
            return
        for key in self._triggers.keys(resource, old, new):
            self.queue.add(key)

    async def _run(self, key: naming.ObjectKey) -> float | None:
        if self.role is election.Role.FOLLOWER:
            return None
        if self.role is election.Role.PROTECT_ONLY:
            if key.kind == modeldeployment.KIND:
                self._reconcilers.models.protect(key)
            return None
        try:
            return await self._reconcile(key)
        except errors.Conflict:
            return CONFLICT_RETRY  # somebody wrote meanwhile: gather and decide again

    async def _reconcile(self, key: naming.ObjectKey) -> float | None:
        match key.kind:
            case modeldeployment.KIND:
                return await self._reconcilers.models.reconcile(key)
            case gateway.KIND:
                return await self._reconcilers.gateways.reconcile(key)
            case ratelimitpolicy.KIND:
                await self._reconcilers.policies.reconcile(key)
            case evalgate.KIND:
                await self._reconcilers.gates.reconcile(key)
        return None
