"""A cluster by kind, where Docker is there and root is not. kind and Docker do the work, we only name things.

Written after their documentation; the machines this project is tested on have no Docker, so it was never run there.
"""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import binaries, errors, paths


@dataclasses.dataclass(frozen=True)
class Kind:
    """The kind cluster of a name; its node sees the cache and the repository's `build/` at the host's own paths."""

    name: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; kind is told not to touch the user's."""
        return paths.kubeconfig(self.name)

    def up(self, tars: Sequence[Path] = ()) -> Path:
        """Create the cluster unless kind has it, and load the images."""
        for program in ("docker", "kind"):
            if shutil.which(program) is None:
                raise errors.ClusterError(f"Cannot start cluster {self.name}: CLUSTER=kind needs {program} on PATH")
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        if self.name in _run("kind", "get", "clusters").split():
            _run("kind", "export", "kubeconfig", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
        else:
            _run(*self._create(), stdin=json.dumps(self._config()))
        for tar in tars:
            self.load_image(tar)
        return self.kubeconfig

    def down(self) -> None:
        """Delete the cluster."""
        _run("kind", "delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
        shutil.rmtree(self.kubeconfig.parent, ignore_errors=True)

    def load_image(self, tar: Path) -> None:
        """Load an OCI layout tar file; kind imports it by `ctr` inside its node."""
        _run("kind", "load", "image-archive", str(tar), "--name", self.name)

    def status(self) -> str:
        """Return one line."""
        there = self.name in _run("kind", "get", "clusters").split()
        return f"cluster {self.name} (kind): {'up' if there else 'down'}"

    def _create(self) -> list[str]:
        image = f"kindest/node:{binaries.KUBERNETES_VERSION}"
        where = ["--name", self.name, "--kubeconfig", str(self.kubeconfig)]
        return ["kind", "create", "cluster", *where, "--image", image, "--config", "-", "--wait", "120s"]

    def _config(self) -> dict[str, object]:
        shared = [paths.cache_root(), paths.build_root()]
        for path in shared:
            path.mkdir(parents=True, exist_ok=True)
        mounts = [{"hostPath": str(path), "containerPath": str(path)} for path in shared]
        nodes = [{"role": "control-plane", "extraMounts": mounts}]
        return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": nodes}


def _run(*command: str, stdin: str = "") -> str:
    ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise errors.ClusterError(f"Cannot {' '.join(command[:3])}: {ran.stderr.strip()}")
    return ran.stdout
