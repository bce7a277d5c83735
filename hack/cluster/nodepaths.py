"""Where a node's files lie, seen from the host and from inside the node.

Inside, the cluster's directory has a short fixed path of its own, because the node hides /run, /var/log and parts of /var/lib.
"""

import dataclasses
from pathlib import Path

from hack.cluster import paths

INSIDE = Path("/run/sluice/node")
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
CLEAR_SOCKET = Path("/run/containerd/clear.sock")
"""Of the containerd that clears old containers away, so that no one takes it for the real one."""


@dataclasses.dataclass(frozen=True)
class NodePaths:
    """The directories of one cluster below `home`."""

    home: Path

    @property
    def images(self) -> Path:
        """containerd's root: kept when the cluster goes down, so that large images are imported once."""
        return self.home / "containerd"

    @property
    def run(self) -> Path:
        """Everything that goes when the cluster goes down."""
        return self.home / "run"

    @property
    def pki(self) -> Path:
        """Certificates, keys and kubeconfigs of the components."""
        return self.run / "pki"

    @property
    def config(self) -> Path:
        """Configuration files of the components."""
        return self.run / "config"

    @property
    def registries(self) -> Path:
        """How containerd reaches registries that need more than their name: `<host>/hosts.toml` each."""
        return self.config / "registries"

    @property
    def etcd(self) -> Path:
        """etcd's data."""
        return self.run / "etcd"

    @property
    def kubelet(self) -> Path:
        """The kubelet's state: volumes of pods."""
        return self.run / "kubelet"

    @property
    def logs(self) -> Path:
        """One log file for each component."""
        return self.run / "logs"


def on_host(name: str) -> NodePaths:
    """Return the paths of a cluster as the host sees them."""
    return NodePaths(paths.cache_root() / "cluster" / name)


def in_node() -> NodePaths:
    """Return the same as the programs of the node see them."""
    return NodePaths(INSIDE)
