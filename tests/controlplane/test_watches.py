"""The watches against a real API server: what breaks between us and it must not make the cache wrong for long."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import pytest

from sluice.api import naming
from sluice.engine import backoff
from sluice.kube import cache, client, resources
from sluice.watches import kopf_thread, watches
from tests.support import apiproxy, controlplane

OURS = {naming.LABEL_MANAGED_BY: naming.MANAGED_BY}
CONFIG_MAPS = kopf_thread.Watched(resources.CONFIG_MAPS, f"{naming.LABEL_MANAGED_BY}={naming.MANAGED_BY}")
SERVICES = kopf_thread.Watched(resources.SERVICES)
NAMESPACES = kopf_thread.Watched(resources.NAMESPACES)
CRDS = pathlib.Path(__file__).parents[2] / "crds"
FOREVER = 3600.0


@pytest.fixture(scope="module")
def plane() -> Iterator[controlplane.ControlPlane]:
    with controlplane.ControlPlane() as made:
        yield made


@pytest.fixture
async def api(plane: controlplane.ControlPlane) -> AsyncIterator[client.Client]:
    async with await client.Client.connect(plane.kubeconfig) as made:
        yield made


@pytest.fixture
async def proxy(plane: controlplane.ControlPlane, tmp_path: pathlib.Path) -> AsyncIterator[apiproxy.ApiProxy]:
    async with apiproxy.ApiProxy(plane.kubeconfig, tmp_path) as made:
        yield made


@pytest.fixture
def namespace(plane: controlplane.ControlPlane) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    plane.kubectl("create", "namespace", name)
    return name


class World:
    """Watches under test, and what they have found."""

    def __init__(
        self, api: client.Client, *, watched: Sequence[kopf_thread.Watched], namespaces: Sequence[str], sweep: float
    ) -> None:
        self.store = cache.Cache()
        retry = backoff.Backoff(first=0.2, longest=1.0)
        self.watches = watches.Watches(api, self.store, watched=watched, namespaces=namespaces, sweep=sweep, retry=retry)

    def names(self, resource: resources.Resource, namespace: str) -> set[str]:
        return {obj["metadata"]["name"] for obj in self.store.list(resource, namespace)}

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
        """Waits for a condition, which the cache or the proxy fulfils."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 - polls state in threads and processes that notify nobody
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"after {seconds} s: not {what}")


@contextlib.asynccontextmanager
async def watching(
    kubeconfig: pathlib.Path,
    *watched: kopf_thread.Watched,
    namespaces: Sequence[str] = (),
    sweep: float = FOREVER,
) -> AsyncIterator[World]:
    async with await client.Client.connect(kubeconfig) as api:
        world = World(api, watched=watched, namespaces=namespaces, sweep=sweep)
        task = asyncio.create_task(world.watches.run())
        try:
            await world.until(lambda: not world.watches.missing, "complete")
            yield world
            assert not task.done(), "the watches must never end by themselves"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def make(api: client.Client, namespace: str, name: str, labels: dict[str, str] | None = None) -> None:
    metadata = {"namespace": namespace, "name": name, "labels": OURS if labels is None else labels}
    await api.create(resources.CONFIG_MAPS, {"metadata": metadata})


async def test_what_exists_and_what_changes_is_in_the_cache(
    plane: controlplane.ControlPlane, api: client.Client, namespace: str
) -> None:
    """Complete at the start, then by events; what does not carry our label never comes in."""
    await make(api, namespace, "before")
    await make(api, namespace, "foreign", labels={})
    async with watching(plane.kubeconfig, CONFIG_MAPS) as world:
        assert world.names(resources.CONFIG_MAPS, namespace) == {"before"}
        await make(api, namespace, "after")
        await make(api, namespace, "foreign-too", labels={})
        await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"before", "after"}, "told of a creation")
        await api.patch(resources.CONFIG_MAPS, namespace, "after", {"data": {"a": "1"}})
        await world.until(
            lambda: (world.store.get(resources.CONFIG_MAPS, namespace, "after") or {}).get("data") == {"a": "1"},
            "told of a change",
        )
        await api.delete(resources.CONFIG_MAPS, namespace, "before")
        await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"after"}, "told of a deletion")
        await api.patch(resources.CONFIG_MAPS, namespace, "after", {"metadata": {"labels": None}})
        await world.until(lambda: not world.names(resources.CONFIG_MAPS, namespace), "told of a lost label")


async def test_watching_writes_nothing_and_asks_for_labelled_objects_only(
    api: client.Client, proxy: apiproxy.ApiProxy, namespace: str
) -> None:
    """kopf must not annotate users' objects, nor read what is not ours."""
    await make(api, namespace, "one")
    async with watching(proxy.kubeconfig, CONFIG_MAPS) as world:
        await world.until(lambda: proxy.watching("configmaps"), "watching")
        await api.patch(resources.CONFIG_MAPS, namespace, "one", {"data": {"a": "1"}})
        await world.until(
            lambda: "data" in (world.store.get(resources.CONFIG_MAPS, namespace, "one") or {}), "told of a change"
        )
    assert {method for method, _ in proxy.requests} == {"GET"}
    config_maps = [path for _, path in proxy.requests if "/configmaps" in path]
    assert config_maps
    assert all("labelSelector=app.kubernetes.io/managed-by=sluice" in urllib.parse.unquote(path) for path in config_maps)


