"""Asks outside sources for the metrics of rollouts under way, each at its own pace, without ever keeping a look waiting.

A question is asked only while the revision has traffic. What comes back goes into the model's family.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Final

import aiohttp

from sluice.api import external as api
from sluice.api import naming
from sluice.gates import thresholds
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.observability import logs
from sluice.reconcile import evidence
from sluice.sources import external

CONCURRENCY: Final = 16

_Question = tuple[naming.ObjectKey, str, tuple[str, str]]
"""Of which model, revision, gate and metric."""

_log = logs.get(__name__)


@dataclasses.dataclass
class Outside:
    """What asks. `session` is made with the first question."""

    cache: kube_cache.Cache
    session: Callable[[], aiohttp.ClientSession]
    on_verdict: Callable[[naming.ObjectKey], None]
    """Told of each model whose verdicts changed."""
    _slots: asyncio.Semaphore = dataclasses.field(default_factory=lambda: asyncio.Semaphore(CONCURRENCY))
    _tasks: dict[_Question, asyncio.Task[None]] = dataclasses.field(default_factory=dict)

    def ask(
        self,
        key: naming.ObjectKey,
        family: evidence.Family,
        due: Iterable[thresholds.ThresholdPlan],
        context: external.Context,
    ) -> None:
        """Begins what is due. A question that is not answered yet is not asked again."""
        for plan in due:
            name = (key, family.revision, (plan.gate, plan.metric))
            if name not in self._tasks:
                task = asyncio.create_task(self._one(key, family, plan, context), name=f"ask {plan.gate}/{plan.metric}")
                self._tasks[name] = task
                task.add_done_callback(functools.partial(self._forget, name))

    def _forget(self, name: _Question, _: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)

    async def _one(
        self, key: naming.ObjectKey, family: evidence.Family, plan: thresholds.ThresholdPlan, context: external.Context
    ) -> None:
        value: float | external.SourceError
        try:
            async with self._slots:
                value = await self._value(plan, context)
        except external.SourceError as error:
            value = error
        except Exception as error:  # noqa: BLE001 - whatever a source makes us fail at, it is no value
            _log.error("cannot ask for a metric", gate=plan.gate, metric=plan.metric, cause=str(error), exc_info=error)
            value = external.SourceError(f"asking failed ({type(error).__name__})")
        if family.answer((plan.gate, plan.metric), value):
            self.on_verdict(key)

    async def _value(self, plan: thresholds.ThresholdPlan, context: external.Context) -> float:
        signal = plan.signal
        if signal.prometheus is not None:
            secret = self._secret(context.namespace, signal.prometheus)
            return await external.query(self.session(), signal.prometheus, context, secret)
        if signal.webhook is not None:
            return await external.call(self.session(), signal.webhook, context, self._secret(context.namespace, signal.webhook))
        raise external.SourceError(f"signal {signal.type} names no source")

    def _secret(self, namespace: str, asked: api.Endpoint) -> kube_cache.Object | None:
        """Labelled for this use: no other Secret is sent anywhere."""
        if asked.credentials_secret_ref is None:
            return None
        found = self.cache.get(resources.SECRETS, namespace, asked.credentials_secret_ref.name)
        labels = (found or {}).get("metadata", {}).get("labels") or {}
        return found if labels.get(naming.LABEL_SECRET_TYPE) == naming.SECRET_TYPE_METRIC_SOURCE else None
