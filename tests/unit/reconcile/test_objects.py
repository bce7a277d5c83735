"""The applier: what it writes, in which order, and whose fields it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sluice.api import naming
from sluice.kube import cache as kube_cache
from sluice.kube import errors, resources
from sluice.reconcile import objects
from tests.unit.reconcile import parts

Object = dict[str, Any]


class Api(parts.Api):
    """Remembers the field manager and the fields of `spec` of each write."""

    def __init__(self, cache: kube_cache.Cache) -> None:
        super().__init__(cache)
        self.writes: list[tuple[str, list[str]]] = []

    async def apply(self, resource: resources.Resource, obj: Object, *, manager: str = naming.FIELD_MANAGER) -> Object:
        self.writes.append((manager, sorted(obj["spec"])))
        return await super().apply(resource, obj, manager=manager)


def deployment(replicas: int | None) -> Object:
    """A Deployment as we want it; None leaves its size alone."""
    size = {} if replicas is None else {"replicas": replicas}
    metadata = {"name": "chat-abc", "namespace": "ml", "labels": {naming.LABEL_MANAGED_BY: naming.MANAGED_BY}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {**size, "paused": True}}


@pytest.fixture
def api() -> Api:
    return Api(kube_cache.Cache())


@pytest.fixture
def applier(api: Api) -> objects.Applier:
    given: Any = api
    return objects.Applier(given, api.cache)


async def test_size_survives_the_end_of_our_claim(api: Api, applier: objects.Applier) -> None:
    """Another field manager claims the present size before our apply without it: unclaimed it would fall back to 1."""
    await applier.apply(deployment(4))
    applied = await applier.apply(deployment(None))
    assert applied["spec"]["replicas"] == 4
    assert api.writes == [
        (naming.FIELD_MANAGER, ["paused", "replicas"]),
        (naming.SIZE_MANAGER, ["replicas"]),
        (naming.FIELD_MANAGER, ["paused"]),
    ]
    await applier.apply(deployment(None))
    assert len(api.writes) == 3, "what agrees is not written again"


async def test_size_that_changed_meanwhile_is_a_conflict(api: Api, applier: objects.Applier) -> None:
    """What the cache has may be older than the HPA's last step, which must not be undone."""
    known = await applier.apply(deployment(4))
    stale = copy.deepcopy(known)
    api.put({**known, "spec": {**known["spec"], "replicas": 5}})
    with pytest.raises(errors.Conflict):
        await applier._let_go_of_size(stale)
    live = api.cache.get(resources.DEPLOYMENTS, "ml", "chat-abc")
    assert live is not None
    assert live["spec"]["replicas"] == 5


async def test_size_of_the_spec_is_taken_back(api: Api, applier: objects.Applier) -> None:
    """With a number in the spec again one write is enough."""
    await applier.apply(deployment(4))
    await applier.apply(deployment(None))
    applied = await applier.apply(deployment(2))
    assert applied["spec"]["replicas"] == 2
    assert len(api.writes) == 4


async def test_what_agreed_once_is_looked_at_again_when_it_or_the_wish_changes(api: Api, applier: objects.Applier) -> None:
    """Most looks find both as they were, and skip the comparison; a change by somebody else must not be missed for it."""
    wish = deployment(2)
    live = await applier.apply(wish)
    api.writes.clear()
    for _ in range(2):
        await applier.apply(wish)
    assert api.writes == []
    api.put({**live, "spec": {**live["spec"], "paused": False}})
    await applier.apply(wish)
    assert len(api.writes) == 1
    await applier.apply(wish)
    assert len(api.writes) == 1
    await applier.apply(deployment(3))
    assert len(api.writes) == 2
