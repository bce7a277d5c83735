"""CRDs say what the models say, structurally, with bounds, and with no default where one would make a revision."""

from __future__ import annotations

import copy
from typing import Annotated, Any, Literal

import pydantic
import pytest

from sluice.api import base, crdgen, evalgate, gateway, modeldeployment, ratelimitpolicy

KINDS = {kind.kind: kind for kind in crdgen.KINDS}
MINIMAL: dict[str, dict[str, Any]] = {
    modeldeployment.KIND: {"template": {"model": {"source": "hf://a/b"}, "engine": {"type": "VLLM"}}},
    gateway.KIND: {},
    ratelimitpolicy.KIND: {
        "targetRefs": [{"group": "sluice.dev", "kind": "Gateway", "name": "edge"}],
        "limits": [{"name": "l", "unit": "Requests", "amount": 1, "per": "1s", "scope": "PerReplica"}],
    },
    evalgate.KIND: {
        "evals": [
            {
                "name": "golden",
                "runner": {"type": "Builtin"},
                "dataset": {"type": "ConfigMap", "configMap": {"name": "d", "key": "k"}},
                "scorer": {"type": "ExactMatch"},
                "threshold": {"min": "0.9"},
            }
        ]
    },
}


def test_every_field_of_a_model_is_in_its_crd() -> None:
    """A field of the spec that the CRD forgot would be pruned in silence."""
    for kind in crdgen.KINDS:
        schema = crdgen.build_schema(kind)
        for part, model in (("spec", kind.spec), ("status", kind.status)):
            aliases = {field.alias or name for name, field in model.model_fields.items()}
            assert set(schema["properties"][part]["properties"]) == aliases, (kind.kind, part)


def test_template_carries_no_defaults() -> None:
    """A default below spec.template would make a revision when it changes."""
    template = crdgen.build_schema(KINDS[modeldeployment.KIND])["properties"]["spec"]["properties"]["template"]
    assert list(crdgen.defaults_below(template, "spec.template")) == []


def test_a_default_in_the_template_is_refused_with_its_path() -> None:
    """Whoever adds one learns at once, and where."""

    class Inner(base.ApiModel):
        size: Annotated[int, pydantic.Field(description="Size.")] = 3

    class Template(base.ApiModel):
        inner: Annotated[Inner | None, pydantic.Field(description="Inner.")] = None

    class Spec(base.ApiModel):
        template: Annotated[Template, pydantic.Field(description="Template.")]

    kind = KINDS[modeldeployment.KIND]
    with pytest.raises(crdgen.SchemaError, match=r"spec\.template\.inner\.size"):
        crdgen.build_schema(crdgen.Kind("X", "xs", "x", "X.", Spec, kind.status, ()))


def test_defaults_of_the_schema_are_those_of_the_model() -> None:
    """What the API server fills in, nested defaults included, reads the same as what pydantic fills in."""
    for kind in crdgen.KINDS:
        schema = crdgen.build_schema(kind)["properties"]["spec"]
        bare = MINIMAL[kind.kind]
        assert kind.spec.model_validate(_defaulted(schema, bare)) == kind.spec.model_validate(bare), kind.kind


def test_nested_defaults_reach_the_object() -> None:
    """`spec: {}` of a Gateway is stored with allowedModels.namespaces.from, so that readers see what holds."""
    schema = crdgen.build_schema(KINDS[gateway.KIND])["properties"]["spec"]
    assert _defaulted(schema, {})["allowedModels"] == {"namespaces": {"from": "Same"}}


def test_status_has_one_default() -> None:
    """An object that no operator has seen says observedGeneration -1, and nothing else is invented."""
    for kind in crdgen.KINDS:
        status = crdgen.build_schema(kind)["properties"]["status"]
        assert list(crdgen.defaults_below(status, "status")) == ["status"]
        assert status["default"] == {"observedGeneration": -1}


class _Unbounded(base.ApiModel):
    field: Annotated[str, pydantic.Field(description="No bound.")]


class _UnboundedList(base.ApiModel):
    field: Annotated[tuple[int, ...], pydantic.Field(description="No bound.")]


class _UnboundedMap(base.ApiModel):
    field: Annotated[dict[str, int], pydantic.Field(description="No bound.")]


class _Union(base.ApiModel):
    field: Annotated[base.LocalObjectRef | base.KeyRef, pydantic.Field(description="No discriminator.")]


class _IntOrString(base.ApiModel):
    field: Annotated[int | str, pydantic.Field(description="Not marked.")]


class _Exclusive(base.ApiModel):
    field: Annotated[int, pydantic.Field(gt=0, description="CRDs of this API use minimum only.")]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (_Unbounded, "a string needs max_length"),
        (_UnboundedList, "a list needs max_length"),
        (_UnboundedMap, "a map needs max_length"),
        (_Union, "type discriminator"),
        (_IntOrString, "type discriminator"),
        (_Exclusive, "exclusiveMinimum"),
    ],
)
def test_what_a_crd_cannot_hold_is_refused(model: type[pydantic.BaseModel], reason: str) -> None:
    """Refused with the path of the field, rather than weakened in silence."""
    with pytest.raises(crdgen.SchemaError, match=rf"spec\.field.*{reason}"):
        crdgen.model_schema(model, "spec")


def test_optional_reference_is_inlined_and_keeps_both_rules() -> None:
    """The null branch goes, the outer description wins, and rules of the type and of the field both hold."""

    class Inner(base.ApiModel):
        mode: Annotated[Literal["On"], pydantic.Field(description="Mode.")]
        model_config = pydantic.ConfigDict(json_schema_extra=base.validations(base.cel("inner", "inner")))

    class Outer(base.ApiModel):
        inner: Annotated[
            Inner | None,
            pydantic.Field(description="Outer.", json_schema_extra=base.validations(base.cel("outer", "outer"))),
        ] = None

    assert crdgen.model_schema(Outer, "spec")["properties"]["inner"] == {
        "description": "Outer.",
        "type": "object",
        "required": ["mode"],
        "properties": {"mode": {"description": "Mode.", "type": "string", "enum": ["On"]}},
        "x-kubernetes-validations": [{"rule": "inner", "message": "inner"}, {"rule": "outer", "message": "outer"}],
    }


def test_map_lists_name_required_keys() -> None:
    """Server-side apply merges by keys, which must be there in every entry."""
    for kind in crdgen.KINDS:
        for path, node in _nodes(crdgen.build_schema(kind), kind.kind):
            for key in node.get("x-kubernetes-list-map-keys", ()):
                assert key in node["items"].get("required", ()), f"{path}: {key}"


def test_every_field_has_a_description() -> None:
    """`kubectl explain` answers for every field."""
    for kind in crdgen.KINDS:
        schema = crdgen.build_schema(kind)
        for part in ("spec", "status"):
            for path, node in _nodes(schema["properties"][part], part):
                for name, child in node.get("properties", {}).items():
                    assert child.get("description"), f"{kind.kind}: {path}.{name}"


def _nodes(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += _nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            found += _nodes(schema[keyword], f"{path}[]")
    return found


def _defaulted(schema: dict[str, Any], value: Any) -> Any:
    """Defaulting as the API server does it: fill in, then go down."""
    if isinstance(value, list):
        return [_defaulted(schema["items"], entry) for entry in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    filled = dict(value)
    for name, child in schema["properties"].items():
        if name not in filled and "default" in child:
            filled[name] = copy.deepcopy(child["default"])
        if name in filled:
            filled[name] = _defaulted(child, filled[name])
    return filled
