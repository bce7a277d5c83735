"""Volumes of the engine's pods: the kinds that the restricted Pod Security profile allows, and where they are mounted.

hostPath and the kinds of the in-tree storage drivers are left out on purpose: claims and CSI do what they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import pydantic

from sluice.api import base, pod_fields

OWN_VOLUMES: Final = ("model", "tmp", "cache", "shm", "files", "resolved", "credentials", "prefetch", "adapters")
OWN_VOLUME_PREFIXES: Final = ("sluice-", "adapter-")
"""Names of volumes that Sluice may give a pod: `volumes` may not use them."""
OWN_PATHS: Final = ("/mnt/sluice", "/var/cache/sluice", "/tmp", "/dev", "/proc", "/sys")  # noqa: S108 - names, not files
"""Folders of the engine container that Sluice or the runtime fills: `volumeMounts` may not go into them."""

_PART: Final = r"\.{0,2}[A-Za-z0-9_-][A-Za-z0-9_.-]*"
"""A folder or file that is neither . nor .., as a regular expression."""

RelativePath = Annotated[
    str,
    pydantic.Field(
        min_length=1,
        max_length=128,
        pattern=rf"^{_PART}(/{_PART})*$",
        description="Path below the volume.",
        json_schema_extra=base.hint("must be a path without . or .. as a folder and without a / at its ends"),
    ),
]
Mode = Annotated[int, pydantic.Field(ge=0, le=0o777, description="Permission bits, decimal: 292 is 0444.")]


class KeyToPath(base.ApiModel):
    """One key as a file."""

    key: base.ConfigKey
    path: RelativePath
    mode: Annotated[Mode | None, pydantic.Field(description="Permission bits of the file, decimal.")] = None


_Items = Annotated[
    tuple[KeyToPath, ...], pydantic.Field(max_length=16, description="Keys to show as files. Unset: all, by their names.")
]


class ConfigMapVolume(base.ApiModel):
    """The keys of a ConfigMap as files."""

    name: pod_fields.ObjectName
    items: _Items | None = None
    default_mode: Annotated[Mode | None, pydantic.Field(description="Permission bits of the files, decimal.")] = None
    optional: Annotated[bool | None, pydantic.Field(description="Whether pods may start without it.")] = None


class SecretVolume(base.ApiModel):
    """The keys of a Secret as files."""

    secret_name: pod_fields.ObjectName
    items: _Items | None = None
    default_mode: Annotated[Mode | None, pydantic.Field(description="Permission bits of the files, decimal.")] = None
    optional: Annotated[bool | None, pydantic.Field(description="Whether pods may start without it.")] = None


class EmptyDirVolume(base.ApiModel):
    """An empty folder that lives as long as its pod."""

    medium: Annotated[Literal["", "Memory"] | None, pydantic.Field(description="Memory: kept in RAM.")] = None
    size_limit: Annotated[base.Quantity | None, pydantic.Field(description="Most that it may hold.")] = None


class ClaimVolume(base.ApiModel):
    """A PersistentVolumeClaim of the same namespace."""

    claim_name: pod_fields.ObjectName
    read_only: Annotated[bool | None, pydantic.Field(description="Whether it is mounted read-only.")] = None


class DownwardApiItem(base.ApiModel):
    """One field of the pod as a file."""

    path: RelativePath
    field_ref: Annotated[pod_fields.FileFieldRef, pydantic.Field(description="The field.")]
    mode: Annotated[Mode | None, pydantic.Field(description="Permission bits of the file, decimal.")] = None


class DownwardApiVolume(base.ApiModel):
    """Fields of the pod as files."""

    items: Annotated[tuple[DownwardApiItem, ...], pydantic.Field(min_length=1, max_length=16, description="The files.")]
    default_mode: Annotated[Mode | None, pydantic.Field(description="Permission bits of the files, decimal.")] = None


class ConfigMapProjection(base.ApiModel):
    """The keys of a ConfigMap as files."""

    name: pod_fields.ObjectName
    items: _Items | None = None
    optional: Annotated[bool | None, pydantic.Field(description="Whether pods may start without it.")] = None


class DownwardApiProjection(base.ApiModel):
    """Fields of the pod as files."""

    items: Annotated[tuple[DownwardApiItem, ...], pydantic.Field(min_length=1, max_length=16, description="The files.")]


class TokenProjection(base.ApiModel):
    """A token of the pod's ServiceAccount for another service, such as a cloud's identity federation."""

    audience: Annotated[str, pydantic.Field(min_length=1, max_length=253, description="Who the token is for.")]
    expiration_seconds: Annotated[
        int | None, pydantic.Field(ge=600, le=86_400, description="How long a token lives. Default: 3600.")
    ] = None
    path: RelativePath


class VolumeProjection(base.ApiModel):
    """One source of a projected volume."""

    config_map: Annotated[ConfigMapProjection | None, pydantic.Field(description="Keys of a ConfigMap.")] = None
    secret: Annotated[ConfigMapProjection | None, pydantic.Field(description="Keys of a Secret.")] = None
    downward_api: Annotated[
        DownwardApiProjection | None, pydantic.Field(alias="downwardAPI", description="Fields of the pod.")
    ] = None
    service_account_token: Annotated[TokenProjection | None, pydantic.Field(description="A token.")] = None

    model_config = pydantic.ConfigDict(
        json_schema_extra=base.exactly_one("a source", "configMap", "secret", "downwardAPI", "serviceAccountToken")
    )


class ProjectedVolume(base.ApiModel):
    """Several sources in one folder."""

    sources: Annotated[tuple[VolumeProjection, ...], pydantic.Field(min_length=1, max_length=8, description="The sources.")]
    default_mode: Annotated[Mode | None, pydantic.Field(description="Permission bits of the files, decimal.")] = None


class CsiVolume(base.ApiModel):
    """A volume that a CSI driver makes for each pod."""

    driver: Annotated[pod_fields.ObjectName, pydantic.Field(description="The driver's name.")]
    read_only: Annotated[bool | None, pydantic.Field(description="Whether it is mounted read-only.")] = None
    fs_type: Annotated[str | None, pydantic.Field(max_length=32, description="File system to mount.")] = None
    volume_attributes: Annotated[
        Mapping[str, Annotated[str, pydantic.Field(max_length=1024)]] | None,
        pydantic.Field(max_length=32, description="What the driver is told."),
    ] = None
    node_publish_secret_ref: Annotated[
        pod_fields.LocalObjectRef | None, pydantic.Field(description="A Secret for the driver.")
    ] = None


class StorageRequest(base.ApiModel):
    """The size of a claim."""

    storage: Annotated[
        base.Quantity,
        pydantic.Field(
            json_schema_extra=base.validations(
                base.cel(
                    "quantity(string(self)).isGreaterThan(quantity('0'))",
                    "storage must be above zero: say its size",
                )
            )
        ),
    ]


class ClaimResources(base.ApiModel):
    """How much storage a claim asks for."""

    requests: Annotated[StorageRequest, pydantic.Field(description="storage: the size.")]


class ClaimSpec(base.ApiModel):
    """The claim that each pod gets."""

    access_modes: Annotated[
        tuple[Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"], ...],
        pydantic.Field(
            min_length=1,
            max_length=4,
            description="How it may be mounted.",
            json_schema_extra=base.validations(
                base.cel(
                    "size(self) == 1 || !('ReadWriteOncePod' in self)",
                    "ReadWriteOncePod excludes other access modes: keep one of them",
                )
            ),
        ),
    ]
    storage_class_name: Annotated[
        pod_fields.ObjectName | None, pydantic.Field(description="Its StorageClass. Default: the cluster's.")
    ] = None
    volume_mode: Annotated[Literal["Filesystem"] | None, pydantic.Field(description="Filesystem.")] = None
    resources: Annotated[ClaimResources, pydantic.Field(description="How much it asks for.")]


class ClaimTemplate(base.ApiModel):
    """A claim that is made for each pod and goes with it."""

    spec: Annotated[ClaimSpec, pydantic.Field(description="The claim.")]


class EphemeralVolume(base.ApiModel):
    """A claim of its own for each pod, deleted with it."""

    volume_claim_template: Annotated[ClaimTemplate, pydantic.Field(description="The claim.")]


class ImageVolume(base.ApiModel):
    """The content of an OCI image, read-only."""

    reference: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=512,
            pattern=r"^[^\s]+$",
            description="The image.",
            json_schema_extra=base.hint("must be an image without blanks, such as registry.example/data:1"),
        ),
    ]
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"] | None, pydantic.Field(description="When it is pulled.")
    ] = None


_KINDS: Final = (
    "configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI", "csi", "ephemeral", "image",
)  # fmt: skip


class Volume(base.ApiModel):
    """A volume of the pods."""

    name: Annotated[
        base.DnsLabel,
        pydantic.Field(
            description="Its name; unique, and none of Sluice's own.",
            json_schema_extra=base.validations(
                base.cel(
                    f"!(self in {list(OWN_VOLUMES)}) && "
                    + " && ".join(f"!self.startsWith('{prefix}')" for prefix in OWN_VOLUME_PREFIXES),
                    f"{', '.join(OWN_VOLUMES)} and names that begin with {' or '.join(OWN_VOLUME_PREFIXES)} are Sluice's own "
                    "volumes: choose another name",
                )
            ),
        ),
    ]
    config_map: Annotated[ConfigMapVolume | None, pydantic.Field(description="A ConfigMap.")] = None
    secret: Annotated[SecretVolume | None, pydantic.Field(description="A Secret.")] = None
    empty_dir: Annotated[EmptyDirVolume | None, pydantic.Field(description="An empty folder.")] = None
    persistent_volume_claim: Annotated[ClaimVolume | None, pydantic.Field(description="A claim.")] = None
    projected: Annotated[ProjectedVolume | None, pydantic.Field(description="Several sources in one folder.")] = None
    downward_api: Annotated[DownwardApiVolume | None, pydantic.Field(alias="downwardAPI", description="Fields of the pod.")] = (
        None
    )
    csi: Annotated[CsiVolume | None, pydantic.Field(description="A CSI driver's.")] = None
    ephemeral: Annotated[EphemeralVolume | None, pydantic.Field(description="A claim for each pod.")] = None
    image: Annotated[ImageVolume | None, pydantic.Field(description="An OCI image.")] = None

    model_config = pydantic.ConfigDict(json_schema_extra=base.exactly_one("a volume", *_KINDS))


class VolumeMount(base.ApiModel):
    """Where a volume is in the engine container."""

    name: Annotated[base.DnsLabel, pydantic.Field(description="The volume, one of `volumes`.")]
    mount_path: Annotated[
        str,
        pydantic.Field(
            min_length=1,
            max_length=512,
            pattern=rf"^(/{_PART})+$",
            description="Absolute path of the folder, or of the file with subPath.",
            json_schema_extra={
                **base.hint("must be an absolute path such as /data, without . or .. as a folder and without a / at its end"),
                **base.validations(
                    base.cel(
                        f"!{list(OWN_PATHS)}.exists(own, self == own || self.startsWith(own + '/') || "
                        "own.startsWith(self + '/'))",
                        f"{', '.join(OWN_PATHS)} are filled by Sluice or the runtime: mount elsewhere, such as at /data",
                    ),
                ),
            },
        ),
    ]
    sub_path: Annotated[RelativePath | None, pydantic.Field(description="A folder or file of the volume.")] = None
    read_only: Annotated[bool | None, pydantic.Field(description="Whether it is mounted read-only.")] = None
