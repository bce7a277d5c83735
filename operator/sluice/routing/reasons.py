"""Reasons of the conditions that routing finds. The messages name the field, the value and the fix."""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Why a route or a policy is, or is not, in effect."""

    ACCEPTED = "Accepted"
    """It is in effect."""
    RESOLVED = "Resolved"
    """Everything it refers to exists and may be used."""
    CONFLICT = "Conflict"
    """Another route or an older ModelDeployment has the name."""
    OVERRIDDEN = "Overridden"
    """An explicit route of the Gateway answers for the name, without this ModelDeployment."""
    NOT_ALLOWED = "NotAllowed"
    """The Gateway's allowedModels does not let the namespace in."""
    BACKEND_NOT_FOUND = "BackendNotFound"
    """A backend does not exist."""
    BACKEND_NOT_ALLOWED = "BackendNotAllowed"
    """A backend's ModelDeployment does not refer to the Gateway, or the Gateway does not let its namespace in."""
    MODEL_MISMATCH = "ModelMismatch"
    """A backend serves another name than the one it would be asked for."""
    NOT_MIRRORED = "NotMirrored"
    """A rollout mirrors requests of a ModelDeployment that other backends of the route come before."""
    NO_REVISION = "NoRevision"
    """The ModelDeployment has no revision that may get traffic yet."""
    MATCHES_NOTHING = "MatchesNothing"
    """A limit names a model or client, or an override a client, that the Gateway does not know."""
    TOO_MANY_KEYS = "TooManyKeys"
    """A limit has more buckets than a proxy keeps."""
