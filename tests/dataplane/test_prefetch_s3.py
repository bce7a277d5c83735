"""Downloads from S3's protocol as moto's server speaks it, over real HTTP: versions, checksums, resumption, refusals."""

from __future__ import annotations

import hashlib
import io
import pathlib
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from boto3.s3 import transfer
from moto import server as moto_server

from sluice.prefetch import errors, model, s3
from sluice.workloads import sources
from tests.support import prefetching

if TYPE_CHECKING:
    from types_boto3_s3 import client as s3_client

BUCKET = prefetching.BUCKET
Prefetch = prefetching.Prefetch
WEIGHTS = random.Random(3).randbytes(12 << 20)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    started = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    started.start()
    host, port = started.get_host_and_port()
    yield f"http://{host}:{port}"
    started.stop()


@pytest.fixture
def s3_api(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[s3_client.S3Client]:
    """A client with which a test uploads; its credentials file is what a Secret's key would be mounted as."""
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        client.delete_object(Bucket=BUCKET, Key=found["Key"])
    client.delete_bucket(Bucket=BUCKET)


def upload(client: s3_client.S3Client, files: Mapping[str, bytes] = FILES, prefix: str = prefetching.PREFIX) -> None:
    """Puts the files below the prefix, large ones in parts, as Amazon's tools do."""
    parts = transfer.TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=5 << 20)
    for path, content in files.items():
        client.upload_fileobj(io.BytesIO(content), BUCKET, f"{prefix}/{path}", Config=parts)


@pytest.fixture
def prefetch(tmp_path: pathlib.Path) -> Prefetch:
    """Runs one download of the prefix; gives the versions."""
    return prefetching.into(tmp_path, "s3")


def test_a_prefix_is_downloaded(s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path) -> None:
    """Everything below it and nothing beside it; the version is a digest of names and contents."""
    upload(s3_api)
    upload(s3_api, {"x.json": b"1"}, "llama/v10")
    first = prefetch()
    assert prefetching.content(tmp_path / "links") == FILES
    assert prefetch() == first
    upload(s3_api, {"config.json": b'{"other": 1}'})
    assert prefetch() != first


def test_a_trailing_slash_changes_nothing(s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path) -> None:
    """People write prefixes either way."""
    upload(s3_api)
    assert prefetch("llama/v1/") == prefetch("llama/v1")
    assert prefetching.content(tmp_path / "links") == FILES


def test_a_complete_cache_needs_no_network(
    s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the version is recorded, the store may be down, or the objects gone."""
    upload(s3_api)
    version = prefetch()["model"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert prefetch(recorded=version) == {"model": version}
    assert prefetching.content(tmp_path / "links") == FILES


def test_objects_that_were_replaced_are_an_error_for_later_pods(
    s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path
) -> None:
    """A pod without the first one's cache can't have what is gone, and says so instead of mixing two models."""
    upload(s3_api)
    version = prefetch()["model"]
    upload(s3_api, {"config.json": b'{"other": 1}'})
    (next(tmp_path.glob("cache/s3/*")) / "manifests" / version).unlink()
    with pytest.raises(errors.ChangedError, match="Upload to a new prefix"):
        prefetch(recorded=version)


def test_a_partial_object_goes_on_where_it_was(
    s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is missing is asked for."""
    upload(s3_api)
    offsets = prefetching.cut_once(monkeypatch, s3.S3, "model.safetensors", WEIGHTS[: 5 << 20])
    prefetch()
    assert offsets == [0, 5 << 20]
    assert prefetching.content(tmp_path / "links") == FILES


@pytest.mark.parametrize("algorithm", [None, "SHA256", "CRC32"])
def test_checksums_of_the_store_are_used(s3_api: s3_client.S3Client, algorithm: Any) -> None:
    """The object's own where it has one, else its ETag, in one piece or in parts; each is what our own sum comes to."""
    more = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    s3_api.put_object(Bucket=BUCKET, Key="m/small.bin", Body=b"content", **more)
    upload(s3_api, {"large.bin": WEIGHTS}, "m")
    origin = s3.S3(sources.model_item(f"s3://{BUCKET}/m"))
    large, small = origin.list(None).files
    told = origin.digest(small)
    assert told is not None
    if algorithm == "SHA256":
        assert told == model.Digest(model.Algorithm.SHA256, hashlib.sha256(b"content").hexdigest())
    parts = origin.digest(large)
    assert parts is not None
    assert parts.algorithm is model.Algorithm.MD5_PARTS


def test_content_that_stays_wrong_is_an_error(
    s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that changes bytes is noticed."""
    upload(s3_api)
    prefetching.flip_bits(monkeypatch, s3.S3)
    with pytest.raises(errors.ChecksumError):
        prefetch()
    assert not list(tmp_path.glob("cache/s3/*/manifests/*"))


def test_an_empty_prefix_and_a_missing_bucket_are_said(s3_api: s3_client.S3Client, prefetch: Prefetch) -> None:
    """With the words that tell them apart."""
    with pytest.raises(errors.MissingError, match="no object below it"):
        prefetch("nothing")
    with pytest.raises(errors.MissingError, match="answered 404: NoSuchBucket"):
        prefetch(bucket="no-such-bucket")


def test_an_unreachable_store_is_named(s3_api: s3_client.S3Client, prefetch: Prefetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """After bounded tries."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(errors.TransientError, match=r"http://127\.0\.0\.1:9"):
        prefetch()


def test_a_broken_credentials_file_is_said(s3_api: s3_client.S3Client, prefetch: Prefetch, tmp_path: pathlib.Path) -> None:
    """It is a refusal that a Secret mends, not a defect."""
    (tmp_path / "credentials").write_text("not an ini file")
    with pytest.raises(errors.DeniedError, match="credentialsSecretRef"):
        prefetch()


def test_md5_is_not_taken_from_encrypted_objects(s3_api: s3_client.S3Client) -> None:
    """Under SSE-KMS an ETag is no MD5: without another checksum there is none."""
    s3_api.put_object(Bucket=BUCKET, Key="k/a.bin", Body=b"content", ServerSideEncryption="aws:kms", SSEKMSKeyId="key")
    origin = s3.S3(sources.model_item(f"s3://{BUCKET}/k"))
    told = origin.digest(origin.list(None).files[0])
    assert told is None or told.algorithm is model.Algorithm.CRC32
