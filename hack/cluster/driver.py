"""The one interface of the three kinds of cluster that tests and the demo run on, and the choice between them.

CLUSTER=embedded (the default) | kind | existing. Nothing is ever done to the user's current context unasked.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from hack.cluster import embedded, errors, existing, host, kind

DEFAULT_NAME = "sluice"


class Cluster(Protocol):
    """A cluster that can be had and given back."""

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; the file is there while the cluster is up."""

    def up(self, tars: Sequence[Path] = ()) -> Path:
        """Have the cluster run, with the images of some OCI layout tar files; return its administrator's kubeconfig."""

    def down(self) -> None:
        """Remove what `up` made, and nothing else."""

    def load_image(self, tar: Path) -> None:
        """Give the running cluster the image of an OCI layout tar file."""

    def status(self) -> str:
        """Return one line for people."""


def choose(name: str = DEFAULT_NAME, wanted: str | None = None) -> Cluster:
    """Return the cluster of a name, of the kind wanted or, when None, named by $CLUSTER.

    Raises:
        ClusterError: there is no such kind, or it cannot have that name.
    """
    host.check_name(name)
    wanted = wanted or os.environ.get("CLUSTER") or "embedded"
    match wanted:
        case "embedded":
            return embedded.Embedded(name)
        case "kind":
            return kind.Kind(name)
        case "existing":
            return existing.from_environment()
        case _:
            raise errors.ClusterError(f"Cannot use CLUSTER={wanted}: it is one of embedded, kind, existing")
