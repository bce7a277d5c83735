"""Model sources (`hf://`, `pvc://`, `file:///`): what the engine is told and what the pod mounts."""

from __future__ import annotations

from typing import Any, Final

MOUNT_PATH: Final = "/mnt/sluice/model"
VOLUME: Final = "model"


def model_argument(source: str) -> str:
    """The model as `vllm serve` takes it: a repository of the hub or a path inside the container."""
    scheme, _, rest = source.partition("://")
    match scheme:
        case "hf":
            return rest
        case "file":
            return rest
        case "pvc":
            _, _, path = rest.partition("/")
            return f"{MOUNT_PATH}/{path}".rstrip("/")
        case _:
            raise ValueError(f"Cannot use model source {source!r}: its scheme is none of hf, pvc and file")


def volumes(source: str) -> list[dict[str, Any]]:
    """Pod volumes that the source needs."""
    scheme, _, rest = source.partition("://")
    if scheme != "pvc":
        return []
    claim, _, _ = rest.partition("/")
    return [{"name": VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}]


def mounts(source: str) -> list[dict[str, Any]]:
    """Mounts of those volumes in the engine container."""
    if not source.startswith("pvc://"):
        return []
    return [{"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": True}]
