"""Model sources by scheme: where the engine finds a model or an adapter, and what its pod mounts for that.

`hf://`, `s3://` and `gs://` are downloaded before the engine starts, see `prefetch`; the others are there already: a claim
(`pvc://`), an image volume (`oci://`) or the engine image itself (`file:///`). The engine always gets a local path.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sluice.api import naming

MOUNT_PATH: Final = "/mnt/sluice/model"
"""Where a model from a claim or an image volume is mounted."""
ADAPTERS_PATH: Final = "/mnt/sluice/adapters"
"""Below it adapters from claims and image volumes, each under its name."""
LINKS_PATH: Final = "/mnt/sluice/downloads"
"""Links of the pod's own into the cache: known when a pod is rendered, unlike the commit they point at."""
VOLUME: Final = "model"
MODEL: Final = "model"
"""Name of the item that is the model itself."""
_ADAPTERS: Final = "adapters/"


class Scheme(enum.StrEnum):
    """What stands before `://`."""

    HF = "hf"
    """The Hugging Face hub, or a mirror of it."""
    S3 = "s3"
    """Amazon S3, or anything that speaks its protocol."""
    GS = "gs"
    """Google Cloud Storage."""
    PVC = "pvc"
    """A PersistentVolumeClaim of the namespace."""
    OCI = "oci"
    """A container image, mounted as an image volume."""
    FILE = "file"
    """A directory of the engine image."""


DOWNLOADED: Final = frozenset({Scheme.HF, Scheme.S3, Scheme.GS})


@dataclasses.dataclass(frozen=True)
class Source:
    """One source, taken apart."""

    scheme: Scheme
    place: str
    """Repository, bucket, claim or image; "" for `file`."""
    path: str = ""
    """Path inside it, without a slash at its ends; absolute for `file`."""

    @property
    def is_downloaded(self) -> bool:
        """Whether an init container brings it."""
        return self.scheme in DOWNLOADED


@dataclasses.dataclass(frozen=True)
class Item:
    """One thing that the engine loads: the model, or an adapter."""

    name: str
    """`model`, or `adapters/<name>`; also its path below LINKS_PATH."""
    source: str
    revision: str | None = None
    """Commit, tag or branch of an `hf` source."""

    @property
    def parsed(self) -> Source:
        """The source, taken apart."""
        return parse(self.source)


def model_item(source: str, revision: str | None = None) -> Item:
    """The model as an item."""
    return Item(MODEL, source, revision)


def adapter_item(name: str, source: str, revision: str | None = None) -> Item:
    """The adapter of that name as an item."""
    return Item(f"{_ADAPTERS}{name}", source, revision)


def parse(source: str) -> Source:
    """Takes a source apart.

    `hf://<organisation>/<model>`, `s3://<bucket>/<prefix>`, `gs://<bucket>/<prefix>`, `pvc://<claim>/<path>`,
    `oci://<image>#<path inside it>` and `file:///<path>`.

    Raises:
        ValueError: it is none of these.
    """
    text, _, rest = source.partition("://")
    try:
        scheme = Scheme(text)
    except ValueError:
        known = ", ".join(f"{one.value}://" for one in Scheme)
        raise ValueError(f"Cannot use model source {source!r}: it starts with none of {known}") from None
    if scheme is Scheme.FILE:
        return Source(scheme, "", rest)
    if scheme is Scheme.HF:
        return Source(scheme, rest)
    place, _, path = rest.partition("#" if scheme is Scheme.OCI else "/")
    return Source(scheme, place, path.strip("/"))


def path_of(item: Item) -> str:
    """Where the engine finds it, inside its container."""
    source = item.parsed
    if source.is_downloaded:
        return f"{LINKS_PATH}/{item.name}"
    if source.scheme is Scheme.FILE:
        return source.path
    return f"{_mount_path(item)}/{source.path}".rstrip("/")


def model_argument(source: str) -> str:
    """The model as `vllm serve` takes it: a path inside the container."""
    return path_of(model_item(source))


def adapter_path(name: str, source: str) -> str:
    """Where the engine finds an adapter."""
    return path_of(adapter_item(name, source))


def volumes(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Pod volumes of the items that are mounted; what is downloaded has those of `prefetch`."""
    return [{"name": _volume_name(item), **volume} for item in items if (volume := _volume(item.parsed)) is not None]


def mounts(items: Iterable[Item]) -> list[dict[str, Any]]:
    """Mounts of those volumes in the engine container."""
    return [
        {"name": _volume_name(item), "mountPath": _mount_path(item), "readOnly": True}
        for item in items
        if _volume(item.parsed) is not None
    ]


def unsupported(items: Iterable[Item], *, image_volumes: bool) -> str | None:
    """What is wrong with the items on a cluster with or without image volumes, and the fix; None when nothing is."""
    for item in items:
        if item.parsed.scheme is Scheme.OCI and not image_volumes:
            return (
                f"Cannot use source {item.source}: oci:// needs image volumes, which Kubernetes has from 1.35. "
                "Upgrade the cluster, or use an hf://, s3://, gs://, pvc:// or file:/// source"
            )
    return None


def _volume(source: Source) -> Mapping[str, Any] | None:
    if source.scheme is Scheme.PVC:
        return {"persistentVolumeClaim": {"claimName": source.place, "readOnly": True}}
    if source.scheme is Scheme.OCI:
        return {"image": {"reference": source.place, "pullPolicy": "IfNotPresent"}}
    return None


def _volume_name(item: Item) -> str:
    # Adapters may be called anything that a client may write; volumes may not.
    return VOLUME if item.name == MODEL else f"adapter-{naming.content_hash(item.name)}"


def _mount_path(item: Item) -> str:
    return MOUNT_PATH if item.name == MODEL else f"{ADAPTERS_PATH}/{item.name.removeprefix(_ADAPTERS)}"
