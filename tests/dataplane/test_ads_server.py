"""The ADS server against clients that no Envoy would be: hung, foreign, nameless, double. Real mTLS, real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from sluice.pki import authority, identity
from sluice.xds import server, snapshot
from tests.support import fleet

CERTIFICATES = fleet.Certificates()


def routes(version: int, size: int = 1) -> snapshot.Resources:
    host = route_components_pb2.VirtualHost(name=str(version) + "x" * size, domains=["*"])
    return {snapshot.ROUTE: {"r": route_pb2.RouteConfiguration(name="r", virtual_hosts=[host])}}


class Client:
    """A proxy as far as the protocol goes. It reads only when told to."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def subscribe(self, node: str = "n") -> None:
        for kind, names in ((snapshot.CLUSTER, ()), (snapshot.LISTENER, ()), (snapshot.ROUTE, ("r",))):
            await self.call.write(
                discovery_pb2.DeltaDiscoveryRequest(node=base_pb2.Node(id=node), type_url=kind, resource_names_subscribe=names)
            )

    async def take(self) -> Any:
        """Reads one response and confirms it."""
        async with asyncio.timeout(5):
            response = await self.call.read()
        if response is not grpc.aio.EOF:
            await self.call.write(
                discovery_pb2.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
            )
        return response

    async def take_routes(self) -> str:
        """The routes' content, once it comes."""
        while (response := await self.take()).type_url != snapshot.ROUTE:
            pass
        message = route_pb2.RouteConfiguration.FromString(response.resources[0].resource.value)
        return str(message.virtual_hosts[0].name[0])

    async def ended(self) -> Any:
        """The code that the server ended the stream with."""
        async with asyncio.timeout(5):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            return await self.call.code()


@contextlib.asynccontextmanager
async def client(port: int, leaf: authority.Leaf | None, *, trust: bytes | None = None) -> AsyncIterator[Client]:
    credentials = grpc.ssl_channel_credentials(
        trust or CERTIFICATES.ca.bundle, leaf.key if leaf else None, leaf.certificate if leaf else None
    )
    options = (
        ("grpc.ssl_target_name_override", "sluice-xds.sluice-system.svc"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.lookahead_bytes", 1024),
    )
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        yield Client(ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources())


async def test_a_proxy_that_does_not_read_holds_up_nobody_and_gets_the_latest_state_later() -> None:
    """Others are told at once; of all states that passed meanwhile the sleeper gets what was under way and the last."""
    async with (
        fleet.operator(CERTIFICATES) as (ads, port),
        client(port, CERTIFICATES.gateway()) as sleeper,
        client(port, CERTIFICATES.gateway()) as reader,
    ):
        ads.set_resources(fleet.EDGE, routes(0, size=3_000_000))
        await sleeper.subscribe("sleeper")
        await reader.subscribe("reader")
        assert await reader.take_routes() == "0"
        await fleet.until(lambda: ads.state(fleet.EDGE).connected == 2)
        for version in range(1, 10):
            ads.set_resources(fleet.EDGE, routes(version, size=3_000_000))
            assert await reader.take_routes() == str(version)
        await fleet.until(lambda: ads.state(fleet.EDGE).in_sync == 1)
        assert not ads.acknowledged(fleet.EDGE, 1)
        seen = [await sleeper.take_routes()]
        while seen[-1] != "9":
            seen.append(await sleeper.take_routes())
        assert len(seen) <= 2
        await fleet.until(lambda: ads.acknowledged(fleet.EDGE, 10))


async def test_a_demoted_leader_ends_every_stream_even_of_a_proxy_that_does_not_read() -> None:
    """With UNAVAILABLE, so that proxies look elsewhere; a stream that just stays open would keep them for ever."""
    async with (
        fleet.operator(CERTIFICATES) as (ads, port),
        client(port, CERTIFICATES.gateway()) as sleeper,
        client(port, CERTIFICATES.gateway()) as idle,
    ):
        ads.set_resources(fleet.EDGE, routes(0, size=3_000_000))
        await sleeper.subscribe("sleeper")
        await idle.call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=snapshot.CLUSTER))
        await fleet.until(lambda: ads.state(fleet.EDGE).connected == 2)
        ads.serve(leading=False)
        await fleet.until(lambda: ads.streams == 0)
        assert await idle.ended() == grpc.StatusCode.UNAVAILABLE
        assert await sleeper.ended() == grpc.StatusCode.UNAVAILABLE


async def test_a_stream_ends_properly_at_whatever_moment_leadership_does() -> None:
    """In the middle of the first response, too: gRPC sends no end at all if the operations before it were left half done."""
    async with fleet.operator(CERTIFICATES) as (ads, port):
        ads.set_resources(fleet.EDGE, routes(0))
        for turns in range(60):
            async with client(port, CERTIFICATES.gateway()) as proxy:
                await proxy.call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=snapshot.CLUSTER))
                await fleet.until(lambda turns=turns: ads.streams >= turns % 2)  # type: ignore[misc]
                for _ in range(turns % 7):
                    await asyncio.sleep(0)
                ads.serve(leading=False)
                assert await proxy.ended() == grpc.StatusCode.UNAVAILABLE
                ads.serve(leading=True)


