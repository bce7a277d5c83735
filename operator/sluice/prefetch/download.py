"""Downloads the files of a listing into a cache: several at a time, each from where it was, again after faults, and checked.

How a host is asked is in `hub`, `s3` and `gcs`; where files lie is in `store`.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final, TypeVar

from sluice.prefetch import digests, errors, model, store

GIB: Final = 1 << 30
Report = Callable[[Mapping[str, Any]], None]
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Policy:
    """How patient a download is; seconds."""

    workers: int = 8
    """Files at a time."""
    attempts: int = 6
    """Tries without a single new byte before giving up; each byte that arrives makes them start again."""
    pause: float = 1.0
    """Before the second try; doubles with each."""
    longest_pause: float = 60.0
    corrupt: int = 2
    """Times that a whole file may turn out wrong."""
    report_every: float = 10.0

    def pause_after(self, failures: int, asked: float | None) -> float:
        """Seconds before the next try: what the host asked for, or a doubling, jittered pause; never above the longest."""
        wanted = asked if asked is not None else self.pause * 2 ** (failures - 1)
        return min(self.longest_pause, wanted) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads pods, keeps no secret


class _StoppedError(Exception):
    """Another file failed for good: this one need not go on."""


class Progress:
    """Counts what arrives, over all threads, and says so now and then."""

    def __init__(self, report: Report, item: str, total: int, every: float) -> None:
        self._report = report
        self._item = item
        self._total = total
        self._every = every
        self._lock = threading.Lock()
        self._bytes = 0
        self._said = self._began = time.monotonic()

    def add(self, count: int) -> None:
        """Counts bytes; negative when some are thrown away."""
        with self._lock:
            self._bytes += count
            now = time.monotonic()
            is_due = now - self._said >= self._every
            if is_due:
                self._said = now
            rate = self._bytes / max(now - self._began, 1e-9)
            fetched = self._bytes
        if is_due:
            self._report(
                {
                    "event": "progress",
                    "item": self._item,
                    "gib": round(fetched / GIB, 2),
                    "ofGib": round(self._total / GIB, 2),
                    "mibPerSecond": round(rate / (1 << 20), 1),
                }
            )


class _PartialFile:
    """A partial file as the sink of a fetch."""

    def __init__(self, out: BinaryIO, progress: Progress, stopping: threading.Event) -> None:
        self._out = out
        self._progress = progress
        self._stopping = stopping
        self.arrived = 0

    def write(self, data: bytes, /) -> int:
        if self._stopping.is_set():
            raise _StoppedError
        try:
            self._out.write(data)
        except OSError as error:
            raise errors.of_disk(self._out.name, error) from error
        self.arrived += len(data)
        self._progress.add(len(data))
        return len(data)

    def restart(self) -> None:
        self._progress.add(-self._out.tell())
        self._out.seek(0)
        self._out.truncate()


@dataclasses.dataclass
class Download:
    """One download of one listing into one store, which must be locked."""

    origin: model.Origin
    cache: store.Store
    report: Report
    item: str
    policy: Policy = Policy()
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    """Waits for the event or so many seconds; tells whether the event was set."""
    _stopping: threading.Event = dataclasses.field(default_factory=threading.Event)

    def run(self, listing: model.Listing) -> store.Manifest:
        """Fetches what is missing and writes the manifest.

        Raises:
            errors.PrefetchError: the first file that failed for good says why.
        """
        wanted = {file.key: file for file in listing.files if not self.cache.has(file)}
        progress = Progress(self.report, self.item, self.cache.missing(listing), self.policy.report_every)
        largest_first = sorted(wanted.values(), key=lambda file: -file.size)
        with concurrent.futures.ThreadPoolExecutor(self.policy.workers) as pool:
            running = [pool.submit(self._stop_all_on_error, file, progress) for file in largest_first]
        failures = [error for task in running if (error := task.exception()) is not None]
        for error in sorted(failures, key=lambda error: isinstance(error, _StoppedError)):
            raise error
        return self.cache.finish(listing)

    def _stop_all_on_error(self, file: model.File, progress: Progress) -> None:
        try:
            self.bring(file, progress)
        except BaseException:
            self._stopping.set()
            raise

    def bring(self, file: model.File, progress: Progress) -> None:
        """Fetches one file until it is whole and checked."""
        for wrong in range(1, self.policy.corrupt + 1):
            self._complete(file, progress)
            if self._is_right(file):
                self.cache.keep(file)
                return
            self.report({"event": "corrupt", "item": self.item, "file": file.path, "times": wrong})
            progress.add(-file.size)
            self.cache.partial(file).unlink()
        raise errors.ChecksumError(
            f"Cannot download {file.path} of {self.cache.source}: what arrived {self.policy.corrupt} times does not have the "
            "checksum that the source gives for it. Upload it again, or look for a proxy in between that changes content"
        )

    def _complete(self, file: model.File, progress: Progress) -> None:
        failures = 0
        while True:
            try:
                left, arrived = self._fetch(file, progress)
                if not left:
                    return
                failures = 0 if arrived else failures + 1
                cause = errors.TransientError(f"Cannot download {file.path} of {self.cache.source}: nothing arrived")
            except _BrokenOffError as broken:
                failures = 1 if broken.arrived else failures + 1
                cause = broken.cause
                self.report({"event": "retry", "item": self.item, "file": file.path, "cause": str(cause)})
            if failures >= self.policy.attempts:
                raise cause
            if failures:
                self._pause(self.policy.pause_after(failures, cause.retry_after))

    def _fetch(self, file: model.File, progress: Progress) -> tuple[int, int]:
        """One try. Returns how many bytes are left, and how many arrived."""
        path = self.cache.partial(file)
        try:
            with path.open("ab") as out:
                if out.tell() > file.size:  # of an upload that was replaced under its old tag, or written to by a stranger
                    out.truncate(0)
                    out.seek(0)
                sink = _PartialFile(out, progress, self._stopping)
                if out.tell() < file.size:
                    self._ask(file, out.tell(), sink)
                return max(0, file.size - out.tell()), sink.arrived
        except OSError as error:
            raise errors.of_disk(path, error) from error

    def _ask(self, file: model.File, offset: int, sink: _PartialFile) -> None:
        if self._stopping.is_set():
            raise _StoppedError
        try:
            self.origin.fetch(file, offset, sink)
        except errors.TransientError as error:
            raise _BrokenOffError(error, sink.arrived) from error

    def _is_right(self, file: model.File) -> bool:
        path = self.cache.partial(file)
        digest = file.digest or self._told(file)
        try:
            return path.stat().st_size == file.size and (digest is None or digests.matches(path, digest))
        except OSError as error:
            raise errors.of_disk(path, error) from error

    def _told(self, file: model.File) -> model.Digest | None:
        return retrying(lambda: self.origin.digest(file), self.policy, self._pause)

    def _pause(self, seconds: float) -> None:
        if self.wait(self._stopping, seconds):
            raise _StoppedError


class _BrokenOffError(Exception):
    """A try that failed, with how much it brought."""

    def __init__(self, cause: errors.TransientError, arrived: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.arrived = arrived


def retrying(call: Callable[[], _T], policy: Policy, pause: Callable[[float], None]) -> _T:
    """What the call returns, tried again after transient errors; the last one is raised."""
    for failures in range(1, policy.attempts):
        try:
            return call()
        except errors.TransientError as error:
            pause(policy.pause_after(failures, error.retry_after))
    return call()


def check_space(cache: store.Store, listing: model.Listing, *, free: int, limit: int | None) -> None:
    """Refuses a download that does not fit, before it begins.

    Args:
        cache: where it goes.
        listing: what is wanted.
        free: bytes that may still be written.
        limit: most bytes that the cache may hold; the kubelet evicts the pod above it.

    Raises:
        errors.SpaceError: it does not fit.
    """
    needed = cache.missing(listing)
    room = free if limit is None else min(free, max(0, limit - cache.used()))
    if needed > room:
        raise errors.SpaceError(
            f"Cannot download {cache.source}: it needs {needed / GIB:.2f} GiB more, and the cache volume has room for "
            f"{room / GIB:.2f} GiB. Give it a larger volume or sizeLimit (spec.template.model.cache), or remove models from it"
        )
