"""`kubectl sluice validate` judges every file as the API server does, in the same words.

The expectations are those that test_files.py holds against a real API server. This needs none.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import yaml

from sluice.api import crdgen
from sluice.cli import entry, exits
from sluice.cli.offline import cel, given, schema

HERE: Final = pathlib.Path(__file__).parent
ACCEPTED: Final = sorted((HERE / "accepted").glob("*.yaml"))
REJECTED: Final = sorted((HERE / "rejected").glob("*.yaml"))
EXAMPLES: Final = sorted((HERE.parents[1] / "examples").glob("*.yaml"))
EXAMPLES_BY_NAME: Final = {path.stem: str(path) for path in EXAMPLES}
EXPECT: Final = "# expect: "
TWO_MISTAKES: Final = {"gateway-backend-has-the-member-of-its-type"}
"""As in test_files.py."""
NATIVE: Final = {
    *("has", "all", "exists", "exists_one", "matches", "startsWith", "endsWith", "contains", "size"),
    *("double", "string", "int", "type", "duration", "getHours", "getMinutes", "getSeconds", "getMilliseconds"),
}
"""Functions that the library has itself."""


def findings(obj: Mapping[str, Any]) -> list[schema.Finding]:
    """What is found in an object of ours."""
    return schema.check(dict(obj), given.SCHEMAS[obj["kind"]])


@pytest.mark.parametrize("path", [*ACCEPTED, *EXAMPLES], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_the_api_server_accepts_is_accepted(path: pathlib.Path) -> None:
    """With no finding at all."""
    objects = [obj for obj in yaml.safe_load_all(path.read_text()) if obj and obj["kind"] in given.SCHEMAS]
    assert objects or path in EXAMPLES
    assert [findings(obj) for obj in objects] == [[] for _ in objects]


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_what_the_api_server_rejects_is_rejected_in_its_words(path: pathlib.Path) -> None:
    """At the same field, with the same message, and for nothing else."""
    text = path.read_text()
    expected = [line.removeprefix(EXPECT) for line in text.splitlines() if line.startswith(EXPECT)]
    found = findings(yaml.safe_load(text))
    said = "\n".join(f"{each.field}: {each.message}" for each in found)
    assert [part for part in expected if part not in said] == [], said
    field = expected[0].split(":")[0]
    others = [each for each in found if field not in each.field and field not in each.message]
    assert path.stem in TWO_MISTAKES or others == []


def rules(node: Mapping[str, Any]) -> Iterator[str]:
    """Every expression of one part of a schema."""
    for given_rule in node.get("x-kubernetes-validations", ()):
        yield given_rule["rule"]
        if "messageExpression" in given_rule:
            yield given_rule["messageExpression"]


@pytest.mark.parametrize("kind", crdgen.KINDS, ids=lambda kind: kind.kind)
def test_nothing_of_a_schema_is_passed_over(kind: crdgen.Kind) -> None:
    """A keyword or function that is new is looked at here too, or files would be called good that are not."""
    built = crdgen.build_schema(kind)
    assert {keyword for node in nodes(built) for keyword in node} <= schema.KEYWORDS
    called = {name for node in nodes(built) for rule in rules(node) for name in cel.functions(rule)}
    named = {name for name in called if name[0].isalpha()}
    assert named <= NATIVE | set(cel.FUNCTIONS), named
    texts = [node for node in nodes(built) if node.get("type") == "string"]
    assert [rule for node in texts for rule in rules(node) if "size" in cel.functions(rule)] == []  # it would count bytes


def nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every part of a schema."""
    yield node
    for child in node.get("properties", {}).values():
        yield from nodes(child)
    for below in ("items", "additionalProperties"):
        if below in node:
            yield from nodes(node[below])


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of one command."""
    output, problems = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(problems), pytest.raises(SystemExit) as ended:
        entry.main(list(arguments))
    return int(ended.value.code or 0), output.getvalue(), problems.getvalue()


def test_exit_codes_say_what_was_found(tmp_path: pathlib.Path) -> None:
    """Errors always, warnings if they are to be errors, unreadable files by another code."""
    good, warned = EXAMPLES_BY_NAME["evalgate"], EXAMPLES_BY_NAME["modeldeployment"]
    assert run("validate", "-f", good)[0] == exits.Exit.DONE
    assert run("validate", "-f", warned)[0] == exits.Exit.DONE
    assert run("validate", "-f", warned, "--strict")[0] == exits.Exit.INVALID
    code, said, _ = run("validate", "-f", str(HERE / "rejected"), "-o", "json")
    assert code == exits.Exit.INVALID
    assert json.loads(said)["checked"] == len(REJECTED)
    assert run("validate", "-f", str(tmp_path))[0] == exits.Exit.USAGE
    assert run("validate", "-f", str(tmp_path / "missing.yaml"))[0] == exits.Exit.USAGE


def test_what_cannot_be_rendered_says_why(tmp_path: pathlib.Path) -> None:
    """A file that is not given, a file that is wrong, and no ModelDeployment at all."""
    code, _, problems = run("render", "-f", str(HERE / "accepted" / "modeldeployment-files-and-chat-template.yaml"))
    assert (code, "is not among the files" in problems) == (exits.Exit.INVALID, True)
    code, _, problems = run("render", "-f", str(HERE / "rejected" / "modeldeployment-needs-a-model.yaml"))
    assert (code, "spec.template.model: Required value" in problems) == (exits.Exit.INVALID, True)
    assert run("render", "-f", EXAMPLES_BY_NAME["evalgate"])[0] == exits.Exit.NOT_FOUND
    assert run("render", "-f", EXAMPLES_BY_NAME["modeldeployment"], "-o", "json")[0] == exits.Exit.DONE
