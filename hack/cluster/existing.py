"""A cluster that the user has and names by KUBECONFIG. It is neither made nor removed by us, and images are the user's part."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import errors, images


@dataclasses.dataclass(frozen=True)
class Existing:
    """The cluster of a kubeconfig's current context."""

    kubeconfig: Path

    def up(self, tars: Sequence[Path] = ()) -> Path:
        """Return the kubeconfig. Our images have to be in the cluster already: which ones is printed."""
        for tar in tars:
            self.load_image(tar)
        return self.kubeconfig

    def down(self) -> None:
        """Leave the cluster alone."""

    def load_image(self, tar: Path) -> None:
        """Say which image the nodes must have: there is no way to give it to a cluster we know nothing of."""
        print(f"cluster of {self.kubeconfig}: its nodes must have the image {images.read_tar(tar).ref}, see {tar}", flush=True)

    def status(self) -> str:
        """Return one line."""
        return f"cluster of {self.kubeconfig}: the user's own"


def from_environment() -> Existing:
    """Return the cluster that KUBECONFIG names; there is no default, so that no current context is used unasked.

    Raises:
        ClusterError: KUBECONFIG names no single file.
    """
    path = Path(os.environ.get("KUBECONFIG", ""))
    if not path.is_file():
        raise errors.ClusterError("Cannot use CLUSTER=existing: set KUBECONFIG to the one file of the cluster to use")
    return Existing(path)
