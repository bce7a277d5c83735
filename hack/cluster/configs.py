"""Configuration files of the node's programs: containerd, CNI, kubelet and kube-proxy.

Pure: names and addresses in, text out. Every setting that departs from a default says why.
"""

import json

import yaml

from hack.cluster import address, nodepaths

CNI_PLUGINS = "/usr/lib/cni"


def containerd(paths: nodepaths.NodePaths, pause_image: str) -> str:
    """Return containerd's configuration (TOML)."""
    return f"""\
version = 3
root = "{paths.images}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.nri.v1.nri",
]

[grpc]
  address = "{nodepaths.CONTAINERD_SOCKET}"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{pause_image}"
  # Read at each pull, so that a test can say that its registry on the node speaks plain HTTP.
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{paths.registries}"

[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE, as in many virtual machines, the scores that the kubelet asks for cannot be set.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "runc"
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{paths.config}/cni"
"""


def containerd_without_pods(paths: nodepaths.NodePaths) -> str:
    """Return a configuration of containerd that knows images and containers, and nothing of pods: for clearing old ones."""
    return f"""\
version = 3
root = "{paths.images}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]

[grpc]
  address = "{nodepaths.CLEAR_SOCKET}"
"""


def cni(network: address.Network) -> str:
    """Return the pod network (a CNI list): one routed veth pair a pod, no masquerade: pods reach each other and the host only.

    A bridge would need the module br_netfilter in the host's kernel, for answers of Services between pods of one node.
    """
    ranges = [[{"subnet": network.node_pod_cidr}]]
    ipam = {"type": "host-local", "dataDir": "/run/cni", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]}
    return json.dumps({"cniVersion": "1.0.0", "name": "sluice", "plugins": [{"type": "ptp", "mtu": 1500, "ipam": ipam}]})


def kubelet(paths: nodepaths.NodePaths, network: address.Network, cgroup_root: str) -> str:
    """Return the kubelet's configuration (YAML)."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{paths.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{paths.pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{paths.pki}/kubelet-server.key",
        "containerRuntimeEndpoint": f"unix://{nodepaths.CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup_root,
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [network.dns_ip],
        "clusterDomain": "cluster.local",
        # Empty, so that pods resolve the cluster's names and no others.
        "resolvConf": f"{paths.config}/resolv.conf",
        "podLogsDir": "/var/log/pods",
        # A developer's nearly full disk is no reason to evict, and images cannot be pulled again.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "24h",
        # Tests wait for crash loops.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
    }
    return yaml.safe_dump(config, sort_keys=False)


def proxy(paths: nodepaths.NodePaths, network: address.Network, node: str) -> str:
    """Return kube-proxy's configuration (YAML)."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": network.pod_cidr,
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": f"{paths.pki}/proxy.kubeconfig"},
        # These limits are the whole machine's, not the network namespace's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "nftables": {"minSyncPeriod": "0s"},
    }
    return yaml.safe_dump(config, sort_keys=False)
