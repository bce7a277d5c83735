"""Turns the API models into CustomResourceDefinitions: the only road from a pydantic field to what the API server enforces.

What pydantic writes is made structural: references inlined, null branches dropped, unions of int and string marked. What
would silently weaken an API is refused with the field's path: a value without a bound (CEL costs are estimated from bounds),
a keyword that CRDs do not know, a default inside `spec.template`. Files are written by `hack/generate`, not here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pydantic

from sluice.api import base, evalgate, gateway, model_source, modeldeployment, naming, ratelimitpolicy

CATEGORY: Final = "sluice"
NAME_PATTERN: Final = rf"^[a-z]([-a-z0-9]{{0,{naming.NAME_MAX - 2}}}[a-z0-9])?$"
UNSET_GENERATION: Final = -1
"""`status.observedGeneration` of an object that no operator has seen: kstatus tools then report it as in progress."""

_KEYWORDS: Final = (
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum",
    "default", "required", "properties", "additionalProperties", "minProperties", "maxProperties",
    "items", "minItems", "maxItems", "anyOf",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
)  # fmt: skip
"""All that a generated schema may hold, in the order in which it is written."""
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]


class SchemaError(ValueError):
    """A model says something that a CRD cannot. The message names the field."""

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"Cannot generate the schema of {path}: {cause}")


@dataclasses.dataclass(frozen=True)
class Column:
    """One printer column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"

    def to_json(self) -> dict[str, str]:
        """The column as a CRD has it."""
        return {"name": self.name, "type": self.type, "jsonPath": self.path}


@dataclasses.dataclass(frozen=True)
class Kind:
    """Everything about a kind that is not in its models."""

    kind: str
    plural: str
    short_name: str
    description: str
    spec: type[pydantic.BaseModel]
    status: type[pydantic.BaseModel]
    columns: tuple[Column, ...]
    scale: Mapping[str, str] | None = None
    rules: tuple[Mapping[str, str], ...] = ()


def _condition(type_: str, field: str = "status", *, title: str = "") -> Column:
    return Column(title or type_, f'.status.conditions[?(@.type=="{type_}")].{field}')


AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")

