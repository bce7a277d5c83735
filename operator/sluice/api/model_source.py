"""`spec.template.model`: where weights, adapters and prompt files come from, and what clients call the model."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import pydantic

from sluice.api import base, pod_fields

PREFETCHED: Final = ("hf", "s3", "gs")
"""Schemes whose content is downloaded before the engine starts."""
_SHAPES: Final = {
    "hf": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?", "hf://<organisation>/<model>"),
    "s3": (r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/\s]+)*/?", "s3://<bucket>/<prefix>"),
    "gs": (r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/\s]+)*/?", "gs://<bucket>/<prefix>"),
    "pvc": (r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[^/\s]+)*/?", "pvc://<claim>/<path>"),
    "oci": (
        r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+(:[\w][\w.-]{0,127})?(@sha256:[a-f0-9]{64})?(#[^\s#]+)?",
        "oci://<registry>/<image>:<tag>, with @sha256:<digest> and #<path inside it> where wanted",
    ),
    "file": (r"/[^\s]+", "file:///<path inside the engine image>"),
}
"""What follows `://`, by scheme, as a regular expression and as users read it."""
FILES_OF_SLUICE: Final = ("liveness.py", "hold_headers.py", "chat_template.jinja")
"""Names in the engine's folder of files that are not the user's."""
_IS_PREFETCHED: Final = f"matches('^({'|'.join(PREFETCHED)})://')"


def _shapes() -> dict[str, Any]:
    """Rules for a source: a scheme that exists, and the shape that it asks for. Only one of them ever speaks."""
    schemes = list(_SHAPES)
    known = base.cel(
        f"self.matches('^({'|'.join(schemes)})://')",
        f"must begin with {', '.join(f'{scheme}://' for scheme in schemes[:-1])} or {schemes[-1]}://",
    )
    shapes = (
        base.cel(
            f"!self.startsWith('{scheme}://') || self.matches(r'^{scheme}://{pattern}$')", f"must be {words}, without blanks"
        )
        for scheme, (pattern, words) in _SHAPES.items()
    )
    dots = base.cel(
        "!self.split('/').exists(part, part == '..' || part == '.')", "may not hold . or .. as a folder: write the path out"
    )
    return base.validations(known, *shapes, dots)


Source = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=512,
        json_schema_extra=_shapes(),
        description=(
            "hf://<organisation>/<model>, s3://<bucket>/<prefix> or gs://<bucket>/<prefix> (downloaded before the engine "
            "starts), pvc://<claim>/<path> (mounted read-only), oci://<image> (mounted as an image volume; Kubernetes 1.35) "
            "or file:///<path> (inside the engine image)."
        ),
    ),
]

HubRevision = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        description="Commit, tag or branch of an hf:// source. Default: main.",
        json_schema_extra=base.hint("must be a commit, tag or branch, such as main"),
    ),
]
_REVISION_NEEDS_HF: Final = base.cel(
    "!has(self.revision) || self.source.startsWith('hf://')",
    "revision applies to hf:// sources only: remove it or use an hf:// source",
    field_path=".revision",
    message_expression=(
        "'revision applies to hf:// sources only, and source is ' + self.source + ': remove revision or use an hf:// source'"
    ),
)


class ConfigMapFile(base.ApiModel):
    """A file whose content is a key of a ConfigMap; it is copied into the revision."""

    config_map_key_ref: Annotated[base.KeyRef, pydantic.Field(description="The ConfigMap and its key.")]


class PromptFile(base.ApiModel):
    """A file for the engine, at /mnt/sluice/files/<name>."""

    name: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
            description="Name of the file; unique, and none of Sluice's own.",
            json_schema_extra={
                **base.hint("must begin with a letter or digit and hold only letters, digits and . _ -"),
                **base.validations(
                    base.cel(
                        f"!(self in {list(FILES_OF_SLUICE)}) && !self.endsWith('.py')",
                        f"{', '.join(FILES_OF_SLUICE)} and names that end in .py are Sluice's own, for the engine imports "
                        "Python from that folder: choose another name, or mount Python code by volumes",
                    )
                ),
            },
        ),
    ]
    config_map_key_ref: Annotated[base.KeyRef, pydantic.Field(description="The ConfigMap and its key.")]


class EmptyDirCache(base.ApiModel):
    """A cache that each pod fills for itself."""

    size_limit: Annotated[base.Quantity | None, pydantic.Field(description="Most that it may hold.")] = None


class ClaimCache(base.ApiModel):
    """A cache that pods share, and that outlives them."""

    claim_name: Annotated[
        pod_fields.ObjectName,
        pydantic.Field(description="A PersistentVolumeClaim; ReadWriteMany where pods run on several nodes."),
    ]


class Cache(base.ApiModel):
    """Where what is downloaded is kept."""

    type: Annotated[
        Literal["EmptyDir", "PersistentVolumeClaim"],
        pydantic.Field(description="Which kind of volume; the member of the same name configures it."),
    ]
    empty_dir: Annotated[EmptyDirCache | None, pydantic.Field(description="Settings of EmptyDir.")] = None
    persistent_volume_claim: Annotated[ClaimCache | None, pydantic.Field(description="Settings of PersistentVolumeClaim.")] = (
        None
    )

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            base.cel(
                "!has(self.emptyDir) || self.type == 'EmptyDir'",
                "cache.emptyDir belongs to type EmptyDir: remove it, or set type: EmptyDir",
                field_path=".emptyDir",
            ),
            base.cel(
                "has(self.persistentVolumeClaim) == (self.type == 'PersistentVolumeClaim')",
                "cache.persistentVolumeClaim is required for type PersistentVolumeClaim and refused for EmptyDir",
                field_path=".persistentVolumeClaim",
            ),
        )
    )


class Adapter(base.ApiModel):
    """A LoRA adapter: clients ask for it by its name, as for a model."""

    name: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=63,
            pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
            description="The name that clients put into `model`; unique, and not the model's own.",
            json_schema_extra=base.hint("must be letters, digits and . _ - with a letter or digit at both ends"),
        ),
    ]
    source: Source
    revision: HubRevision | None = None

    model_config = pydantic.ConfigDict(json_schema_extra=base.validations(_REVISION_NEEDS_HF))


def _needs_prefetch(member: str) -> dict[str, str]:
    return base.cel(
        f"!has(self.{member}) || self.source.{_IS_PREFETCHED} || "
        f"(has(self.adapters) && self.adapters.exists(adapter, adapter.source.{_IS_PREFETCHED}))",
        f"{member} applies to what is downloaded, and neither source nor an adapter is hf://, s3:// or gs://: remove it",
        field_path=f".{member}",
    )


class ModelSource(base.ApiModel):
    """Where the weights come from and what clients call the model."""

    source: Source
    revision: HubRevision | None = None
    served_name: Annotated[
        base.ModelName | None,
        pydantic.Field(description="The name clients put into `model`. Default: metadata.name."),
    ] = None
    credentials_secret_ref: Annotated[
        base.KeyRef | None,
        pydantic.Field(
            description=(
                "Key of a Secret with which hf://, s3:// and gs:// are downloaded: a hub token, an AWS shared credentials "
                "file, or a Google service account's JSON. It is for the store of `source`, or of the first adapter where "
                "`source` is not downloaded; others are asked as the ServiceAccount. Only the download sees it."
            )
        ),
    ] = None
    cache: Annotated[
        Cache | None, pydantic.Field(description="Where what is downloaded is kept. Default: an EmptyDir of each pod.")
    ] = None
    chat_template: Annotated[
        ConfigMapFile | None, pydantic.Field(description="Chat template (Jinja). Its content is part of the revision.")
    ] = None
    files: Annotated[
        tuple[PromptFile, ...] | None,
        pydantic.Field(
            max_length=16,
            description="Further files of the engine's. Their content is part of the revision.",
            json_schema_extra=base.map_list("name"),
        ),
    ] = None
    adapters: Annotated[
        tuple[Adapter, ...] | None,
        pydantic.Field(max_length=16, description="LoRA adapters.", json_schema_extra=base.map_list("name")),
    ] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.validations(
            _REVISION_NEEDS_HF,
            _needs_prefetch("credentialsSecretRef"),
            _needs_prefetch("cache"),
            base.cel(
                "!has(self.servedName) || !has(self.adapters) || !self.adapters.exists(it, it.name == self.servedName)",
                "an adapter may not have the model's servedName: clients could not tell them apart",
                field_path=".adapters",
            ),
        )
    )


ADAPTER_NAME_RULE: Final = base.cel(
    "has(self.spec.template.model.servedName) || !has(self.spec.template.model.adapters) || "
    "!self.spec.template.model.adapters.exists(adapter, adapter.name == self.metadata.name)",
    "an adapter may not have the model's name, which is metadata.name where servedName is unset: rename the adapter, or set "
    "servedName",
    field_path=".spec.template.model.adapters",
)
"""A rule of the whole object: only there is metadata.name seen."""
