"""Checks and prepares the host for an embedded cluster: what is missing is said in one sentence before anything is started.

The Debian packages are the only thing that stays on the host.
"""

import os
import re
import shutil
import sys
from pathlib import Path

from hack import apt
from hack.cluster import errors, nodepaths, paths

GIB = 1 << 30
NAME = re.compile(r"[a-z]([-a-z0-9]{0,18}[a-z0-9])?")
"""Names become host names, cgroups and files."""
PACKAGES = ("containernetworking-plugins", "iproute2", "nftables", "runc", "util-linux")
RUN_BYTES = 1 * GIB
"""A running cluster: etcd, logs, writable layers and volumes of pods."""
BUILD_BYTES = 8 * GIB
"""The Go modules and the compiler's cache while programs are built; removed when all are."""
UNPACKED = 1.2
"""How many times its tar file an unpacked image may take."""
CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "hugetlb", "memory", "pids")
"""What a kubelet needs of cgroups version 2."""


def check(name: str) -> None:
    """Check what no command can install.

    Raises:
        ClusterError: not Linux, not root, or the cache is where the node cannot have it.
    """
    what = f"Cannot start cluster {name}"
    check_name(name)
    if sys.platform != "linux":
        raise errors.ClusterError(f"{what}: the embedded cluster needs Linux; with Docker, use CLUSTER=kind")
    if os.geteuid() != 0:
        raise errors.ClusterError(f"{what}: the embedded cluster needs root; with Docker, use CLUSTER=kind")
    home = nodepaths.on_host(name).home.resolve()
    if home.is_relative_to("/run") or home.is_relative_to("/var/log"):
        raise errors.ClusterError(f"{what}: the cache {paths.cache_root()} is below /run or /var/log, which nodes hide")


def check_name(name: str) -> None:
    """Check that a cluster can have a name; raises ClusterError."""
    if not NAME.fullmatch(name):
        rule = "a name is up to 20 small letters, digits and hyphens, and starts with a letter"
        raise errors.ClusterError(f"Cannot use the cluster name {name!r}: {rule}")


def prepare() -> None:
    """Install the Debian packages that are missing, without starting any service."""
    try:
        apt.ensure_packages(PACKAGES)
    except apt.AptError as failure:
        raise errors.ClusterError(str(failure)) from failure


def check_disk(directory: Path, needed: int, purpose: str) -> None:
    """Check that the filesystem of a directory, existing or not, has the needed bytes free.

    Raises:
        ClusterError: it has not.
    """
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if cause := disk_shortage(directory, free, needed, purpose):
        raise errors.ClusterError(cause)


def disk_shortage(directory: Path, free: int, needed: int, purpose: str) -> str | None:
    """Return the sentence that says that free bytes are fewer than the needed ones, None when they suffice."""
    if free >= needed:
        return None
    sizes = f"{needed / GIB:.1f} GiB needed in {directory}, {free / GIB:.1f} GiB free"
    return f"Cannot {purpose}: {sizes}; free some, or set SLUICE_CACHE to a larger disk"


def image_bytes(tar: int) -> int:
    """Return what importing an image may write, given the bytes of its tar file: layers are kept packed until unpacked."""
    return int((1 + UNPACKED) * tar)


def cgroup_roots(cgroup: str, mounted: Path = CGROUPS) -> list[Path]:
    """Return the directories of a cgroup (a path such as `/sluice-x`) in every hierarchy of the host, existing or not."""
    if (mounted / "cgroup.controllers").exists():  # version 2 only: the mount is the one hierarchy
        return [mounted / cgroup.lstrip("/")]
    return [path / cgroup.lstrip("/") for path in sorted(mounted.iterdir()) if path.is_dir() and not path.is_symlink()]


def make_cgroups(cgroup: str) -> None:
    """Make a cgroup in every hierarchy: the kubelet wants its root to exist."""
    if (CGROUPS / "cgroup.controllers").exists():
        # Version 2: the root must hand its controllers down, as any kubelet has it do. Not tried: our machines are hybrid.
        there = (CGROUPS / "cgroup.controllers").read_text().split()
        enabled = " ".join(f"+{name}" for name in CONTROLLERS if name in there)
        (CGROUPS / "cgroup.subtree_control").write_text(enabled)
    for root in cgroup_roots(cgroup):
        root.mkdir(exist_ok=True)


def remove_cgroups(cgroup: str) -> bool:
    """Remove a cgroup with all below it in every hierarchy; False when processes are still in one."""
    for root in cgroup_roots(cgroup):
        for directory, _, _ in os.walk(root, topdown=False):
            try:
                Path(directory).rmdir()
            except OSError:
                return False
    return True
