"""Checksums of files on disk, in the forms that hubs and object stores publish them."""

from __future__ import annotations

import hashlib
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, Protocol

import google_crc32c

from sluice.prefetch import model

CHUNK: Final = 1 << 20


class _Sum(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Crc32c:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = google_crc32c.extend(self._value, data)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Md5Parts:
    """S3's ETag of an object that was uploaded in parts."""

    def __init__(self, part_size: int) -> None:
        self._part_size = part_size
        self._left = part_size
        self._part = _md5()
        self._parts: list[bytes] = []

    def update(self, data: bytes) -> None:
        while data:
            head, data = data[: self._left], data[self._left :]
            self._part.update(head)
            self._left -= len(head)
            if not self._left:
                self._close()

    def _close(self) -> None:
        self._parts.append(self._part.digest())
        self._part, self._left = _md5(), self._part_size

    def hexdigest(self) -> str:
        parts = list(self._parts)
        if self._left < self._part_size or not parts:
            parts.append(self._part.digest())
        return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


_SIMPLE: Final[dict[model.Algorithm, Callable[[], _Sum]]] = {
    model.Algorithm.SHA256: hashlib.sha256,
    model.Algorithm.MD5: _md5,
    model.Algorithm.CRC32: _Crc32,
    model.Algorithm.CRC32C: _Crc32c,
}


def matches(path: pathlib.Path, digest: model.Digest) -> bool:
    """Whether the file's content comes to the digest."""
    total = _start(path, digest)
    with path.open("rb") as content:
        for chunk in _chunks(content):
            total.update(chunk)
    return total.hexdigest() == digest.value.lower()


def _start(path: pathlib.Path, digest: model.Digest) -> _Sum:
    if digest.algorithm is model.Algorithm.GIT:
        return hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    if digest.algorithm is model.Algorithm.MD5_PARTS:
        return _Md5Parts(digest.part_size)
    return _SIMPLE[digest.algorithm]()


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    while chunk := content.read(CHUNK):
        yield chunk
