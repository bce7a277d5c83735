"""What every API model shares: camelCase on the wire, immutability, and the field types that recur.

Field types carry the JSON schema that reaches the CRD, so a bound written here is a bound the API server enforces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import pydantic
from pydantic import alias_generators

GROUP: Final = "sluice.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

RATIO_PATTERN: Final = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$"
PERCENT_PATTERN: Final = r"^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$"
DURATION_PATTERN: Final = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""GEP-2257 durations: `90s`, `1h30m`, `500ms`."""


class ApiModel(pydantic.BaseModel):
    """An immutable piece of a custom resource.

    Unknown fields are dropped, not refused: the API server prunes what the CRD does not know, and what it let through
    came from a newer CRD than this process.
    """

    model_config = pydantic.ConfigDict(
        alias_generator=alias_generators.to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        frozen=True,
        extra="ignore",
    )

    def to_wire(self) -> dict[str, Any]:
        """The object as JSON-compatible data with camelCase keys; unset (None) fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def cel(rule: str, message: str, *, field_path: str | None = None, message_expression: str | None = None) -> dict[str, str]:
    """One `x-kubernetes-validations` entry. The message names the field and the fix.

    `message_expression` is CEL for a message that also names the value; `message` stands in where that fails.
    """
    entry = {"rule": rule, "message": message}
    if message_expression is not None:
        entry["messageExpression"] = message_expression
    if field_path is not None:
        entry["fieldPath"] = field_path
    return entry


def validations(*rules: Mapping[str, str]) -> dict[str, Any]:
    """JSON-schema extra that carries CEL rules, for `Field(json_schema_extra=…)` or `model_config`."""
    return {"x-kubernetes-validations": [dict(rule) for rule in rules]}


def exactly_one(subject: str, *fields: str) -> dict[str, Any]:
    """JSON-schema extra for an object of which exactly one of these members is set, as Kubernetes has its unions."""
    listed = f"{', '.join(fields[:-1])} and {fields[-1]}"
    return validations(
        cel(
            f"[{', '.join(f'has(self.{field})' for field in fields)}].exists_one(is_set, is_set)",
            f"{subject} has exactly one of {listed}: set one of them and remove the others",
        )
    )


HINT: Final = "x-sluice-hint"


def hint(text: str) -> dict[str, Any]:
    """JSON-schema extra for a field with a pattern: `text` is what the user reads when the value does not match.

    `crdgen` makes a CEL rule of both, for of a plain pattern the API server shows the regular expression alone.
    """
    return {HINT: text}


def matches(pattern: str) -> str:
    """CEL: whether the field's own text matches. Guards rules that would fail on a malformed one, which has its own message."""
    return f"self.matches(r'{pattern}')"


def map_list(*keys: str) -> dict[str, Any]:
    """JSON-schema extra for a list that people merge: unique by `keys` under server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def duration_between(field: str, low: str, high: str) -> dict[str, Any]:
    """JSON-schema extra that keeps the Duration called `field` between `low` and `high`, both included."""
    return validations(
        cel(
            f"!{matches(DURATION_PATTERN)} || (duration(self) >= duration('{low}') && duration(self) <= duration('{high}'))",
            f"{field} must be between {low} and {high}",
        )
    )


Duration = Annotated[
    str,
    pydantic.Field(
        pattern=DURATION_PATTERN,
        max_length=24,
        description="A duration such as 30s, 10m or 1h30m.",
        json_schema_extra=hint("must be a duration such as 30s, 10m or 1h30m"),
    ),
]
"""A GEP-2257 duration; `durations.seconds` turns it into seconds."""


Ratio = Annotated[
    str,
    pydantic.Field(
        pattern=RATIO_PATTERN,
        max_length=8,
        description='A share between 0 and 1 as a string, such as "0.9".',
        json_schema_extra=hint('must be a share between 0 and 1, such as "0.9"'),
    ),
]

Percent = Annotated[
    str,
    pydantic.Field(
        pattern=PERCENT_PATTERN,
        max_length=9,
        description='A percentage as a string, such as "0.5%".',
        json_schema_extra=hint('must be a percentage with its sign, such as "0.5%"'),
    ),
]

DnsLabel = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        description="A DNS label: lower-case letters, digits and dashes.",
        json_schema_extra=hint("must be lower-case letters, digits and dashes, with no dash at either end"),
    ),
]

ModelName = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$",
        description="The name that clients put into the request's `model`.",
        json_schema_extra=hint("must begin with a letter or digit and hold only letters, digits and . _ : / -"),
    ),
]

ConfigKey = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="A key of the ConfigMap's or Secret's data.",
        json_schema_extra=hint("must be a key of a ConfigMap or Secret: letters, digits and . _ -"),
    ),
]


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


Quantity = Annotated[
    str,
    pydantic.BeforeValidator(_as_text),
    pydantic.WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
            "description": "A Kubernetes quantity such as 500m, 2 or 16Gi.",
        }
    ),
]
"""Text in the model, though YAML may have it as a number, as in `cpu: 2`."""


class LocalObjectRef(ApiModel):
    """Refers to an object of a known kind in the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=253, description="The object's name.")]


class KeyRef(ApiModel):
    """Refers to one key of a ConfigMap or Secret in the same namespace."""

    name: Annotated[str, pydantic.Field(min_length=1, max_length=253, description="The object's name.")]
    key: ConfigKey


class NamedObject(pydantic.BaseModel):
    """The part of `metadata` that decisions use. Not part of any CRD schema."""

    model_config = pydantic.ConfigDict(
        alias_generator=alias_generators.to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