async def test_objects_deleted_while_the_watch_is_cut_are_evicted(
    api: client.Client, proxy: apiproxy.ApiProxy, namespace: str
) -> None:
    """kopf lists again after its version has expired, and tells of what is left only: our own list finds the rest gone."""
    await make(api, namespace, "kept")
    await make(api, namespace, "deleted")
    async with watching(proxy.kubeconfig, CONFIG_MAPS) as world:
        await world.until(lambda: proxy.watching("configmaps"), "watching")
        proxy.cut()
        await api.delete(resources.CONFIG_MAPS, namespace, "deleted")
        await make(api, namespace, "new")
        assert world.names(resources.CONFIG_MAPS, namespace) == {"kept", "deleted"}
        proxy.expire("configmaps")
        proxy.heal()
        await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"kept", "new"}, "evicted")


async def test_the_last_object_deleted_while_the_watch_is_cut_is_evicted(
    api: client.Client, proxy: apiproxy.ApiProxy, namespace: str
) -> None:
    """An empty list makes no event at all: what tells is that kopf lists again."""
    await make(api, namespace, "deleted")
    async with watching(proxy.kubeconfig, CONFIG_MAPS, namespaces=[namespace]) as world:
        await world.until(lambda: proxy.watching("configmaps"), "watching")
        proxy.cut()
        await api.delete(resources.CONFIG_MAPS, namespace, "deleted")
        proxy.expire("configmaps")
        proxy.heal()
        await world.until(lambda: not world.names(resources.CONFIG_MAPS, namespace), "evicted")


@pytest.mark.parametrize(("status", "times"), [(403, 6), (410, 1), (500, 6)])
async def test_kopf_is_started_again_when_a_watch_ends_it(
    api: client.Client, proxy: apiproxy.ApiProxy, namespace: str, status: int, times: int
) -> None:
    """An answer that kopf takes for fatal, some at once and some after its own retries, ends it; events go on soon after."""
    async with watching(proxy.kubeconfig, CONFIG_MAPS) as world:
        await world.until(lambda: proxy.watching("configmaps"), "watching")
        scans = proxy.requests.count(("GET", "/apis"))
        proxy.fail("configmaps", status, times)
        await world.until(lambda: proxy.requests.count(("GET", "/apis")) > scans, "started again")
        await make(api, namespace, "new")
        await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"new"}, "told of a creation")


async def test_a_restart_of_the_api_server_is_survived(
    plane: controlplane.ControlPlane, api: client.Client, namespace: str
) -> None:
    """Nothing is forgotten while it is away, and events are told when it is back."""
    await make(api, namespace, "kept")
    async with watching(plane.kubeconfig, CONFIG_MAPS, SERVICES) as world:
        plane.stop_apiserver()
        await asyncio.sleep(1)  # long enough for requests of the outage; not a condition of the test
        assert world.names(resources.CONFIG_MAPS, namespace) == {"kept"}
        assert world.watches.missing == []
        plane.start_apiserver()
        await make(api, namespace, "new")
        await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"kept", "new"}, "told of a creation")


async def test_an_api_server_that_is_away_at_the_start_is_waited_for(
    api: client.Client, proxy: apiproxy.ApiProxy, namespace: str
) -> None:
    """Incomplete until then, and saying what is missing."""
    await make(api, namespace, "one")
    proxy.cut()
    async with await client.Client.connect(proxy.kubeconfig) as through:
        world = World(through, watched=[CONFIG_MAPS], namespaces=(), sweep=FOREVER)
        task = asyncio.create_task(world.watches.run())
        try:
            await world.until(lambda: len(proxy.requests) > 0, "tried")
            assert world.watches.missing == ["configmaps"]
            proxy.heal()
            await world.until(lambda: not world.watches.missing, "complete")
            assert world.names(resources.CONFIG_MAPS, namespace) == {"one"}
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_only_the_given_namespaces_are_watched(
    plane: controlplane.ControlPlane, api: client.Client, proxy: apiproxy.ApiProxy, namespace: str
) -> None:
    """Namespaced kinds are asked for in these alone; cluster-scoped ones as ever."""
    other = f"{namespace}-other"
    plane.kubectl("create", "namespace", other)
    await make(api, namespace, "mine")
    await make(api, other, "theirs")
    async with watching(proxy.kubeconfig, CONFIG_MAPS, NAMESPACES, namespaces=[namespace]) as world:
        await world.until(lambda: proxy.watching("configmaps"), "watching")
        await make(api, other, "theirs-too")
        await make(api, namespace, "mine-too")
        await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"mine", "mine-too"}, "told")
        assert world.names(resources.CONFIG_MAPS, other) == set()
        assert other in world.names(resources.NAMESPACES, "")
    asked = [path for _, path in proxy.requests if "configmaps" in path and "labelSelector" in path]
    assert all(path.startswith(f"/api/v1/namespaces/{namespace}/") for path in asked)


async def test_a_kind_that_is_installed_later_is_watched_from_then_on(
    plane: controlplane.ControlPlane, api: client.Client, namespace: str
) -> None:
    """It is missing until its definition is there, and keeps nobody else from being watched."""
    gateways = kopf_thread.Watched(resources.GATEWAYS)
    async with await client.Client.connect(plane.kubeconfig) as own:
        world = World(own, watched=[CONFIG_MAPS, gateways], namespaces=(), sweep=FOREVER)
        task = asyncio.create_task(world.watches.run())
        try:
            await world.until(lambda: world.watches.missing == ["gateways.sluice.dev"], "complete but for the gateways")
            await make(api, namespace, "one")
            await world.until(lambda: world.names(resources.CONFIG_MAPS, namespace) == {"one"}, "told of a creation")
            plane.kubectl("apply", "-f", str(CRDS / "gateways.yaml"))
            await world.until(lambda: not world.watches.missing, "complete")
            manifest = CRDS.parent / "tests/crd/accepted/gateway-empty-spec-has-working-defaults.yaml"
            plane.kubectl("create", "-n", namespace, "-f", str(manifest))
            await world.until(lambda: bool(world.names(resources.GATEWAYS, namespace)), "told of a gateway")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