async def test_who_does_not_lead_refuses_at_once() -> None:
    """Before it has read anything."""
    async with fleet.operator(CERTIFICATES, leading=False) as (ads, port), client(port, CERTIFICATES.gateway()) as proxy:
        assert await proxy.ended() == grpc.StatusCode.UNAVAILABLE
        assert ads.counts.refused_streams == {"NotLeader": 1}


async def test_a_certificate_of_ours_without_a_gateway_is_refused() -> None:
    """Not everything that the CA signed is a proxy: the operator's own certificate programs nobody."""
    async with fleet.operator(CERTIFICATES) as (ads, port), client(port, CERTIFICATES.operator()) as other:
        ads.set_resources(fleet.EDGE, routes(0))
        assert await other.ended() == grpc.StatusCode.PERMISSION_DENIED
        assert ads.counts.refused_streams == {"NoIdentity": 1}


@pytest.mark.parametrize("who", ["stranger", "nobody", "expired"])
async def test_a_handshake_without_a_valid_certificate_of_ours_fails(who: str) -> None:
    """Another CA's, none at all, or one whose time is over: the server's code is never reached."""
    long_ago = fleet.now() - datetime.timedelta(days=200)
    leaf = {
        "stranger": fleet.Certificates().gateway(),
        "nobody": None,
        "expired": authority.issue(CERTIFICATES.ca, [identity.gateway_uri(*fleet.EDGE)], [], long_ago),
    }[who]
    async with fleet.operator(CERTIFICATES) as (ads, port), client(port, leaf) as proxy:
        ads.set_resources(fleet.EDGE, routes(0))
        assert await proxy.ended() == grpc.StatusCode.UNAVAILABLE
        assert ads.streams == 0
        assert not ads.counts.refused_streams


async def test_a_second_stream_of_one_proxy_replaces_the_first() -> None:
    """A half-open stream must not count as a proxy that never confirms."""
    async with (
        fleet.operator(CERTIFICATES) as (ads, port),
        client(port, CERTIFICATES.gateway()) as old,
        client(port, CERTIFICATES.gateway()) as new,
    ):
        version = ads.set_resources(fleet.EDGE, routes(0))
        await old.subscribe("same")
        assert await old.take_routes() == "0"
        await new.subscribe("same")
        assert await new.take_routes() == "0"
        assert await old.ended() == grpc.StatusCode.UNAVAILABLE
        await fleet.until(lambda: ads.acknowledged(fleet.EDGE, version))
        assert ads.state(fleet.EDGE) == server.ProxyState(connected=1, in_sync=1)


async def test_a_renewed_certificate_and_bundle_are_used_without_a_restart() -> None:
    """From the next connection on; streams that are open go on."""
    rotated = fleet.Certificates(authority.begin_rotation(CERTIFICATES.ca, fleet.now()))
    assert rotated.ca.upcoming is not None
    after = fleet.Certificates(authority.Authority(rotated.ca.upcoming, None, (CERTIFICATES.ca.current.certificate,)))
    async with fleet.operator(CERTIFICATES) as (ads, port):
        ads.set_resources(fleet.EDGE, routes(0))
        async with client(port, CERTIFICATES.gateway()) as early:
            await early.subscribe("early")
            assert await early.take_routes() == "0"
            async with client(port, after.gateway(), trust=after.ca.bundle) as too_early:
                assert await too_early.ended() == grpc.StatusCode.UNAVAILABLE
            ads.set_tls(fleet.tls(after.operator()))
            async with client(port, after.gateway(), trust=after.ca.current.certificate) as late:
                await late.subscribe("late")
                assert await late.take_routes() == "0"
            ads.set_resources(fleet.EDGE, routes(1))
            assert await early.take_routes() == "1"


async def test_two_servers_cannot_share_a_port() -> None:
    """They would take turns, and half the proxies would be told nothing."""
    async with fleet.operator(CERTIFICATES) as (_, port):
        with pytest.raises(OSError, match="Cannot listen"):
            async with fleet.operator(CERTIFICATES, port=port):
                pass


async def test_a_forgotten_gateway_is_unknown_again() -> None:
    """Its proxies keep what they have: an unknown gateway is sent nothing."""
    async with fleet.operator(CERTIFICATES) as (ads, port):
        ads.set_resources(fleet.EDGE, routes(0))
        async with client(port, CERTIFICATES.gateway()) as proxy:
            await proxy.subscribe()
            assert await proxy.take_routes() == "0"
            ads.forget(fleet.EDGE)
            assert await proxy.ended() == grpc.StatusCode.UNAVAILABLE
        assert ads.state(fleet.EDGE) == server.ProxyState()
        assert ads.set_resources(fleet.EDGE, routes(0)) == 1
