"""One person's session with one API server: reads, follows and patches ModelDeployments with that person's rights."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, Self, TypeVar

from sluice.cli import exits, view
from sluice.kube import client as kube_client
from sluice.kube import errors, person, retry

Object = dict[str, Any]
T = TypeVar("T")

IDLE_SECONDS: Final = 90.0
"""A watch without a bookmark for so long is dead: the API server sends one each minute."""
POLICY: Final = retry.Policy(timeout=15.0)
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 10.0


@dataclasses.dataclass(frozen=True)
class Target:
    """What the command line says of the cluster."""

    namespace: str | None = None
    context: str | None = None
    kubeconfig: pathlib.Path | None = None


class Session:
    """Use it as a context manager. Raises the errors of `kube.errors`, and Failure where something is not there."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._client: kube_client.Client | None = None
        self.namespace = target.namespace or ""

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def client(self) -> kube_client.Client:
        """The connection."""
        assert self._client is not None, "the session is not entered"
        return self._client

    async def _connect(self) -> None:
        """Reads the credentials, anew when they ran out."""
        access = await person.load(self._target.kubeconfig, self._target.context)
        if self._client is not None:
            await self._client.close()
        self._client = kube_client.Client(access.configuration, policy=POLICY)
        self.namespace = self._target.namespace or access.namespace

    async def read(self, name: str) -> Object:
        """The ModelDeployment as it is now."""
        try:
            return await self.client.get(person.MODEL_DEPLOYMENTS, self.namespace, name)
        except errors.NotFound as error:
            if "not found" in error.detail:
                raise exits.Failure(exits.Exit.NOT_FOUND, _missing(self.namespace, name)) from error
            raise

    async def names(self) -> list[str]:
        """All ModelDeployments of the namespace, for shell completion."""
        found = await self.client.list(person.MODEL_DEPLOYMENTS, self.namespace)
        return [str(item["metadata"]["name"]) for item in found.items]

    async def user(self) -> str:
        """Who this is to the API server."""
        status = await self.client.review(person.SELF_SUBJECT_REVIEWS, {})
        return str((status.get("userInfo") or {}).get("username", ""))

    async def may(self, verb: str, name: str) -> bool:
        """Whether this person has a verb on the ModelDeployment, be it a virtual one."""
        resource = person.MODEL_DEPLOYMENTS
        attributes = {"group": resource.group, "resource": resource.plural, "verb": verb}
        asked = {"resourceAttributes": {**attributes, "namespace": self.namespace, "name": name}}
        status = await self.client.review(person.SELF_SUBJECT_ACCESS_REVIEWS, asked)
        return status.get("allowed") is True

    async def annotate(self, obj: Object, annotations: dict[str, str]) -> Object:
        """Adds annotations, if the object is still as it was read. Raises Conflict when it is not."""
        metadata = obj["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "annotations": annotations}}
        return await self.client.patch(
            person.MODEL_DEPLOYMENTS, metadata["namespace"], metadata["name"], patch, manager=person.MANAGER
        )

    async def follow(self, obj: Object) -> AsyncGenerator[Object]:
        """The object now, and whenever it changes, for ever; what happens between two connections is made up for by a read.

        Raises NOT_FOUND when it is deleted.
        """
        name, delay = str(obj["metadata"]["name"]), _FIRST_DELAY
        uid, seen = obj["metadata"].get("uid"), ""
        while True:
            if obj["metadata"].get("uid") != uid:
                raise exits.Failure(exits.Exit.NOT_FOUND, f"{view.read(obj).title} was deleted and made anew meanwhile")
            if obj["metadata"]["resourceVersion"] != seen:
                seen, delay = obj["metadata"]["resourceVersion"], _FIRST_DELAY
                yield obj
            try:
                async with contextlib.aclosing(self._changes(name, seen)) as changes:
                    async for changed in changes:
                        seen, delay = changed["metadata"]["resourceVersion"], _FIRST_DELAY
                        yield changed
                await asyncio.sleep(_FIRST_DELAY)  # something between may end every watch at once
                obj = await self.read(name)
            except (errors.Transient, errors.Expired, errors.Unauthorized) as error:
                await asyncio.sleep(delay)
                delay = min(_LONGEST_DELAY, delay * 2)
                obj = await self._again(name, error, obj)

    async def _changes(self, name: str, version: str) -> AsyncGenerator[Object]:
        """The versions of the object that one watch reports."""
        events = self.client.watch(person.MODEL_DEPLOYMENTS, self.namespace, name, resource_version=version, idle=IDLE_SECONDS)
        async for event in events:
            if event.type == "DELETED":
                raise exits.Failure(exits.Exit.NOT_FOUND, f"{view.read(event.object).title} was deleted")
            if event.type != "BOOKMARK":
                yield event.object

    async def _again(self, name: str, error: errors.ApiError, obj: Object) -> Object:
        """A read after a fault; the object as it was while the fault lasts. New credentials when the old ones ran out."""
        if isinstance(error, errors.Unauthorized):
            await self._connect()
            return await self.read(name)  # refused again: a person has to log in
        try:
            return await self.read(name)
        except errors.Transient:
            return obj


def _missing(namespace: str, name: str) -> str:
    return f"Cannot find ModelDeployment {namespace}/{name}: see `kubectl get mdep -n {namespace}`, or name another by -n"


def run(target: Target, work: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
    """Runs a command's work in a session. Errors of the API server end as Failures."""

    async def inside() -> T:
        async with Session(target) as session:
            return await work(session)

    try:
        return asyncio.run(inside())
    except errors.KubeError as error:
        raise exits.from_error(error) from error
