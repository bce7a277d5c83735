"""The operator's ADS server and real proxies: certificates, order, leadership, and no request lost on the way."""

from __future__ import annotations

import asyncio
import pathlib
import random
from typing import Any

import aiohttp
import pytest
from envoy.config.cluster.v3 import cluster_pb2

from sluice.routing import inputs
from sluice.xds import server, snapshot
from tests.support import fleet, gateway, ports, upstream

CERTIFICATES = fleet.Certificates()


def split(stable: upstream.Upstream, canary: upstream.Upstream | None = None, weight: int = 0) -> inputs.Split:
    return inputs.Split(
        stable=gateway.revision(stable, stable.name),
        canary=gateway.revision(canary, canary.name) if canary is not None else None,
        weight=weight,
    )


async def test_a_proxy_is_ready_once_it_has_its_first_configuration(tmp_path: pathlib.Path) -> None:
    """Everything by delta ADS over mTLS, acknowledged, and then it serves."""
    port = ports.free()
    async with upstream.running("stable") as (stable,), fleet.operator(CERTIFICATES) as (ads, xds):
        version = ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path))
        assert not ads.acknowledged(fleet.EDGE, version), "nobody is connected"
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), aiohttp.ClientSession() as session:
            await fleet.until(lambda: ads.acknowledged(fleet.EDGE, version))
            assert ads.state(fleet.EDGE) == server.ProxyState(connected=1, in_sync=1)
            assert await fleet.ask(session, port) == (200, "stable")


async def test_weights_move_under_load_without_a_failed_request(tmp_path: pathlib.Path) -> None:
    """Each version is acknowledged, and from then on all traffic is where it belongs."""
    port = ports.free()
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), fleet.Load(port) as load:
            for turn in range(12):
                weight = 0 if turn % 2 else 10_000
                version = ads.set_resources(
                    fleet.EDGE, fleet.resources(port, split(stable, canary, weight), directory=tmp_path)
                )
                await fleet.until(lambda version=version: ads.acknowledged(fleet.EDGE, version))  # type: ignore[misc]
                await load.more(4)
                assert set(await load.more()) == {"canary" if weight else "stable"}
            assert not load.failures


async def test_a_new_revision_comes_and_goes_under_load(tmp_path: pathlib.Path) -> None:
    """Make before break: clusters and endpoints appear before the routes that use them and go after them."""
    port = ports.free()
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), fleet.Load(port) as load:
            for turn in range(10):
                given = split(stable) if turn % 2 else split(stable, canary, 5_000)
                version = ads.set_resources(fleet.EDGE, fleet.resources(port, given, directory=tmp_path))
                await fleet.until(lambda version=version: ads.acknowledged(fleet.EDGE, version))  # type: ignore[misc]
                await load.more(30)
            assert not load.failures
            assert {name for _, name in load.answers} == {"stable", "canary"}


async def test_a_changed_cluster_is_active_at_once(tmp_path: pathlib.Path) -> None:
    """Without its endpoints sent again, Envoy would keep the old cluster for 15 s more."""
    port = ports.free()
    async with upstream.running("stable") as (stable,), fleet.operator(CERTIFICATES) as (ads, xds):
        given = fleet.resources(port, split(stable), directory=tmp_path)
        ads.set_resources(fleet.EDGE, given)
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds) as proxy, fleet.Load(port) as load:
            changed = gateway.snapshot_copy(given[snapshot.CLUSTER]["prod/stable"])
            changed.connect_timeout.FromSeconds(77)
            version = ads.set_resources(
                fleet.EDGE, {**given, snapshot.CLUSTER: {**given[snapshot.CLUSTER], "prod/stable": changed}}
            )
            await fleet.until(lambda: ads.acknowledged(fleet.EDGE, version))
            await fleet.until_dump(proxy, lambda dump: "warming" not in dump and '"77s"' in dump, seconds=5)
            await load.more()
            assert not load.failures


async def test_endpoints_churn_under_load_without_a_failed_request(tmp_path: pathlib.Path) -> None:
    """Pods that come and go, the last one included: its place is taken by one that refuses, and the other revision answers."""
    port = ports.free()
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary, 3_000), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), fleet.Load(port) as load:
            for turn in range(20):
                given = inputs.Split(
                    stable=gateway.revision(stable, "stable"),
                    canary=gateway.revision(canary if turn % 2 else None, "canary"),
                    weight=3_000,
                )
                version = ads.set_resources(fleet.EDGE, fleet.resources(port, given, directory=tmp_path))
                await fleet.until(lambda version=version: ads.acknowledged(fleet.EDGE, version))  # type: ignore[misc]
                await load.more(10)
            assert not load.failures


