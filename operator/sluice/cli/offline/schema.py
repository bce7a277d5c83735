"""Holds an object against a CRD's schema as the API server does, and says it in the same words. Pure.

The keywords are those that `crdgen` writes, and no others. Rules (CEL) are asked once the shape is right, with defaults filled
in.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sluice.cli.offline import cel

Schema = Mapping[str, Any]

RESERVED: Final = frozenset(
    {
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
        "loop", "package", "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip
"""Names of fields that CEL would not read: rules write them as `__name__`."""
_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_SHOWN: Final = 100


class Finding(NamedTuple):
    """What is wrong at a field."""

    field: str
    message: str


def check(obj: Any, schema: Schema) -> list[Finding]:
    """All that the API server would refuse; nothing when it would admit the object."""
    filled = with_defaults(copy.deepcopy(obj), schema)
    shape = list(_shape(filled, schema, ""))
    return shape or list(_rules(filled, schema, ""))


def with_defaults(value: Any, schema: Schema) -> Any:
    """The value with the schema's defaults for what is missing, or null, inside what is there. Changes it in place."""
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if "default" in child and value.get(name) is None:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                value[name] = with_defaults(value[name], child)
        if "additionalProperties" in schema:
            return {key: with_defaults(member, schema["additionalProperties"]) for key, member in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(member, schema["items"]) for member in value]
    return value


def _shape(value: Any, schema: Schema, path: str) -> Iterator[Finding]:
    wrong = _wrong_type(value, schema)
    if wrong is not None:
        shown = "null" if value is None else _name_of(value)
        yield Finding(path, f'Invalid value: "{shown}": {path} must be of type {wrong}: "{shown}"')
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(each) if isinstance(each, str) else f'"{each}"' for each in schema["enum"])
        yield Finding(path, f"Unsupported value: {_shown(value)}: supported values: {supported}")
    for keyword, judge in _BOUNDS.items():
        if keyword in schema and (message := judge(value, schema[keyword])) is not None:
            yield Finding(path, f"Invalid value: {_shown(value)}: {path} {message}")
    if isinstance(value, dict):
        yield from _members(value, schema, path)
    elif isinstance(value, list):
        yield from _items(value, schema, path)


def _wrong_type(value: Any, schema: Schema) -> str | None:
    """The type that was wanted, where the value has another."""
    if schema.get("x-kubernetes-int-or-string"):
        return None if isinstance(value, int | str) and not isinstance(value, bool) else "integer or string"
    wanted = schema.get("type")
    if wanted is None:
        return None
    right = isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
    return None if right else str(wanted)


def _members(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Finding]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Finding(_at(path, name), "Required value")
    for name, member in value.items():
        child = schema.get("properties", {}).get(name)
        if child is not None:
            yield from _shape(member, child, _at(path, name))
        elif "additionalProperties" in schema:
            yield from _shape(member, schema["additionalProperties"], _at(path, name))
        elif path and path != "metadata":  # the rest of metadata is Kubernetes' own
            yield Finding(_at(path, name), f'unknown field "{_at(path, name)}"')
        elif not path:
            yield Finding(name, f'unknown field "{name}"')


def _items(value: list[Any], schema: Schema, path: str) -> Iterator[Finding]:
    seen: list[Any] = []
    for index, member in enumerate(value):
        yield from _shape(member, schema.get("items", {}), f"{path}[{index}]")
        identity = _identity(member, schema)
        if identity is not None and identity in seen:
            yield Finding(f"{path}[{index}]", f"Duplicate value: {json.dumps(identity, separators=(',', ':'))}")
        seen.append(identity)


def _identity(member: Any, schema: Schema) -> Any:
    """What may stand in the list only once; None where anything may be repeated."""
    match schema.get("x-kubernetes-list-type"):
        case "map" if isinstance(member, dict):
            return {key: member.get(key) for key in schema["x-kubernetes-list-map-keys"]}
        case "set":
            return member
    return None


def _rules(value: Any, schema: Schema, path: str) -> Iterator[Finding]:
    rules = schema.get("x-kubernetes-validations", ())
    readable = _readable(value, schema) if rules else None
    for rule in rules:
        where = path + rule.get("fieldPath", "")
        try:
            if cel.holds(rule["rule"], readable):
                continue
        except cel.EvaluationError as error:
            yield Finding(where.removeprefix("."), f"{rule['message']} (the rule cannot be evaluated: {error})")
            continue
        yield Finding(where.removeprefix("."), f"Invalid value: {_shown(value)}: {_message(rule, readable)}")
    if isinstance(value, dict):
        for name, member in value.items():
            child = schema.get("properties", {}).get(name)
            if child is not None:
                yield from _rules(member, child, _at(path, name))
            elif "additionalProperties" in schema:
                yield from _rules(member, schema["additionalProperties"], f"{path}[{name}]")
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _rules(member, schema.get("items", {}), f"{path}[{index}]")


def _message(rule: Mapping[str, str], readable: Any) -> str:
    if "messageExpression" in rule:
        try:
            return cel.text(rule["messageExpression"], readable)
        except cel.EvaluationError:
            pass  # as the API server does: the plain message stands in
    return rule["message"]


def _readable(value: Any, schema: Schema) -> Any:
    """The value with its fields named as rules name them."""
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        below = schema.get("additionalProperties", {})
        return {
            (f"__{name}__" if name in fields and name in RESERVED else name): _readable(member, fields.get(name, below))
            for name, member in value.items()
        }
    if isinstance(value, list):
        return [_readable(member, schema.get("items", {})) for member in value]
    return value


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return '"object"' if isinstance(value, dict) else '"array"'
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…"'


def _name_of(value: Any) -> str:
    return next(
        (name for name, kind in _TYPES.items() if type(value) in (kind if isinstance(kind, tuple) else (kind,))), "unknown"
    )


def _of(kind: type | tuple[type, ...], refuse: Callable[[Any, Any], bool], words: str) -> Callable[[Any, Any], str | None]:
    """A bound on values of one type; values of others are not its matter."""

    def judge(value: Any, bound: Any) -> str | None:
        if not isinstance(value, kind) or isinstance(value, bool) or not refuse(value, bound):
            return None
        return words.format(bound)

    return judge


_NUMBER: Final = (int, float)
_BOUNDS: Final[Mapping[str, Callable[[Any, Any], str | None]]] = {
    "minimum": _of(_NUMBER, lambda value, bound: value < bound, "should be greater than or equal to {}"),
    "maximum": _of(_NUMBER, lambda value, bound: value > bound, "should be less than or equal to {}"),
    "minLength": _of(str, lambda value, bound: len(value) < bound, "should be at least {} chars long"),
    "maxLength": _of(str, lambda value, bound: len(value) > bound, "may not be more than {} characters long"),
    "pattern": _of(str, lambda value, bound: re.search(bound, value, re.ASCII) is None, "should match '{}'"),
    "minItems": _of(list, lambda value, bound: len(value) < bound, "should have at least {} items"),
    "maxItems": _of(list, lambda value, bound: len(value) > bound, "must have at most {} items"),
    "minProperties": _of(dict, lambda value, bound: len(value) < bound, "should have at least {} properties"),
    "maxProperties": _of(dict, lambda value, bound: len(value) > bound, "must have at most {} properties"),
}
KEYWORDS: Final = frozenset(_BOUNDS) | {
    "description", "type", "format", "enum", "default", "required", "properties", "additionalProperties", "items", "anyOf",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip
"""All that is looked at, or says nothing of its own: `anyOf` stands beside int-or-string, `format` is for statuses only."""
