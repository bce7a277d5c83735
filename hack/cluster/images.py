"""Moves images into a containerd: reads what an image tar holds, imports what is missing, clears old containers away.

How an image is made is another matter (`hack.images`).
"""

import dataclasses
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

from hack.cluster import errors, probe

NAMESPACE = "k8s.io"
_NAME = "io.containerd.image.name"
_CRI_STATE = ("io.containerd.grpc.v1.cri", "io.containerd.sandbox.controller.v1.shim", "io.containerd.runtime.v2.task")


@dataclasses.dataclass(frozen=True)
class Image:
    """An image by its full name, such as `localhost/sluice/pause:1`, and the digest of its manifest."""

    ref: str
    digest: str


def read_tar(tar: Path) -> Image:
    """Return which image an OCI layout tar holds; it has to be named by containerd's annotation."""
    try:
        with tarfile.open(tar) as archive:
            member = archive.extractfile("index.json")
            assert member is not None
            manifest = json.load(member)["manifests"][0]
        return Image(manifest["annotations"][_NAME], manifest["digest"])
    except (OSError, tarfile.TarError, LookupError, ValueError) as failure:
        raise errors.ClusterError(f"Cannot read image {tar}: no OCI layout with a name in it ({failure!r})") from failure


def parse_list(listed: str) -> set[Image]:
    """Return the images of the table that `ctr images ls` prints (columns REF TYPE DIGEST …)."""
    rows = (line.split() for line in listed.splitlines()[1:])
    return {Image(row[0], row[2]) for row in rows if len(row) > 2 and re.fullmatch(r"sha256:[0-9a-f]{64}", row[2])}


@dataclasses.dataclass(frozen=True)
class Containerd:
    """A running containerd: the program `ctr` and the socket it answers on."""

    ctr: str
    socket: Path

    def import_tar(self, tar: Path) -> bool:
        """Import and unpack an image; False when exactly this image is there already."""
        if read_tar(tar) in parse_list(self._call("images", "ls")):
            return False
        # Unpacked layers are not needed packed as well: that would double a large image on disk.
        self._call("images", "import", "--local", "--discard-unpacked-layers", str(tar))
        return True

    def tag(self, ref: str, new: str) -> None:
        """Give an image that is there one more name."""
        self._call("images", "tag", "--force", ref, new)

    def clear_containers(self, root: Path) -> None:
        """Remove every container, sandbox and writable snapshot, in a containerd that runs no pods; images stay."""
        probe.wait_for(self.socket.exists, str(self.socket), 30, lambda: None)
        names = {
            "containers": self._call("containers", "ls", "-q").split(),
            "sandboxes": first_column(self._call("sandboxes", "ls")),
            "leases": self._call("leases", "ls", "-q").split(),
        }
        for kind, found in names.items():
            for name in found:
                self._call(kind, "rm", name)
        for name in active_snapshots(self._call("snapshots", "ls")):
            self._call("snapshots", "rm", name)
        for state in _CRI_STATE:
            shutil.rmtree(root / state, ignore_errors=True)

    def _call(self, *arguments: str) -> str:
        command = [self.ctr, f"--address={self.socket}", f"--namespace={NAMESPACE}", *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise errors.ClusterError(f"Cannot {' '.join(arguments[:2])}: ctr said {ran.stderr.strip()}")
        return ran.stdout


def first_column(table: str) -> list[str]:
    """Return the names in the first column of one of ctr's tables, without its heading."""
    return [line.split()[0] for line in table.splitlines()[1:] if line.strip()]


def active_snapshots(table: str) -> list[str]:
    """Return the writable snapshots of the table that `ctr snapshots ls` prints: KEY, PARENT (may be empty), KIND."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return [row[0] for row in rows if row and row[-1] == "Active"]
