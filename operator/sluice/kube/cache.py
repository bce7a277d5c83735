"""What we know of the cluster: the latest version of each object that we watch, by name, by owner and by label.

Three sources fill it in any order: watch events, our own lists, and the answers to our own writes. The resourceVersion decides
which is newer, so an old event never brings back what is gone. Objects are shared with every reader: never change one.
Fetching, and what a change means, stays outside.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.kube import resources

Object = dict[str, Any]
Objects = list[Object]
OnChange = Callable[[resources.Resource, Object | None, Object | None], None]
"""Told of each change with the old and the new object; None is absent. Called inside the write, so it must not block."""

INDEXED_LABELS: Final = (naming.LABEL_MODEL_DEPLOYMENT, naming.LABEL_GATEWAY)
_POD_BULK: Final = frozenset({"affinity", "securityContext", "tolerations", "topologySpreadConstraints"})
_CONTAINER_BULK: Final = frozenset(
    {"env", "lifecycle", "livenessProbe", "readinessProbe", "securityContext", "startupProbe", "volumeMounts"}
)
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

_Name = tuple[str, str]
_Index = dict[tuple[str, ...], dict[_Name, None]]


@dataclasses.dataclass
class _Store:
    """The objects of one resource."""

    objects: dict[_Name, Object] = dataclasses.field(default_factory=dict)
    gone: dict[_Name, int] = dataclasses.field(default_factory=dict)
    """The version at which an object was seen deleted, for those younger than the last list."""
    listed: dict[str, int] = dataclasses.field(default_factory=dict)
    """The version of the last full list, by namespace ("" is all). What was not in it, and is not newer, is gone."""
    owners: _Index = dataclasses.field(default_factory=lambda: collections.defaultdict(dict))
    labels: _Index = dataclasses.field(default_factory=lambda: collections.defaultdict(dict))


class Cache:
    """A store per resource. All methods belong to the event loop's thread; reads cost no copy."""

    def __init__(self, on_change: OnChange | None = None) -> None:
        self._stores: dict[resources.Resource, _Store] = collections.defaultdict(_Store)
        self._complete: set[resources.Resource] = set()
        self._listeners: list[OnChange] = [on_change] if on_change else []

    def subscribe(self, on_change: OnChange) -> None:
        """Adds a listener for every later change."""
        self._listeners.append(on_change)

    def get(self, resource: resources.Resource, namespace: str, name: str) -> Object | None:
        """The object, or None. `namespace` is "" for cluster-scoped kinds."""
        return self._stores[resource].objects.get((namespace, name))

    def list(
        self, resource: resources.Resource, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Objects:
        """The objects of a namespace (None: of all) that carry all these labels, sorted by namespace and name."""
        store = self._stores[resource]
        wanted = dict(labels or {})
        names: Iterable[_Name] = store.objects
        indexed = next((label for label in INDEXED_LABELS if label in wanted), None)
        if indexed and namespace is not None:
            names = store.labels.get((indexed, namespace, wanted[indexed]), {})
        return [
            store.objects[name]
            for name in sorted(names)
            if (namespace is None or name[0] == namespace) and _matches(store.objects[name], wanted)
        ]

    def owned_by(self, uid: str, resource: resources.Resource) -> Objects:
        """The objects with an ownerReference to this uid, sorted by namespace and name."""
        store = self._stores[resource]
        return [store.objects[name] for name in sorted(store.owners.get((uid,), {}))]

    def put(self, resource: resources.Resource, obj: Object) -> bool:
        """Takes an object from an event or an answer. False when what is known is as new, or newer."""
        store = self._stores[resource]
        name, version = _name(obj), _version(obj)
        if self._known(store, name, version):
            return False
        store.gone.pop(name, None)
        self._set(resource, store, name, _slim(resource, obj))
        return True

    def remove(self, resource: resources.Resource, obj: Object) -> bool:
        """Takes a deletion. `obj` is the last state, with the version of the deletion. False when something newer is known."""
        store = self._stores[resource]
        name, version = _name(obj), _version(obj)
        known = store.objects.get(name)
        if known is not None and _older(version, _version(known)):
            return False
        if version is not None:
            store.gone[name] = max(version, store.gone.get(name, 0))
        if known is None:
            return False
        self._set(resource, store, name, None)
        return True

    def replace(
        self, resource: resources.Resource, objects: Iterable[Object], resource_version: str, namespace: str = ""
    ) -> Objects:
        """Takes a full list of a namespace ("" is all), true at `resource_version`; returns what it evicted.

        Keeps what is newer than the list. Lists of one resource must be requested one after the other, because one that is
        older than the one before means that the cluster's storage was reset: then nothing known counts any more.
        """
        store = self._stores[resource]
        version = _integer(resource_version)
        previous = store.listed.get(namespace)
        if version is not None and previous is not None and version < previous:
            self._forget(store, namespace)
        if version is not None:
            store.listed[namespace] = version
            store.gone = {name: at for name, at in store.gone.items() if at > version or not _within(name, namespace)}
        fresh = {_name(obj): obj for obj in objects}
        evicted = [
            known
            for name, known in list(store.objects.items())
            if _within(name, namespace) and name not in fresh and not _older(version, _version(known))
        ]
        for known in evicted:
            self._set(resource, store, _name(known), None)
        for name, obj in fresh.items():
            if not self._known(store, name, _version(obj), listed=True):
                self._set(resource, store, name, _slim(resource, obj))
        return evicted

    def mark_complete(self, resource: resources.Resource) -> None:
        """Says that everything that exists has been taken in once."""
        self._complete.add(resource)

    def complete(self, *needed: resources.Resource) -> bool:
        """Whether all these resources have been taken in completely once."""
        return self._complete.issuperset(needed)

    def count(self, resource: resources.Resource) -> int:
        """How many objects of the resource are known."""
        return len(self._stores[resource].objects)

    def _known(self, store: _Store, name: _Name, version: int | None, *, listed: bool = False) -> bool:
        """Whether this version tells nothing new. Versions that are no numbers cannot be compared: the last one counts."""
        if version is None:
            return False
        known = store.objects.get(name)
        if known is not None:
            present = _version(known)
            return present is not None and version <= present
        if version < store.gone.get(name, -1):
            return True
        # Not in the last list although not newer: it had been deleted by then.
        return not listed and any(version <= at for namespace, at in store.listed.items() if _within(name, namespace))

    def _forget(self, store: _Store, namespace: str) -> None:
        store.gone = {name: at for name, at in store.gone.items() if not _within(name, namespace)}
        for name, known in store.objects.items():
            if _within(name, namespace):
                store.objects[name] = {**known, "metadata": {**known["metadata"], "resourceVersion": "0"}}

    def _set(self, resource: resources.Resource, store: _Store, name: _Name, new: Object | None) -> None:
        old = store.objects.pop(name, None)
        if old is not None:
            _unindex(store, name, old)
        if new is not None:
            store.objects[name] = new
            _index(store, name, new)
        for listener in self._listeners:
            listener(resource, old, new)


def _index(store: _Store, name: _Name, obj: Object) -> None:
    for key in _owner_keys(obj):
        store.owners[key][name] = None
    for key in _label_keys(obj):
        store.labels[key][name] = None


def _unindex(store: _Store, name: _Name, obj: Object) -> None:
    for index, keys in ((store.owners, _owner_keys(obj)), (store.labels, _label_keys(obj))):
        for key in keys:
            names = index.get(key)
            if names is not None:
                names.pop(name, None)
                if not names:
                    del index[key]


def _owner_keys(obj: Object) -> Iterator[tuple[str, ...]]:
    for reference in obj["metadata"].get("ownerReferences") or ():
        yield (reference["uid"],)


def _label_keys(obj: Object) -> Iterator[tuple[str, ...]]:
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    for label in INDEXED_LABELS:
        if label in labels:
            yield (label, metadata.get("namespace", ""), labels[label])


def _slim(resource: resources.Resource, obj: Object) -> Object:
    """Without the bookkeeping of others, which is half of a Deployment's bytes; with the type that lists leave out.

    Also without what is large and nobody here reads: files of revisions, up to 1 MiB each, and most of what pods were made of,
    which their Deployment has too.
    """
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    annotations = metadata.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    slim = {**obj, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    if resource is resources.CONFIG_MAPS and _matches(obj, {naming.LABEL_COMPONENT: naming.COMPONENT_FILES}):
        slim.pop("data", None)
    if resource is resources.PODS and "spec" in obj:
        slim["spec"] = _slim_pod_spec(obj["spec"])
    return slim


def _slim_pod_spec(spec: Object) -> Object:
    kept = {key: value for key, value in spec.items() if key not in _POD_BULK}
    for field in ("containers", "initContainers"):
        if field in spec:
            kept[field] = [{key: value for key, value in each.items() if key not in _CONTAINER_BULK} for each in spec[field]]
    return kept


def _matches(obj: Object, labels: Mapping[str, str]) -> bool:
    present = obj["metadata"].get("labels") or {}
    return all(present.get(label) == value for label, value in labels.items())


def _name(obj: Object) -> _Name:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(obj: Object) -> int | None:
    return _integer(obj["metadata"].get("resourceVersion", ""))


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _older(version: int | None, than: int | None) -> bool:
    return version is not None and than is not None and version < than


def _within(name: _Name, namespace: str) -> bool:
    return not namespace or name[0] == namespace
