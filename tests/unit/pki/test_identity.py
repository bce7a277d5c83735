"""Who a certificate speaks for."""

from __future__ import annotations

import datetime

import pytest

from sluice.pki import authority, identity

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
CA = authority.new_authority(NOW)


@pytest.mark.parametrize(
    ("uris", "expected", "reason"),
    [
        (["sluice://gateway/prod/edge"], ("prod", "edge"), "a proxy of ours"),
        (["sluice://gateway/1prod/e-1"], ("1prod", "e-1"), "namespaces may begin with a digit"),
        ([], None, "no identity at all"),
        (["sluice://operator"], None, "the operator is no gateway"),
        (["sluice://gateway/prod/edge", "sluice://gateway/prod/other"], None, "two identities are none"),
        (["sluice://gateway/prod/edge/x"], None, "a longer path"),
        (["sluice://gateway/prod"], None, "a shorter path"),
        (["sluice://gateway/../edge"], None, "no namespace"),
        (["http://gateway/prod/edge"], None, "another scheme"),
        (["sluice://gateway/prod/edge?x"], None, "more than a path"),
    ],
)
def test_gateway_of_reads_exactly_one_uri(uris: list[str], expected: tuple[str, str] | None, reason: str) -> None:
    """One URI, of our form, and nothing else."""
    leaf = authority.issue(CA, uris, ["sluice-xds.sluice-system.svc"], NOW)
    assert identity.gateway_of(leaf.certificate) == expected, reason


def test_gateway_uri_is_what_gateway_of_reads() -> None:
    """Writer and reader agree."""
    leaf = authority.issue(CA, [identity.gateway_uri("a", "b")], [], NOW)
    assert identity.gateway_of(leaf.certificate) == ("a", "b")


def test_garbage_speaks_for_nobody() -> None:
    """A certificate that cannot be read is no certificate."""
    assert identity.gateway_of(b"garbage") is None
