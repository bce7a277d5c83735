"""Volumes of an engine pod: what every pod gets, what its model and files bring, and what the user adds.

The root file system is read-only, so whatever vLLM writes goes to one of these. A mount of the user's never meets one of ours:
the CRD keeps our names and paths free.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

HOME: Final = "/var/cache/sluice"
"""Where the engine keeps its caches, such as compiled kernels. On a volume of the pod's own."""
TMP: Final = "/tmp"  # noqa: S108 - an emptyDir of the pod's own
SHM: Final = "/dev/shm"  # noqa: S108 - an emptyDir of the pod's own

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class PodParts:
    """What one concern (the model's source, its files) adds to an engine pod."""

    volumes: tuple[Object, ...] = ()
    engine_mounts: tuple[Object, ...] = ()
    """Mounts in the engine container."""
    init_containers: tuple[Object, ...] = ()
    engine_env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Variables of the engine container; the user's own of the same name win."""


def own(shared_memory: str) -> PodParts:
    """What every engine pod has: somewhere to write, and shared memory of the size that is given as a quantity."""
    return PodParts(
        volumes=(
            {"name": "tmp", "emptyDir": {}},
            {"name": "cache", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
        ),
        engine_mounts=(
            {"name": "tmp", "mountPath": TMP},
            {"name": "cache", "mountPath": HOME},
            {"name": "shm", "mountPath": SHM},
        ),
        engine_env=cache_environment(),
    )


def cache_environment() -> dict[str, str]:
    """Where libraries keep what they write. Said to each by name: an image may set one of them to a path that is read-only."""
    return {
        "HOME": HOME,
        "XDG_CACHE_HOME": f"{HOME}/.cache",
        "XDG_CONFIG_HOME": f"{HOME}/.config",
        "HF_HOME": f"{HOME}/.cache/huggingface",
        "VLLM_CACHE_ROOT": f"{HOME}/.cache/vllm",
        "TRITON_CACHE_DIR": f"{HOME}/.triton/cache",
    }


def combine(parts: Iterable[PodParts], *, volumes: Iterable[Object] = (), mounts: Iterable[Object] = ()) -> PodParts:
    """All parts as one, the user's `volumes` and `mounts` last."""
    parts = tuple(parts)
    return PodParts(
        volumes=(*(volume for part in parts for volume in part.volumes), *volumes),
        engine_mounts=(*(mount for part in parts for mount in part.engine_mounts), *mounts),
        init_containers=tuple(container for part in parts for container in part.init_containers),
        engine_env={name: value for part in parts for name, value in part.engine_env.items()},
    )
