"""Asks an API server whether it works, with the standard library: before a cluster is up there is no client to lean on."""

import dataclasses
import http.client
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from hack.cluster import errors

POLL_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class Probe:
    """An API server's address and the directory of its PKI; requests are made as the administrator."""

    host: str
    port: int
    pki: Path

    def get(self, path: str) -> int:
        """Return the HTTP status of a GET, 0 when there is no answer within two seconds."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does: our certificates must pass it everywhere
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=2, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def wait(self, path: str, seconds: float, died: Callable[[], str | None]) -> None:
        """Wait until a path answers 200.

        Raises:
            ClusterError: `died` named a cause meanwhile, or it did not happen within the given seconds.
        """
        wait_for(lambda: self.get(path) == http.HTTPStatus.OK, f"{path} of https://{self.host}:{self.port}", seconds, died)


def wait_for(condition: Callable[[], bool], what: str, seconds: float, died: Callable[[], str | None]) -> None:
    """Poll a condition until it holds; raises ClusterError as `Probe.wait` does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if cause := died():
            raise errors.ClusterError(f"Cannot reach {what}: {cause}")
        if time.monotonic() > deadline:
            raise errors.ClusterError(f"Cannot reach {what}: not ready within {seconds:.0f} s")
        time.sleep(POLL_SECONDS)
