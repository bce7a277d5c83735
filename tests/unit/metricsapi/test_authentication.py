"""Who asks, and what they may: as every aggregated API server decides it."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from typing import Any

import multidict
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

from sluice.metricsapi import authentication, authorization, delegation, memory

NOW = datetime.datetime(2026, 5, 4, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True)
class Authority:
    """A CA that signs what a test needs."""

    name: str
    key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def sign(self, name: str, *groups: str, until: datetime.datetime = NOW + DAY) -> bytes:
        """A certificate of that common name and these organizations, as DER."""
        attributes = [x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*attributes, x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign(subject, key.public_key(), until).public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        """Its own certificate."""
        certificate = self._sign(self._subject, self.key.public_key(), NOW + 10 * DAY)
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def _subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, self.name)])

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime) -> x509.Certificate:
        builder = x509.CertificateBuilder(self._subject, subject, key, x509.random_serial_number(), NOW - DAY, until)
        return builder.sign(self.key, hashes.SHA256())


PROXY_CA, CLIENT_CA = Authority("proxy"), Authority("client")
CONFIG: dict[str, str] = {
    "requestheader-client-ca-file": PROXY_CA.pem,
    "requestheader-allowed-names": '["front-proxy-client"]',
    "requestheader-username-headers": '["X-Remote-User"]',
    "requestheader-uid-headers": '["X-Remote-Uid"]',
    "requestheader-group-headers": '["X-Remote-Group"]',
    "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    "client-ca-file": CLIENT_CA.pem,
}


@dataclasses.dataclass
class Reviewer:
    """An API server that knows one token, and lets `root` do everything."""

    tokens: int = 0
    accesses: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)

    async def review_token(self, token: str) -> Mapping[str, Any]:
        self.tokens += 1
        if token != "good":
            return {"authenticated": False}
        return {"authenticated": True, "user": {"username": "robot", "groups": ["g"], "extra": {"k": ["v"]}}}

    async def review_access(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        self.accesses.append(spec)
        return {"allowed": spec["user"] == "root", "reason": "because"}


async def user_of(
    certificate: bytes | None = None, headers: dict[str, str] | None = None, *, config: dict[str, str] | None = None
) -> authentication.User | None:
    """Who that is; None for nobody."""
    asked = authentication.Authenticator(Reviewer())
    asked.delegation = delegation.parse({"data": CONFIG if config is None else config})
    given: multidict.CIMultiDict[str] = multidict.CIMultiDict(headers or {})
    try:
        return await asked.authenticate(certificate, given, now=NOW, monotonic=0.0)
    except authentication.UnauthenticatedError:
        return None


SOMEBODY = {"X-Remote-User": "alice", "X-Remote-Group": "dev", "x-remote-uid": "7", "X-Remote-Extra-Acme.com%2fTeam": "a"}


async def test_the_front_proxy_speaks_for_others() -> None:
    """With name, groups, uid and extra fields, whose keys are escaped."""
    user = await user_of(PROXY_CA.sign("front-proxy-client"), SOMEBODY)
    assert user == authentication.User("alice", ("dev", "system:authenticated"), "7", (("acme.com/team", ("a",)),))


@pytest.mark.parametrize(
    ("reason", "certificate"),
    [
        ("no certificate", None),
        ("a name that is not allowed", PROXY_CA.sign("somebody")),
        ("expired", PROXY_CA.sign("front-proxy-client", until=NOW - DAY / 2)),
        ("another CA of the same name", Authority("proxy").sign("front-proxy-client")),
    ],
)
async def test_headers_of_others_are_not_believed(reason: str, certificate: bytes | None) -> None:
    """They are only text."""
    assert await user_of(certificate, SOMEBODY) is None, reason


async def test_a_client_named_like_the_front_proxy_is_a_client() -> None:
    """Which CA signed decides, not the name."""
    user = await user_of(CLIENT_CA.sign("front-proxy-client"), SOMEBODY)
    assert user is not None
    assert user.name == "front-proxy-client"


async def test_without_a_list_every_name_of_the_ca_is_allowed() -> None:
    """As Kubernetes defines the empty list; without a CA nobody is."""
    open_ = CONFIG | {"requestheader-allowed-names": "[]"}
    user = await user_of(PROXY_CA.sign("somebody"), SOMEBODY, config=open_)
    assert user is not None
    assert user.name == "alice"
    none = {key: value for key, value in open_.items() if key != "requestheader-client-ca-file"}
    assert await user_of(PROXY_CA.sign("front-proxy-client"), SOMEBODY, config=none) is None


async def test_a_clients_certificate_names_user_and_groups() -> None:
    """And headers change nothing of it."""
    user = await user_of(CLIENT_CA.sign("bob", "ops", "dev"), SOMEBODY)
    assert user == authentication.User("bob", ("ops", "dev", "system:authenticated"))


async def test_a_front_proxy_that_names_nobody_is_nobody() -> None:
    """Neither its own name nor none at all gets in; nor does who is anonymous to the API server."""
    proxy = PROXY_CA.sign("front-proxy-client")
    assert await user_of(proxy, {}) is None
    assert await user_of(proxy, {"X-Remote-User": ""}) is None
    assert await user_of(proxy, {"X-Remote-User": "system:anonymous"}) is None


@pytest.mark.parametrize("header", ["Bearer good", "bearer good", "Bearer  good "])
async def test_a_token_is_reviewed(header: str) -> None:
    """Whose it is, the API server says."""
    user = await user_of(None, {"Authorization": header})
    assert user == authentication.User("robot", ("g", "system:authenticated"), "", (("k", ("v",)),))


@pytest.mark.parametrize("header", ["Bearer bad", "Bearer ", "Basic good", "good", ""])
async def test_other_credentials_are_nobodys(header: str) -> None:
    """Refused, not anonymous."""
    assert await user_of(None, {"Authorization": header}) is None


async def test_reviews_are_kept_for_seconds() -> None:
    """Good and bad ones; an HPA asks every 15 s, a flood of forged tokens must not reach the API server."""
    reviewer = Reviewer()
    asked = authentication.Authenticator(reviewer)
    for token, times in (("good", 3), ("bad", 3)):
        headers: multidict.CIMultiDict[str] = multidict.CIMultiDict(Authorization=f"Bearer {token}")
        for second in range(times):
            try:
                await asked.authenticate(None, headers, now=NOW, monotonic=float(second))
            except authentication.UnauthenticatedError:
                assert token == "bad"
    assert reviewer.tokens == 2
    await asked.authenticate(None, multidict.CIMultiDict(Authorization="Bearer good"), now=NOW, monotonic=11.0)
    assert reviewer.tokens == 3


async def test_access_is_asked_for_as_the_api_server_reads_the_path() -> None:
    """The metric is a subresource of pods; an answer counts for its user alone, and for seconds."""
    reviewer = Reviewer()
    asked = authorization.Authorizer(reviewer)
    access = authorization.Access("/p", "custom.metrics.k8s.io", "v1beta2", "ns", "pods", "m", "*")
    root, eve = authentication.User("root", ("g",), "7", (("k", ("v",)),)), authentication.User("eve")
    assert (await asked.authorize(root, access, monotonic=0.0)).allowed
    assert await asked.authorize(eve, access, monotonic=1.0) == authorization.Verdict(allowed=False, reason="because")
    assert (await asked.authorize(root, access, monotonic=9.0)).allowed
    assert len(reviewer.accesses) == 2
    await asked.authorize(root, access, monotonic=11.0)
    assert len(reviewer.accesses) == 3
    assert reviewer.accesses[0] == {
        "user": "root",
        "groups": ["g"],
        "uid": "7",
        "extra": {"k": ["v"]},
        "resourceAttributes": {
            "group": "custom.metrics.k8s.io",
            "version": "v1beta2",
            "namespace": "ns",
            "resource": "pods",
            "subresource": "m",
            "name": "*",
            "verb": "get",
        },
    }
    await asked.authorize(root, authorization.Access("/apis"), monotonic=11.0)
    assert reviewer.accesses[-1]["nonResourceAttributes"] == {"path": "/apis", "verb": "get"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("requestheader-allowed-names", "front-proxy"),
        ("requestheader-username-headers", json.dumps({"a": 1})),
        ("requestheader-group-headers", "[1]"),
        ("requestheader-client-ca-file", "no certificate"),
        ("client-ca-file", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"),
    ],
)
def test_a_damaged_config_map_names_its_key(key: str, value: str) -> None:
    """And is not half believed."""
    with pytest.raises(delegation.DelegationError, match=key):
        delegation.parse({"data": CONFIG | {key: value}})


def test_an_empty_config_map_believes_nobody() -> None:
    """An API server without a front proxy."""
    assert delegation.parse({}) == delegation.Delegation()


def test_memory_is_bounded() -> None:
    """The oldest goes first, and what is put again is young."""
    kept: memory.Memory[int] = memory.Memory(10.0, size=2)
    kept.put("a", 1, 0.0)
    kept.put("b", 2, 0.0)
    kept.put("a", 3, 1.0)
    kept.put("c", 4, 1.0)
    assert [kept.knows(key, 2.0) for key in "abc"] == [True, False, True]
    assert kept.get("a") == 3
    assert not kept.knows("a", 12.0)
