"""Which exit code an error comes to. Scripts rely on them."""

from __future__ import annotations

import pytest

from sluice.cli import exits
from sluice.kube import connection, errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (connection.NotConfigured("no kubeconfig"), 2),
        (errors.NotFound("get it", "not there", status=404), 3),
        (errors.Forbidden("patch it", "may not", status=403), 4),
        (errors.Unauthorized("get it", "who", status=401), 4),
        (errors.Invalid("patch it", "wrong", status=422), 5),
        (errors.Conflict("patch it", "changed", status=409), 5),
        (errors.Unreachable("get it", "refused"), 10),
        (errors.TooManyRequests("get it", "later", status=429), 10),
        (errors.ServerError("get it", "broken", status=500), 10),
        (errors.UndeclaredVerb("delete it"), 1),
    ],
)
def test_each_error_has_its_code(error: errors.KubeError, code: int) -> None:
    """And keeps its message."""
    failure = exits.from_error(error)
    assert failure.code == code
    assert str(failure).startswith(str(error))


def test_codes_are_told_apart() -> None:
    """None means two things."""
    codes = [int(code) for code in exits.Exit]
    assert len(set(codes)) == len(codes)


def test_what_can_be_done_is_said() -> None:
    """Where the API server's words do not say it."""
    missing = errors.NotFound("get mdep", "the server could not find the requested resource", status=404)
    assert "Is Sluice installed" in str(exits.from_error(missing))
    assert "Log in again" in str(exits.from_error(errors.Unauthorized("get mdep", "Unauthorized", status=401)))
