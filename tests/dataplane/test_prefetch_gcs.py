"""Downloads from an emulator of Google Cloud Storage over real HTTP: versions, checksums, resumption, refusals."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Iterator, Mapping

import pytest
from gcp_storage_emulator import server as gcs_server
from google.cloud import storage

from sluice.prefetch import errors, gcs
from tests.support import ports, prefetching

BUCKET = prefetching.BUCKET
Prefetch = prefetching.Prefetch
WEIGHTS = random.Random(4).randbytes(3 << 20)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    port = ports.free()
    started = gcs_server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    started.start()
    yield f"http://127.0.0.1:{port}"
    started.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[storage.Bucket]:
    """A bucket to upload to; nothing of it is left for the next test."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
    found = storage.Client().bucket(BUCKET)
    yield found
    for blob in list(found.list_blobs()):
        blob.delete()


def upload(bucket: storage.Bucket, files: Mapping[str, bytes] = FILES, prefix: str = prefetching.PREFIX) -> None:
    """Puts the files below the prefix."""
    for path, content in files.items():
        bucket.blob(f"{prefix}/{path}").upload_from_string(content)


@pytest.fixture
def prefetch(tmp_path: pathlib.Path) -> Prefetch:
    """Runs one download of the prefix; gives the versions."""
    return prefetching.into(tmp_path, "gs")


def test_a_prefix_is_downloaded(bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path) -> None:
    """Everything below it and nothing beside it; the version is a digest of names and contents, not of upload times."""
    upload(bucket)
    upload(bucket, {"x.json": b"1"}, "llama/v10")
    first = prefetch()
    assert prefetching.content(tmp_path / "links") == FILES
    upload(bucket)
    assert prefetch() == first
    upload(bucket, {"config.json": b'{"other": 1}'})
    assert prefetch() != first


def test_a_complete_cache_needs_no_network(
    bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the version is recorded, the store may be down."""
    upload(bucket)
    version = prefetch()["model"]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert prefetch(recorded=version) == {"model": version}
    assert prefetching.content(tmp_path / "links") == FILES


def test_a_partial_object_goes_on_where_it_was(
    bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is missing is asked for."""
    upload(bucket)
    offsets = prefetching.cut_once(monkeypatch, gcs.Gcs, "model.safetensors", WEIGHTS[: 1 << 20])
    prefetch()
    assert offsets == [0, 1 << 20]
    assert prefetching.content(tmp_path / "links") == FILES


def test_wrong_content_is_noticed(
    bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the CRC-32C that every object of Google's has."""
    upload(bucket)
    prefetching.flip_bits(monkeypatch, gcs.Gcs)
    with pytest.raises(errors.ChecksumError):
        prefetch()
    assert not list(tmp_path.glob("cache/gs/*/manifests/*"))


def test_what_does_not_exist_is_said(bucket: storage.Bucket, prefetch: Prefetch) -> None:
    """An empty prefix, and a bucket that nobody made."""
    upload(bucket)
    with pytest.raises(errors.MissingError, match="no object below it"):
        prefetch("nothing")
    with pytest.raises(errors.MissingError, match="answered 404"):
        prefetch(bucket="no-such-bucket")


def test_an_unreachable_store_is_named(bucket: storage.Bucket, prefetch: Prefetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """After bounded tries."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(errors.TransientError, match=r"127\.0\.0\.1"):
        prefetch()


def test_a_broken_key_file_is_said(
    bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a refusal that a Secret mends, not a defect."""
    (tmp_path / "key.json").write_text("not a key")
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(errors.DeniedError, match=r"credentialsSecretRef"):
        prefetch()
