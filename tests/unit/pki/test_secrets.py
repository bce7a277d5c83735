"""Certificates in Secrets."""

from __future__ import annotations

import base64
import datetime

import pytest

from sluice.pki import authority, identity, secrets

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
CA = authority.new_authority(NOW)


def gateway_secret(ca: authority.Authority = CA, name: str = "edge") -> dict[str, object]:
    return secrets.build_gateway(authority.issue(ca, [identity.gateway_uri("prod", name)], [], NOW), "prod", name)


def test_an_authority_survives_its_secret_in_every_state() -> None:
    """Also in the middle of a rotation, or a restart would end it half-way."""
    rotating = authority.begin_rotation(CA, NOW)
    taken_over = authority.advance(rotating, NOW + 2 * DAY)
    for state in (CA, rotating, taken_over):
        assert secrets.parse_authority(secrets.build_authority(state, "sluice-system")) == state


def test_gateway_secret_is_of_the_type_that_tools_know() -> None:
    """`kubernetes.io/tls` needs tls.crt and tls.key; ca.crt is what the proxy trusts."""
    secret = gateway_secret()
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["name"] == "edge-gateway-tls"  # type: ignore[index]
    assert base64.b64decode(secret["data"]["ca.crt"]) == CA.bundle  # type: ignore[index]


def test_gateway_secret_holds_no_key_of_the_authority() -> None:
    """Whoever reads a gateway's Secret must not be able to make certificates."""
    secret = gateway_secret(authority.begin_rotation(CA, NOW))
    assert CA.current.key not in b"".join(base64.b64decode(value) for value in secret["data"].values())  # type: ignore[attr-defined]


def test_current_gateway_secret_is_left_alone() -> None:
    """No write without a reason."""
    assert secrets.gateway_secret_is_current(gateway_secret(), CA, ("prod", "edge"), NOW)


def test_gateway_secret_is_replaced_for_every_reason() -> None:
    """Missing, another gateway's, old, of another CA, or with an outdated bundle."""
    check = secrets.gateway_secret_is_current
    assert not check(None, CA, ("prod", "edge"), NOW)
    assert not check({"data": {}}, CA, ("prod", "edge"), NOW)
    assert not check(gateway_secret(name="other"), CA, ("prod", "edge"), NOW)
    assert not check(gateway_secret(), CA, ("prod", "edge"), NOW + 61 * DAY)
    assert not check(gateway_secret(), authority.new_authority(NOW), ("prod", "edge"), NOW)
    assert not check(gateway_secret(), authority.begin_rotation(CA, NOW), ("prod", "edge"), NOW)


@pytest.mark.parametrize("damage", ["missing", "garbage", "no base64"])
def test_a_damaged_authority_is_a_typed_error(damage: str) -> None:
    """A lost CA is never silently replaced: every proxy would be cut off."""
    secret = secrets.build_authority(CA, "sluice-system")
    match damage:
        case "missing":
            del secret["data"]["tls.key"]
        case "garbage":
            secret["data"]["tls.crt"] = base64.b64encode(b"garbage").decode()
        case _:
            secret["data"]["tls.crt"] = "%"
    with pytest.raises(authority.PkiError, match="sluice-system/sluice-ca"):
        secrets.parse_authority(secret)
