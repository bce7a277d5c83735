"""Security contexts that the restricted Pod Security profile admits."""

from __future__ import annotations

from typing import Any


def pod(uid: int) -> dict[str, Any]:
    """Pod-level context: non-root, default seccomp profile, volumes owned by the group."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "fsGroup": uid,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container() -> dict[str, Any]:
    """Container-level context: no privileges, read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
