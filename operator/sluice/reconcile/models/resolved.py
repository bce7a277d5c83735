"""Keeps each revision's record of what its first pod got, and replaces pods that differ.

What is decided is in `rollout.resolved`. Back-off is remembered in memory alone: after a restart of the operator it starts
small again, which is bounded too.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Final

from sluice.api import conditions, modeldeployment, naming
from sluice.kube import errors, resources
from sluice.observability import logs
from sluice.reconcile import objects as applier_
from sluice.reconcile.models import gather, objects
from sluice.rollout import resolved
from sluice.workloads import pod_template, revision, sources

_log = logs.get(__name__)

SHOWN: Final = 10
"""Records that the status shows."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of a model's revisions after a look."""

    records: tuple[tuple[str, resolved.Record], ...] = ()
    """Revision hash and record, of revisions that have one, newest first."""
    differences: tuple[resolved.Difference, ...] = ()
    again: float | None = None
    """Seconds after which to look again although nothing changes."""


@dataclasses.dataclass
class Resolver:
    """Keeps records."""

    applier: applier_.Applier
    now: Callable[[], float]
    """Epoch seconds."""
    _replacements: dict[tuple[naming.ObjectKey, str], resolved.Replacements] = dataclasses.field(default_factory=dict)

    async def keep(self, observed: gather.Observed) -> Outcome:
        """Completes records, replaces pods that differ, and removes the records of revisions that are gone."""
        records: list[tuple[str, resolved.Record]] = []
        differences: list[resolved.Difference] = []
        waits: list[float] = []
        for known in sorted(observed.revisions, key=lambda each: -each.number):
            record, decision = await self._keep_one(observed, known)
            if record != resolved.Record():
                records.append((known.hash, record))
            differences.extend(decision.differences)
            if decision.wake_after is not None:
                waits.append(decision.wake_after)
        metadata = observed.model.metadata
        await self.applier.prune(
            resources.CONFIG_MAPS,
            metadata.namespace,
            resolved.labels(metadata.name),
            keep=[naming.resolved_name(metadata.name, known.hash) for known in observed.revisions],
            owner_uid=metadata.uid,
        )
        return Outcome(tuple(records), tuple(differences), min(waits, default=None))

    def forget(self, key: naming.ObjectKey) -> None:
        """The ModelDeployment is gone."""
        for known in [known for known in self._replacements if known[0] == key]:
            del self._replacements[known]

    async def _keep_one(self, observed: gather.Observed, known: revision.Revision) -> tuple[resolved.Record, resolved.Decision]:
        metadata, cache = observed.model.metadata, self.applier.cache
        stored = cache.get(resources.CONFIG_MAPS, metadata.namespace, naming.resolved_name(metadata.name, known.hash))
        record, recorded_at = resolved.parse_config_map(stored)
        found = cache.list(resources.PODS, metadata.namespace, labels=pod_template.revision_labels(metadata.name, known.hash))
        pods = [facts for pod in found if (facts := resolved.facts_of(pod)) is not None]
        memory = (observed.key, known.hash)
        before = self._replacements.get(memory, resolved.Replacements())
        decision = resolved.decide(record, recorded_at, pods, before, self.now())
        if decision.record != resolved.Record():  # a known one, too: it may be an orphan that wants its owner back
            await self.applier.apply(
                resolved.build_config_map(
                    decision.record,
                    namespace=metadata.namespace,
                    name=metadata.name,
                    revision_hash=known.hash,
                    owner=objects.owner_of(observed.model),
                )
            )
        for pod in decision.delete:
            await self._delete(metadata.namespace, pod, decision)
        if decision.replacements != resolved.Replacements():
            self._replacements[memory] = decision.replacements
        return decision.record, decision

    async def _delete(self, namespace: str, pod: resolved.Facts, decision: resolved.Decision) -> None:
        because = next(found.message for found in decision.differences if found.pod.uid == pod.uid)
        _log.warning("delete", object=f"pods/{namespace}/{pod.name}", because=because)
        with contextlib.suppress(errors.NotFound, errors.Conflict):  # gone, or another one of that name
            await self.applier.client.delete(resources.PODS, namespace, pod.name, uid=pod.uid)


def to_status(outcome: Outcome | None) -> tuple[modeldeployment.ResolvedRevision, ...]:
    """The records for the status, of the newest revisions."""
    return tuple(_to_status(*each) for each in (outcome.records if outcome is not None else ())[:SHOWN])


def _to_status(revision_hash: str, record: resolved.Record) -> modeldeployment.ResolvedRevision:
    adapters = {name: version for name, version in record.versions.items() if name != sources.MODEL}
    return modeldeployment.ResolvedRevision(
        revision=revision_hash,
        model=record.versions.get(sources.MODEL),
        adapters=tuple(
            modeldeployment.ResolvedAdapter(name=name.rpartition("/")[2], version=version) for name, version in adapters.items()
        ),
        image=record.images.get(pod_template.CONTAINER, "").lstrip("@") or None,
    )


def to_condition(outcome: Outcome | None) -> conditions.Condition | None:
    """PodsDiffer, while pods do."""
    if outcome is None or not outcome.differences:
        return None
    first, more = outcome.differences[0], len(outcome.differences) - 1
    others = f" (and {more} more)" if more else ""
    return conditions.make(conditions.ConditionType.PODS_DIFFER, True, first.kind, f"{first.message}{others}")
