"""Runs our own kubectl against one named kubeconfig, with nothing of the user's: not their context, cache or preferences."""

import os
import subprocess
from pathlib import Path

from hack.cluster import binaries, paths


def run(kubeconfig: Path, *arguments: str, stdin: str | None = None, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run kubectl and return its exit status and output; with `check`, a failure raises CalledProcessError."""
    environment = os.environ | {
        "KUBECONFIG": str(kubeconfig),
        "KUBECACHEDIR": str(paths.cache_root() / "kubectl"),
        "KUBERC": "off",
    }
    command = [str(binaries.ensure("kubectl")), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=check, env=environment)
