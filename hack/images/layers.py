"""Writes the layers of an image: tar archives that depend on what is in them and on nothing else.

Times are 0, owners are root, modes are normalised, entries are sorted: the same content has the same digest on every machine.
Which content makes which image is said in `catalogue.py`.
"""

import dataclasses
import hashlib
import io
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from hack.images import cache

FORMAT = "1"
"""Part of every layer's key: raise it when the same content gives another archive than before."""
LAYER_FILE = "layer.tar"
DIGEST_FILE = "digest"
DIRECTORY_MODE = 0o755
KEPT = 2
"""Layers of one label in the cache: another checkout, or the change that is taken back, may want the one before."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file, symbolic link or directory of a layer.

    Attributes:
        path: Where it is in the image, without a leading slash.
        content: A file's content, or the file to copy; None for a link or a directory.
        link: Target of a symbolic link.
        mode: Permission bits; ignored for links.
    """

    path: str
    content: Path | bytes | None = None
    link: str | None = None
    mode: int = 0o644


@dataclasses.dataclass(frozen=True)
class LayerSpec:
    """A layer that may not exist yet.

    Attributes:
        label: What it is, for the cache: the newest few of each label are kept.
        key: Names its inputs.
        entries: Called only when the layer has to be written, with an empty directory that lasts until it is.
    """

    label: str
    key: str
    entries: Callable[[Path], Iterable[Entry]]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer in the cache; `digest` is the hexadecimal SHA-256 of its file, `size` in bytes."""

    path: Path
    digest: str
    size: int


def directory(path: str, mode: int = DIRECTORY_MODE) -> Entry:
    """Return an entry for a directory."""
    return Entry(path, mode=mode)


def tree(source: Path, target: str, skip: str | None = None) -> Iterator[Entry]:
    """Yield an entry for everything below the directory `source`, to lie below `target` in the image.

    Args:
        source: An existing directory.
        target: Directory of the image; empty for its root.
        skip: Regular expression searched in each path relative to `source` (a directory's ends with a slash); a match is
            left out with everything below it.
    """
    skipped = re.compile(skip) if skip else None
    for path in sorted(source.iterdir()):
        yield from _walk(path, path.name, target, skipped)


def _walk(path: Path, relative: str, target: str, skipped: re.Pattern[str] | None) -> Iterator[Entry]:
    is_directory = path.is_dir() and not path.is_symlink()
    if skipped and skipped.search(relative + "/" * is_directory):
        return
    place = str(PurePosixPath(target) / relative)
    if path.is_symlink():
        yield Entry(place, link=str(path.readlink()))
    elif is_directory:
        yield directory(place)
        for child in sorted(path.iterdir()):
            yield from _walk(child, f"{relative}/{child.name}", target, skipped)
    else:
        yield Entry(place, path, mode=0o755 if path.stat().st_mode & 0o100 else 0o644)


def complete(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries sorted, with the directories they lie in; of two for one path the later wins."""
    found: dict[str, Entry] = {}
    for entry in entries:
        for parent in PurePosixPath(entry.path).parents:
            if str(parent) != ".":
                found.setdefault(str(parent), directory(str(parent)))
        found[entry.path] = entry
    return [found[path] for path in sorted(found)]


def ensure(spec: LayerSpec) -> Layer:
    """Return the layer, written into the cache when it is not there."""
    home = cache.build(location(spec), lambda scratch: _write_cached(scratch, spec))
    cache.keep_newest(home, f"{spec.label}-*", KEPT)
    path = home / LAYER_FILE
    return Layer(path, (home / DIGEST_FILE).read_text(), path.stat().st_size)


def location(spec: LayerSpec) -> Path:
    """Return the cache's directory for a layer, written or not."""
    return cache.directory("layers") / f"{spec.label}-{cache.content_key(FORMAT, spec.key)}"


def _write_cached(scratch: Path, spec: LayerSpec) -> None:
    work = scratch / "work"
    work.mkdir(parents=True)
    digest = write(scratch / LAYER_FILE, spec.entries(work))
    (scratch / DIGEST_FILE).write_text(digest)
    cache.remove(work)


def write(target: Path, entries: Iterable[Entry]) -> str:
    """Write the entries as a tar file; the hexadecimal SHA-256 of it."""
    with target.open("wb") as stream:
        hashing = _HashingWriter(stream)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT, bufsize=cache.CHUNK) as archive:
            for entry in complete(entries):
                _add(archive, entry)
    return hashing.digest.hexdigest()


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode & 0o1777  # no set-user-id programs: nothing in our images has a use for them
    if entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
    elif entry.content is None:
        info.type = tarfile.DIRTYPE
    elif isinstance(entry.content, bytes):
        info.size = len(entry.content)
        archive.addfile(info, io.BytesIO(entry.content))
        return
    else:
        with entry.content.open("rb") as stream:
            info.size = entry.content.stat().st_size
            archive.addfile(info, stream)
        return
    archive.addfile(info)


class _HashingWriter(io.RawIOBase):
    """Passes what is written on to a stream and hashes it on the way: a layer of gigabytes is read once only."""

    def __init__(self, stream: io.BufferedWriter) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # tarfile writes bytes only
        self.digest.update(data)
        return self._stream.write(data)
