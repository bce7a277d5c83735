"""Where the tools of `hack` keep things: heavy, rebuildable ones in the user's cache, the rest under the repository's `build/`.

Only paths are decided here; whoever stores something creates, verifies and removes it.
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def cache_root() -> Path:
    """Return the cache's directory: `$SLUICE_CACHE`, else `$XDG_CACHE_HOME/sluice`, else `~/.cache/sluice`."""
    if chosen := os.environ.get("SLUICE_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sluice"


def build_root() -> Path:
    """Return the repository's `build/`, which git ignores and `git clean` may remove at any time."""
    return REPOSITORY / "build"


def kubeconfig(name: str) -> Path:
    """Return where the kubeconfig of cluster `name` is written; never the user's own `~/.kube`."""
    return build_root() / "cluster" / name / "kubeconfig"
