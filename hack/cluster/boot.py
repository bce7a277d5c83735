"""The steps of starting and clearing away an embedded node, on the host: files, processes, the link, cgroups.

Their order, and when to take them, is decided in `embedded.py`.
"""

import dataclasses
import datetime
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hack.cluster import (
    address,
    binaries,
    components,
    configs,
    errors,
    host,
    node,
    nodepaths,
    paths,
    pki,
    probe,
    processes,
    registry,
)

STOP_SECONDS = 30
NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")


def describe(name: str, index: int) -> node.Node:
    """Return what the node of a cluster is told, with its programs built."""
    programs = (binaries.ensure("kubectl").parent, binaries.ensure("containerd").parent, "/usr/sbin", "/sbin")
    return node.Node(name, index, str(nodepaths.on_host(name).home), ":".join(map(str, programs)))


def write_files(described: node.Node, pause_image: str) -> None:
    """Write new certificates, kubeconfigs and configuration files into the cluster's emptied run directory."""
    outside, inside, network = nodepaths.on_host(described.name), nodepaths.in_node(), described.network
    shutil.rmtree(outside.run, ignore_errors=True)
    for directory in (outside.config / "cni", outside.logs, outside.etcd):
        directory.mkdir(parents=True, mode=0o700)
    identities = components.identities(node.layout(described, inside), described.name, network.node_ip)
    authority = pki.create(outside.pki, identities, datetime.datetime.now(datetime.UTC))
    for who in ("controller-manager", "scheduler", "kubelet", "proxy"):
        authority.write_kubeconfig(who, server(network), outside.pki / f"{who}.kubeconfig")
    files = {
        "containerd.toml": configs.containerd(inside, pause_image),
        "clear.toml": configs.containerd_without_pods(inside),
        "cni/10-sluice.conflist": configs.cni(network),
        "kubelet.yaml": configs.kubelet(inside, network, described.cgroup_root),
        "proxy.yaml": configs.proxy(inside, network, described.name),
        "resolv.conf": "",
    }
    for file, content in files.items():
        (outside.config / file).write_text(content)


def server(network: address.Network) -> str:
    """Return the URL of a cluster's API server."""
    return f"https://{network.node_ip}:{node.API_PORT}"


def spawn(described: node.Node) -> registry.Record:
    """Start the node's first process in its namespaces, to outlive us; return the record of it."""
    home = nodepaths.on_host(described.name)
    arguments = [sys.executable, "-m", "hack.cluster.node", json.dumps(dataclasses.asdict(described))]
    with (home.logs / "node.log").open("ab") as log:
        holder = subprocess.Popen(
            ["unshare", *NAMESPACES, *arguments],
            cwd=paths.REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def died() -> str | None:
        return f"unshare exited with {holder.returncode}" if holder.poll() is not None else None

    probe.wait_for(lambda: processes.first_child(holder.pid) is not None, "the node's first process", 10, died)
    init = processes.first_child(holder.pid)
    identified = (processes.identify(holder.pid), processes.identify(init) if init else None)
    return registry.Record(described.name, described.index, *identified)


def connect(record: registry.Record) -> None:
    """Join host and node by a veth pair, and route the pods and Services through it."""
    network = record.network
    assert record.init is not None
    prefix = network.link_cidr.rpartition("/")[2]
    _ip(f"link add {network.link} type veth peer name eth0 netns {record.init.pid}")
    _ip(f"address add {network.host_ip}/{prefix} dev {network.link}")
    _ip(f"link set {network.link} up")
    for cidr in (network.pod_cidr, network.service_cidr):
        _ip(f"route add {cidr} via {network.node_ip}")


def clear(record: registry.Record) -> None:
    """Remove what runs or is left of a cluster: processes, the link with its routes, cgroups.

    Raises:
        ClusterError: something stays.
    """
    # The holder first: with it the node's first process dies, and with that one everything in its namespaces.
    for process in (record.holder, record.init):
        if process and not processes.kill(process, STOP_SECONDS):
            raise errors.ClusterError(f"Cannot stop cluster {record.name}: process {process.pid} does not end")
    _delete_link(record.network.link)
    cgroup = node.cgroup_root(record.name)
    deadline = time.monotonic() + STOP_SECONDS
    while not host.remove_cgroups(cgroup):
        if time.monotonic() > deadline:
            raise errors.ClusterError(f"Cannot remove cgroup {cgroup}: there are still processes in it")
        time.sleep(0.1)


def _delete_link(link: str) -> None:
    """Delete a link with its routes; the kernel may be about to, because the namespace of the other end went."""
    try:
        _ip(f"link delete {link}")
    except errors.ClusterError:
        if (Path("/sys/class/net") / link).exists():
            raise


def _ip(command: str) -> None:
    ran = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise errors.ClusterError(f"Cannot set up the network: ip {command}: {ran.stderr.strip()}")
