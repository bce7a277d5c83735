"""vLLM's own parsers of `vllm serve`, of each version that Sluice supports: `parse(version, lines)` says what they make of it.

PyPI has vLLM for CPUs in one version only, the one that `install.py` installs. Of the others the parser alone is kept: the
Python files of their wheel, over the packages of the installed version. They cannot serve anything.
"""

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hack.cluster import paths
from hack.images import cache, errors, rootfs, sandbox, uv
from hack.vllm import install

OTHERS: Final = {"0.33": ("vllm==0.33.0", "orjson==3.13.0")}
"""Version -> what to install over the installed one: vLLM itself, and what it imports beyond that one's packages."""
FORMAT: Final = "1"
KEPT: Final = 2
CODE, OVERLAY, EXCHANGE = "/src", "/overlay", "/exchange"
UNUSED: Final = ("*.so", "vllm-rs", "*.dist-info", "bin")
"""Kernels and programs (700 MB), and metadata: vLLM tells by those of the installed version that it runs on a CPU."""
ENVIRONMENT: Final = {
    "PYTHONPATH": f"{OVERLAY}:{CODE}",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "0",  # offline, the parser looks for the model itself: the lines' models exist nowhere
}


@dataclasses.dataclass(frozen=True)
class Flag:
    """One option of the parser: all its spellings, such as `--tensor-parallel-size` and `-tp`."""

    spellings: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Parsed:
    """What a parser made of one command line: the values by name, or why it refused it."""

    values: dict[str, object]
    error: str | None


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one version's parser knows, and what it made of each line, in their order."""

    flags: tuple[Flag, ...]
    parsed: tuple[Parsed, ...]


def versions() -> list[str]:
    """Return the versions whose parsers can be asked, such as 0.32."""
    return [_minor(install.version()), *OTHERS]


def prepare(version: str) -> None:
    """Have in the cache what `parse` needs.

    Raises:
        errors.ImageError: this machine cannot run vLLM, or there is no such version.
    """
    install.ensure()
    _overlay(version)


def parse(version: str, lines: Sequence[Sequence[str]], folders: Mapping[str, Path] | None = None) -> Answer:
    """Return what vLLM of that version makes of command lines, each what follows `vllm serve`: about 15 s of one core.

    Args:
        version: One of `versions()`.
        lines: The arguments of each.
        folders: Absolute path -> directory of this machine, for files that the lines name and the parser looks for.

    Raises:
        errors.ImageError: this machine cannot run vLLM, or there is no such version.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-vllm-parse-") as folder:
        exchange = Path(folder)
        exchange.chmod(0o777)  # the sandbox's user is another
        (exchange / "lines.json").write_text(json.dumps([list(line) for line in lines]))
        parsing = sandbox.Sandbox(
            rootfs.ensure_directory(),
            binds={
                install.SITE_PACKAGES: install.ensure(),
                f"{CODE}/hack": paths.REPOSITORY / "hack",
                **_overlay(version),
                **(folders or {}),
            },
            writable={EXCHANGE: exchange},
            env=install.environment() | ENVIRONMENT,
        )
        parsing.run(["python3", "-m", "hack.vllm.parse", EXCHANGE])
        said = json.loads((exchange / "answer.json").read_text())
    if _minor(said["version"]) != version:
        raise errors.ImageError(f"Cannot ask vLLM {version}: the parser that answered is that of {said['version']}")
    flags = tuple(Flag(tuple(spellings)) for spellings in said["flags"])
    return Answer(flags, tuple(Parsed(values=each["values"], error=each["error"]) for each in said["parsed"]))


def _overlay(version: str) -> dict[str, Path]:
    if version == _minor(install.version()):
        return {}
    if version not in OTHERS:
        raise errors.ImageError(f"Cannot ask vLLM {version}: there are {', '.join(versions())}")
    home = cache.build(_home(version), lambda scratch: _install(scratch, version))
    cache.keep_newest(home, f"parser-{version}-*", KEPT)
    return {OVERLAY: home}


def _home(version: str) -> Path:
    return cache.directory("vllm") / f"parser-{version}-{cache.content_key(FORMAT, *OTHERS[version])}"


def _install(scratch: Path, version: str) -> None:
    scratch.mkdir(parents=True)
    print(f"vllm: downloading the parser of vLLM {version} from PyPI (about 300 MB, of which 120 MB are kept)", flush=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(OTHERS[version]))
        requirements.flush()
        uv.install(scratch, Path(requirements.name))
    for pattern in UNUSED:
        for path in [*scratch.glob(pattern), *(scratch / "vllm").rglob(pattern)]:
            cache.remove(path)
    sandbox.compile_packages(rootfs.ensure_directory(), scratch, OVERLAY)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
