"""Applies desired objects: only what differs is written, and what we own and no longer want is deleted."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from sluice.api import naming
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import drift, errors, resources
from sluice.observability import logs

_log = logs.get(__name__)

Object = dict[str, Any]


@dataclasses.dataclass
class Applier:
    """Writes objects through the client and reads what is there from the cache."""

    client: kube_client.Client
    cache: kube_cache.Cache
    _agreed: dict[tuple[resources.Resource, str, str], tuple[str, Object]] = dataclasses.field(default_factory=dict)
    """The digest of each desired object beside the cached one that had nothing of it otherwise: most looks find both again."""

    def __post_init__(self) -> None:
        self.cache.subscribe(self._changed)

    def _changed(self, resource: resources.Resource, old: Object | None, _: Object | None) -> None:
        if old is not None:
            self._agreed.pop((resource, old["metadata"].get("namespace", ""), old["metadata"]["name"]), None)

    async def apply(self, desired: Object) -> Object:
        """Makes the object as desired; returns it as it is then. Nothing is sent when the cached one agrees.

        The stamp makes a field that is no longer desired a difference too, so that it is removed.

        Raises:
            errors.AlreadyExists: an object of that name is there and is not ours. It is left alone.
        """
        desired = drift.stamp(desired)
        resource = resources.for_object(desired)
        metadata = desired["metadata"]
        live = self.cache.get(resource, metadata["namespace"], metadata["name"])
        difference = "it does not exist" if live is None else self._difference(resource, desired, live)
        if live is not None and difference is None:
            return dict(live)
        if live is None:
            await self._check_name(resource, metadata["namespace"], metadata["name"])
        _log.info("apply", object=f"{resource}/{metadata['namespace']}/{metadata['name']}", because=difference)
        if live is not None and resource is resources.CONTROLLER_REVISIONS:
            # Outcome labels are the durable facts: a former leader that comes late must not undo its successor's.
            desired = {**desired, "metadata": {**desired["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}
        if live is not None and resource is resources.DEPLOYMENTS and "replicas" not in desired["spec"]:
            await self._let_go_of_size(live)
        applied = await self.client.apply(resource, desired)
        self.cache.put(resource, applied)  # the watch may be late, and the next decision must not be
        return applied

    def _difference(self, resource: resources.Resource, desired: Object, live: Object) -> str | None:
        """As `drift.differs`, which takes a millisecond."""
        metadata = desired["metadata"]
        key, digest = (resource, metadata["namespace"], metadata["name"]), metadata["annotations"][drift.ANNOTATION]
        known = self._agreed.get(key)
        if known is not None and known[0] == digest and known[1] is live:
            return None
        difference = drift.differs(desired, live)
        if difference is None:
            self._agreed[key] = (digest, live)
        return difference

    async def _let_go_of_size(self, live: Mapping[str, Any]) -> None:
        """Keeps a Deployment's size while our own claim on it ends: a field that nobody claims goes back to its default, 1.

        A size that has changed since it was read is a Conflict, or a HorizontalPodAutoscaler's step would be undone.
        """
        metadata = live["metadata"]
        held = {
            "metadata": {key: metadata[key] for key in ("name", "namespace", "resourceVersion")},
            "spec": {"replicas": live["spec"]["replicas"]},
        }
        await self.client.apply(resources.DEPLOYMENTS, held, manager=naming.SIZE_MANAGER)

    async def _check_name(self, resource: resources.Resource, namespace: str, name: str) -> None:
        """The cache shows labelled objects only: before one is made, whether its name is taken by somebody else's."""
        try:
            found = await self.client.get(resource, namespace, name)
        except errors.NotFound:
            return
        labels = found["metadata"].get("labels") or {}
        if labels.get(naming.LABEL_MANAGED_BY) != naming.MANAGED_BY:
            raise errors.AlreadyExists(
                f"apply {resource} {namespace}/{name}",
                "an object of that name is there that is not Sluice's; rename one of the two",
            )

    async def apply_all(self, desired: Iterable[Object]) -> None:
        """Applies objects in order."""
        for obj in desired:
            await self.apply(obj)

    async def prune(
        self, resource: resources.Resource, namespace: str, labels: Mapping[str, str], *, keep: Iterable[str], owner_uid: str
    ) -> None:
        """Deletes the objects with these labels that belong to the owner or to nobody, except those named in `keep`.

        Those of nobody are orphans of an earlier object of that name; what belongs to another uid is left to the collector.
        """
        kept = set(keep)
        for obj in self.cache.list(resource, namespace, labels=labels):
            metadata = obj["metadata"]
            if metadata["name"] in kept or metadata.get("deletionTimestamp") or not _is_ours(obj, owner_uid):
                continue
            await self.delete(resource, obj)

    async def delete(self, resource: resources.Resource, obj: Mapping[str, Any]) -> None:
        """Deletes this very object, if it is still there."""
        metadata = obj["metadata"]
        _log.info("delete", object=f"{resource}/{metadata['namespace']}/{metadata['name']}", because="it is no longer wanted")
        with contextlib.suppress(errors.NotFound, errors.Conflict):  # gone, or another one of that name: the watch will tell
            await self.client.delete(resource, metadata["namespace"], metadata["name"], uid=metadata["uid"])


def _is_ours(obj: Mapping[str, Any], uid: str) -> bool:
    owners = obj["metadata"].get("ownerReferences") or ()
    return not owners or any(reference.get("uid") == uid for reference in owners)
