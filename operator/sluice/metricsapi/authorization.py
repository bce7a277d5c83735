"""May they? Asked of the API server (SubjectAccessReview), whose RBAC thereby holds for our API as for its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Protocol

from sluice.metricsapi import authentication, memory

CACHE_SECONDS: Final = 10.0
"""How long an answer counts: a right that is taken away goes on for so long, as in Kubernetes' own servers."""


class Reviewer(Protocol):
    """Asks the API server."""

    async def review_access(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status of a SubjectAccessReview. Raises errors.ApiError."""


@dataclasses.dataclass(frozen=True)
class Access:
    """What is asked for: a path (discovery), or a resource when `resource` is set."""

    path: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    verb: str = "get"

    def attributes(self) -> dict[str, Any]:
        """As a part of a SubjectAccessReview's spec."""
        if not self.resource:
            return {"nonResourceAttributes": {"path": self.path, "verb": self.verb}}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "path"}
        return {"resourceAttributes": {name: value for name, value in fields.items() if value}}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The API server's answer; `reason` is its own words."""

    allowed: bool
    reason: str = ""


class Authorizer:
    """Asks once for each user and access, and again after `CACHE_SECONDS`."""

    def __init__(self, reviewer: Reviewer) -> None:
        self._reviewer = reviewer
        self._memory: memory.Memory[Verdict] = memory.Memory(CACHE_SECONDS)

    async def authorize(self, user: authentication.User, access: Access, *, monotonic: float) -> Verdict:
        """Whether the user may. Raises errors.ApiError when the API server does not say."""
        key = (user, access)
        if self._memory.knows(key, monotonic):
            return self._memory.get(key)
        spec = {
            "user": user.name,
            "groups": list(user.groups),
            **({"uid": user.uid} if user.uid else {}),
            **({"extra": {name: list(values) for name, values in user.extra}} if user.extra else {}),
            **access.attributes(),
        }
        status = await self._reviewer.review_access(spec)
        verdict = Verdict(bool(status.get("allowed")) and not status.get("denied"), str(status.get("reason") or ""))
        self._memory.put(key, verdict, monotonic)
        return verdict
