"""Google Cloud Storage, through Google's own library.

The library finds credentials as everywhere: a key file or a workload identity configuration (GOOGLE_APPLICATION_CREDENTIALS),
the pod's workload identity, the node's account. Without any, requests are anonymous, as public buckets want.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import google.api_core.exceptions
import google.auth.exceptions
import google.cloud.exceptions
import google.cloud.storage
import google.resumable_media
import requests

from sluice.prefetch import errors, listings, model
from sluice.workloads import sources

TIMEOUT: Final = (10.0, 60.0)
"""Seconds to connect, and between two pieces of data."""
_FIX: Final = (
    "Give roles/storage.objectViewer there to the pod's workload identity, or name a Secret with a service account's key in "
    "spec.template.model.credentialsSecretRef"
)


class _Stream:
    """What the library writes to: it asks for no more of a file than this."""

    def __init__(self, sink: model.Sink) -> None:
        self._sink = sink

    def write(self, data: bytes, /) -> int:
        return self._sink.write(data)


class Gcs:
    """One prefix of one bucket."""

    def __init__(self, item: sources.Item) -> None:
        self._source = item.source
        self._place, self._prefix = item.parsed.place, item.parsed.path
        with self._explained():
            self._bucket = _client().bucket(self._place)

    def list(self, revision: str | None) -> model.Listing:  # noqa: ARG002 - object stores have no revisions
        """The objects below the prefix as they are now."""
        with self._explained():
            found = self._bucket.client.list_blobs(self._bucket, prefix=self._folder, timeout=TIMEOUT, retry=None)
            files = [self._file(blob) for blob in found]
        return listings.of_objects(self._source, files)

    def digest(self, file: model.File) -> model.Digest | None:
        """Every object has a checksum in the listing."""
        return file.digest

    def fetch(self, file: model.File, offset: int, sink: model.Sink) -> None:
        """Streams the object from the offset on, as long as it is the one that was listed."""
        blob = self._bucket.blob(self._folder + file.path, generation=int(file.tag))
        with self._explained():
            blob.download_to_file(_Stream(sink), start=offset, raw_download=True, checksum=None, timeout=TIMEOUT, retry=None)

    @property
    def _folder(self) -> str:
        return f"{self._prefix}/" if self._prefix else ""

    def _file(self, blob: Any) -> model.File:
        path, size = blob.name.removeprefix(self._folder), int(blob.size or 0)
        generation = str(blob.generation or 0)
        crc32c = base64.b64decode(blob.crc32c).hex() if blob.crc32c else ""
        digest = model.Digest(model.Algorithm.CRC32C, crc32c) if crc32c else None
        if blob.md5_hash:
            md5 = base64.b64decode(blob.md5_hash).hex()
            return model.File(path, size, f"md5-{md5}", generation, digest or model.Digest(model.Algorithm.MD5, md5))
        # A composed object has no MD5, and a CRC alone names no content: the generation does.
        return model.File(path, size, f"generation-{generation}-{crc32c}-{size}", generation, digest)

    @property
    def _url(self) -> str:
        host = os.environ.get("STORAGE_EMULATOR_HOST") or "https://storage.googleapis.com"
        return f"{host}/{self._place}/{self._prefix}"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns the library's errors into ours."""
        try:
            yield
        except google.api_core.exceptions.GoogleAPICallError as error:
            raise self._of_status(int(error.code or 500), str(error.message or "")) from error
        except google.resumable_media.InvalidResponse as error:
            raise self._of_status(int(error.response.status_code), str(error.response.reason or "")) from error
        except google.auth.exceptions.TransportError as error:
            raise errors.unreachable(self._source, self._url, str(error)) from error
        except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
            raise errors.DeniedError(f"Cannot download {self._source}: {error}. {_FIX}") from error
        except (requests.exceptions.RequestException, google.resumable_media.DataCorruption, ConnectionError) as error:
            raise errors.unreachable(self._source, self._url, str(error)) from error

    def _of_status(self, status: int, words: str) -> errors.PrefetchError:
        return errors.answered(self._source, self._url, status, words, fix=_FIX)


def _client() -> google.cloud.storage.Client:
    try:
        return google.cloud.storage.Client()
    except google.auth.exceptions.DefaultCredentialsError:
        if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ:
            raise  # somebody gave a file, which cannot be used
        return google.cloud.storage.Client.create_anonymous_client()
