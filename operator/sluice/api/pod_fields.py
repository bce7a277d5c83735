"""Pieces of `spec.template` that Kubernetes has too: the same names in JSON, so that what a user has can be pasted.

Each is written out and bounded: a raw Kubernetes object would be unbounded, and would let a template undo what Sluice
promises of its pods. Selectors and affinity are in `affinity`, volumes in `volumes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base, naming

LABEL_KEY_PATTERN: Final = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_LABEL_KEY_HINT: Final = "must be a label's key, such as topology.kubernetes.io/zone"

LabelKey = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=317,
        pattern=LABEL_KEY_PATTERN,
        description="Key of a label.",
        json_schema_extra=base.hint(_LABEL_KEY_HINT),
    ),
]

LabelValue = Annotated[
    str,
    pydantic.Field(
        max_length=63,
        pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        description="Value of a label.",
        json_schema_extra=base.hint(
            "must be a label's value: at most 63 letters, digits and - _ . with none of these at an end"
        ),
    ),
]

LabelMap = Annotated[
    Mapping[str, LabelValue],
    pydantic.Field(
        max_length=32,
        json_schema_extra=base.validations(
            base.cel(f"self.all(key, key.matches(r'{LABEL_KEY_PATTERN}'))", f"each key {_LABEL_KEY_HINT}")
        ),
    ),
]

ObjectName = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="The object's name.",
        json_schema_extra=base.hint("must be a name of Kubernetes: lower-case letters, digits, - and ."),
    ),
]


class LocalObjectRef(base.ApiModel):
    """Refers to an object of a known kind in the same namespace."""

    name: ObjectName


class OptionalKeyRef(base.ApiModel):
    """Refers to one key of a ConfigMap or Secret in the same namespace."""

    name: ObjectName
    key: base.ConfigKey
    optional: Annotated[bool | None, pydantic.Field(description="Whether a pod may start without it. Default: false.")] = None


_ONE_OF_METADATA: Final = r"metadata\.(name|namespace|uid|(labels|annotations)\[\x27[^\x27]+\x27\])"


class FieldRef(base.ApiModel):
    """Refers to a field of the pod, for a variable."""

    field_path: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=128,
            pattern=rf"^({_ONE_OF_METADATA}|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs))$",
            description="Such as metadata.name, status.podIP or metadata.labels['team'].",
            json_schema_extra=base.hint(
                "must be metadata.name, .namespace, .uid, .labels['<key>'] or .annotations['<key>'], spec.nodeName, "
                "spec.serviceAccountName, status.hostIP or status.podIP"
            ),
        ),
    ]


class FileFieldRef(base.ApiModel):
    """Refers to a field of the pod, for a file: one that may change while the pod runs."""

    field_path: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=128,
            pattern=rf"^({_ONE_OF_METADATA}|metadata\.(labels|annotations))$",
            description="Such as metadata.labels or metadata.labels['team'].",
            json_schema_extra=base.hint(
                "must be metadata.name, .namespace, .uid, .labels or .annotations, the last two perhaps with ['<key>']"
            ),
        ),
    ]


class EnvVarSource(base.ApiModel):
    """Where a variable's value comes from."""

    secret_key_ref: Annotated[OptionalKeyRef | None, pydantic.Field(description="A key of a Secret.")] = None
    config_map_key_ref: Annotated[OptionalKeyRef | None, pydantic.Field(description="A key of a ConfigMap.")] = None
    field_ref: Annotated[FieldRef | None, pydantic.Field(description="A field of the pod.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.exactly_one("valueFrom", "secretKeyRef", "configMapKeyRef", "fieldRef")
    )


class EnvVar(base.ApiModel):
    """One environment variable of the engine container."""

    name: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
            description="Name of the variable.",
            json_schema_extra=base.hint("must be letters, digits and _, the first no digit"),
        ),
    ]
    value: Annotated[str | None, pydantic.Field(max_length=4096, description="Its value.")] = None
    value_from: Annotated[EnvVarSource | None, pydantic.Field(description="Where its value comes from.")] = None

    model_config = pydantic.ConfigDict(json_schema_extra=base.exactly_one("a variable", "value", "valueFrom"))


class Toleration(base.ApiModel):
    """Lets pods onto nodes with a taint."""

    key: Annotated[LabelKey | None, pydantic.Field(description="Key of the taint. Unset, with Exists: every taint.")] = None
    operator: Annotated[
        Literal["Exists", "Equal"] | None, pydantic.Field(description="How key and value are compared. Default: Equal.")
    ] = None
    value: Annotated[LabelValue | None, pydantic.Field(description="Value of the taint.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None,
        pydantic.Field(description="Effect of the taint. Unset: every effect."),
    ] = None
    toleration_seconds: Annotated[
        int | None,
        pydantic.Field(ge=0, le=86_400, description="How long a pod stays on a node that gets the taint. Unset: for ever."),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
                "a toleration with operator Exists has no value: remove value, or use operator Equal",
                field_path=".value",
            ),
            base.cel(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "a toleration without a key needs operator Exists: name the key of the taint, or set operator: Exists",
                field_path=".operator",
            ),
            base.cel(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds applies to effect NoExecute only: remove it, or set effect: NoExecute",
                field_path=".tolerationSeconds",
            ),
        )
    )


Tolerations = Annotated[tuple[Toleration, ...], pydantic.Field(max_length=16)]


class Claim(base.ApiModel):
    """Devices by dynamic resource allocation: one entry is a claim of the pod that the engine container uses."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="Name of the claim in the pod; unique among the claims.")]
    resource_claim_name: Annotated[ObjectName | None, pydantic.Field(description="A ResourceClaim that all pods share.")] = None
    resource_claim_template_name: Annotated[
        ObjectName | None, pydantic.Field(description="A ResourceClaimTemplate: each pod gets a claim of its own.")
    ] = None
    request: Annotated[
        base.DnsLabel | None, pydantic.Field(description="The one request of the claim that the engine uses. Unset: all.")
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.exactly_one("a claim", "resourceClaimName", "resourceClaimTemplateName")
    )


def _without_own_keys(member: str) -> dict[str, str]:
    return base.cel(
        f"self.all(key, !key.startsWith('{base.GROUP}/') && key != '{naming.LABEL_MANAGED_BY}')",
        f"podMetadata.{member} may not set {base.GROUP}/ keys nor {naming.LABEL_MANAGED_BY}, which Sluice sets itself: "
        "remove them, or use a prefix of your own",
    )


class PodMetadata(base.ApiModel):
    """Labels and annotations of the pods, for what looks at pods: cost reports, service meshes, log shippers."""

    labels: Annotated[
        LabelMap | None,
        pydantic.Field(description="Added to Sluice's own.", json_schema_extra=base.validations(_without_own_keys("labels"))),
    ] = None
    annotations: Annotated[
        Mapping[str, Annotated[str, pydantic.Field(max_length=4096)]] | None,
        pydantic.Field(
            max_length=32,
            description="Added to Sluice's own.",
            json_schema_extra=base.validations(
                base.cel(
                    f"self.all(key, key.matches(r'{LABEL_KEY_PATTERN}'))",
                    "each key of annotations must be a name, perhaps with a domain, such as example.com/team",
                ),
                _without_own_keys("annotations"),
            ),
        ),
    ] = None
