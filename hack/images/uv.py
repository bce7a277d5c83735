"""Installs Python packages for the images: by uv, for the images' Python and platform, whatever the host's are.

uv is the one in the cache that prepares `.venv`.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import paths
from hack.images import cache, errors, rootfs

BOOTSTRAP = paths.REPOSITORY / "hack" / "bootstrap"
GLIBC = "2_36"
"""Of the images' Debian."""
EXPORT = ("export", "--quiet", "--frozen", "--no-default-groups", "--no-emit-project", "--format", "requirements-txt")


def version() -> str:
    """Return the version of uv that prepares `.venv`: one for everything."""
    found = re.search(r"^UV_VERSION=(\S+)$", BOOTSTRAP.read_text(), re.MULTILINE)
    if found is None:
        raise errors.ImageError(f"Cannot tell which uv to use: {BOOTSTRAP.name} sets no UV_VERSION")
    return found.group(1)


def ensure() -> Path:
    """Return the path of uv: the one that prepared `.venv`, else one that is installed to the same place."""
    home = paths.cache_root() / f"uv-{version()}-{platform.machine()}"
    return cache.build(home, _install) / "bin" / "uv"


def _install(scratch: Path) -> None:
    # A virtual environment is made only for its pip: ours may have none. uv is a single binary and may be moved after.
    run = subprocess.run([sys.executable, "-m", "venv", str(scratch)], capture_output=True, text=True, check=False)
    if run.returncode == 0:
        command = [str(scratch / "bin" / "python"), "-m", "pip", "install", "--quiet", f"uv=={version()}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise errors.ImageError(f"Cannot install uv {version()} from PyPI: {_cause(run.stderr)}")


def install(target: Path, requirements: Path) -> None:
    """Install the pinned requirements, exactly these and as wheels only, into the directory `target`.

    Nothing is kept in uv's own cache: ours has the result.
    """
    platform_tag = f"{platform.machine()}-manylinux_{GLIBC}"
    images_python = ("--python", sys.executable, "--python-version", rootfs.PYTHON, "--python-platform", platform_tag)
    exactly = ("--no-cache", "--no-deps", "--only-binary", ":all:", "--target", str(target), "-r", str(requirements))
    _uv("pip", "install", "--quiet", *images_python, *exactly)


def export_runtime_requirements() -> str:
    """Return the operator's locked runtime dependencies with hashes, in the form of a requirements file."""
    return _uv(*EXPORT)


def _uv(*arguments: str) -> str:
    quiet = os.environ | {"UV_NO_PROGRESS": "1"}
    command: Sequence[str] = [str(ensure()), *arguments]
    run = subprocess.run(command, cwd=paths.REPOSITORY, env=quiet, capture_output=True, text=True, check=False)
    if run.returncode:
        raise errors.ImageError(f"Cannot run uv {arguments[0]}: {_cause(run.stderr)}")
    return run.stdout


def _cause(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it said nothing")