async def test_a_stream_in_flight_outlives_the_removal_of_its_cluster(tmp_path: pathlib.Path) -> None:
    """What a removed revision still answers reaches its client to the end."""
    port = ports.free()
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(CERTIFICATES) as (ads, xds):
        canary.gap, canary.chunks = 0.1, 12
        ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary, 10_000), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{port}{gateway.COMPLETIONS}"
            async with session.post(url, json={"model": "chat", "messages": [], "stream": True}) as response:
                first = await response.content.readline()
                version = ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path))
                await fleet.until(lambda: ads.acknowledged(fleet.EDGE, version))
                rest = await response.content.read()
            assert b"canary" in first
            assert rest.rstrip().endswith(b"[DONE]")


async def test_traffic_goes_on_over_a_restart_of_the_operator(tmp_path: pathlib.Path) -> None:
    """A new process sends a proxy only what differs from what it holds; endpoints are the one exception."""
    port, xds = ports.free(), ports.free()
    async with upstream.running("stable") as (stable,):
        given = fleet.resources(port, split(stable), directory=tmp_path)
        async with fleet.operator(CERTIFICATES, port=xds) as (first, _):
            first.set_resources(fleet.EDGE, given)
            made = fleet.Proxy(tmp_path / "p", CERTIFICATES.gateway(), [xds])
            await made.start()
            await fleet.until(lambda: first.acknowledged(fleet.EDGE, 1))
        try:
            async with fleet.Load(port) as load:
                await load.more()
                async with fleet.operator(CERTIFICATES, port=xds) as (second, _):
                    second.set_resources(fleet.EDGE, given)
                    assert not second.acknowledged(fleet.EDGE, 1), "a proxy that has not connected yet may run anything"
                    await fleet.until(lambda: second.acknowledged(fleet.EDGE, 1))
                    await load.more()
                    assert second.counts.responses[snapshot.ROUTE] == 0
                    assert second.counts.responses[snapshot.ENDPOINTS] == 1
                assert not load.failures
        finally:
            await made.stop()


async def test_a_leader_without_resources_takes_nothing_away(tmp_path: pathlib.Path) -> None:
    """Not to know a gateway yet is not the same as to know that it is empty."""
    port, xds = ports.free(), ports.free()
    async with upstream.running("stable") as (stable,):
        async with fleet.operator(CERTIFICATES, port=xds) as (first, _):
            first.set_resources(fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path))
            made = fleet.Proxy(tmp_path / "p", CERTIFICATES.gateway(), [xds])
            await made.start()
        try:
            async with fleet.operator(CERTIFICATES, port=xds) as (second, _), fleet.Load(port) as load:
                await fleet.until(lambda: second.state(fleet.EDGE).connected == 1)
                await load.more(50)
                assert not load.failures
                assert not second.counts.responses
        finally:
            await made.stop()


async def test_a_proxy_finds_the_leader_and_follows_a_hand_over(tmp_path: pathlib.Path) -> None:
    """Replicas that do not lead refuse; when leadership moves, the stream moves, and traffic does not notice."""
    port = ports.free()
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        fleet.operator(CERTIFICATES, leading=False) as (one, first),
        fleet.operator(CERTIFICATES) as (two, second),
    ):
        two.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), first, second), fleet.Load(port) as load:
            await fleet.until(lambda: two.acknowledged(fleet.EDGE, 1))
            for old, new in ((two, one), (one, two), (two, one)):
                weight = 10_000 if new is one else 0
                new.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary, weight), directory=tmp_path))
                old.serve(leading=False)
                assert not old.acknowledged(fleet.EDGE, 1), "who does not lead vouches for nothing"
                new.serve(leading=True)
                await fleet.until(lambda new=new: new.state(fleet.EDGE).in_sync == 1)  # type: ignore[misc]
                await load.more(4)
                assert set(await load.more()) == {"canary" if weight else "stable"}
                assert old.streams == 0
            assert not load.failures
            assert one.counts.refused_streams["NotLeader"] + two.counts.refused_streams["NotLeader"] > 0


