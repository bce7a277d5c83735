"""Layers and images are functions of their content: the same files make the same digests, in containers nothing is special."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hack.images import cache, layers, oci


def members(archive: pathlib.Path) -> dict[str, tarfile.TarInfo]:
    """What is in a tar file, by path."""
    with tarfile.open(archive) as opened:
        return {member.name: member for member in opened}


def test_same_content_makes_the_same_layer(tmp_path: pathlib.Path) -> None:
    """Neither the order of entries nor the time or mode of the files on this machine changes a digest."""
    first, second = tmp_path / "first", tmp_path / "second"
    for directory in (first, second):
        directory.mkdir()
        for name in ("a", "b"):
            (directory / name).write_text(name)
    (second / "a").chmod(0o600)
    (second / "b").touch()
    one = layers.write(tmp_path / "one.tar", layers.tree(first, "opt"))
    other = layers.write(tmp_path / "other.tar", reversed(list(layers.tree(second, "opt"))))
    assert one == other == cache.file_digest(tmp_path / "one.tar")


def test_directories_are_added_and_the_later_entry_wins() -> None:
    """Every file lies in a directory of the layer, and of two entries for one path the later is taken."""
    entries = layers.complete([layers.Entry("a/b/c", b"old"), layers.Entry("a/b/c", b"new"), layers.directory("a", 0o700)])
    assert [(entry.path, entry.content, entry.mode) for entry in entries] == [
        ("a", None, 0o700),
        ("a/b", None, 0o755),
        ("a/b/c", b"new", 0o644),
    ]


def test_skipped_directories_are_left_out_with_their_content(tmp_path: pathlib.Path) -> None:
    """What `skip` matches is left out, whole directories too; symbolic links stay links."""
    (tmp_path / "keep" / "__pycache__").mkdir(parents=True)
    (tmp_path / "keep" / "__pycache__" / "x.pyc").write_text("")
    (tmp_path / "keep" / "link").symlink_to("../else")
    found = list(layers.tree(tmp_path, "", r"(^|/)__pycache__/"))
    assert [(entry.path, entry.link) for entry in found] == [("keep", None), ("keep/link", "../else")]


def test_containers_get_no_set_user_id_program(tmp_path: pathlib.Path) -> None:
    """Modes are kept but for set-user-id and set-group-id; everything belongs to root and has no time."""
    layers.write(tmp_path / "layer.tar", [layers.Entry("su", b"", mode=0o6755), layers.directory("tmp", 0o1777)])
    written = members(tmp_path / "layer.tar")
    assert {name: oct(info.mode) for name, info in written.items()} == {"su": "0o755", "tmp": "0o1777"}
    assert {(info.uid, info.gid, info.mtime) for info in written.values()} == {(0, 0, 0)}


def test_image_is_a_layout_whose_digests_hold(tmp_path: pathlib.Path) -> None:
    """Index leads to manifest, configuration and layers by digests that are right, and a shared layer is stored once."""
    digest = layers.write(tmp_path / "layer.tar", [layers.Entry("hello", b"x" * 700)])
    layer = layers.Layer(tmp_path / "layer.tar", digest, (tmp_path / "layer.tar").stat().st_size)
    config = oci.Config(("/hello",), "65532:65532", {"A": "1"}, "/app")
    manifest_digest = oci.write_image(tmp_path / "image.tar", "localhost/sluice/x:1", [layer, layer], config)

    with tarfile.open(tmp_path / "image.tar") as image:
        names = image.getnames()
        content = {name: file.read() for name in names if (file := image.extractfile(name))}
    blobs = {name.rpartition("/")[2]: data for name, data in content.items() if name.startswith(oci.BLOBS)}
    assert all(hashlib.sha256(data).hexdigest() == name for name, data in blobs.items())
    assert len(names) == len(set(names))
    described = json.loads(content["index.json"])["manifests"][0]
    assert described["digest"] == manifest_digest
    assert described["annotations"]["io.containerd.image.name"] == "localhost/sluice/x:1"
    manifest = json.loads(blobs[manifest_digest.removeprefix("sha256:")])
    assert [part["digest"] for part in manifest["layers"]] == [f"sha256:{digest}"] * 2
    started = json.loads(blobs[manifest["config"]["digest"].removeprefix("sha256:")])["config"]
    assert started["User"] == "65532:65532"
    assert started["Entrypoint"] == ["/hello"]
    assert started["WorkingDir"] == "/app"
    assert "A=1" in started["Env"]


@given(st.lists(st.text()), st.lists(st.text()))
def test_content_key_tells_parts_apart(one: list[str], other: list[str]) -> None:
    """Two lists of parts have the same key only when they are the same list."""
    assert (cache.content_key(*one) == cache.content_key(*other)) == (one == other)


def test_failed_build_leaves_nothing(tmp_path: pathlib.Path) -> None:
    """What was not completed is not taken for the real thing, and the next try starts from nothing."""
    target = tmp_path / "thing"

    def half(scratch: pathlib.Path) -> None:
        scratch.mkdir()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.build(target, half)
    assert not target.exists()
    assert cache.build(target, lambda scratch: scratch.mkdir()) == target
    assert cache.build(target, half) == target


def test_only_the_last_used_are_kept(tmp_path: pathlib.Path) -> None:
    """Using an entry makes it the newest; what is beyond the count and fits the pattern goes."""
    for age, name in enumerate(["x-1", "x-2", "x-3", "y-1"]):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    cache.keep_newest(tmp_path / "x-1", "x-*", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-1", "x-3", "y-1"]
