"""What a Gateway's inputs become, all the way to what Envoy runs, and whether the real Envoy takes it.

`xds/<case>.in.yaml` is the input, `.out.yaml` the statuses and resources. `UPDATE_GOLDEN=1 pytest tests/golden` rewrites the
outputs: read the diff. What a case has in common with `one-model` is not repeated.
"""

from __future__ import annotations

import functools
import os
import pathlib
from typing import Any, Final

import pytest
import yaml
from google.protobuf import json_format, unknown_fields

from sluice.api import gateway, ratelimitpolicy
from sluice.routing import inputs, translate
from sluice.xds import order, snapshot
from sluice.xds import translate as xds_translate
from sluice.xds.filters import api_keys
from tests.support import envoy, static

DIRECTORY: Final = pathlib.Path(__file__).parent / "xds"
CASES: Final = sorted(path.name.removesuffix(".in.yaml") for path in DIRECTORY.glob("*.in.yaml"))
BASE: Final = "one-model"
REFRESH_CLUSTER_ON_RETRY: Final = 14


def load(case: str) -> inputs.GatewayInputs:
    """The inputs of a case."""
    data = yaml.safe_load((DIRECTORY / f"{case}.in.yaml").read_text())
    metadata = {"name": "edge", "namespace": "prod"}
    return inputs.GatewayInputs(
        gateway=gateway.parse({"metadata": metadata, "spec": data["gateway"]}),
        models=tuple(_model(entry) for entry in data.get("models", ())),
        policies=tuple(
            ratelimitpolicy.parse({**policy, "metadata": {"namespace": "prod", **policy["metadata"]}})
            for policy in data.get("policies", ())
        ),
        api_keys=data.get("apiKeys", {}),
    )


def _model(data: dict[str, Any]) -> inputs.ModelInput:
    split = data.get("split", {})
    return inputs.ModelInput(
        namespace=data.get("namespace", "prod"),
        name=data["name"],
        created=data.get("created", "2026-01-01T00:00:00Z"),
        served_name=data.get("servedName", data["name"]),
        gateway_allowed=data.get("allowed", True),
        refers=data.get("refers", True),
        split=inputs.Split(
            stable=_revision(split.get("stable")),
            canary=_revision(split.get("canary")),
            weight=split.get("weight", 0),
            mirror=split.get("mirror", 0),
            stickiness=split.get("stickiness"),
            override=inputs.Override(**split["override"]) if "override" in split else None,
            shield=inputs.Shield(**split.get("shield", {})),
            stable_in_flight=split.get("stable_in_flight"),
        ),
    )


def _revision(data: dict[str, Any] | None) -> inputs.Revision | None:
    if data is None:
        return None
    pods = [endpoint.rpartition(":") for endpoint in data.get("endpoints", ())]
    return inputs.Revision(data["cluster"], tuple(inputs.Endpoint(address, int(port)) for address, _, port in pods))


def render(case: str) -> str:
    """The expected output of a case as YAML."""
    translation = translate.translate(load(case))
    resources = _resources(case)
    common = _resources(BASE) if case != BASE else {}
    shown = {
        type_url.rpartition(".")[2]: {
            name: f"as in {BASE}" if common.get(type_url, {}).get(name) == message else dump(message)
            for name, message in resources[type_url].items()
        }
        for type_url in order.ADD
        if resources.get(type_url)
    }
    data = {
        "routes": [_status(status.name, status.conditions, models=list(status.models)) for status in translation.routes],
        "policies": [_status(f"{p.namespace}/{p.name}", p.conditions) for p in translation.policies],
        "resources": shown,
    }
    return yaml.safe_dump(data, sort_keys=False, width=120)


@functools.cache
def _resources(case: str) -> snapshot.Resources:
    return xds_translate.build_resources(translate.translate(load(case)).ir)


def _status(name: str, conditions: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, **more, "conditions": [f"{c.type}={c.status} {c.reason}: {c.message}" for c in conditions]}


def dump(message: snapshot.Message) -> Any:
    """The message as data. The Lua program is its own file; the one field that xds-protos does not know is named."""
    data = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for host, shown_host in zip(getattr(message, "virtual_hosts", ()), data.get("virtual_hosts", ()), strict=True):
        for route, shown in zip(host.routes, shown_host["routes"], strict=True):
            for field in unknown_fields.UnknownFieldSet(route.route.retry_policy):
                assert field.field_number == REFRESH_CLUSTER_ON_RETRY
                shown["route"]["retry_policy"]["refresh_cluster_on_retry"] = bool(field.data)
    return _normal(data)


def _normal(data: Any) -> Any:
    if isinstance(data, dict):
        # Sorted: protobuf maps have no order of their own.
        return {key: _normal(value) for key, value in sorted(data.items())}
    if isinstance(data, list):
        return [_normal(value) for value in data]
    return data.replace(api_keys._program(), "<api_keys.lua>") if isinstance(data, str) else data


@pytest.mark.parametrize("case", CASES)
def test_inputs_become_these_resources_and_statuses(case: str) -> None:
    """The output file says all that a Gateway's inputs lead to."""
    path = DIRECTORY / f"{case}.out.yaml"
    rendered = render(case)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(rendered)
    assert path.read_text() == rendered


@pytest.mark.parametrize("case", CASES)
def test_real_envoy_accepts_every_case(case: str, tmp_path: pathlib.Path) -> None:
    """`envoy --mode validate` takes the resources of every case."""
    envoy.validate(static.build_bootstrap(_resources(case)), tmp_path)


def test_no_output_is_left_without_an_input() -> None:
    """Every file belongs to a case, and the common one exists."""
    assert BASE in CASES
    assert {path.name for path in DIRECTORY.iterdir()} == {f"{case}.{kind}.yaml" for case in CASES for kind in ("in", "out")}
