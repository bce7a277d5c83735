"""`kubectl sluice render` prints what the operator makes of the same files."""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
from typing import Any, Final

import pytest
import yaml

from sluice.cli import entry
from tests.support import operators, world

pytestmark = pytest.mark.usefixtures("operator")

PLURALS: Final = {"NetworkPolicy": "networkpolicy", "PodDisruptionBudget": "pdb", "HorizontalPodAutoscaler": "hpa"}


def differences(wanted: Any, found: Any, path: str) -> list[str]:
    """Where `found` lacks what is wanted; what the API server adds is no difference."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [each for key, value in wanted.items() for each in differences(value, found.get(key), f"{path}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [each for index, (one, other) in pairs for each in differences(one, other, f"{path}[{index}]")]
    same = wanted == found or str(wanted) == str(found) or (wanted in ({}, []) and found is None)
    return [] if same else [f"{path}: {wanted!r} is not {found!r}"]


def test_what_is_rendered_is_what_is_made(namespace: world.World, tmp_path: pathlib.Path) -> None:
    """All objects of a first revision, with the user's files, once the same images are named; and no others."""
    model = world.model()
    model["spec"]["template"]["model"]["chatTemplate"] = {"configMapKeyRef": {"name": "prompts", "key": "chat.jinja"}}
    prompts = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "prompts"},
        "data": {"chat.jinja": "{{ messages }}\n"},
    }
    namespace.apply(prompts, model)
    namespace.ready()
    files = tmp_path / "model.yaml"
    files.write_text(yaml.safe_dump_all([prompts, model]))
    images = ["--engine-image", "localhost/sluice/vllm:test", "--operator-image", "localhost/sluice/operator:test"]
    where = ["-n", namespace.name, "--operator-namespace", operators.NAMESPACE]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        entry.main(["render", "-f", str(files), *images, *where])
    rendered = list(yaml.safe_load_all(output.getvalue()))
    assert len(rendered) >= 8
    for obj in rendered:
        kind, name = obj["kind"], obj["metadata"]["name"]
        found = json.loads(namespace.kubectl("get", PLURALS.get(kind, kind.lower()), name, "-o", "json"))
        if kind == "ControllerRevision":
            obj["metadata"]["labels"]["sluice.dev/outcome"] = "Stable"  # it was promoted since
            obj["metadata"]["annotations"] = {}
        assert differences(obj, found, f"{kind} {name}") == []
    made = json.loads(
        namespace.kubectl(
            "get", "deploy,svc,cm,pdb,netpol,controllerrevision", "-l", "sluice.dev/model-deployment=chat", "-o", "json"
        )
    )
    names = {(each["kind"], each["metadata"]["name"]) for each in made["items"]}
    kinds = {(obj["kind"], obj["metadata"]["name"]) for obj in rendered}
    assert {each for each in names - kinds if not each[1].endswith(("-evidence", "-resolved"))} == set()
