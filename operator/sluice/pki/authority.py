"""The certificate authority and the certificates it issues: ECDSA P-256, the authority for 10 years, leaves for 90 days."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Final

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

AUTHORITY_LIFETIME: Final = datetime.timedelta(days=3650)
LEAF_LIFETIME: Final = datetime.timedelta(days=90)
CLOCK_SKEW: Final = datetime.timedelta(minutes=5)
"""Certificates begin so long ago, for machines whose clocks are late."""
ROTATION_OVERLAP: Final = datetime.timedelta(hours=24)
"""How long a new CA is trusted before it signs: kubelets take minutes to bring a changed Secret to a pod."""
_RENEW_AFTER: Final = 2 / 3


class PkiError(Exception):
    """Stored certificates or keys cannot be used; the message names them and the fix."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Authority:
    """What signs, and what is trusted. `upcoming` is trusted and will sign; `retired` no longer signs."""

    current: Pair
    upcoming: Pair | None = None
    retired: tuple[bytes, ...] = ()

    @property
    def bundle(self) -> bytes:
        """All certificates to be trusted, as one PEM file (`ca.crt`)."""
        upcoming = (self.upcoming.certificate,) if self.upcoming is not None else ()
        return b"".join((self.current.certificate, *upcoming, *self.retired))


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A certificate with its key, and the bundle that its bearer is to trust; all PEM."""

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)
    bundle: bytes


def new_authority(now: datetime.datetime) -> Authority:
    """A CA that has signed nothing yet. `now` is timezone-aware."""
    return Authority(_new_pair(now))


def issue(authority: Authority, uris: Iterable[str], dns: Iterable[str], now: datetime.datetime) -> Leaf:
    """A certificate for these URIs and DNS names, usable as client and as server."""
    issuer, signer = _load(authority.current)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
    until = min(now + LEAF_LIFETIME, issuer.not_valid_after_utc)
    builder = (
        _builder("sluice", issuer.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.CLIENT_AUTH, oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
    )
    certificate = builder.sign(signer, hashes.SHA256())
    return Leaf(certificate_pem(certificate), _key_pem(key), authority.bundle)


def needs_renewal(certificate_pem: bytes, now: datetime.datetime) -> bool:
    """Whether two thirds of the certificate's life are over, or it cannot be read at all."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        return True
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begin + _RENEW_AFTER * (end - begin)


def issued_by(leaf_pem: bytes, authority: Authority) -> bool:
    """Whether the CA that signs now has signed this certificate."""
    try:
        leaf = x509.load_pem_x509_certificate(leaf_pem)
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.current.certificate))
    except (ValueError, TypeError, exceptions.InvalidSignature):
        return False
    return True


def begin_rotation(authority: Authority, now: datetime.datetime) -> Authority:
    """Adds a new CA to the bundle; it signs nothing before `advance` says so."""
    if authority.upcoming is not None:
        return authority
    return dataclasses.replace(authority, upcoming=_new_pair(now))


def advance(authority: Authority, now: datetime.datetime) -> Authority:
    """The authority as it is to be at `now`: rotation begun, taken over or cleaned up when due; else the same value."""
    if needs_renewal(authority.current.certificate, now):
        authority = begin_rotation(authority, now)
    if authority.upcoming is not None:
        begun = x509.load_pem_x509_certificate(authority.upcoming.certificate).not_valid_before_utc + CLOCK_SKEW
        if now >= begun + ROTATION_OVERLAP:
            retired = (*authority.retired, authority.current.certificate)
            authority = Authority(authority.upcoming, None, retired)
    taken_over = x509.load_pem_x509_certificate(authority.current.certificate).not_valid_before_utc + ROTATION_OVERLAP
    if authority.retired and now >= taken_over + LEAF_LIFETIME + ROTATION_OVERLAP:
        authority = dataclasses.replace(authority, retired=())
    return authority


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def _new_pair(now: datetime.datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # Two CAs of one name could not be told apart by a verifier that looks for the issuer by name.
    name = f"sluice-ca {now:%Y-%m-%d} {x509.random_serial_number() & 0xFFFFFF:06x}"
    subject = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, subject, key.public_key(), now, now + AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate_pem(certificate), _key_pem(key))


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(until)
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature, key_cert_sign=key_cert_sign, crl_sign=crl_sign, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _load(pair: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, None)
    except ValueError as error:
        raise PkiError(f"Cannot read the CA: {error}. Delete its Secret to have a new one made") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise PkiError(
            "Cannot use the CA: its key does not belong to its certificate. Delete its Secret to have a new one made"
        )
    return certificate, key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
