"""Installs the few Debian packages that the tools of `hack` need: only what is missing, and no service is started.

This is the one place that changes the host; which packages are needed is said by whoever needs them.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from hack.cluster import paths

POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked by Debian's package scripts before they start a service; an exit status of 101 forbids it."""
LOCK_TIMEOUT_SECONDS = 600


class AptError(Exception):
    """A Debian package cannot be installed; the message is one sentence, "Cannot <verb> <object>: <cause>"."""


def ensure_packages(packages: Sequence[str]) -> None:
    """Install those of the named Debian packages that are missing.

    Raises:
        AptError: something is missing and cannot be installed (not root, no apt, or apt's own failure).
    """
    missing = missing_packages(packages)
    if not missing:
        return
    what = f"Cannot install Debian package{'s' if len(missing) > 1 else ''} {', '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise AptError(f"{what}: this is no Debian system (apt-get is missing); install the same programs by hand")
    if os.geteuid() != 0:
        raise AptError(f"{what}: not root; run this as root, or first: sudo apt-get install {' '.join(missing)}")
    print(f"apt: installing {' '.join(missing)}", flush=True)
    with _services_stay_off():
        failure = _install(missing)
        if failure and _apt_get("update", "-q") is None:  # the package lists were empty or old
            failure = _install(missing)
    if failure:
        raise AptError(f"{what}: {failure}")


def missing_packages(packages: Sequence[str]) -> list[str]:
    """Return those of the packages that are not installed, in the given order. Without dpkg: all."""
    if shutil.which("dpkg-query") is None:
        return list(packages)
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *packages]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return decide_missing(packages, answer.stdout)


def decide_missing(packages: Sequence[str], answer: str) -> list[str]:
    """Return those of the packages that dpkg-query's answer (`<status> <name>` lines) does not call installed."""
    installed = {line.split()[1] for line in answer.splitlines() if line.startswith("installed ")}
    return [package for package in packages if package not in installed]


def _install(packages: Sequence[str]) -> str | None:
    return _apt_get("install", "-q", "-y", "--no-install-recommends", *packages)


def _apt_get(*arguments: str) -> str | None:
    """Run apt-get; the cause of its failure, or None."""
    run = subprocess.run(
        ["apt-get", "-o", f"DPkg::Lock::Timeout={LOCK_TIMEOUT_SECONDS}", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if run.returncode == 0:
        return None
    errors = [line.removeprefix("E: ") for line in run.stdout.splitlines() if line.startswith("E: ")]
    return "; ".join(errors) or f"apt-get {arguments[0]} exited with {run.returncode}"


@contextlib.contextmanager
def _services_stay_off() -> Iterator[None]:
    """Let no package start a service; an existing policy of the host's is left as it is. One process at a time."""
    lock = paths.cache_root() / ".apt.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if POLICY.exists():
            yield
            return
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
        try:
            yield
        finally:
            POLICY.unlink(missing_ok=True)
