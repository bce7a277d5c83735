"""Builds the cluster's programs from their pinned Go modules into the cache, and finds them there.

One entry of the cache is one module with all of its programs. What to run, and how, is not known here.
"""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from hack.cluster import errors, golang, paths

SOURCES = Path(__file__).parent / "gobuild"
KUBERNETES_VERSION = "v1.36.3"
CONTAINERD_VERSION = "v2.4.2"
PROGRESS_SECONDS = 15
KEPT = 3
"""How many builds of a module stay in the cache: another checkout may use an older one."""
_MANIFEST = "manifest.json"
_VERSION = "k8s.io/component-base/version"
_STAMP = {"gitVersion": KUBERNETES_VERSION, "gitMajor": "1", "gitMinor": "36", "gitTreeState": "clean"}
_CONTAINERD = "github.com/containerd/containerd/v2"


@dataclasses.dataclass(frozen=True)
class Module:
    """A directory of `gobuild/`: its programs by import path, more names of the first one, and flags of the Go compiler."""

    name: str
    programs: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    ldflags: str = "-s -w"
    tags: str = ""
    minutes: str = "1"
    """How long a cold build takes on two cores, as told to who waits for it."""


MODULES = (
    Module(
        "kubebox",
        {"kubebox": "."},
        aliases=("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"),
        # Clients parse the version, so an unstamped build fails in odd places.
        ldflags="-s -w " + " ".join(f"-X {_VERSION}.{key}={value}" for key, value in _STAMP.items()),
        minutes="5-9",
    ),
    Module(
        "containerd",
        {name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "ctr", "containerd-shim-runc-v2")},
        ldflags=f"-s -w -X {_CONTAINERD}/version.Version={CONTAINERD_VERSION} -X {_CONTAINERD}/version.Revision=module",
        tags="no_btrfs,no_devmapper,no_zfs,no_tracing",
        minutes="2",
    ),
    Module("coredns", {"coredns": "."}, minutes="2"),
    Module("pause", {"pause": "."}),
)


def module_of(program: str) -> Module:
    """Return the module that a program or alias belongs to."""
    for module in MODULES:
        if program in module.programs or program in module.aliases:
            return module
    raise errors.ClusterError(f"Cannot build {program}: no module in {SOURCES} has it")


def cache_key(module: Module, sources: Mapping[str, bytes], go_version: str, machine: str) -> str:
    """Return 16 hex digits that change with anything that changes the binaries: sources, flags, compiler, machine."""
    flags = (module.name, dict(module.programs), module.aliases, module.ldflags, module.tags, go_version, machine)
    digest = hashlib.sha256(repr(flags).encode())
    for name, content in sorted(sources.items()):
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def ensure(program: str) -> Path:
    """Return the path of a program or alias, after building its module when the cache has no sound copy of it.

    All programs of a module lie in one directory, so that those that find each other by PATH do.
    """
    module = module_of(program)
    home = _entry(module)
    if not is_sound(home):
        with _locked(home.parent / f".{module.name}.lock"):
            if not is_sound(home):
                _build(module, home)
    return home / program


def is_sound(home: Path) -> bool:
    """Tell whether an entry of the cache is whole: all programs at their recorded sizes (digests of 300 MB take too long)."""
    try:
        sizes = json.loads((home / _MANIFEST).read_text())
        return all((home / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def all_built() -> bool:
    """Tell whether every module is in the cache."""
    return all(is_sound(_entry(module)) for module in MODULES)


def remove_build_caches() -> None:
    """Remove Go's module and compiler caches (6 GB) once all modules are built: what they are for will not come again soon."""
    caches = [cache for name in ("build", "mod") if (cache := paths.cache_root() / "go" / name).exists()]
    if caches and all_built():
        print("go: removing what the builds left behind (6 GB in small files, up to 3 min)", flush=True)
        for cache in caches:
            shutil.rmtree(cache, ignore_errors=True)


@functools.cache
def _toolchain() -> golang.Toolchain:
    mods = [(SOURCES / module.name / "go.mod").read_text() for module in MODULES]
    return golang.ensure(golang.required_version(mods))


def _entry(module: Module) -> Path:
    sources = {path.name: path.read_bytes() for path in (SOURCES / module.name).iterdir() if path.is_file()}
    key = cache_key(module, sources, _toolchain().version, platform.machine())
    return paths.cache_root() / "bin" / f"{module.name}-{key}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file lock: two commands at once build once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(module: Module, home: Path) -> None:
    print(f"{module.name}: building from source, once (about {module.minutes} min on 2 cores)", flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{module.name}-") as scratch:
        made = Path(scratch) / "bin"
        made.mkdir()
        for program, package in module.programs.items():
            _go_build(module, package, made / program)
        for alias in module.aliases:
            (made / alias).symlink_to(next(iter(module.programs)))
        (made / _MANIFEST).write_text(json.dumps({path.name: path.stat().st_size for path in made.iterdir()}))
        shutil.rmtree(home, ignore_errors=True)
        os.sync()  # a manifest must not reach the disk before what it vouches for
        made.rename(home)
    builds = sorted(home.parent.glob(f"{module.name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in builds[KEPT:]:
        shutil.rmtree(old)
    print(f"{module.name}: built in {time.monotonic() - started:.0f} s", flush=True)


def _go_build(module: Module, package: str, output: Path) -> None:
    go, directory, environment = str(_toolchain().go), SOURCES / module.name, golang.environment()
    tags = ["-tags", module.tags] if module.tags else []
    print(f"{output.name}: downloading its Go modules where they are missing", flush=True)
    listing = [go, "list", "-deps", *tags, package]
    listed = subprocess.run(listing, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise errors.ClusterError(f"Cannot build {output.name}: go said {' '.join(listed.stderr.split()[-40:])}")
    total = len(listed.stdout.splitlines())
    command = [go, "build", "-v", "-trimpath", *tags, "-ldflags", module.ldflags, "-o", str(output), package]
    with subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True) as build:
        tail = _follow(build, output.name, total)
    if build.returncode != 0:
        raise errors.ClusterError(f"Cannot build {output.name}: go said {' '.join(tail[-5:])}")


def _follow(build: subprocess.Popen[str], name: str, total: int) -> list[str]:
    """Print how far a build is now and then, also while the linker is silent; return its last lines."""
    lines: list[str] = []
    done = threading.Event()

    def tell() -> None:
        started = time.monotonic()
        while not done.wait(PROGRESS_SECONDS):
            print(f"{name}: {len(lines)} of at most {total} packages compiled, {time.monotonic() - started:.0f} s", flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    assert build.stderr is not None
    lines.extend(line.strip() for line in build.stderr)
    done.set()
    teller.join()
    return lines
