"""Who asks: decided as every aggregated API server decides it, from the connection's certificate, headers and bearer token.

1. A certificate of the front proxy's CA with an allowed name: the API server passes somebody's request on, and its headers say
   whose. Without such a certificate these headers mean nothing: anybody can send them.
2. A certificate of the clients' CA: its common name is the user, its organizations are the groups.
3. A bearer token that the API server recognises (TokenReview).

Everybody else is refused, also who would be `system:anonymous`. What they may do is `authorization`'s business.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from cryptography import exceptions, x509
from cryptography.x509 import oid

from sluice.metricsapi import delegation as delegation_
from sluice.metricsapi import memory

ANONYMOUS: Final = "system:anonymous"
AUTHENTICATED: Final = "system:authenticated"
CACHE_SECONDS: Final = 10.0
"""How long a token's review counts, as in Kubernetes' own servers."""
_BEARER: Final = "bearer "


class UnauthenticatedError(Exception):
    """Nobody known asks; the message says what is missing."""


@dataclasses.dataclass(frozen=True)
class User:
    """Who asks, in the terms of a SubjectAccessReview."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Headers(Protocol):
    """Headers of a request: names compare without case, and one may occur several times."""

    def getall(self, key: str, default: list[str]) -> list[str]:
        """All values of a header."""

    def items(self) -> Iterable[tuple[str, str]]:
        """All headers in order."""


class Reviewer(Protocol):
    """Asks the API server."""

    async def review_token(self, token: str) -> Mapping[str, Any]:
        """The status of a TokenReview. Raises errors.ApiError."""


class Authenticator:
    """Decides who asks. `delegation` is set anew whenever the ConfigMap changes."""

    def __init__(self, reviewer: Reviewer) -> None:
        self.delegation = delegation_.Delegation()
        self._reviewer = reviewer
        self._tokens: memory.Memory[User | None] = memory.Memory(CACHE_SECONDS)

    async def authenticate(
        self, certificate: bytes | None, headers: Headers, *, now: datetime.datetime, monotonic: float
    ) -> User:
        """The user behind a request. `certificate` (DER) is what the client proved in the handshake to own.

        Raises:
            UnauthenticatedError: it is nobody that we know.
            errors.ApiError: a token could not be reviewed.
        """
        user = self._by_certificate(certificate, headers, now) if certificate is not None else None
        if user is None:
            user = await self._by_token(headers, monotonic)
        if user is None or user.name == ANONYMOUS:
            raise UnauthenticatedError("no certificate of the API server's front proxy or of a client, and no valid token")
        return user if AUTHENTICATED in user.groups else dataclasses.replace(user, groups=(*user.groups, AUTHENTICATED))

    def _by_certificate(self, encoded: bytes, headers: Headers, now: datetime.datetime) -> User | None:
        certificate = x509.load_der_x509_certificate(encoded)
        # The handshake may be long ago.
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            return None
        known = self.delegation
        name = next(reversed(_attributes(certificate, oid.NameOID.COMMON_NAME)), "")  # of several, Go takes the last
        allowed = not known.proxy_names or name in known.proxy_names
        if allowed and _issued_by(certificate, known.proxy_ca) and (user := _by_headers(known, headers)) is not None:
            return user
        if name and _issued_by(certificate, known.client_ca):
            return User(name, _attributes(certificate, oid.NameOID.ORGANIZATION_NAME))
        return None

    async def _by_token(self, headers: Headers, monotonic: float) -> User | None:
        given = next(iter(headers.getall("Authorization", [])), "")
        token = given[len(_BEARER) :].strip() if given.lower().startswith(_BEARER) else ""
        if not token:
            return None
        key = hashlib.sha256(token.encode()).hexdigest()
        if self._tokens.knows(key, monotonic):
            return self._tokens.get(key)
        user = _reviewed(await self._reviewer.review_token(token))
        self._tokens.put(key, user, monotonic)
        return user


def _by_headers(known: delegation_.Delegation, headers: Headers) -> User | None:
    """Whom the front proxy speaks for; None when it names nobody."""
    name = _first(headers, known.user_headers)
    if not name:
        return None
    groups = [group for header in known.group_headers for group in headers.getall(header, [])]
    extra: dict[str, list[str]] = {}
    for header, value in headers.items():
        for prefix in known.extra_prefixes:
            if header.lower().startswith(prefix.lower()):
                key = urllib.parse.unquote(header[len(prefix) :]).lower()
                extra.setdefault(key, []).append(value)
    return User(
        name, tuple(groups), _first(headers, known.uid_headers), tuple((key, tuple(values)) for key, values in extra.items())
    )


def _first(headers: Headers, names: Iterable[str]) -> str:
    return next((value for name in names for value in headers.getall(name, []) if value), "")


def _reviewed(status: Mapping[str, Any]) -> User | None:
    user = status.get("user") or {}
    if not status.get("authenticated") or not user.get("username"):
        return None
    extra = tuple((str(key), tuple(values)) for key, values in (user.get("extra") or {}).items())
    return User(str(user["username"]), tuple(user.get("groups") or ()), str(user.get("uid", "")), extra)


def _issued_by(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    """Whether one of the CAs itself signed it. The handshake has checked the chain, but against all CAs together."""
    return any(_directly_issued(certificate, authority) for authority in authorities)


def _directly_issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, exceptions.InvalidSignature):
        return False
    return True


def _attributes(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(kind))
