"""What we ask of the API server: dicts in, dicts out, a timeout on every request, typed errors.

It refuses what `resources` does not declare. What to send, and whether it differs from what is there, is decided by callers
(see `drift`).
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple, Self

from sluice.api import naming
from sluice.kube import connection, errors, resources, retry, transport

Object = transport.Object
Resource = resources.Resource

PAGE: Final = 500
_LINE_BYTES: Final = 1024
"""Of a log, at most on average: a limit cuts the end off, which matters most."""
_MANAGED: Final = {"fieldManager": naming.FIELD_MANAGER}
_FORCED: Final = {**_MANAGED, "force": "true"}


class Listing(NamedTuple):
    """All objects of a list, and the resourceVersion at which it was true."""

    items: list[Object]
    resource_version: str


class WatchEvent(NamedTuple):
    """One change: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, with the object (of a bookmark only the version)."""

    type: str
    object: Object


class Client:
    """Requests to one API server.

    Every method raises the errors of `kube.errors`. Timeouts and retries are the `policy`'s, of the client or of one call.
    Writes are retried too: one whose answer was lost may thus end in AlreadyExists or Conflict, which callers answer by
    reading again. `operator_namespace` is where the rules for the operator's own namespace hold.
    """

    def __init__(self, configuration: Any, *, operator_namespace: str = "", policy: retry.Policy | None = None) -> None:
        self.configuration = configuration
        self._transport = transport.Transport(configuration, policy or retry.Policy())
        self._operator_namespace = operator_namespace

    @classmethod
    async def connect(
        cls, kubeconfig: pathlib.Path | None = None, *, operator_namespace: str = "", policy: retry.Policy | None = None
    ) -> Client:
        """A client by the pod's service account, or by the named kubeconfig. Raises connection.NotConfigured."""
        return cls(await connection.load(kubeconfig), operator_namespace=operator_namespace, policy=policy)

    async def close(self) -> None:
        """Closes all connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, resource: Resource, namespace: str, name: str, *, policy: retry.Policy | None = None) -> Object:
        """One object. `namespace` is "" for cluster-scoped kinds."""
        self._check(resource, resources.Verb.GET, namespace, name)
        return await self._transport.send(transport.Request("get", "GET", resource, namespace, name), policy)

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        labels: str = "",
        limit: int = PAGE,
        policy: retry.Policy | None = None,
    ) -> Listing:
        """All objects, of one namespace or of all (""), read in pages of `limit` at one consistent version.

        Items carry `apiVersion` and `kind`, which the API server leaves out in lists, and no `managedFields`, which are half of
        their bytes.
        """
        self._check(resource, resources.Verb.LIST, namespace)
        items: list[Object] = []
        token = ""
        while True:
            query = {"limit": str(limit), "labelSelector": labels, "continue": token}
            request = transport.Request("list", "GET", resource, namespace, query=query)
            page = await self._transport.send(request, policy)
            for item in page.get("items") or ():
                item["metadata"].pop("managedFields", None)  # now, or a large list would be in memory with all of them
                items.append(_typed(resource, item))
            metadata = page.get("metadata") or {}
            token = metadata.get("continue", "")
            if not token:
                return Listing(items, str(metadata.get("resourceVersion", "")))

    async def create(self, resource: Resource, obj: Object, *, policy: retry.Policy | None = None) -> Object:
        """Makes a new object. Raises AlreadyExists when the name is taken."""
        namespace, name = _address(obj)
        self._check(resource, resources.Verb.CREATE, namespace, name)
        body = _typed(resource, obj)
        request = transport.Request("create", "POST", resource, namespace, name, query=_MANAGED, body=body)
        return await self._transport.send(request, policy)

    async def review(self, resource: Resource, spec: Object, *, policy: retry.Policy | None = None) -> Object:
        """Asks a question by a create that stores nothing, such as a TokenReview. Returns the answer's status."""
        self._check(resource, resources.Verb.CREATE, "")
        body = _typed(resource, {"spec": spec})
        answer = await self._transport.send(transport.Request("create", "POST", resource, body=body), policy)
        status: Object = answer.get("status") or {}
        return status

    async def apply(
        self,
        resource: Resource,
        obj: Object,
        *,
        manager: str = naming.FIELD_MANAGER,
        policy: retry.Policy | None = None,
    ) -> Object:
        """Server-side apply with force: makes the object, or takes over the fields that `obj` names.

        What `manager` applied before and `obj` no longer names is removed, unless others have it too. With
        `metadata.resourceVersion` it is refused (Conflict) when the object has changed since.
        """
        namespace, name = _address(obj)
        self._check(resource, resources.Verb.PATCH, namespace, name)
        request = transport.Request(
            "apply",
            "PATCH",
            resource,
            namespace,
            name,
            query={**_FORCED, "fieldManager": manager},
            body=_typed(resource, obj),
            content=transport.APPLY_PATCH,
        )
        return await self._transport.send(request, policy)

    async def apply_status(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        status: Object,
        *,
        resource_version: str,
        policy: retry.Policy | None = None,
    ) -> Object:
        """Server-side apply of the whole status, only if the object is still the one of `resource_version`.

        A Conflict means: gather and decide again. So a former leader that comes late cannot undo its successor's writes. It is
        one, too, when the object was deleted meanwhile.
        """
        self._check(resource, resources.Verb.PATCH, namespace, name, "status")
        metadata = {"name": name, "namespace": namespace, "resourceVersion": resource_version}
        request = transport.Request(
            "apply status of",
            "PATCH",
            resource,
            namespace,
            name,
            "status",
            query=_FORCED,
            body=_typed(resource, {"metadata": metadata, "status": status}),
            content=transport.APPLY_PATCH,
        )
        try:
            return await self._transport.send(request, policy)
        except errors.NotFound as error:
            raise errors.Conflict(str(request), "it was deleted meanwhile") from error

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Object,
        *,
        manager: str = naming.FIELD_MANAGER,
        policy: retry.Policy | None = None,
    ) -> Object:
        """A JSON merge patch: None removes a field. With `metadata.resourceVersion` a stale one is a Conflict."""
        self._check(resource, resources.Verb.PATCH, namespace, name)
        query = {"fieldManager": manager}
        request = transport.Request(
            "patch", "PATCH", resource, namespace, name, query=query, body=patch, content=transport.MERGE_PATCH
        )
        return await self._transport.send(request, policy)

    async def replace(self, resource: Resource, obj: Object, *, policy: retry.Policy | None = None) -> Object:
        """Writes the whole object as given; its `metadata.resourceVersion` must be the present one, else Conflict."""
        namespace, name = _address(obj)
        self._check(resource, resources.Verb.UPDATE, namespace, name)
        body = _typed(resource, obj)
        request = transport.Request("replace", "PUT", resource, namespace, name, query=_MANAGED, body=body)
        return await self._transport.send(request, policy)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
        policy: retry.Policy | None = None,
    ) -> None:
        """Deletes the object; with `uid` only that very one, else Conflict. NotFound when it is gone already.

        `propagation` says what becomes of what it owns: Background, Foreground or Orphan.
        """
        self._check(resource, resources.Verb.DELETE, namespace, name)
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            body["preconditions"] = {"uid": uid}
        await self._transport.send(transport.Request("delete", "DELETE", resource, namespace, name, body=body), policy)

    async def watch(
        self, resource: Resource, namespace: str, name: str, *, resource_version: str, idle: float
    ) -> AsyncIterator[WatchEvent]:
        """The changes of one object after `resource_version`, until the server ends the stream.

        Raises Unreachable when nothing at all arrives for `idle` seconds, Expired when the version is too old.
        """
        self._check(resource, resources.Verb.WATCH, namespace, name)
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": resource_version,
        }
        request = transport.Request("watch", "GET", resource, namespace, query=query)
        async with contextlib.aclosing(self._transport.stream(request, idle)) as lines:
            async for event in lines:
                if event["type"] == "ERROR":
                    raise errors.from_status_object(str(request), event["object"])
                yield WatchEvent(event["type"], event["object"])

    async def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int, seconds: float) -> str:
        """The last lines of a container's log, or of the run before, asked for once."""
        self._check(resources.PODS, resources.Verb.GET, namespace, pod, "log")
        query = {
            "container": container,
            "previous": "true" if previous else "",
            "tailLines": str(lines),
            "limitBytes": str(lines * _LINE_BYTES),
        }
        request = transport.Request("read the log of", "GET", resources.PODS, namespace, pod, "log", query)
        return await self._transport.text(request, seconds)

    async def discover(self, path: str, *, policy: retry.Policy | None = None) -> Object:
        """What the API server says of itself, which every authenticated client may read: `/version`, `/apis`."""
        return await self._transport.send(transport.Path(path), policy)

    def _check(self, resource: Resource, verb: resources.Verb, namespace: str, name: str = "", subresource: str = "") -> None:
        own = bool(namespace) and namespace == self._operator_namespace
        if not resource.permits(verb, subresource=subresource, name=name, own_namespace=own):
            what = f"{resource}/{subresource}" if subresource else str(resource)
            where = f" {namespace}/{name}" if name else ""
            raise errors.UndeclaredVerb(f"Cannot {verb} {what}{where}: kube.resources does not declare it")


def _address(obj: Object) -> tuple[str, str]:
    metadata = obj["metadata"]
    return str(metadata.get("namespace", "")), str(metadata["name"])


def _typed(resource: Resource, obj: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind} | obj
