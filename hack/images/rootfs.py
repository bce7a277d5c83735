"""The Debian base of our images: Python and a few libraries, unpacked without running any package script.

One base serves all of our Python images, so that a cluster stores it once. It has no package manager, no documentation and no
set-user-id program.
"""

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from hack import apt
from hack.images import cache, errors, layers, sandbox

SUITE = "bookworm"
PYTHON = sandbox.PYTHON.removeprefix("python")
LIBRARY = f"/usr/lib/{sandbox.PYTHON}"
PACKAGES = (
    "python3-minimal",
    "libpython3-stdlib",
    "python3-distutils",
    "dash",
    "coreutils",
    "ca-certificates",
    "libstdc++6",  # grpcio, torch
    "libgomp1",  # torch
    "libnuma1",  # vLLM's CPU kernels
    "util-linux",  # vLLM asks lscpu for the processor
)
HOST_PACKAGES = ("mmdebstrap",)
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
DROPPED = (
    "dev/",
    "etc/apt/",
    "lib/systemd/",
    "usr/lib/systemd/",
    "usr/share/bash-completion/",
    "usr/share/bug/",
    "usr/share/ca-certificates/",  # joined in BUNDLE
    "usr/share/debconf/",
    "usr/share/doc/",
    "usr/share/gcc/",
    "usr/share/gdb/",
    "usr/share/lintian/",
    "usr/share/locale/",
    "usr/share/man/",
    "usr/share/perl5/",
    "usr/share/zoneinfo/",
    "var/cache/",
    "var/lib/",
    "var/log/",
)
USERS = {"root": 0, "engine": 2000, "sluice": 65532}


def spec() -> layers.LayerSpec:
    """Return the base as a layer."""
    return layers.LayerSpec("base", _key(), _entries)


def ensure_directory() -> Path:
    """Return the base unpacked in the cache, for running programs in it and for taking libraries from it."""
    home = cache.build(cache.directory("roots") / _key(), _unpack)
    cache.keep_newest(home, "base-*", layers.KEPT)
    return home


def _key() -> str:
    own = Path(__file__).read_bytes()
    return "base-" + cache.content_key(own)


def _unpack(scratch: Path) -> None:
    layer = layers.ensure(spec())
    with tarfile.open(layer.path) as archive:
        archive.extractall(scratch, filter="fully_trusted")


def _entries(scratch: Path) -> Iterator[layers.Entry]:
    apt.ensure_packages(HOST_PACKAGES)
    _bootstrap(scratch / "base.tar")
    base = scratch / "base"
    with tarfile.open(scratch / "base.tar") as packed:
        packed.extractall(base, members=[member for member in packed if not member.isdev()], filter="fully_trusted")
    for mount_point in ("tmp", "dev", "proc", "sys"):
        (base / mount_point).mkdir(exist_ok=True)
    sandbox.compile_packages(base, base / LIBRARY.lstrip("/"), LIBRARY)
    certificates = sorted((base / "usr/share/ca-certificates").rglob("*.crt"))
    yield from layers.tree(base, "", "^(" + "|".join(DROPPED) + ")")
    yield from finishing_touches(b"".join(path.read_bytes().rstrip() + b"\n" for path in certificates))


def finishing_touches(certificates: bytes) -> Iterator[layers.Entry]:
    """Yield what package scripts would have made, as far as a container needs it, and empty mount points."""
    passwd = "".join(f"{name}:x:{uid}:{uid}::/tmp:/usr/sbin/nologin\n" for name, uid in USERS.items())
    yield layers.Entry("etc/passwd", passwd.encode())
    yield layers.Entry("etc/group", "".join(f"{name}:x:{uid}:\n" for name, uid in USERS.items()).encode())
    yield layers.Entry("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    yield layers.Entry(BUNDLE, certificates)
    yield layers.Entry("bin/sh", link="dash")
    yield layers.Entry("usr/bin/python3", link=f"python{PYTHON}")
    yield layers.Entry("usr/local/bin/python", link=f"/usr/bin/python{PYTHON}")
    for path, mode in (("tmp", 0o1777), ("var/tmp", 0o1777), ("dev", 0o755), ("proc", 0o755), ("sys", 0o755), ("run", 0o755)):
        yield layers.directory(path, mode)


def _bootstrap(target: Path) -> None:
    print(f"images: unpacking a Debian {SUITE} base with Python {PYTHON} (about 15 s)", flush=True)
    command = ["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(PACKAGES)}", "--format=tar"]
    command += ['--aptopt=APT::Install-Recommends "false"', "--dpkgopt=path-exclude=/usr/share/doc/*", SUITE, str(target)]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        cause = run.stderr.strip().splitlines()[-1:] or [f"mmdebstrap exited with {run.returncode}"]
        raise errors.ImageError(f"Cannot make the Debian base of the images: {cause[0]}")