KINDS: Final = (
    Kind(
        modeldeployment.KIND,
        modeldeployment.PLURAL,
        "mdep",
        "A model that is served, and rolled out by evidence.",
        modeldeployment.ModelDeploymentSpec,
        modeldeployment.ModelDeploymentStatus,
        (
            _condition("Ready"),
            _condition("Ready", "reason", title="Reason"),
            Column("Model", ".status.model"),
            Column("Revision", ".status.stableRevision"),
            Column("Replicas", ".status.podsReady"),
            Column("Canary", ".status.rollout.weight"),
            Column("URL", ".status.url"),
            AGE,
        ),
        scale={
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
        rules=(model_source.ADAPTER_NAME_RULE,),
    ),
    Kind(
        gateway.KIND,
        gateway.PLURAL,
        "slgw",
        "An Envoy that speaks the OpenAI API and routes by the request's model.",
        gateway.GatewaySpec,
        gateway.GatewayStatus,
        (
            _condition("Ready"),
            Column("Address", ".status.address"),
            Column("Proxies", ".status.proxies.connected", "integer"),
            AGE,
        ),
    ),
    Kind(
        ratelimitpolicy.KIND,
        ratelimitpolicy.PLURAL,
        "rlp",
        "How much each client may ask of a Gateway.",
        ratelimitpolicy.RateLimitPolicySpec,
        ratelimitpolicy.RateLimitPolicyStatus,
        (_condition("Accepted"), Column("Enforced by", ".status.enforcedBy", "integer"), AGE),
    ),
    Kind(
        evalgate.KIND,
        evalgate.PLURAL,
        "eg",
        "What a good revision of a model is.",
        evalgate.EvalGateSpec,
        evalgate.EvalGateStatus,
        (_condition("Accepted"), Column("Users", ".status.users", "integer"), AGE),
        rules=(
            base.cel(
                f"self.metadata.name != '{evalgate.BUILTIN_DEFAULT_NAME}'",
                f'"{evalgate.BUILTIN_DEFAULT_NAME}" is the name of the built-in analysis: choose another name',
                field_path=".metadata.name",
            ),
        ),
    ),
)
"""The four kinds, in the order in which docs and files list them."""


def build_crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind, as JSON-compatible data.

    Raises:
        SchemaError: a model has a field that a CRD cannot hold, or that breaks a convention of this API.
    """
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale is not None:
        subresources["scale"] = dict(kind.scale)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{base.GROUP}", "labels": {naming.LABEL_NAME: naming.MANAGED_BY}},
        "spec": {
            "group": base.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": base.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [column.to_json() for column in kind.columns],
                    "schema": {"openAPIV3Schema": build_schema(kind)},
                }
            ],
        },
    }


def build_schema(kind: Kind) -> dict[str, Any]:
    """The whole structural schema of a kind: spec, status, and the rules for `metadata.name`.

    Raises:
        SchemaError: as for `build_crd`.
    """
    spec = model_schema(kind.spec, "spec")
    for path in defaults_below(spec.get("properties", {}).get("template", {}), "spec.template"):
        raise SchemaError(path, "the template of a revision carries no defaults, or a changed default would make a revision")
    return {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            # The bound is that of every object; it is here because the cost of a rule is estimated from it.
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 253}}},
            "spec": spec,
            "status": _status_schema(kind.status),
        },
        "x-kubernetes-validations": [dict(rule) for rule in (_NAME_RULE, *kind.rules)],
    }


_NAME_RULE: Final = base.cel(
    f"self.metadata.name.matches(r'{NAME_PATTERN}')",
    f"must have at most {naming.NAME_MAX} characters, lower-case letters, digits and dashes, the first a letter and the last "
    "no dash",
    field_path=".metadata.name",
)


def model_schema(model: type[pydantic.BaseModel], path: str) -> dict[str, Any]:
    """The structural schema of one model. `path` names it in errors.

    Raises:
        SchemaError: as for `build_crd`.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _Inliner(raw.get("$defs", {})).structural(raw, path)


def defaults_below(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Paths of all defaults in a structural schema."""
    if "default" in schema:
        yield path
    for name, child in schema.get("properties", {}).items():
        yield from defaults_below(child, f"{path}.{name}")
    for keyword, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        if keyword in schema:
            yield from defaults_below(schema[keyword], path + suffix)


def _status_schema(model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """Status without rules, which only the operator would meet, and with the one default that tells "never seen" apart."""
    schema = _without(model_schema(model, "status"), "default", "x-kubernetes-validations")
    return _ordered({**schema, "default": {"observedGeneration": UNSET_GENERATION}})


def _without(schema: Mapping[str, Any], *keywords: str) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key not in keywords}
    if "properties" in kept:
        kept["properties"] = {name: _without(child, *keywords) for name, child in kept["properties"].items()}
    for below in ("items", "additionalProperties"):
        if below in kept:
            kept[below] = _without(kept[below], *keywords)
    return kept


def _ordered(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in _KEYWORDS if key in schema}


class _Inliner:
    """Rewrites pydantic's schema of one model, whose shared parts are in `definitions`."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def structural(self, raw: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The structural form of one node and all below it."""
        node = self._flattened(raw, path)
        node.pop("title", None)
        node.pop("$defs", None)
        if base.HINT in node:
            _say_pattern(node)
        if "const" in node:
            node["enum"] = [node.pop("const")]
        if "properties" in node:
            node["properties"] = {name: self.structural(child, f"{path}.{name}") for name, child in node["properties"].items()}
        for keyword, suffix in (("items", "[]"), ("additionalProperties", ".*")):
            if keyword in node:
                node[keyword] = self.structural(node[keyword], path + suffix)
        _settle_default(node)
        _refuse_unknown(node, path)
        _refuse_unbounded(node, path)
        return _ordered(node)

    def _flattened(self, raw: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The node with its reference inlined and its null branch dropped; what stands beside them wins."""
        node = dict(raw)
        if "$ref" in node:
            target = self._definitions[node.pop("$ref").removeprefix("#/$defs/")]
            return self._flattened(_merged(target, node), path)
        if "anyOf" not in node or node.get("x-kubernetes-int-or-string"):
            return node
        branches = [branch for branch in node.pop("anyOf") if branch.get("type") != "null"]
        if len(branches) != 1:
            raise SchemaError(path, "a union needs a type discriminator and a member for each type")
        return self._flattened(_merged(branches[0], node), path)


def _merged(inner: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    """Both together: the outer's words win, the rules of both hold."""
    rules = [*inner.get("x-kubernetes-validations", ()), *outer.get("x-kubernetes-validations", ())]
    return {**inner, **outer, **({"x-kubernetes-validations": rules} if rules else {})}


def _say_pattern(node: dict[str, Any]) -> None:
    """Turns a pattern and its hint into a rule: the API server then shows words instead of a regular expression."""
    rule = base.cel(base.matches(node.pop("pattern")), node.pop(base.HINT))
    node["x-kubernetes-validations"] = [rule, *node.get("x-kubernetes-validations", ())]


def _settle_default(node: dict[str, Any]) -> None:
    """Keeps only defaults that change something: no null, no empty list; `{}` where members have defaults of their own."""
    if "default" not in node:
        return
    default = node["default"]
    if isinstance(default, dict):
        node["default"] = {}
        if not any("default" in child for child in node.get("properties", {}).values()):
            del node["default"]
    elif default is None or default in ("", []):
        del node["default"]


def _refuse_unknown(node: Mapping[str, Any], path: str) -> None:
    unknown = sorted(set(node) - set(_KEYWORDS))
    if unknown:
        raise SchemaError(path, f"a CRD does not know {', '.join(unknown)}")
    if "anyOf" in node and node["anyOf"] != _INT_OR_STRING:
        raise SchemaError(path, "only an integer or a string may share a field")
    if "type" not in node and "anyOf" not in node:
        raise SchemaError(path, "it has no type")


def _refuse_unbounded(node: Mapping[str, Any], path: str) -> None:
    match node.get("type"):
        case "string" if not {"maxLength", "enum", "format"} & node.keys():
            raise SchemaError(path, "a string needs max_length")
        case "array" if "maxItems" not in node:
            raise SchemaError(path, "a list needs max_length")
        case "object" if "additionalProperties" in node and "maxProperties" not in node:
            raise SchemaError(path, "a map needs max_length")
        case "object" if not {"properties", "additionalProperties"} & node.keys():
            raise SchemaError(path, "an object needs fields")
