"""Certificates and kubeconfigs of a throw-away cluster: one CA, a certificate for each component, a key for service accounts.

Written with `cryptography`, because Python 3.13 refuses certificates without key usage and key identifiers. The operator's own
PKI is another matter (`sluice.pki`).
"""

import base64
import dataclasses
import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid

VALID = datetime.timedelta(days=3650)
BACKDATED = datetime.timedelta(hours=1)


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who a certificate is for: file name, common name, organization (a Kubernetes group) and names or addresses it serves."""

    file: str
    common_name: str
    organization: str = ""
    hosts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Authority:
    """A certificate authority that signs identities into files of one directory."""

    directory: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_file(self) -> Path:
        """The CA's own certificate."""
        return self.directory / "ca.crt"

    def issue(self, identity: Identity, now: datetime.datetime) -> None:
        """Write `<file>.crt` and `<file>.key` for an identity."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(identity), self.certificate.subject, key, now)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(authority=False), critical=True)
        usages = [oid.ExtendedKeyUsageOID.SERVER_AUTH, oid.ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if identity.hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in identity.hosts])
            builder = builder.add_extension(names, critical=False)
        _write(self.directory, identity.file, key, builder.sign(self.key, hashes.SHA256()))

    def write_kubeconfig(self, identity: str, server: str, path: Path) -> None:
        """Write a kubeconfig, with everything inline, that logs an issued identity in at a server's URL."""
        cluster = {"server": server, "certificate-authority-data": _encoded(self.certificate_file)}
        user = {
            "client-certificate-data": _encoded(self.directory / f"{identity}.crt"),
            "client-key-data": _encoded(self.directory / f"{identity}.key"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sluice", "cluster": cluster}],
            "users": [{"name": identity, "user": user}],
            "contexts": [{"name": "sluice", "context": {"cluster": "sluice", "user": identity}}],
            "current-context": "sluice",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config, sort_keys=False))


def create(directory: Path, identities: Sequence[Identity], now: datetime.datetime) -> Authority:
    """Make a new CA in a directory, issue all identities, and write `sa.key` for signing service account tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, "sluice-cluster-ca")])
    builder = _builder(subject, subject, key, now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(directory, "ca", key, certificate)
    authority = Authority(directory, certificate, key)
    for identity in identities:
        authority.issue(identity, now)
    _write_key(directory / "sa.key", ec.generate_private_key(ec.SECP256R1()))
    return authority


def load(directory: Path) -> Authority | None:
    """Return the CA that was made in a directory, None when there is none."""
    try:
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), password=None)
    except (OSError, ValueError):
        return None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(directory, certificate, key)


def _name(identity: Identity) -> x509.Name:
    organization = [x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, identity.organization)] if identity.organization else []
    return x509.Name([*organization, x509.NameAttribute(oid.NameOID.COMMON_NAME, identity.common_name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + VALID)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        key_encipherment=False,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(directory: Path, file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    (directory / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_key(directory / f"{file}.key", key)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.touch(mode=0o600)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
