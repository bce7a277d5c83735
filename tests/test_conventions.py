"""Conventions that no other tool checks: what must agree across files, and what every file owes its reader."""

from __future__ import annotations

import ast
import importlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from hack import reasons
from sluice.api import crdgen, evalgate, gateway, modeldeployment, ratelimitpolicy
from sluice.kube import resources
from sluice.workloads import platform_config

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "operator" / "sluice"
TESTS = ROOT / "tests"
PARSERS = {module.KIND: module.parse for module in (modeldeployment, gateway, ratelimitpolicy, evalgate)}

REGISTRIES = [
    ("sluice.gates.registry", "SIGNALS", "EvalGate", "spec.metrics.signal.type"),
    ("sluice.evals.registry", "RUNNERS", "EvalGate", "spec.evals.runner.type"),
    ("sluice.evals.scorers.registry", "SCORERS", "EvalGate", "spec.evals.scorer.type"),
    ("sluice.ratelimit.registry", "ALGORITHMS", "RateLimitPolicy", "spec.limits.algorithm"),
    ("sluice.routing.providers.registry", "PROVIDERS", "Gateway", "spec.providers.type"),
]
LONG_FILES: dict[str, str] = {}
"""Files over the limit, each with the reason that its first lines also give."""
LINES = 400


def python_files(*folders: str) -> list[pathlib.Path]:
    """Every Python file below these folders of the repository."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def relative(path: pathlib.Path) -> str:
    """The path as the repository's reader writes it."""
    return path.relative_to(ROOT).as_posix()


def parse(path: pathlib.Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(), filename=str(path))


def rules_of(path: pathlib.Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The tests of a file."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def schema_at(kind: str, path: str) -> Mapping[str, Any]:
    """The schema of a field of a kind; lists are passed through."""
    node: Mapping[str, Any] = crdgen.build_schema(next(each for each in crdgen.KINDS if each.kind == kind))
    for name in path.split("."):
        node = node.get("items", node)["properties"][name]
    return node


@pytest.mark.parametrize(("module", "attribute", "kind", "field"), REGISTRIES, ids=lambda value: str(value))
def test_a_registry_has_exactly_what_the_api_offers(module: str, attribute: str, kind: str, field: str) -> None:
    """A value that the API accepts and nothing implements is a lie; one that is implemented and not offered is dead."""
    registry = getattr(importlib.import_module(module), attribute)
    assert sorted(registry) == sorted(schema_at(kind, field)["enum"])


@pytest.mark.parametrize("path", python_files("operator", "hack", "tests"), ids=relative)
def test_every_module_says_why_it_exists(path: pathlib.Path) -> None:
    """In its first lines, for whoever opens it first."""
    assert (path.name == "__init__.py" and not path.read_text()) or ast.get_docstring(parse(path)), relative(path)


@pytest.mark.parametrize("path", [path for path in python_files("tests") if path.name.startswith("test_")], ids=relative)
def test_every_test_states_its_rule(path: pathlib.Path) -> None:
    """In a docstring, so that a failure tells what is broken."""
    assert [function.name for function in rules_of(path) if not ast.get_docstring(function)] == []


def test_every_member_of_an_enum_has_a_docstring() -> None:
    """Verdicts, phases and reasons reach users: each says what it means."""
    silent = [
        f"{relative(path)}: {enum.name}.{member}"
        for path in python_files("operator", "hack")
        for enum in ast.walk(parse(path))
        if isinstance(enum, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in enum.bases)
        for member in undocumented_members(enum)
    ]
    assert silent == []


def undocumented_members(enum: ast.ClassDef) -> Iterator[str]:
    """Names of members that no string follows."""
    for statement, following in zip(enum.body, [*enum.body[1:], None], strict=True):
        if isinstance(statement, ast.Assign) and not (
            isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        ):
            yield ast.unparse(statement.targets[0])


def test_every_enum_of_reasons_is_in_the_docs() -> None:
    """A new family of reasons gets a table in docs/reasons.md."""
    listed = {module for _, module, name in reasons.SECTIONS if name == "Reason"}
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in python_files("operator")
        for node in parse(path).body
        if isinstance(node, ast.ClassDef) and node.name == "Reason"
    }
    assert found == listed


