"""Derives a cluster's addresses from its index: clusters side by side differ in all of them.

Pure; which indices are taken is found out by `registry.py`.
"""

import dataclasses
import ipaddress
from collections.abc import Collection

COUNT = 16
"""How many clusters fit on one machine: the second byte of the pod and service networks has that much room."""

POD_BASE, SERVICE_BASE = 208, 224


@dataclasses.dataclass(frozen=True)
class Network:
    """The addresses of the cluster with an index from 0 to COUNT - 1."""

    index: int

    @property
    def link(self) -> str:
        """Name of the host's end of the veth pair."""
        return f"sluice{self.index}"

    @property
    def link_cidr(self) -> str:
        """Network of the veth pair."""
        return f"10.89.{self.index}.0/24"

    @property
    def host_ip(self) -> str:
        """The host, as node and pods see it."""
        return f"10.89.{self.index}.1"

    @property
    def node_ip(self) -> str:
        """The node, as the host sees it."""
        return f"10.89.{self.index}.2"

    @property
    def pod_cidr(self) -> str:
        """Network of the pods."""
        return f"10.{POD_BASE + self.index}.0.0/16"

    @property
    def node_pod_cidr(self) -> str:
        """The first /24 of the pod network, which is what the controller manager gives to the first node."""
        return f"10.{POD_BASE + self.index}.0.0/24"

    @property
    def service_cidr(self) -> str:
        """Network of the Services."""
        return f"10.{SERVICE_BASE + self.index}.0.0/16"

    @property
    def kubernetes_ip(self) -> str:
        """Address of the Service `kubernetes`."""
        return f"10.{SERVICE_BASE + self.index}.0.1"

    @property
    def dns_ip(self) -> str:
        """Address of the cluster's DNS."""
        return f"10.{SERVICE_BASE + self.index}.0.10"

    @property
    def cidrs(self) -> tuple[str, str, str]:
        """All networks that the host routes to the cluster."""
        return self.link_cidr, self.pod_cidr, self.service_cidr


def decide_index(taken: Collection[int], routed: Collection[str]) -> int | None:
    """Return the lowest index that no cluster has and whose networks overlap no route of the host; None when none is left.

    Args:
        taken: Indices of recorded clusters.
        routed: Networks the host has routes to, without the default route, such as `192.168.0.0/24`.
    """
    others = [ipaddress.ip_network(route, strict=False) for route in routed]
    for index in range(COUNT):
        mine = [ipaddress.ip_network(cidr) for cidr in Network(index).cidrs]
        if index not in taken and not any(one.overlaps(other) for one in mine for other in others if other.version == 4):
            return index
    return None
