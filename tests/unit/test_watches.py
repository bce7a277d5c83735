"""How kopf is set up: what it is told to watch, and what it is kept from doing."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import kopf
import pytest
import yarl
from kopf._cogs.structs import references

from sluice.kube import cache, client, errors, resources
from sluice.watches import kopf_thread, watches

Object = dict[str, Any]


def kopf_resource(item: kopf_thread.Watched) -> references.Resource:
    """The resource as kopf finds it by discovery."""
    resource = item.resource
    return references.Resource(
        resource.group, resource.version, resource.plural, kind=resource.kind, namespaced=resource.namespaced
    )


async def no_login() -> kopf.AiohttpSession:
    raise AssertionError("nothing logs in here")


def test_every_watched_resource_may_be_listed_and_watched() -> None:
    """The roles are made from the same table."""
    for item in watches.WATCHED:
        assert {resources.Verb.LIST, resources.Verb.WATCH} <= item.resource.verbs


def test_what_is_listable_is_watched_once() -> None:
    """Whatever reconciles read is in the cache."""
    listable = {resource for resource in resources.ALL if resources.Verb.LIST in resource.verbs}
    assert {item.resource for item in watches.WATCHED} == listable
    assert len(watches.WATCHED) == len(listable)


def test_of_builtin_kinds_only_labelled_objects_are_asked_for() -> None:
    """The operator reads no Secret and no Pod that does not say that it is for it."""
    for item in watches.WATCHED:
        ours = item.resource.group == "sluice.dev" or item.resource is resources.NAMESPACES
        assert bool(item.labels) is not ours, item.resource


def test_kopf_watches_each_resource_with_its_own_selector_and_nothing_else() -> None:
    """Selection is the API server's: what is not ours never crosses the network."""
    settings = kopf_thread.build_settings(watches.WATCHED)
    for item in watches.WATCHED:
        found = list(settings.watching.label_selectors.collect(kopf_resource(item)))
        assert found == ([item.labels] if item.labels else [])


@pytest.mark.parametrize(("objects", "seconds"), [(0, 60), (100, 60), (1000, 600)])
def test_sweeping_costs_the_same_however_many_objects_there_are(objects: int, seconds: float) -> None:
    """It is for rare mistakes of the watch, and a full list of a large fleet is dear."""
    assert watches.sweep_period(watches.SWEEP_SECONDS, objects) == pytest.approx(seconds)


def test_every_handler_names_its_group_and_version() -> None:
    """Without, kopf scans all API groups, and one unavailable aggregated API would stop our start."""
    registry = kopf_thread.build_registry(watches.WATCHED, lambda *_: None, no_login)
    handlers = registry._watching.get_all_handlers()
    assert len(handlers) == len(watches.WATCHED)
    for handler in handlers:
        assert handler.selector is not None
        assert None not in {handler.selector.group, handler.selector.version, handler.selector.plural}


def test_kopf_neither_posts_nor_scans_nor_kills_the_process() -> None:
    """Its defaults would do all three."""
    settings = kopf_thread.build_settings(watches.WATCHED)
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
    assert settings.process.ultimate_exiting_timeout is None


async def test_an_event_is_delivered_with_its_resource_and_kind() -> None:
    """As it came, without kopf's wrappers."""
    told: list[tuple[kopf_thread.Watched, str | None, Object]] = []
    item = kopf_thread.Watched(resources.PODS)
    registry = kopf_thread.build_registry([item], lambda *event: told.append(event), no_login)
    (handler,) = registry._watching.get_all_handlers()
    obj = {"metadata": {"name": "x"}}
    handle: Any = handler.fn
    await handle(event={"type": "DELETED", "object": obj}, body=None, logger=None)
    assert told == [(item, "DELETED", obj)]
    assert told[0][2] is obj