def test_files_stay_short() -> None:
    """A file over the limit is split, or says at its top why not. Tables of cases may be long."""
    long = {relative(path) for path in python_files("operator", "hack") if len(path.read_text().splitlines()) > LINES}
    assert long == set(LONG_FILES)


@pytest.mark.parametrize("path", python_files("operator", "hack", "tests"), ids=relative)
def test_modules_are_imported_not_names(path: pathlib.Path) -> None:
    """`gateway.Gateway` tells where it is from; `Gateway` does not."""
    roots = {"sluice": ROOT / "operator", "hack": ROOT, "tests": ROOT}
    names = []
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        folder = roots.get(node.module.split(".")[0])
        if folder is None:
            continue
        parent = folder.joinpath(*node.module.split("."))
        names += [
            f"{node.module}.{alias.name}"
            for alias in node.names
            if not (parent / f"{alias.name}.py").is_file() and not (parent / alias.name).is_dir()
        ]
    assert names == []


PURE = ("rollout", "gates", "evals", "workloads", "routing", "ratelimit", "api")
CLOCKS = {"now", "utcnow", "today"}


def test_the_functional_core_never_asks_for_the_time() -> None:
    """import-linter keeps `time` out; `datetime` is allowed there as a value only."""
    asked = [
        f"{relative(path)}:{node.lineno}"
        for package in PURE
        for path in python_files(f"operator/sluice/{package}")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CLOCKS
        and "date" in ast.unparse(node.func.value)
    ]
    assert asked == []


def sleeps(tree: ast.AST) -> list[int]:
    """Lines of `time.sleep`."""
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"]


def test_no_test_sleeps_in_place_of_a_condition() -> None:
    """A fixed sleep is too short on one machine and too long on every other. In a loop it waits for a condition."""
    slept = []
    for path in python_files("tests"):
        tree = parse(path)
        polling = {line for loop in ast.walk(tree) if isinstance(loop, ast.While) for line in sleeps(loop)}
        slept += [f"{relative(path)}:{line}" for line in sleeps(tree) if line not in polling]
    assert slept == []


def test_the_source_root_is_no_package() -> None:
    """`operator/__init__.py` would hide the standard library's module of that name."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def documents(folder: str) -> list[Mapping[str, Any]]:
    """All YAML documents of a folder."""
    return [document for path in sorted((ROOT / folder).glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def test_every_kind_has_an_example_that_its_model_reads() -> None:
    """The examples are what newcomers copy."""
    ours = [document for document in documents("examples") if document["apiVersion"].startswith("sluice.dev/")]
    for document in ours:
        PARSERS[document["kind"]]({**document, "metadata": {**document["metadata"], "namespace": "default"}})
    assert {document["kind"] for document in ours} == set(PARSERS)


def test_the_example_of_the_platforms_configuration_shows_every_field() -> None:
    """And none that does not exist."""
    (data,) = [each["data"] for each in documents("examples") if each["metadata"]["name"] == resources.CONFIG_NAME]
    config = platform_config.parse({key: yaml.safe_load(text) for key, text in data.items()})
    shown = {field for rule in config.enforced for field in rule.model_fields_set}
    assert set(platform_config.Rule.model_fields) == shown
    assert set(platform_config.Defaults.model_fields) == config.defaults.model_fields_set


def test_manifests_set_variables_that_are_settings() -> None:
    """A misspelt variable would be ignored in silence."""
    settings = importlib.import_module("sluice.settings")
    known = {f"{settings.PREFIX}{name.upper()}" for name in settings.Settings.model_fields}
    deployment = next(document for document in documents("manifests") if document["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert {name for name in given if not name.startswith("MALLOC_")} <= known  # those are the C library's
    assert given["SLUICE_OPERATOR_IMAGE"] == container["image"]
