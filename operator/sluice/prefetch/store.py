"""The cache of one source on a volume that other pods may share: whole files by content, and manifests that say what is whole.

    <root>/<scheme>/<name>/
        lock                    held by the one process that downloads
        partial/<key>           what has arrived of a file; a later process goes on from there
        blobs/<key>             whole, checked files; two versions share what they have in common
        manifests/<version>     written last: names every file of a version, so that half a download is never taken for a whole
        refs/<revision>         the version that a branch or tag was last seen at

Nothing here is ever deleted but a partial file that turned out wrong. There are no links on the volume: not every shared file
system has them; each pod makes its own, see `links`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import shutil
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Final

from sluice.api import naming
from sluice.prefetch import errors, model
from sluice.workloads import sources

LOCK_PAUSE: Final = 1.0
"""Seconds between looks at a lock that somebody else holds."""
_NAME_LENGTH: Final = 100
_HELD: Final = (errno.EAGAIN, errno.EACCES)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a whole version consists of."""

    source: str
    version: str
    files: tuple[model.File, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        files = [{"path": file.path, "size": file.size, "key": file.key} for file in self.files]
        return {"source": self.source, "version": self.version, "files": files}

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """The inverse. Raises KeyError, TypeError or ValueError for other data."""
        files = (model.File(str(one["path"]), int(one["size"]), str(one["key"])) for one in data["files"])
        return cls(str(data["source"]), str(data["version"]), tuple(files))


class Store:
    """The cache of one source."""

    def __init__(self, root: pathlib.Path, source: str) -> None:
        self.source = source
        self.home = root / folder_of(source)
        self.blobs = self.home / "blobs"
        self.partials = self.home / "partial"
        self._manifests = self.home / "manifests"
        self._refs = self.home / "refs"

    def prepare(self) -> None:
        """Makes the folders. Raises errors.PrefetchError when the volume cannot be written."""
        try:
            for folder in (self.blobs, self.partials, self._manifests, self._refs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise errors.of_disk(self.home, error) from error

    def complete(self, version: str) -> Manifest | None:
        """The version's manifest when all its files are there with their sizes; None otherwise."""
        try:
            manifest = Manifest.from_json(json.loads((self._manifests / version).read_text(encoding="utf-8")))
        except (OSError, KeyError, TypeError, ValueError):
            return None
        return manifest if all(self.has(file) for file in manifest.files) else None

    def has(self, file: model.File) -> bool:
        """Whether the whole file is there."""
        try:
            return (self.blobs / file.key).stat().st_size == file.size
        except OSError:
            return False

    def partial(self, file: model.File) -> pathlib.Path:
        """Where the file grows."""
        return self.partials / file.key

    def missing(self, listing: model.Listing) -> int:
        """Bytes of the listing that are still to be fetched."""
        files = {file.key: file for file in listing.files if not self.has(file)}
        return sum(max(0, file.size - self._size(self.partial(file))) for file in files.values())

    def used(self) -> int:
        """Bytes that this source takes."""
        folders = (folder for folder in (self.blobs, self.partials) if folder.is_dir())
        return sum(self._size(path) for folder in folders for path in folder.iterdir())

    def keep(self, file: model.File) -> None:
        """Takes the partial file, which is whole and checked, among the whole ones.

        Raises:
            errors.PrefetchError: the volume cannot be written.
        """
        partial = self.partial(file)
        try:
            _sync(partial)
            partial.replace(self.blobs / file.key)
            _sync(self.blobs)
        except OSError as error:
            raise errors.of_disk(partial, error) from error

    def finish(self, listing: model.Listing) -> Manifest:
        """Writes the manifest of a version whose files are all there."""
        manifest = Manifest(self.source, listing.version, listing.files)
        _write(self._manifests / listing.version, json.dumps(manifest.to_json(), indent=1))
        return manifest

    def remember(self, revision: str, version: str) -> None:
        """Notes the version that a branch or tag is at now."""
        _write(self._refs / urllib.parse.quote(revision, safe=""), version)

    def recall(self, revision: str) -> Manifest | None:
        """The whole version that a branch or tag was last seen at, for when the host cannot be asked."""
        try:
            version = (self._refs / urllib.parse.quote(revision, safe="")).read_text(encoding="utf-8")
        except OSError:
            return None
        return self.complete(version) if version else None

    @contextlib.contextmanager
    def lock(self, wait: Callable[[], None]) -> Iterator[None]:
        """Keeps other processes off, in other pods and on other nodes too; calls `wait` between tries.

        The kernel lets go of it when the process ends, however that happens.
        """
        try:
            handle = (self.home / "lock").open("a")
        except OSError as error:
            raise errors.of_disk(self.home, error) from error
        with handle:
            while not self._try_lock(handle.fileno()):
                wait()
            yield

    def _try_lock(self, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                return False
            raise errors.CacheError(
                f"Cannot lock the cache at {self.home}: {error.strerror}. Its file system must have locks: NFSv4, CephFS and "
                "block volumes do; Lustre does when it is mounted with the option flock"
            ) from error
        return True

    @staticmethod
    def _size(path: pathlib.Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0


def folder_of(source: str) -> pathlib.PurePosixPath:
    """The source's folder in a cache: readable, and no other source's."""
    parsed = sources.parse(source)
    name = f"{parsed.place}/{parsed.path}".rstrip("/").replace("/", "--")[:_NAME_LENGTH]
    return pathlib.PurePosixPath(parsed.scheme.value) / f"{name}.{naming.content_hash([parsed.place, parsed.path])}"


def free_space(path: pathlib.Path) -> int:
    """Bytes that may still be written."""
    return shutil.disk_usage(path).free


def _write(path: pathlib.Path, text: str) -> None:
    """Replaces the file at once: a reader sees the old text or the new."""
    scratch = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        _sync(scratch)
        scratch.replace(path)
    except OSError as error:
        raise errors.of_disk(path, error) from error
    _sync(path.parent)


def _sync(path: pathlib.Path) -> None:
    """Makes sure that a crash of the node does not undo it. Some network file systems cannot for folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
