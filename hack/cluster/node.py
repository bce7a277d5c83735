"""The node's first process: makes a machine out of fresh namespaces, then starts and reaps everything that runs in it.

Runs as `python -m hack.cluster.node`, pid 1 below `unshare`, started and killed by `embedded.py`: when pid 1 dies, the kernel
removes every process, mount and interface of these namespaces. So there is no shutdown in here.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import address, components, images, nodepaths, probe

NETWORK_SECONDS = 30
"""After that without a network, whoever started us is gone, and so are we."""
START_SECONDS = 90
RESTART_SECONDS = 1
ETCD_PORT, ETCD_PEER_PORT, API_PORT = 2379, 2380, 6443

# The kubelet writes these machine-wide settings; it gets private files that already say what it wants.
PRIVATE_SYSCTLS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


@dataclasses.dataclass(frozen=True)
class Node:
    """What the node is told about itself; `home` is its directory on the host, the programs are found in `path`."""

    name: str
    index: int
    home: str
    path: str

    @property
    def network(self) -> address.Network:
        """Its addresses."""
        return address.Network(self.index)

    @property
    def cgroup_root(self) -> str:
        """The cgroup that all of its pods lie in, in every hierarchy."""
        return cgroup_root(self.name)


def cgroup_root(name: str) -> str:
    """Return the cgroup of a cluster's pods: its own, for a kubelet takes unknown pods below it for orphans."""
    return f"/sluice-{name}"


def layout(node: Node, paths: nodepaths.NodePaths) -> components.Layout:
    """Return how the control plane of a node is laid out."""
    network = node.network
    return components.Layout(
        pki=paths.pki,
        data=paths.etcd,
        bind="0.0.0.0",
        advertise=network.node_ip,
        api_port=API_PORT,
        etcd_port=ETCD_PORT,
        etcd_peer_port=ETCD_PEER_PORT,
        service_cidr=network.service_cidr,
        pod_cidr=network.pod_cidr,
        kubernetes_ip=network.kubernetes_ip,
    )


class Init:
    """Pid 1: starts programs, restarts those that end, reaps what is orphaned."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._paths = nodepaths.in_node()
        self._running: dict[int, list[str]] = {}

    def run(self) -> None:
        """Bring the node up and stay."""
        mount_all(Path(self._node.home))
        os.environ["PATH"] = f"{self._node.path}:{os.environ['PATH']}"
        _configure_network(self._node.network)
        self._clear_containers()
        control = layout(self._node, self._paths)
        self._start(components.etcd(control))
        self._start(["containerd", f"--config={self._paths.config}/containerd.toml"])
        self._start(components.apiserver(control))
        # Sooner started, the others would give up and be restarted.
        probe.Probe(self._node.network.node_ip, API_PORT, self._paths.pki).wait("/readyz", START_SECONDS, lambda: None)
        self._start(components.controller_manager(control))
        self._start(components.scheduler(control))
        self._start(["kube-proxy", f"--config={self._paths.config}/proxy.yaml"])
        self._start(self._kubelet())
        self._reap()

    def _kubelet(self) -> list[str]:
        return [
            "kubelet",
            f"--config={self._paths.config}/kubelet.yaml",
            f"--kubeconfig={self._paths.pki}/kubelet.kubeconfig",
            f"--hostname-override={self._node.name}",
            f"--node-ip={self._node.network.node_ip}",
        ]

    def _clear_containers(self) -> None:
        """Remove what the last run left in containerd's root, which is kept for its images."""
        if not self._paths.images.exists():
            return
        daemon = self._start(["containerd", f"--config={self._paths.config}/clear.toml"])
        images.Containerd("ctr", nodepaths.CLEAR_SOCKET).clear_containers(self._paths.images)
        del self._running[daemon.pid]
        daemon.terminate()
        daemon.wait()

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self._paths.logs / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._running[process.pid] = list(command)
        return process

    def _reap(self) -> None:
        while True:
            pid, status = os.wait()
            if command := self._running.pop(pid, None):
                code = os.waitstatus_to_exitcode(status)
                print(f"{command[0]} ended with {code}, starting it again", flush=True)
                time.sleep(RESTART_SECONDS)
                self._start(command)


def mount_all(home: Path) -> None:
    """Give this mount namespace its own /sys, /run, /var/log and /var/lib, and see that nothing is written to the host's."""
    held = home / "run" / "cgroup"
    held.mkdir(parents=True, exist_ok=True)
    _mount("--rbind", "/sys/fs/cgroup", held)
    _mount("-t", "sysfs", "sysfs", "/sys")  # a new network namespace shows its interfaces in a new sysfs only
    _mount("--move", held, "/sys/fs/cgroup")
    _mount("--make-rshared", "/")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    for directory in ("containerd", "netns", "lock", "sysctl", "var-lib/upper", "var-lib/work"):
        (Path("/run") / directory).mkdir(parents=True)
    nodepaths.INSIDE.mkdir(parents=True)
    _mount("--bind", home, nodepaths.INSIDE)
    _mount("-t", "tmpfs", "tmpfs", "/var/log")
    _mount(
        "-t", "overlay", "overlay", "-o", "lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work", "/var/lib"
    )
    kubelet = Path("/var/lib/kubelet")
    kubelet.mkdir(exist_ok=True)
    nodepaths.in_node().kubelet.mkdir(exist_ok=True)
    _mount("--bind", nodepaths.in_node().kubelet, kubelet)
    for name, value in PRIVATE_SYSCTLS.items():
        private = Path("/run/sysctl") / name.replace("/", ".")
        private.write_text(value + "\n")
        _mount("--bind", private, Path("/proc/sys") / name)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _configure_network(network: address.Network) -> None:
    """Wait for the veth pair and set its end up; the only routes lead to the host and to the cluster itself."""
    probe.wait_for(Path("/sys/class/net/eth0").exists, "eth0", NETWORK_SECONDS, lambda: None)
    prefix = network.link_cidr.rpartition("/")[2]
    for command in (
        "link set lo up",
        f"address add {network.node_ip}/{prefix} dev eth0",
        "link set eth0 up",
        # Never taken: kube-proxy rewrites the destination first, but without any route it is not asked.
        f"route add {network.service_cidr} via {network.host_ip}",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    for key in ("ip_forward", "conf/all/route_localnet"):
        (Path("/proc/sys/net/ipv4") / key).write_text("1")


def main() -> None:
    """Entry point; the one argument is a `Node` as JSON."""
    Init(Node(**json.loads(sys.argv[1]))).run()


if __name__ == "__main__":
    main()
