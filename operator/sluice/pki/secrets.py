"""Certificates as Kubernetes Secrets of type `kubernetes.io/tls` with a `ca.crt`, and back. Dicts only: no API calls."""

from __future__ import annotations

import base64
import binascii
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography import x509

from sluice.api import naming
from sluice.pki import authority as authority_
from sluice.pki import identity

AUTHORITY_NAME: Final = "sluice-ca"
OPERATOR_NAME: Final = "sluice-operator-tls"
_CA, _CERTIFICATE, _KEY = "ca.crt", "tls.crt", "tls.key"
_UPCOMING_CERTIFICATE, _UPCOMING_KEY, _RETIRED = "upcoming.crt", "upcoming.key", "retired.crt"


def build_authority(authority: authority_.Authority, namespace: str) -> dict[str, Any]:
    """The Secret that keeps the CA. It must not leave the operator's namespace."""
    data = {_CERTIFICATE: authority.current.certificate, _KEY: authority.current.key, _CA: authority.bundle}
    if authority.upcoming is not None:
        data |= {_UPCOMING_CERTIFICATE: authority.upcoming.certificate, _UPCOMING_KEY: authority.upcoming.key}
    if authority.retired:
        data[_RETIRED] = b"".join(authority.retired)
    return _secret(AUTHORITY_NAME, namespace, data, {naming.LABEL_COMPONENT: "pki"})


def build_operator(leaf: authority_.Leaf, namespace: str) -> dict[str, Any]:
    """The Secret with the operator's own certificate, for those who keep it in one."""
    return _secret(OPERATOR_NAME, namespace, _leaf(leaf), {naming.LABEL_COMPONENT: "pki"})


def build_gateway(leaf: authority_.Leaf, namespace: str, gateway: str) -> dict[str, Any]:
    """The Secret that a Gateway's proxies mount. Owner references are the caller's."""
    labels = {naming.LABEL_COMPONENT: "gateway", naming.LABEL_GATEWAY: gateway}
    return _secret(f"{gateway}-gateway-tls", namespace, _leaf(leaf), labels)


def build_metrics(leaf: authority_.Leaf, name: str, namespace: str) -> dict[str, Any]:
    """The Secret that `sluice metrics` mounts."""
    return _secret(name, namespace, _leaf(leaf), {naming.LABEL_COMPONENT: "metrics"})


def parse_authority(secret: Mapping[str, Any]) -> authority_.Authority:
    """The CA from its Secret.

    Raises:
        PkiError: something is missing or is no certificate.
    """
    data = _data(secret)
    if _CERTIFICATE not in data or _KEY not in data:
        raise authority_.PkiError(f"Cannot read the CA from Secret {_name(secret)}: {_CERTIFICATE} or {_KEY} is missing")
    try:
        for name in {_CERTIFICATE, _UPCOMING_CERTIFICATE} & data.keys():
            x509.load_pem_x509_certificate(data[name])
        retired = x509.load_pem_x509_certificates(data[_RETIRED]) if _RETIRED in data else []
    except ValueError as error:
        raise authority_.PkiError(f"Cannot read the CA from Secret {_name(secret)}: {error}") from error
    upcoming = (
        authority_.Pair(data[_UPCOMING_CERTIFICATE], data[_UPCOMING_KEY])
        if _UPCOMING_CERTIFICATE in data and _UPCOMING_KEY in data
        else None
    )
    return authority_.Authority(
        authority_.Pair(data[_CERTIFICATE], data[_KEY]), upcoming, tuple(authority_.certificate_pem(item) for item in retired)
    )


def parse_leaf(secret: Mapping[str, Any]) -> authority_.Leaf | None:
    """The certificate from a Secret; None when part of it is missing."""
    data = _data(secret)
    if not {_CERTIFICATE, _KEY, _CA} <= data.keys():
        return None
    return authority_.Leaf(data[_CERTIFICATE], data[_KEY], data[_CA])


def gateway_secret_is_current(
    secret: Mapping[str, Any] | None, authority: authority_.Authority, gateway: tuple[str, str], now: datetime.datetime
) -> bool:
    """Whether the Secret holds a certificate of this gateway from the CA that signs, not due for renewal, and the bundle."""
    leaf = parse_leaf(secret) if secret is not None else None
    return leaf is not None and identity.gateway_of(leaf.certificate) == gateway and _is_current(leaf, authority, now)


def serving_secret_is_current(
    secret: Mapping[str, Any] | None, authority: authority_.Authority, dns: Sequence[str], now: datetime.datetime
) -> bool:
    """The same of a server's Secret: its certificate has exactly these DNS names."""
    leaf = parse_leaf(secret) if secret is not None else None
    return leaf is not None and identity.dns_names(leaf.certificate) == tuple(dns) and _is_current(leaf, authority, now)


def _is_current(leaf: authority_.Leaf, authority: authority_.Authority, now: datetime.datetime) -> bool:
    return (
        leaf.bundle == authority.bundle
        and authority_.issued_by(leaf.certificate, authority)
        and not authority_.needs_renewal(leaf.certificate, now)
    )


def _leaf(leaf: authority_.Leaf) -> dict[str, bytes]:
    return {_CERTIFICATE: leaf.certificate, _KEY: leaf.key, _CA: leaf.bundle}


def _secret(name: str, namespace: str, data: Mapping[str, bytes], labels: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {naming.LABEL_MANAGED_BY: naming.MANAGED_BY, **labels}},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def _data(secret: Mapping[str, Any]) -> dict[str, bytes]:
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (secret.get("data") or {}).items()}
    except (binascii.Error, TypeError) as error:
        raise authority_.PkiError(f"Cannot read Secret {_name(secret)}: {error}") from error


def _name(secret: Mapping[str, Any]) -> str:
    metadata = secret.get("metadata", {})
    return f"{metadata.get('namespace')}/{metadata.get('name')}"
