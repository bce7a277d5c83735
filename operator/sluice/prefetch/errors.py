"""Why a download failed, in the classes that somebody acts on: each ends the process with an exit code of its own.

    PrefetchError
    ├── DeniedError      the host refuses
    ├── MissingError     there is no such repository, revision, bucket or prefix
    ├── TransientError   the host cannot be reached, or failed
    ├── SpaceError       the cache volume is too small or full
    ├── ChecksumError    what arrived is not what the source says
    ├── ChangedError     the source no longer has what this revision started with
    └── CacheError       the cache volume cannot be written or locked

Messages are one sentence for people, with URL and HTTP status where there are any, and what mends it.
"""

from __future__ import annotations

import errno
import urllib.parse
from typing import ClassVar, Final

from sluice.workloads import prefetch

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class PrefetchError(Exception):
    """A download that did not end well."""

    code: ClassVar[prefetch.ExitCode] = prefetch.ExitCode.DEFECT


class DeniedError(PrefetchError):
    """The host refuses."""

    code = prefetch.ExitCode.DENIED


class MissingError(PrefetchError):
    """There is nothing of that name."""

    code = prefetch.ExitCode.NOT_FOUND


class TransientError(PrefetchError):
    """The host could not be reached, or failed."""

    code = prefetch.ExitCode.TRANSIENT

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the host asks to wait."""


class SpaceError(PrefetchError):
    """The cache volume is too small or full."""

    code = prefetch.ExitCode.NO_SPACE


class ChecksumError(PrefetchError):
    """What arrived is not what the source says."""

    code = prefetch.ExitCode.CHECKSUM


class ChangedError(PrefetchError):
    """The source no longer has what this revision started with."""

    code = prefetch.ExitCode.CHANGED


class CacheError(PrefetchError):
    """The cache volume cannot be used."""

    code = prefetch.ExitCode.CACHE


def answered(what: str, url: str, status: int, cause: str, *, fix: str, retry_after: float | None = None) -> PrefetchError:
    """The error for an HTTP answer.

    Args:
        what: the source, as users write it.
        url: what was asked for; its query is left out, for it may hold a signature.
        status: the HTTP status.
        cause: the host's own words, such as `Access to model … is restricted`.
        fix: what mends a refusal.
        retry_after: seconds that the host asks to wait.
    """
    place = urllib.parse.urlsplit(url)._replace(query="", fragment="").geturl()
    words = f": {' '.join(cause.split())[:300]}" if cause.strip() else ""
    message = f"Cannot download {what}: {place} answered {status}{words}"
    if status in (401, 403, 407):
        return DeniedError(f"{message}. {fix}")
    if status in (404, 410):
        return MissingError(f"{message}. Correct the source or its revision, or give credentials that may read it")
    if status in (408, 416, 425, 429) or status >= 500:
        return TransientError(message, retry_after=retry_after)
    return MissingError(f"{message}. Correct the source or its revision")


def unreachable(what: str, url: str, cause: str) -> TransientError:
    """The error when there was no whole answer."""
    place = urllib.parse.urlsplit(url)._replace(query="", fragment="").geturl()
    return TransientError(f"Cannot download {what}: {place} was not reached or broke off: {' '.join(cause.split())[:300]}")


def of_disk(path: object, error: OSError) -> PrefetchError:
    """The error for a file that could not be read or written."""
    if error.errno in _FULL:
        return SpaceError(f"Cannot write {path}: the cache volume is full. Use a larger one, or remove models from it")
    return CacheError(
        f"Cannot use the cache at {path}: {error.strerror or error}. It must be writable for the pod's user or fsGroup"
    )
