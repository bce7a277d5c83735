"""Command lines of the control plane: which flags etcd, the API server, the controller manager and the scheduler need.

Pure: the same for the control plane of the tests (host processes on loopback) and that of the embedded node. Who starts the
programs, and where, stays out.
"""

import dataclasses
from pathlib import Path

from hack.cluster import pki

ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a control plane lives: directories, addresses and ports (0.0.0.0 binds all addresses of its network namespace)."""

    pki: Path
    data: Path
    """etcd's data directory."""
    bind: str
    advertise: str
    """Address that the `kubernetes` Service points to; never loopback."""
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    service_cidr: str
    pod_cidr: str
    kubernetes_ip: str
    """First address of the service CIDR."""

    @property
    def etcd(self) -> str:
        """etcd's URL for clients."""
        return f"http://127.0.0.1:{self.etcd_port}"


def identities(layout: Layout, node: str = "", node_ip: str = "") -> list[pki.Identity]:
    """Return who needs a certificate: the control plane, the administrator and, when named, a node."""
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost")
    addresses = dict.fromkeys(("127.0.0.1", layout.kubernetes_ip, layout.advertise))
    found = [
        pki.Identity("apiserver", "kube-apiserver", hosts=(*names, *addresses)),
        pki.Identity("front-proxy", "front-proxy"),
        pki.Identity("admin", "sluice-admin", "system:masters"),
        pki.Identity("controller-manager", "system:kube-controller-manager"),
        pki.Identity("scheduler", "system:kube-scheduler"),
    ]
    if node:
        found += [
            pki.Identity("kubelet-server", node, hosts=(node, node_ip)),
            pki.Identity("kubelet", f"system:node:{node}", "system:nodes"),
            pki.Identity("proxy", "system:kube-proxy"),
        ]
    return found


def etcd(layout: Layout) -> list[str]:
    """Return etcd's command line; it does not sync to disk, a cluster that dies with its machine is made anew."""
    peer = f"http://127.0.0.1:{layout.etcd_peer_port}"
    return [
        "etcd",
        f"--data-dir={layout.data}",
        f"--listen-client-urls={layout.etcd}",
        f"--advertise-client-urls={layout.etcd}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]


def apiserver(layout: Layout) -> list[str]:
    """Return the API server's command line: RBAC, node authorizer, aggregation, exec and logs through the kubelet."""
    keys = layout.pki
    return [
        "kube-apiserver",
        f"--etcd-servers={layout.etcd}",
        f"--bind-address={layout.bind}",
        f"--secure-port={layout.api_port}",
        f"--advertise-address={layout.advertise}",
        f"--tls-cert-file={keys}/apiserver.crt",
        f"--tls-private-key-file={keys}/apiserver.key",
        f"--client-ca-file={keys}/ca.crt",
        f"--kubelet-client-certificate={keys}/admin.crt",
        f"--kubelet-client-key={keys}/admin.key",
        f"--kubelet-certificate-authority={keys}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={keys}/sa.key",
        f"--service-account-signing-key-file={keys}/sa.key",
        f"--service-account-issuer={ISSUER}",
        f"--requestheader-client-ca-file={keys}/ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={keys}/front-proxy.crt",
        f"--proxy-client-key-file={keys}/front-proxy.key",
        f"--service-cluster-ip-range={layout.service_cidr}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
    ]


def controller_manager(layout: Layout, *, one_account: bool = False) -> list[str]:
    """Return the controller manager's command line; --root-ca-file is what puts kube-root-ca.crt into every namespace.

    With `one_account` all controllers act as the administrator (`admin.kubeconfig`) instead of as one account each, which
    halves the time to start.
    """
    keys = layout.pki
    account = [f"--kubeconfig={keys}/controller-manager.kubeconfig", "--use-service-account-credentials"]
    return [
        "kube-controller-manager",
        *([f"--kubeconfig={keys}/admin.kubeconfig"] if one_account else account),
        f"--service-account-private-key-file={keys}/sa.key",
        f"--root-ca-file={keys}/ca.crt",
        f"--cluster-signing-cert-file={keys}/ca.crt",
        f"--cluster-signing-key-file={keys}/ca.key",
        "--leader-elect=false",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={layout.pod_cidr}",
    ]


def scheduler(layout: Layout) -> list[str]:
    """Return the scheduler's command line."""
    return ["kube-scheduler", f"--kubeconfig={layout.pki}/scheduler.kubeconfig", "--leader-elect=false"]
