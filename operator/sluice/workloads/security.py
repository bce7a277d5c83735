"""Security contexts that the restricted Pod Security profile admits."""

from __future__ import annotations

from typing import Any


def pod(uid: int | None) -> dict[str, Any]:
    """Pod-level context: non-root, default seccomp profile, volumes owned by the group.

    None leaves user and group to the platform: OpenShift gives each namespace a range of its own, and refuses any other.
    """
    owner = {} if uid is None else {"runAsUser": uid, "runAsGroup": uid, "fsGroup": uid}
    return {"runAsNonRoot": True, **owner, "seccompProfile": {"type": "RuntimeDefault"}}


def container() -> dict[str, Any]:
    """Container-level context: no privileges, read-only root."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
