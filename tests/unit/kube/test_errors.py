"""How answers of the API server become typed errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sluice.kube import errors


def status(code: int, reason: str, message: str = "why", **details: Any) -> bytes:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", errors.Invalid),
        (401, "Unauthorized", errors.Unauthorized),
        (403, "Forbidden", errors.Forbidden),
        (404, "NotFound", errors.NotFound),
        (409, "AlreadyExists", errors.AlreadyExists),
        (409, "Conflict", errors.Conflict),
        (410, "Expired", errors.Expired),
        (422, "Invalid", errors.Invalid),
        (429, "TooManyRequests", errors.TooManyRequests),
        (500, "InternalError", errors.ServerError),
        (503, "ServiceUnavailable", errors.ServerError),
        (504, "Timeout", errors.ServerError),
        (418, "Teapot", errors.ApiError),
    ],
)
def test_each_answer_has_one_type(code: int, reason: str, kind: type[errors.ApiError]) -> None:
    """Callers match types, never text."""
    error = errors.from_response("get pods ns/x", code, status(code, reason))
    assert type(error) is kind
    assert (error.status, error.reason, error.detail) == (code, reason, "why")
    assert str(error) == "Cannot get pods ns/x: why"


def test_causes_name_the_fields() -> None:
    """A user's mistake is shown with the field that is wrong."""
    causes = [{"field": "spec.replicas", "reason": "FieldValueInvalid", "message": "must be positive"}]
    error = errors.from_response("apply x", 422, status(422, "Invalid", causes=causes))
    assert error.causes == (errors.Cause("spec.replicas", "FieldValueInvalid", "must be positive"),)


def test_retry_after_is_read_from_the_header_or_the_body() -> None:
    """The header is the newer way."""
    by_header = errors.from_response("get x", 429, b"", retry_after="3")
    by_body = errors.from_response("get x", 429, status(429, "TooManyRequests", retryAfterSeconds=7))
    neither = errors.from_response("get x", 429, b"slow down")
    seconds = [error.retry_after for error in (by_header, by_body, neither) if isinstance(error, errors.TooManyRequests)]
    assert seconds == [3.0, 7.0, None]


def test_what_a_proxy_wrote_is_shown_in_part() -> None:
    """An HTML page of a load balancer is no Status, and may be long."""
    error = errors.from_response("get x", 502, b"<html>" + b"x" * 1000)
    assert isinstance(error, errors.ServerError)
    assert error.detail.startswith("<html>")
    assert len(error.detail) <= 200
    assert errors.from_response("get x", 502, b"").detail == "HTTP 502"
