"""What goes on beside the reconciles of a rollout and is asked by them: warm-up requests, and requests in flight."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import aiohttp

from sluice.api import naming
from sluice.api import template as template_
from sluice.engine import clock as clock_
from sluice.reconcile import inflight, warmup
from sluice.reconcile.models import gather
from sluice.rollout import persisted
from sluice.rollout import plan as rollout_plan
from sluice.sources import completions
from sluice.workloads import pod_template


@dataclasses.dataclass
class Beside:
    """One for all ModelDeployments."""

    clock: clock_.Clock
    in_flight: inflight.InFlight = dataclasses.field(default_factory=inflight.InFlight)
    warmer: warmup.Warmer | None = None
    """None: pods are not warmed."""

    def requests_in_flight(self, key: naming.ObjectKey, revision_hash: str) -> int | None:
        """At all proxies; None while that is not known. Asking makes it known for the next time."""
        load = self.in_flight.load(key, revision_hash, self.clock.monotonic())
        return load.total if load is not None else None

    def cold(
        self,
        observed: gather.Observed,
        state: persisted.State | None,
        plan: rollout_plan.Plan | None,
        pods: Iterable[Mapping[str, Any]],
    ) -> str:
        """Which ready pods of the revision in rollout have not answered their warm-up requests yet, for people.

        Begins with those that it has not seen. Empty when it waits for none; a pod that was given up counts as warm.
        """
        known = observed.find(state.revision) if state is not None else None
        if self.warmer is None or plan is None or known is None:
            return ""
        labels = {naming.LABEL_REVISION: known.hash}
        own = (pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items())
        served = pod_template.served_name(observed.key.name, template_.Template.model_validate(known.template))
        return self.warmer.look(observed.key, served, plan.warmup.requests, warmup.ready_pods(own)).missing

    def tell_when_warm(self, on_warm: Callable[[naming.ObjectKey], None]) -> None:
        """Whom to tell of a ModelDeployment each time one of its pods is done with."""
        if self.warmer is not None:
            self.warmer.on_done = on_warm

    def over(self, key: naming.ObjectKey) -> None:
        """The rollout has ended, or the ModelDeployment is gone."""
        if self.warmer is not None:
            self.warmer.forget(key)

    async def stop(self) -> None:
        """This process no longer leads."""
        if self.warmer is not None:
            await self.warmer.stop()


def build(http: Callable[[], aiohttp.ClientSession], clock: clock_.Clock) -> Beside:
    """With a warmer that asks through the session of `http`."""
    return Beside(clock, warmer=warmup.Warmer(functools.partial(_ask, http), clock))


def _ask(http: Callable[[], aiohttp.ClientSession], address: str, port: int, model: str, prompt: str) -> Awaitable[None]:
    return completions.complete(http(), address, port, model, prompt)


def is_settling_in(state: persisted.State | None, plan: rollout_plan.Plan | None, now: float) -> bool:
    """Whether its first weight is so new that latencies of the revision in rollout say nothing yet."""
    if state is None or plan is None or not state.has_traffic:
        return False
    first = next((step.name for step in plan.steps if step.has_traffic), None)
    if state.step != first:
        return False
    return state.step_entered_at is None or now - state.step_entered_at < plan.warmup.duration
