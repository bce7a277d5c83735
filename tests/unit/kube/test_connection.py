"""What a second client of the same API server is given."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.kube import connection


class Configuration:
    """The part of a kubernetes.aio Configuration that is read."""

    host = "https://api:6443"
    ssl_ca_cert = "/ca"
    cert_file: str | None = None
    key_file: str | None = None
    verify_ssl = True

    def __init__(self, header: str | None) -> None:
        self.header = header

    async def auth_settings(self) -> dict[str, Any]:
        return {"BearerToken": {"key": "authorization", "value": self.header}} if self.header else {}


@pytest.mark.parametrize(
    ("header", "token"),
    [("bearer abc", "abc"), ("Bearer abc\n", "abc"), (None, None)],
    ids=["pod", "kubeconfig", "certificate"],
)
async def test_a_token_is_handed_on_without_its_scheme(header: str | None, token: str | None) -> None:
    """Pods write it in lower case, kubeconfigs in upper; a client certificate needs none."""
    known = await connection.credentials(Configuration(header))
    assert known == connection.Credentials("https://api:6443", "/ca", None, None, token, insecure=False)
