"""TLS contexts for the operator's own connections to its proxies.

Pods are reached by address, so there is no host name to check. The identity is the URI in the certificate instead: it is
checked inside the handshake, so that not one byte is sent to a proxy of another gateway.
"""

from __future__ import annotations

import os
import ssl
import tempfile

from cryptography import x509

from sluice.pki import authority, identity


def client_context(leaf: authority.Leaf, peer_uri: str) -> ssl.SSLContext:
    """A context that presents `leaf` and accepts only peers of our CA whose one URI is `peer_uri`.

    asyncio and aiohttp make their TLS objects by `SSLContext.sslobject_class`, the documented place for what a handshake
    is to check beyond the chain. Plain sockets (`wrap_socket`) are refused, because they would escape that check.

    Raises:
        PkiError: the certificate or key cannot be loaded.
    """

    class CheckedObject(ssl.SSLObject):
        """Ends the handshake unless the peer is who it should be."""

        def do_handshake(self) -> None:
            super().do_handshake()
            encoded = self.getpeercert(binary_form=True)
            found = identity.uris(x509.load_der_x509_certificate(encoded)) if encoded else ()
            if found != (peer_uri,):
                raise ssl.SSLCertVerificationError(
                    f"Cannot trust the peer: it is {', '.join(found) or 'nobody'}, not {peer_uri}"
                )

    context = _Context(ssl.PROTOCOL_TLS_CLIENT)
    context.sslobject_class = CheckedObject
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(cadata=leaf.bundle.decode())
        _load_chain(context, leaf)
    except (ssl.SSLError, ValueError) as error:
        raise authority.PkiError(f"Cannot use the operator's certificate: {error}") from error
    return context


class _Context(ssl.SSLContext):
    def wrap_socket(self, *args: object, **kwargs: object) -> ssl.SSLSocket:
        raise NotImplementedError("This context checks its peer in asyncio only")


def _load_chain(context: ssl.SSLContext, leaf: authority.Leaf) -> None:
    # The ssl module reads keys from files only; this one is ours alone, and gone at once.
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(leaf.certificate + leaf.key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)  # noqa: PTH108 - the pair of mkstemp