@pytest.mark.parametrize("wrong", ["proxy", "operator"])
async def test_a_certificate_of_another_authority_is_refused(tmp_path: pathlib.Path, wrong: str) -> None:
    """By the operator, and by the proxy: neither programs nor is programmed by a stranger."""
    stranger = fleet.Certificates()
    mine, theirs = (stranger, CERTIFICATES) if wrong == "operator" else (CERTIFICATES, stranger)
    async with upstream.running("stable") as (stable,), fleet.operator(mine) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(ports.free(), split(stable), directory=tmp_path))
        # It trusts the right authority, so that only the one thing under test is wrong.
        leaf = theirs.gateway()
        if wrong == "proxy":
            leaf = type(leaf)(leaf.certificate, leaf.key, mine.ca.bundle)
        async with fleet.proxy(tmp_path / "p", leaf, xds, ready=False) as proxy:

            async def refusals() -> float:
                # In TLS 1.3 a client learns of its refusal after the handshake, as a lost connection.
                stats = await proxy.get(
                    "/stats?filter=sluice-xds.*(fail_verify_san|fail_verify_error|_cx_destroy_remote|connect_fail)"
                )
                return sum(float(line.rpartition(" ")[2]) for line in stats.splitlines())

            async with asyncio.timeout(20):
                while True:
                    try:
                        if await refusals() >= 2:
                            break
                    except aiohttp.ClientError:
                        pass
                    await asyncio.sleep(0.05)
            assert ads.streams == 0
            assert not ads.counts.responses
            assert ads.state(fleet.EDGE).connected == 0


async def test_the_certificate_decides_and_not_the_node(tmp_path: pathlib.Path) -> None:
    """A proxy of gateway A that calls itself B gets A's resources and never B's."""
    here, there = ports.free(), ports.free()
    async with upstream.running("mine", "other") as (mine, other), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(("prod", "a"), fleet.resources(here, split(mine), directory=tmp_path))
        ads.set_resources(("prod", "b"), fleet.resources(there, split(other), directory=tmp_path))
        leaf = CERTIFICATES.gateway(("prod", "a"))
        async with (
            fleet.proxy(tmp_path / "p", leaf, xds, node="prod/b", name=("prod", "b")) as proxy,
            aiohttp.ClientSession() as session,
        ):
            assert await fleet.ask(session, here) == (200, "mine")
            assert (await fleet.ask(session, there))[0] == 0
            assert ads.state(("prod", "b")).connected == 0
            assert "prod/other" not in await proxy.get("/config_dump")


async def test_a_refused_resource_is_reported_and_the_last_good_one_stays(tmp_path: pathlib.Path) -> None:
    """Type, name and Envoy's words reach the status; others of the same push are applied; the next good one heals it."""
    port = ports.free()
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(CERTIFICATES) as (ads, xds):
        good = fleet.resources(port, split(stable), directory=tmp_path)
        ads.set_resources(fleet.EDGE, good)
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), fleet.Load(port) as load:
            new = fleet.resources(port, split(stable, canary, 10_000), directory=tmp_path)
            broken = gateway.snapshot_copy(new[snapshot.CLUSTER]["prod/stable"])
            broken.lb_policy = cluster_pb2.Cluster.CLUSTER_PROVIDED  # Envoy: not for clusters of this type
            version = ads.set_resources(fleet.EDGE, {**new, snapshot.CLUSTER: {**new[snapshot.CLUSTER], "prod/stable": broken}})
            await fleet.until(lambda: bool(ads.state(fleet.EDGE).errors))
            (error,) = ads.state(fleet.EDGE).errors
            assert (error.type_url, error.name) == (snapshot.CLUSTER, "prod/stable")
            assert "cluster provided LB specified" in error.message
            assert ads.state(fleet.EDGE) == server.ProxyState(connected=1, in_sync=0, rejected=1, errors=(error,))
            await load.more(4)
            await fleet.until(lambda: load.answers[-1][1] == "canary")
            assert set(await load.more()) == {"canary"}
            assert not ads.acknowledged(fleet.EDGE, version)
            version = ads.set_resources(fleet.EDGE, good)
            await fleet.until(lambda: ads.acknowledged(fleet.EDGE, version))
            assert ads.state(fleet.EDGE) == server.ProxyState(connected=1, in_sync=1)
            await load.more(4)
            assert set(await load.more()) == {"stable"}
            assert not load.failures


