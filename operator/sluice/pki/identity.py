"""Who a certificate speaks for: the URI in its subject alternative name. Nothing else of a certificate is believed."""

from __future__ import annotations

import re
from typing import Final

from cryptography import x509

OPERATOR_URI: Final = "sluice://operator"
METRICS_URI: Final = "sluice://metrics"
_GATEWAY: Final = re.compile(r"sluice://gateway/([a-z0-9]([a-z0-9-]*[a-z0-9])?)/([a-z0-9]([a-z0-9-]*[a-z0-9])?)")


def gateway_uri(namespace: str, name: str) -> str:
    """The identity of a Gateway's proxies."""
    return f"sluice://gateway/{namespace}/{name}"


def uris(certificate: x509.Certificate) -> tuple[str, ...]:
    """URIs of the subject alternative name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def dns_names(certificate_pem: bytes) -> tuple[str, ...]:
    """DNS names of the subject alternative name; none of what is no certificate."""
    try:
        extensions = x509.load_pem_x509_certificate(certificate_pem).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(names.get_values_for_type(x509.DNSName))


def gateway_of(certificate_pem: bytes) -> tuple[str, str] | None:
    """(namespace, name) of the Gateway that a proxy's certificate speaks for; None: for none, or for more than one thing."""
    try:
        found = uris(x509.load_pem_x509_certificate(certificate_pem))
    except ValueError:
        return None
    match = _GATEWAY.fullmatch(found[0]) if len(found) == 1 else None
    return (match[1], match[3]) if match else None
