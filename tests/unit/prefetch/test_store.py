"""The cache's folders, checksums, and which files are taken."""

from __future__ import annotations

import hashlib
import pathlib
import zlib

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice.prefetch import digests, errors, links, listings, model, selection, store


def weights(path: str, size: int = 1 << 30) -> model.File:
    """A large file."""
    return model.File(path, size, path)


def chosen(*files: model.File) -> list[str]:
    """Paths of those that are downloaded."""
    return [file.path for file in selection.select(files)]


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["a.safetensors", "a.bin", "a.pt", "a.gguf", "a.h5", "a.onnx"], ["a.safetensors"]),
        (["a.bin", "a.pt", "a.msgpack"], ["a.bin"]),
        (["a.pt", "a.pth"], ["a.pt"]),
        (["a.Q4.gguf", "a.Q8.gguf"], ["a.Q4.gguf", "a.Q8.gguf"]),
        (["original/consolidated.00.pth", "a.safetensors"], ["a.safetensors"]),
        (["onnx/model.onnx_data", "a.safetensors"], ["a.safetensors"]),
        (["consolidated.safetensors", "model.safetensors"], ["consolidated.safetensors", "model.safetensors"]),
        (["a.pth"], ["a.pth"]),
    ],
)
def test_one_format_of_the_weights_is_taken(files: list[str], taken: list[str]) -> None:
    """vLLM's own order; where it could load nothing, its own error says more than ours would."""
    assert chosen(*map(weights, files)) == taken


def test_small_files_are_always_taken() -> None:
    """A speaker's voice in a .pt, a tokenizer's table in a .bin: none of them is a model's weights."""
    assert chosen(weights("a.safetensors"), weights("voice.pt", 1000), weights("config.json", 10)) == [
        "a.safetensors", "config.json", "voice.pt"
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "", "a\0b"])
def test_a_path_that_leads_out_is_refused(path: str) -> None:
    """A repository must not write where it likes."""
    with pytest.raises(ValueError, match="leads out"):
        selection.select([weights(path)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=5000), st.integers(1, 1500))
def test_checksums_are_what_the_hosts_mean_by_them(tmp_path_factory: pytest.TempPathFactory, content: bytes, part: int) -> None:
    """Each algorithm against its definition; a single changed byte is noticed by every one."""
    path = tmp_path_factory.mktemp("sum") / "file"
    path.write_bytes(content)
    parts = [content[start : start + part] for start in range(0, len(content), part)] or [b""]
    values = {
        model.Algorithm.SHA256: hashlib.sha256(content).hexdigest(),
        model.Algorithm.GIT: hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(),
        model.Algorithm.MD5: hashlib.md5(content).hexdigest(),
        model.Algorithm.MD5_PARTS: hashlib.md5(b"".join(hashlib.md5(each).digest() for each in parts)).hexdigest(),
        model.Algorithm.CRC32: f"{zlib.crc32(content):08x}",
        model.Algorithm.CRC32C: f"{google_crc32c.value(content):08X}",
    }
    assert set(values) == set(model.Algorithm)
    told = [model.Digest(algorithm, value, part) for algorithm, value in values.items()]
    assert all(digests.matches(path, digest) for digest in told)
    path.write_bytes(content + b"x")
    assert not any(digests.matches(path, digest) for digest in told)


@given(
    st.lists(st.sampled_from(["s3://b/a/b", "s3://b/a--b", "s3://b--a/b", "gs://b/a/b", "hf://a/b", "hf://a--b"]), min_size=2)
)
def test_sources_never_share_a_folder(sources: list[str]) -> None:
    """However alike their names are."""
    assert len({store.folder_of(source) for source in sources}) == len(set(sources))


def test_a_trailing_slash_is_the_same_source() -> None:
    """And the same folder."""
    assert store.folder_of("s3://b/m/") == store.folder_of("s3://b/m")


def make(root: pathlib.Path, *contents: bytes) -> tuple[store.Store, model.Listing]:
    """A cache that has these files."""
    cache = store.Store(root, "hf://o/m")
    cache.prepare()
    files = tuple(model.File(f"dir/{number}", len(content), f"k{number}") for number, content in enumerate(contents))
    for file, content in zip(files, contents, strict=True):
        cache.partial(file).write_bytes(content)
        cache.keep(file)
    return cache, model.Listing("v1", files)


def test_only_a_version_with_a_manifest_and_all_files_is_complete(tmp_path: pathlib.Path) -> None:
    """Neither files without a manifest nor a manifest without a file."""
    cache, listing = make(tmp_path, b"a", b"bb")
    assert cache.complete("v1") is None
    cache.finish(listing)
    assert cache.complete("v1") == store.Manifest("hf://o/m", "v1", listing.files)
    (cache.blobs / "k1").unlink()
    assert cache.complete("v1") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": [{}]}', '{"files": 3, "source": "", "version": ""}'])
def test_a_damaged_manifest_is_none(tmp_path: pathlib.Path, text: str) -> None:
    """The version is brought again, file by file as far as it is missing."""
    cache, listing = make(tmp_path, b"a")
    cache.finish(listing)
    next(tmp_path.rglob("v1")).write_text(text)
    assert cache.complete("v1") is None


def test_the_engine_sees_exactly_the_version(tmp_path: pathlib.Path) -> None:
    """Also where an earlier container of the pod had linked another one."""
    cache, listing = make(tmp_path / "cache", b"a", b"bb")
    stale = tmp_path / "links" / "model" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_text("x")
    links.place(tmp_path / "links" / "model", cache, cache.finish(listing))
    found = {str(path.relative_to(tmp_path / "links" / "model")) for path in (tmp_path / "links").rglob("*") if path.is_file()}
    assert found == {"dir/0", "dir/1"}
    assert (tmp_path / "links" / "model" / "dir" / "1").read_bytes() == b"bb"


def test_a_branch_is_remembered_whatever_it_is_called(tmp_path: pathlib.Path) -> None:
    """A slash in its name is no folder."""
    cache, listing = make(tmp_path, b"a")
    cache.finish(listing)
    cache.remember("feature/x", "v1")
    found = cache.recall("feature/x")
    assert found is not None
    assert found.version == "v1"
    assert cache.recall("feature") is None


def test_a_cache_that_cannot_be_written_is_said(tmp_path: pathlib.Path) -> None:
    """With its path, as the volume's fault."""
    (tmp_path / "hf").write_text("not a folder")
    with pytest.raises(errors.CacheError, match=str(tmp_path)):
        store.Store(tmp_path, "hf://o/m").prepare()


def test_versions_of_object_stores_are_of_names_and_contents() -> None:
    """The order of a listing and entries that stand for folders change nothing; an empty listing is an error."""
    one, two = model.File("a", 1, "k1"), model.File("b", 1, "k2")
    folder = model.File("x/", 0, "k0")
    version = listings.of_objects("s3://b", [one, two]).version
    assert listings.of_objects("s3://b", [folder, two, one]).version == version
    assert listings.of_objects("s3://b", [one, model.File("b", 1, "k3")]).version != version
    with pytest.raises(errors.MissingError):
        listings.of_objects("s3://b", [folder])
