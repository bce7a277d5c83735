"""What every kind of source tells about its files, and what it must be able to do. Values only; no I/O."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Protocol

from sluice.workloads import sources


class Algorithm(enum.StrEnum):
    """How the content of a file is summed up."""

    SHA256 = "sha256"
    """SHA-256: large files of the hub, some objects of S3."""
    GIT = "git"
    """SHA-1 of a git blob: small files of the hub."""
    MD5 = "md5"
    """MD5: objects of S3 uploaded in one piece, most of GCS."""
    MD5_PARTS = "md5-parts"
    """MD5 over the MD5s of parts of equal size: objects of S3 uploaded in several."""
    CRC32C = "crc32c"
    """CRC-32C: every object of GCS, some of S3."""
    CRC32 = "crc32"
    """CRC-32, as in zip: some objects of S3."""


@dataclasses.dataclass(frozen=True)
class Digest:
    """What the content of a file must come to."""

    algorithm: Algorithm
    value: str
    """Hexadecimal; without the number of parts."""
    part_size: int = 0
    """Bytes of a part, for MD5_PARTS."""


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a listing."""

    path: str
    """Relative to the source's root, with slashes."""
    size: int
    """Bytes."""
    key: str
    """Names the content: equal content of one source has one key. Safe as a file name."""
    tag: str = ""
    """What the host calls this very content, such as an ETag or a generation: a read insists on it."""
    digest: Digest | None = None
    """None where the source says nothing, or tells it only when asked."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a source at one moment."""

    version: str
    """The commit, or a digest of names and contents where the host has no commits. Safe as a file name."""
    files: tuple[File, ...]


class Sink(Protocol):
    """Takes what arrives, in order."""

    def write(self, data: bytes, /) -> int:
        """Appends; returns how much."""
        ...

    def restart(self) -> None:
        """Forgets what it has: the host sends the file from its beginning after all."""
        ...


class Origin(Protocol):
    """A place that models come from. Errors are those of `errors`."""

    def list(self, revision: str | None) -> Listing:
        """The files as of a revision (None: the default one)."""
        ...

    def digest(self, file: File) -> Digest | None:
        """What the file's content must come to; None where the host does not tell."""
        ...

    def fetch(self, file: File, offset: int, sink: Sink) -> None:
        """Sends the file from the offset on to the sink; it may stop early, but not without having sent anything."""
        ...


OpenOrigin = Callable[[sources.Item], Origin]