async def test_a_key_revoked_under_load_drops_nothing_else(tmp_path: pathlib.Path) -> None:
    """Keys come by ECDS: other clients' connections and requests go on, the revoked one is refused from then on."""
    port = ports.free()
    spec = {"clients": {"apiKeys": [{"secretRef": {"name": "keys"}}]}}
    keys = {gateway.digest("one"): "team-one", gateway.digest("two"): "team-two"}
    async with upstream.running("stable") as (stable,), fleet.operator(CERTIFICATES) as (ads, xds):
        ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path, api_keys=keys, **spec))
        async with (
            fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds),
            fleet.Load(port, headers={"authorization": "Bearer one"}) as load,
            aiohttp.ClientSession(headers={"authorization": "Bearer two"}) as two,
        ):
            for turn in range(10):
                held = keys if turn % 2 else {gateway.digest("one"): "team-one"}
                version = ads.set_resources(
                    fleet.EDGE, fleet.resources(port, split(stable), directory=tmp_path, api_keys=held, **spec)
                )
                await fleet.until(lambda version=version: ads.acknowledged(fleet.EDGE, version))  # type: ignore[misc]
                await load.more(10)
                assert (await fleet.ask(two, port))[0] == (200 if turn % 2 else 401)
            assert not load.failures


async def test_a_gateway_with_a_provider_is_acknowledged_and_a_name_that_does_not_resolve_delays_no_weight(
    tmp_path: pathlib.Path,
) -> None:
    """Every kind of resource that we make is one that Envoy asks for; and others' clusters may warm for long."""
    port = ports.free()
    (tmp_path / "openai").write_text("key")
    provider = {"type": "OpenAICompatible", "credentials": {"key": "openai"}}
    route = {"name": "other", "match": {"models": ["other"]}}
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(CERTIFICATES) as (ads, xds):

        def push(weight: int, *urls: str) -> int:
            given = [{**provider, "name": f"p{index}", "url": url} for index, url in enumerate(urls)]
            backends = [{"type": "Provider", "provider": {"name": each["name"]}} for each in given]
            spec: dict[str, Any] = {
                "providers": given,
                "routes": [{**route, "chain": [{"backends": [each]} for each in backends]}],
                "credentialsSecretRef": {"name": "keys"},
            }
            return ads.set_resources(
                fleet.EDGE, fleet.resources(port, split(stable, canary, weight), directory=tmp_path, **spec)
            )

        good = f"http://127.0.0.1:{stable.port}"
        version = push(10_000, good)
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds), fleet.Load(port) as load:
            await fleet.until(lambda: ads.acknowledged(fleet.EDGE, version))
            assert set(await load.more()) == {"canary"}
            push(0, good, "http://nowhere.invalid:80")
            await fleet.until(lambda: load.answers[-1][1] == "stable", seconds=5)
            await load.more(4)
            assert set(await load.more()) == {"stable"}
            assert not load.failures


async def test_a_proxy_that_is_gone_is_waited_for_and_then_not(tmp_path: pathlib.Path) -> None:
    """Without a stream it goes on serving what it has: no later version counts as acknowledged until the time is over."""
    now = random.Random(1).random()
    told: list[tuple[str, str]] = []
    port = ports.free()
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        fleet.operator(CERTIFICATES, clock=lambda: now, proxy_gone_after=60.0, on_change=told.append) as (ads, xds),
    ):
        old = ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary), directory=tmp_path))
        async with fleet.proxy(tmp_path / "p", CERTIFICATES.gateway(), xds) as proxy:
            await fleet.until(lambda: ads.acknowledged(fleet.EDGE, old))
            await proxy.kill()
            await fleet.until(lambda: ads.state(fleet.EDGE).connected == 0)
            new = ads.set_resources(fleet.EDGE, fleet.resources(port, split(stable, canary, 100), directory=tmp_path))
            assert told[-1] == fleet.EDGE
            now += 59.9
            assert ads.acknowledged(fleet.EDGE, old)
            assert not ads.acknowledged(fleet.EDGE, new)
            now += 0.2
            assert ads.acknowledged(fleet.EDGE, new)
