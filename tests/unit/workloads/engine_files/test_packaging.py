"""The files that run inside the engine's image run there by themselves, with whatever Python 3.9 or newer it has."""

from __future__ import annotations

import ast
import importlib.resources
import sys

import pytest

FOLDER = importlib.resources.files("sluice.workloads") / "engine_files"
SCRIPTS = sorted(entry.name for entry in FOLDER.iterdir() if entry.name.endswith(".py"))


def test_both_are_data_of_the_package() -> None:
    """They are read as text and put into revisions; without an __init__.py nobody takes them for a part of the operator."""
    assert SCRIPTS == ["hold_headers.py", "liveness.py"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_old_pythons_can_read_it(name: str) -> None:
    """Images of vLLM come with Pythons of their own."""
    ast.parse((FOLDER / name).read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_imports_the_standard_library_only(name: str) -> None:
    """There is nothing of ours in that image."""
    tree = ast.parse((FOLDER / name).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names
