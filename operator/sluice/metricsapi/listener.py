"""The HTTPS port of the metrics API: its certificate and the CAs of its clients change while it stays open.

A TLS context can't be told to forget a CA, so each change makes a new one. It gets a duplicate of the one listening socket
before the old one is let go: no connection is ever refused, and those that are open go on.
"""

from __future__ import annotations

import pathlib
import socket
import ssl

from aiohttp import web


class CertificateError(Exception):
    """The serving certificate or the clients' CAs cannot be used; the message says which and why."""


def tls_context(directory: pathlib.Path, clients: str) -> ssl.SSLContext:
    """A context with `tls.crt` and `tls.key` of a mounted Secret. `clients`: CAs (PEM) whose certificates a client may show.

    A client may come without a certificate: it can have a token. One of another CA ends the handshake.

    Raises:
        CertificateError: a file is missing, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
        if clients.strip():
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=clients)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise CertificateError(f"Cannot use the certificate in {directory}: {error}") from error
    return context


class Listener:
    """One port. `port` is that asked for, after the first `serve` the one bound (0 takes any)."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self.port = port
        self._host = host
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._socket: socket.socket | None = None
        self._site: web.SockSite | None = None

    @property
    def open(self) -> bool:
        """Whether it serves."""
        return self._site is not None

    async def serve(self, context: ssl.SSLContext) -> None:
        """Serves with this context from now on. Raises OSError when the port is taken."""
        if self._socket is None:
            await self._runner.setup()
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            self._socket = socket.create_server((self._host, self.port), family=family)
            self.port = self._socket.getsockname()[1]
        site = web.SockSite(self._runner, self._socket.dup(), ssl_context=context)
        await site.start()
        before, self._site = self._site, site
        if before is not None:
            await before.stop()

    async def stop(self) -> None:
        """Closes the port and all connections."""
        await self._runner.cleanup()
        self._site = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
