"""Whom an aggregated API server believes: ConfigMap `kube-system/extension-apiserver-authentication`, as plain data.

The API server writes it: the CA of its own front proxy and the names that this may have, the headers in which it passes on
who asks, and the CA of client certificates.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from cryptography import x509

NAMESPACE: Final = "kube-system"
NAME: Final = "extension-apiserver-authentication"


class DelegationError(Exception):
    """The ConfigMap cannot be used; the message names the key."""


@dataclasses.dataclass(frozen=True)
class Delegation:
    """The ConfigMap's content."""

    proxy_ca: tuple[x509.Certificate, ...] = ()
    """Empty: the API server has no front proxy, so nobody's headers are believed."""
    proxy_names: frozenset[str] = frozenset()
    """Common names that a front proxy's certificate may have; empty: any that its CA signed, as Kubernetes defines it."""
    user_headers: tuple[str, ...] = ()
    uid_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ()
    extra_prefixes: tuple[str, ...] = ()
    client_ca: tuple[x509.Certificate, ...] = ()
    bundle: str = ""
    """All CAs as PEM: what a TLS handshake accepts. Which of them signed decides what a certificate is worth."""


def parse(config_map: Mapping[str, Any]) -> Delegation:
    """The delegation from the ConfigMap.

    Raises:
        DelegationError: a value is not in the form that API servers write.
    """
    data = config_map.get("data") or {}
    proxy, client = data.get("requestheader-client-ca-file", ""), data.get("client-ca-file", "")
    return Delegation(
        proxy_ca=_certificates("requestheader-client-ca-file", proxy),
        proxy_names=frozenset(_strings(data, "requestheader-allowed-names")),
        user_headers=_strings(data, "requestheader-username-headers"),
        uid_headers=_strings(data, "requestheader-uid-headers"),
        group_headers=_strings(data, "requestheader-group-headers"),
        extra_prefixes=_strings(data, "requestheader-extra-headers-prefix"),
        client_ca=_certificates("client-ca-file", client),
        bundle="\n".join(filter(None, (proxy, client))),
    )


def _certificates(key: str, text: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(text.encode())) if text.strip() else ()
    except ValueError as error:
        raise _broken(key, str(error)) from error


def _strings(data: Mapping[str, str], key: str) -> tuple[str, ...]:
    try:
        found = json.loads(data.get(key) or "[]")
    except ValueError as error:
        raise _broken(key, str(error)) from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _broken(key, "it is no list of strings")
    return tuple(found)


def _broken(key: str, cause: str) -> DelegationError:
    return DelegationError(f"Cannot read {key} of ConfigMap {NAMESPACE}/{NAME}: {cause}")
