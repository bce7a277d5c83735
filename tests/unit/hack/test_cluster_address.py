"""Addresses of embedded clusters: clusters side by side and the host's own networks never overlap."""

from __future__ import annotations

import ipaddress
import itertools

import hypothesis
import pytest
from hypothesis import strategies

from hack.cluster import address

INDICES = range(address.COUNT)


def test_networks_of_all_clusters_are_disjoint() -> None:
    """No address belongs to two clusters, or to two networks of one."""
    networks = [ipaddress.ip_network(cidr) for index in INDICES for cidr in address.Network(index).cidrs]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(networks, 2))


@pytest.mark.parametrize("index", INDICES)
def test_addresses_lie_in_their_networks(index: int) -> None:
    """Every single address is inside the network that is routed for it."""
    network = address.Network(index)
    inside = {
        network.host_ip: network.link_cidr,
        network.node_ip: network.link_cidr,
        network.kubernetes_ip: network.service_cidr,
        network.dns_ip: network.service_cidr,
        network.node_pod_cidr.partition("/")[0]: network.pod_cidr,
    }
    assert all(ipaddress.ip_address(one) in ipaddress.ip_network(cidr) for one, cidr in inside.items())


def test_link_names_fit_the_kernels_limit() -> None:
    """An interface's name has at most 15 characters."""
    assert all(len(address.Network(index).link) <= 15 for index in INDICES)


@hypothesis.given(strategies.sets(strategies.sampled_from(INDICES)))
def test_the_lowest_free_index_is_taken(taken: set[int]) -> None:
    """An index is free again when its cluster went, and none is given twice."""
    free = sorted(set(INDICES) - taken)
    assert address.decide_index(taken, []) == (free[0] if free else None)


@pytest.mark.parametrize(
    ("routed", "index", "reason"),
    [
        (["192.168.1.0/24"], 0, "a home network is out of the way"),
        (["10.208.0.0/16"], 1, "someone has the first cluster's pod network"),
        (["10.224.7.0/24", "10.89.1.0/30"], 2, "a part is enough, and each network counts"),
        (["10.0.0.0/8"], None, "a company network covers everything"),
        (["10.89.0.2"], 1, "a route to one address counts as well"),
    ],
)
def test_indices_that_overlap_a_route_of_the_host_are_passed_over(routed: list[str], index: int | None, reason: str) -> None:
    """A cluster never hides a network that the host reaches."""
    assert address.decide_index((), routed) == index, reason
