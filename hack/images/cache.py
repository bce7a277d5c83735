"""Keeps what is slow to make in the cache: named by a hash of what it is made from, visible only when complete.

It knows nothing of what is kept. Two processes that want the same thing make it once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hack.cluster import paths

KEY_LENGTH = 16
CHUNK = 1 << 20


def directory(area: str) -> Path:
    """Return the cache's directory for one area, such as `images`; it is created."""
    path = paths.cache_root() / area
    path.mkdir(parents=True, exist_ok=True)
    return path


def content_key(*parts: str | bytes) -> str:
    """Return a short hexadecimal name for the parts, in their order; where a part ends counts too."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:KEY_LENGTH]


def files_key(files: Iterable[Path], base: Path) -> str:
    """Return `content_key` of the files' paths below `base` and their contents, whatever their order."""
    parts: list[str | bytes] = []
    for file in sorted(files):
        parts += [file.relative_to(base).as_posix(), file.read_bytes()]
    return content_key(*parts)


def file_digest(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def to_json(value: Any) -> bytes:
    """Return the value as JSON, always the same bytes for the same value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, indent=0).encode()


def build(target: Path, make: Callable[[Path], None]) -> Path:
    """Return `target`, a file or a directory; when it is absent, `make(path)` makes it under another name first.

    An interrupted `make` leaves nothing that is taken for the target; its remains go with the next try.
    """
    if target.exists():
        return target
    with _lock(target):
        if not target.exists():
            scratch = target.with_name(f".{target.name}.part")
            remove(scratch)
            try:
                make(scratch)
                scratch.rename(target)
            finally:
                remove(scratch)
    return target


def remove(path: Path) -> None:
    """Remove a file or a directory tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def keep_newest(used: Path, pattern: str, count: int) -> None:
    """Mark an entry as used just now and remove all but the `count` last used ones beside it that fit the pattern."""
    used.touch()
    last_used = sorted(used.parent.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in last_used[count:]:
        remove(old)


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[None]:
    """Be the only process that makes the target. The lock file stays: removing it would let two holders in."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