class FakeApi:
    """Lists what a test says; stands for the client."""

    def __init__(self) -> None:
        self.answer: client.Listing | errors.ApiError = client.Listing([], "1")
        self.asked: list[tuple[str, str]] = []
        self.often = asyncio.Event()
        """Set once it was asked three times."""

    async def list(
        self, resource: resources.Resource, namespace: str = "", *, labels: str = "", limit: int = 0
    ) -> client.Listing:
        self.asked.append((namespace, labels))
        if len(self.asked) == 3:
            self.often.set()
        if isinstance(self.answer, errors.ApiError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("resource", "namespaces", "asked"),
    [
        (resources.PODS, (), [("", "a=b")]),
        (resources.PODS, ("two", "one"), [("one", "a=b"), ("two", "a=b")]),
        (resources.NAMESPACES, ("one",), [("", "a=b")]),
    ],
)
async def test_a_resource_is_complete_once_all_its_namespaces_were_listed(
    resource: resources.Resource, namespaces: tuple[str, ...], asked: list[tuple[str, str]]
) -> None:
    """Cluster-scoped resources are listed once, whatever the namespaces."""
    api: Any = FakeApi()
    store = cache.Cache()
    item = kopf_thread.Watched(resource, "a=b")
    made = watches.Watches(api, store, watched=[item], namespaces=namespaces)
    assert made.missing == [str(resource)]
    await made._list(item)
    assert api.asked == asked
    assert made.missing == []


async def test_lists_come_again_without_any_reason() -> None:
    """In case the watch ever misses something."""
    api: Any = FakeApi()
    item = kopf_thread.Watched(resources.PODS)
    listing = asyncio.create_task(watches.Watches(api, cache.Cache(), watched=[item], sweep=0.01)._keep_listing(item))
    async with asyncio.timeout(10):
        await api.often.wait()
    listing.cancel()


async def test_a_failed_list_changes_nothing() -> None:
    """Better old than empty: nothing is evicted on an error."""
    api: Any = FakeApi()
    store = cache.Cache()
    item = kopf_thread.Watched(resources.PODS)
    made = watches.Watches(api, store, watched=[item])
    api.answer = client.Listing([{"metadata": {"namespace": "ns", "name": "x", "resourceVersion": "1"}}], "5")
    await made._list(item)
    api.answer = errors.Unreachable("list pods", "refused")
    with pytest.raises(errors.Unreachable):
        await made._list(item)
    assert len(store.list(resources.PODS)) == 1


@pytest.mark.parametrize(
    ("method", "path", "listed"),
    [
        ("GET", "/api/v1/pods?limit=250&labelSelector=a%3Db", True),
        ("GET", "/api/v1/namespaces/ml/pods?labelSelector=a%3Db&continue=x", True),
        ("GET", "/apis/apps/v1/deployments", True),
        ("GET", "/apis/apps/v1/namespaces/ml/deployments", True),
        ("GET", "/api/v1/pods?watch=true&labelSelector=a%3Db", False),
        ("GET", "/api/v1/namespaces/ml/pods/one", False),
        ("GET", "/api/v1/services", False),
        ("GET", "/apis/apps/v1beta1/deployments", False),
        ("GET", "/apis/apps/v1", False),
        ("GET", "/", False),
        ("PATCH", "/apis/apps/v1/deployments", False),
    ],
)
@pytest.mark.parametrize("ok", [True, False])
async def test_kopf_lists_nothing_and_it_is_told_when_it_did(method: str, path: str, listed: bool, ok: bool) -> None:
    """Everything else passes as it is, and so does an answer that is none."""
    told: list[kopf_thread.Watched] = []
    pods, deployments = (kopf_thread.Watched(kind, "a=b") for kind in (resources.PODS, resources.DEPLOYMENTS))
    url = yarl.URL("https://server").join(yarl.URL(path))
    request: Any = types.SimpleNamespace(method=method, url=url)
    answer: Any = types.SimpleNamespace(ok=ok)

    async def send(_: Any) -> Any:
        return answer

    assert await kopf_thread.ListsOfNothing([pods, deployments], told.append)(request, send) is answer
    assert told == ([pods if "pods" in path else deployments] if listed and ok else [])
    assert (request.url.query.get("labelSelector") == kopf_thread.NOTHING) is listed
    assert dict(request.url.query) | {"labelSelector": ""} == dict(url.query) | {"labelSelector": ""}
