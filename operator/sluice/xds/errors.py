"""Error bodies as clients of the OpenAI API expect them."""

from __future__ import annotations

import enum
import json
from typing import Any


class Kind(enum.StrEnum):
    """Values of `error.type`."""

    INVALID_REQUEST = "invalid_request_error"
    """The request must change."""
    RATE_LIMIT = "rate_limit_error"
    """The client must wait."""
    SERVER = "server_error"
    """The gateway or a backend failed."""


def build_body(kind: Kind, code: str, message: str) -> dict[str, Any]:
    """The body as data."""
    return {"error": {"message": message, "type": kind.value, "param": None, "code": code}}


def build_text(kind: Kind, code: str, message: str) -> str:
    """The body as JSON text."""
    return json.dumps(build_body(kind, code, message), separators=(",", ":"))
