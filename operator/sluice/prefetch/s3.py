"""Amazon S3 and what speaks its protocol (AWS_ENDPOINT_URL), through Amazon's own library.

The library finds credentials as everywhere: a file (AWS_SHARED_CREDENTIALS_FILE), a role of the pod's ServiceAccount (IRSA, EKS
Pod Identity), the node's role. Without any, requests are unsigned, as public buckets want.
"""

from __future__ import annotations

import base64
import contextlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore
import botocore.config
import botocore.exceptions

from sluice.prefetch import errors, listings, model
from sluice.workloads import sources

if TYPE_CHECKING:
    from types_boto3_s3 import client as s3_client

CHUNK: Final = 1 << 16
"""Bytes; a piece that is not whole is lost with its connection."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_PARTS: Final = re.compile(r"([0-9a-f]{32})-([0-9]+)")
_CHECKSUMS: Final = {
    "ChecksumSHA256": model.Algorithm.SHA256,
    "ChecksumCRC32C": model.Algorithm.CRC32C,
    "ChecksumCRC32": model.Algorithm.CRC32,
}
_PLAIN_MD5: Final = (None, "AES256")
"""Server-side encryptions under which an ETag is an MD5."""
_FIX: Final = (
    "Allow s3:ListBucket and s3:GetObject there to the role of the pod's ServiceAccount, or name a Secret with a credentials "
    "file in spec.template.model.credentialsSecretRef"
)
_NO_CREDENTIALS: Final = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.ConfigParseError,
    botocore.exceptions.UnauthorizedSSOTokenError,
    botocore.exceptions.TokenRetrievalError,
)
_BROKEN_OFF: Final = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ResponseStreamingError,
)


class S3:
    """One prefix of one bucket."""

    def __init__(self, item: sources.Item) -> None:
        self._source = item.source
        self._bucket, self._prefix = item.parsed.place, item.parsed.path
        with self._explained():
            self._client = _client()

    def list(self, revision: str | None) -> model.Listing:  # noqa: ARG002 - object stores have no revisions
        """The objects below the prefix as they are now."""
        files = []
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._folder)
            for page in pages:
                for found in page.get("Contents", ()):
                    etag = found["ETag"].strip('"')
                    key = f"etag-{re.sub('[^A-Za-z0-9.-]', '_', etag)}-{found['Size']}"
                    files.append(model.File(found["Key"].removeprefix(self._folder), found["Size"], key, etag))
        return listings.of_objects(self._source, files)

    def digest(self, file: model.File) -> model.Digest | None:
        """The object's own checksum, or its ETag where that is an MD5; None where neither is."""
        with self._explained():
            head: Mapping[str, Any] = self._client.head_object(
                Bucket=self._bucket, Key=self._folder + file.path, IfMatch=_quoted(file.tag), ChecksumMode="ENABLED"
            )
            # Of an object in parts it may be a checksum of checksums, which not every store says.
            is_whole = head.get("ChecksumType") == "FULL_OBJECT" or not _PARTS.fullmatch(file.tag)
            for member, algorithm in _CHECKSUMS.items():
                if is_whole and (value := head.get(member)):
                    return model.Digest(algorithm, base64.b64decode(value).hex())
            if head.get("ServerSideEncryption") not in _PLAIN_MD5 or head.get("SSECustomerAlgorithm"):
                return None
            if _MD5.fullmatch(file.tag):
                return model.Digest(model.Algorithm.MD5, file.tag)
            return self._of_parts(file)

    def fetch(self, file: model.File, offset: int, sink: model.Sink) -> None:
        """Streams the object from the offset on, as long as it is the one that was listed."""
        with self._explained():
            found = self._client.get_object(
                Bucket=self._bucket, Key=self._folder + file.path, Range=f"bytes={offset}-", IfMatch=_quoted(file.tag)
            )
            if offset and "ContentRange" not in found:
                sink.restart()
            with contextlib.closing(found["Body"]) as body:
                for chunk in body.iter_chunks(CHUNK):
                    sink.write(chunk)

    @property
    def _folder(self) -> str:
        return f"{self._prefix}/" if self._prefix else ""

    def _of_parts(self, file: model.File) -> model.Digest | None:
        """The MD5 over parts, where the first part's size tells that all are equal."""
        parts = _PARTS.fullmatch(file.tag)
        if parts is None:
            return None
        try:
            first = self._client.head_object(Bucket=self._bucket, Key=self._folder + file.path, PartNumber=1)["ContentLength"]
        except botocore.exceptions.ClientError:  # not every store knows parts
            return None
        if not first or math.ceil(file.size / first) != int(parts.group(2)):
            return None
        return model.Digest(model.Algorithm.MD5_PARTS, parts.group(1), first)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turns the library's errors into ours."""
        try:
            yield
        except botocore.exceptions.ClientError as error:
            raise self._of_answer(error) from error
        except _NO_CREDENTIALS as error:
            raise errors.DeniedError(f"Cannot download {self._source}: {error}. {_FIX}") from error
        except _BROKEN_OFF as error:
            raise errors.unreachable(self._source, self._url, str(error)) from error
        except botocore.exceptions.BotoCoreError as error:
            raise errors.MissingError(f"Cannot download {self._source}: {error}") from error

    @property
    def _url(self) -> str:
        return f"{self._client.meta.endpoint_url}/{self._bucket}/{self._prefix}"

    def _of_answer(self, error: botocore.exceptions.ClientError) -> errors.PrefetchError:
        told: Mapping[str, Any] = error.response
        status = int(told.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) or 500
        code, words = told.get("Error", {}).get("Code", ""), told.get("Error", {}).get("Message", "")
        if status == 412:  # the object is no longer the one that was listed
            return errors.ChangedError(
                f"Cannot download {self._source}: an object changed while it was downloaded ({self._url} answered 412). "
                "Upload to a new prefix, and leave those that are in use alone"
            )
        if code in ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"):
            status = 503
        return errors.answered(self._source, self._url, status, f"{code} {words}", fix=_FIX)


def _quoted(tag: str) -> str:
    return f'"{tag}"'


def _client() -> s3_client.S3Client:
    session = boto3.session.Session(region_name=os.environ.get("AWS_REGION"))
    anonymous = {"signature_version": botocore.UNSIGNED} if session.get_credentials() is None else {}
    config = botocore.config.Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": 2},  # `download` tries again, from where it was
        response_checksum_validation="when_required",  # parts of an object have none; the whole is checked by `download`
        **anonymous,
    )
    return session.client("s3", config=config)
