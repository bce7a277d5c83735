"""Downloads from an emulator of Google Cloud Storage over real HTTP: versions, checksums, resumption, refusals."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable, Iterator, Mapping

import pytest
from gcp_storage_emulator import server as gcs_server
from google.cloud import storage

from sluice.prefetch import download, errors, gcs, model, run
from sluice.workloads import sources
from tests.support import ports

BUCKET = "models"
WEIGHTS = random.Random(4).randbytes(3 << 20)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}
POLICY = download.Policy(pause=0.001, attempts=3)
Prefetch = Callable[..., dict[str, str]]


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


def upload(bucket: storage.Bucket, files: Mapping[str, bytes] = FILES, prefix: str = "llama/v1") -> None:
    """Puts the files below the prefix."""
    for path, content in files.items():
        bucket.blob(f"{prefix}/{path}").upload_from_string(content)


@pytest.fixture
def prefetch(tmp_path: pathlib.Path) -> Prefetch:
    """Runs one download of the prefix; gives the versions."""

    def go(prefix: str = "llama/v1", *, recorded: str | None = None, place: str = BUCKET) -> dict[str, str]:
        item = sources.model_item(f"gs://{place}/{prefix}")
        known = {"model": recorded} if recorded else {}
        options = run.Options(tmp_path / "cache", tmp_path / "links", (item,), known, policy=POLICY)
        return run.Prefetcher(options, lambda _: None).run()

    return go


def content(tmp_path: pathlib.Path) -> dict[str, bytes]:
    """What the engine would find."""
    root = tmp_path / "links" / "model"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_prefix_is_downloaded(bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path) -> None:
    """Everything below it and nothing beside it; the version is a digest of names and contents, not of upload times."""
    upload(bucket)
    upload(bucket, {"x.json": b"1"}, "llama/v10")
    first = prefetch()
    assert content(tmp_path) == FILES
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
    assert content(tmp_path) == FILES


def test_a_partial_object_goes_on_where_it_was(
    bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is missing is asked for."""
    upload(bucket)
    offsets: list[int] = []
    fetch = gcs.Gcs.fetch

    def cut(self: gcs.Gcs, file: model.File, offset: int, sink: model.Sink) -> None:
        if file.path == "model.safetensors":
            offsets.append(offset)
        if len(offsets) == 1 and file.path == "model.safetensors":
            sink.write(WEIGHTS[: 1 << 20])
            raise errors.TransientError("cut")
        fetch(self, file, offset, sink)

    monkeypatch.setattr(gcs.Gcs, "fetch", cut)
    prefetch()
    assert offsets == [0, 1 << 20]
    assert content(tmp_path) == FILES


def test_wrong_content_is_noticed(
    bucket: storage.Bucket, prefetch: Prefetch, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the CRC-32C that every object of Google's has."""
    upload(bucket)
    fetch = gcs.Gcs.fetch

    class Flipped:
        def __init__(self, sink: model.Sink) -> None:
            self._sink = sink
            self.restart = sink.restart

        def write(self, data: bytes, /) -> int:
            return self._sink.write(data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(gcs.Gcs, "fetch", lambda self, file, offset, sink: fetch(self, file, offset, Flipped(sink)))
    with pytest.raises(errors.ChecksumError):
        prefetch()
    assert not list(tmp_path.glob("cache/gs/*/manifests/*"))


def test_what_does_not_exist_is_said(bucket: storage.Bucket, prefetch: Prefetch) -> None:
    """An empty prefix, and a bucket that nobody made."""
    upload(bucket)
    with pytest.raises(errors.MissingError, match="no object below it"):
        prefetch("nothing")
    with pytest.raises(errors.MissingError, match="answered 404"):
        prefetch(place="no-such-bucket")


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
