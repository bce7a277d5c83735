"""Certificates: who issued them, for whom, until when, and how the CA is replaced without a gap."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import oid, verification

from sluice.pki import authority, identity

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def gateway_leaf(ca: authority.Authority, now: datetime.datetime = NOW) -> authority.Leaf:
    return authority.issue(ca, [identity.gateway_uri("prod", "edge")], [], now)


def verified(leaf: authority.Leaf, bundle: bytes, now: datetime.datetime) -> bool:
    """Whether a TLS server that trusts `bundle` lets this client in, by an implementation that is not ours."""
    store = verification.Store(x509.load_pem_x509_certificates(bundle))
    verifier = verification.PolicyBuilder().store(store).time(now).build_client_verifier()
    try:
        verifier.verify(x509.load_pem_x509_certificate(leaf.certificate), [])
    except verification.VerificationError:
        return False
    return True


def test_a_leaf_is_valid_under_its_authority_and_under_no_other() -> None:
    """The chain of trust is the CA that signed, and a CA of the same kind is a stranger."""
    ours, theirs = authority.new_authority(NOW), authority.new_authority(NOW)
    leaf = gateway_leaf(ours)
    assert verified(leaf, ours.bundle, NOW)
    assert not verified(leaf, theirs.bundle, NOW)


def test_extensions_say_what_a_leaf_may_do() -> None:
    """A leaf signs nothing, serves as client and server, and names its issuer's key."""
    ca = authority.new_authority(NOW)
    leaf = x509.load_pem_x509_certificate(gateway_leaf(ca).certificate)
    root = x509.load_pem_x509_certificate(ca.current.certificate)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    extensions = leaf.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        oid.ExtendedKeyUsageOID.CLIENT_AUTH,
        oid.ExtendedKeyUsageOID.SERVER_AUTH,
    }
    own = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_a_leaf_lives_90_days_and_the_authority_10_years() -> None:
    """Both begin a little in the past, for late clocks."""
    ca = authority.new_authority(NOW)
    leaf = x509.load_pem_x509_certificate(gateway_leaf(ca).certificate)
    root = x509.load_pem_x509_certificate(ca.current.certificate)
    assert leaf.not_valid_after_utc == NOW + 90 * DAY
    assert root.not_valid_after_utc == NOW + 3650 * DAY
    assert leaf.not_valid_before_utc == NOW - authority.CLOCK_SKEW


def test_a_leaf_never_outlives_its_authority() -> None:
    """A certificate that its CA no longer covers would fail with a puzzling error."""
    ca = authority.new_authority(NOW)
    leaf = x509.load_pem_x509_certificate(gateway_leaf(ca, NOW + 3600 * DAY).certificate)
    assert leaf.not_valid_after_utc == NOW + 3650 * DAY


@pytest.mark.parametrize(
    ("age", "due", "reason"),
    [
        (0 * DAY, False, "new"),
        (59.9 * DAY, False, "just before two thirds"),
        (60 * DAY, True, "two thirds"),
        (91 * DAY, True, "expired"),
    ],
)
def test_renewal_is_due_at_two_thirds(age: datetime.timedelta, due: bool, reason: str) -> None:
    """A month remains to notice a renewal that fails."""
    leaf = gateway_leaf(authority.new_authority(NOW))
    assert authority.needs_renewal(leaf.certificate, NOW + age) is due, reason


def test_an_unreadable_certificate_needs_renewal() -> None:
    """Whatever happened to it, the cure is a new one."""
    assert authority.needs_renewal(b"garbage", NOW)


def test_key_is_not_shown() -> None:
    """A logged value must not give the key away."""
    ca = authority.new_authority(NOW)
    assert "PRIVATE" not in repr(ca) + repr(gateway_leaf(ca))


def test_issuing_with_a_foreign_key_is_refused() -> None:
    """A CA Secret whose parts do not belong together must not issue certificates that nobody can verify."""
    one, other = authority.new_authority(NOW), authority.new_authority(NOW)
    with pytest.raises(authority.PkiError):
        gateway_leaf(authority.Authority(authority.Pair(one.current.certificate, other.current.key)))


def test_rotation_never_leaves_a_peer_without_a_common_trust() -> None:
    """At every day of a rotation, leaves up to 90 days old and bundles up to a day old verify each other."""
    ca = authority.new_authority(NOW)
    begun = authority.begin_rotation(ca, NOW + 10 * DAY)
    history = [(NOW, ca), (NOW + 10 * DAY, begun)]
    for day in range(11, 220):
        now = NOW + day * DAY
        history.append((now, authority.advance(history[-1][1], now)))
    assert history[-1][1].current == begun.upcoming
    assert history[-1][1].retired == ()
    leaves: list[tuple[datetime.datetime, authority.Leaf]] = []
    for index, (now, state) in enumerate(history):
        leaves = [(made, leaf) for made, leaf in leaves if made + 90 * DAY > now]
        leaves.append((now, gateway_leaf(state, now)))
        for bundle in {state.bundle, history[max(0, index - 1)][1].bundle}:
            assert all(verified(leaf, bundle, now) for _, leaf in leaves[:: max(1, len(leaves) // 6)] + leaves[-2:])


def test_upcoming_authority_signs_only_after_the_overlap() -> None:
    """Until every pod has read the new bundle, the old CA signs."""
    ca = authority.begin_rotation(authority.new_authority(NOW), NOW)
    early = authority.advance(ca, NOW + authority.ROTATION_OVERLAP - datetime.timedelta(seconds=1))
    assert early == ca
    late = authority.advance(ca, NOW + authority.ROTATION_OVERLAP)
    assert late.current == ca.upcoming
    assert late.retired == (ca.current.certificate,)
    assert authority.issued_by(gateway_leaf(late).certificate, late)
    assert not authority.issued_by(gateway_leaf(ca).certificate, late)


def test_an_aging_authority_begins_to_rotate_by_itself() -> None:
    """Nobody remembers a certificate of ten years."""
    ca = authority.new_authority(NOW)
    assert authority.advance(ca, NOW + 2400 * DAY) == ca
    assert authority.advance(ca, NOW + 2500 * DAY).upcoming is not None
