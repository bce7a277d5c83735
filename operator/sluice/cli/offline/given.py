"""The objects of some files, by what they are: those of ours that are in order, parsed, and what they may refer to."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import pydantic

from sluice.api import base, crdgen, evalgate, gateway, modeldeployment, ratelimitpolicy
from sluice.cli.offline import findings, manifests, schema

T = TypeVar("T", bound=pydantic.BaseModel)

SCHEMAS: Final[Mapping[str, schema.Schema]] = {kind.kind: crdgen.build_schema(kind) for kind in crdgen.KINDS}


@dataclasses.dataclass(frozen=True)
class Item(Generic[T]):
    """One object of ours."""

    title: str
    namespace: str
    name: str
    obj: Mapping[str, Any]
    """As the API server would store it: with defaults."""
    parsed: T


AnyItem = Item[Any]
Key = tuple[str, str]
"""Namespace and name."""


@dataclasses.dataclass
class Given:
    """All objects."""

    models: dict[Key, Item[modeldeployment.ModelDeployment]] = dataclasses.field(default_factory=dict)
    gateways: dict[Key, Item[gateway.Gateway]] = dataclasses.field(default_factory=dict)
    policies: dict[Key, Item[ratelimitpolicy.RateLimitPolicy]] = dataclasses.field(default_factory=dict)
    gates: dict[Key, Item[evalgate.EvalGate]] = dataclasses.field(default_factory=dict)
    config_maps: dict[Key, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    checked: int = 0
    """Objects of ours, in order or not."""


def gather(read: Iterable[manifests.Manifest], namespace: str) -> tuple[Given, list[findings.Finding]]:
    """The objects, and what is wrong with each by itself. Those that say no namespace are in `namespace`."""
    content, found, seen = Given(), [], set()
    for manifest in read:
        where = manifest.namespace or namespace
        identity = (manifest.kind, where, manifest.name)
        if manifest.kind == "ConfigMap":
            content.config_maps[where, manifest.name] = manifest.obj
        if not manifest.is_ours:
            continue
        content.checked += 1
        problems = _problems(manifest)
        if identity in seen:
            message = f"{where}/{manifest.name} is there twice, and the later one wins: rename or remove one"
            found.append(findings.Finding(findings.Level.WARNING, manifest.title, "metadata.name", message))
        seen.add(identity)
        found += [findings.Finding(findings.Level.ERROR, manifest.title, each.field, each.message) for each in problems]
        if not problems:
            found += _add(content, manifest, where)
    return content, found


def _problems(manifest: manifests.Manifest) -> list[schema.Finding]:
    wanted = SCHEMAS.get(manifest.kind)
    if wanted is None:
        return [schema.Finding("kind", f"Unsupported value: {manifest.kind!r}: supported values: {', '.join(SCHEMAS)}")]
    if manifest.obj["apiVersion"] != base.API_VERSION:
        return [schema.Finding("apiVersion", f"{manifest.obj['apiVersion']!r} is not known: use {base.API_VERSION!r}")]
    if not isinstance(manifest.obj.get("metadata"), dict) or not manifest.name:
        return [schema.Finding("metadata.name", "Required value")]
    return schema.check(manifest.obj, wanted)


def _add(content: Given, manifest: manifests.Manifest, namespace: str) -> list[findings.Finding]:
    """Parses and keeps the object. What the models refuse and the schema does not is a defect of ours, and still said."""
    obj: dict[str, Any] = schema.with_defaults(copy.deepcopy(manifest.obj), SCHEMAS[manifest.kind])
    obj["metadata"] = {**obj["metadata"], "namespace": namespace}
    try:
        _ADD[manifest.kind](content, manifest.title, (namespace, manifest.name), obj)
    except pydantic.ValidationError as error:
        return [findings.Finding(findings.Level.ERROR, manifest.title, "spec", str(error))]
    return []


def _adder(parse: Callable[[Mapping[str, Any]], T], place: Callable[[Given], dict[Key, Item[T]]]) -> Callable[..., None]:
    def add(content: Given, title: str, key: Key, obj: Mapping[str, Any]) -> None:
        place(content)[key] = Item(title, *key, obj, parse(obj))

    return add


_ADD: Final[Mapping[str, Callable[..., None]]] = {
    modeldeployment.KIND: _adder(modeldeployment.parse, lambda content: content.models),
    gateway.KIND: _adder(gateway.parse, lambda content: content.gateways),
    ratelimitpolicy.KIND: _adder(ratelimitpolicy.parse, lambda content: content.policies),
    evalgate.KIND: _adder(evalgate.parse, lambda content: content.gates),
}
