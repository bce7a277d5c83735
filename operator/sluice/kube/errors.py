"""What the Kubernetes API answers when it does not do what we asked: one typed tree, so that callers match types, never text.

    KubeError
    ├── UndeclaredVerb           our own bug: the resource table does not allow it, so RBAC would not either
    └── ApiError                 status, reason, detail, causes
        ├── Unauthorized         401
        ├── Forbidden            403: RBAC, an exceeded quota, a terminating namespace
        ├── NotFound             404
        ├── AlreadyExists        409 on create
        ├── Conflict             409: the object changed since it was read; gather again
        ├── Expired              410: the resourceVersion or continue token is too old; list again
        ├── Invalid              400 and 422: the object is wrong; `causes` name the fields
        └── Transient            the same request may work later; the client has retried it already
            ├── Unreachable      no answer: refused, reset, timed out
            ├── TooManyRequests  429: `retry_after` says when
            └── ServerError      5xx

Turning an error into a condition on a user's object stays with the reconcilers.
"""

# ruff: noqa: N818 - always read with the module: errors.NotFound, errors.Conflict

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Cause:
    """One finding of the API server. `field` is a path such as `spec.template.model.source`, or empty."""

    field: str
    reason: str
    message: str


class KubeError(Exception):
    """Base of all errors of this package."""


class UndeclaredVerb(KubeError):
    """A request that the table in `kube.resources` does not declare."""


class ApiError(KubeError):
    """The API server refused or failed a request.

    `action` says what was tried, `detail` is the server's own message, `status` its HTTP code (0: none arrived).
    """

    def __init__(self, action: str, detail: str, *, status: int = 0, reason: str = "", causes: tuple[Cause, ...] = ()) -> None:
        super().__init__(f"Cannot {action}: {detail}")
        self.action = action
        self.detail = detail
        self.status = status
        self.reason = reason
        self.causes = causes


class Unauthorized(ApiError):
    """The API server does not know who we are."""


class Forbidden(ApiError):
    """The API server knows us and says no."""


class NotFound(ApiError):
    """No such object, or its kind is not installed."""


class AlreadyExists(ApiError):
    """An object of that name is there. After a retry it may be the one that our own first attempt made."""


class Conflict(ApiError):
    """The object is not the one that was read any more: gather again, then decide again."""


class Expired(ApiError):
    """The version or page to go on from is gone: start again with a list."""


class Invalid(ApiError):
    """The object breaks its schema or a rule; `causes` say where."""


class Transient(ApiError):
    """May work later."""


class Unreachable(Transient):
    """No answer arrived. The request may have been carried out all the same."""


class TooManyRequests(Transient):
    """The API server sheds load; `retry_after` is in seconds, None when it did not say."""

    def __init__(self, action: str, detail: str, *, retry_after: float | None = None, **more: Any) -> None:
        super().__init__(action, detail, **more)
        self.retry_after = retry_after


class ServerError(Transient):
    """The API server, or something between, failed."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}
_TEXT_MAX = 200


def from_response(action: str, status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The typed error for an HTTP answer of 400 and above. `body` is a Status object, or anything a proxy wrote."""
    parsed = _parse_status(body)
    details = parsed.get("details") or {}
    reason = str(parsed.get("reason") or "")
    detail = str(parsed.get("message") or "") or body[:_TEXT_MAX].decode(errors="replace").strip() or f"HTTP {status}"
    causes = tuple(
        Cause(field=str(c.get("field", "")), reason=str(c.get("reason", "")), message=str(c.get("message", "")))
        for c in details.get("causes") or ()
    )
    if status == 429:
        seconds = _seconds(retry_after) if retry_after else _seconds(details.get("retryAfterSeconds"))
        return TooManyRequests(action, detail, retry_after=seconds, status=status, reason=reason, causes=causes)
    kind = AlreadyExists if reason == "AlreadyExists" else _BY_STATUS.get(status)
    if kind is None:
        kind = ServerError if status >= 500 else ApiError
    return kind(action, detail, status=status, reason=reason, causes=causes)


def from_status_object(action: str, status: Mapping[str, Any]) -> ApiError:
    """The typed error for a Status object that arrives inside a watch stream."""
    return from_response(action, int(status.get("code") or 500), json.dumps(status).encode())


def _parse_status(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}


def _seconds(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
