"""Owner references: what lets Kubernetes collect our objects when their owner goes."""

from __future__ import annotations

from typing import Any

from sluice.api import base


def owner_reference(kind: str, metadata: base.NamedObject) -> dict[str, Any]:
    """A controller reference to one of our custom resources."""
    return {
        "apiVersion": base.API_VERSION,
        "kind": kind,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,  # without blockOwnerDeletion, which would need the right to set finalizers
    }
