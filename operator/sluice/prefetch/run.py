"""Brings each item of a pod into the cache and links it, with as little network as what is known allows.

A version that is known (recorded by the revision's first pod, or a whole commit) and whole in the cache needs no network.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from sluice.prefetch import download, errors, links, model, selection, store
from sluice.workloads import sources


# Each library takes most of a second to load, and most pods need one.
def _hub(item: sources.Item) -> model.Origin:
    from sluice.prefetch import hub

    return hub.Hub(item)


def _s3(item: sources.Item) -> model.Origin:
    from sluice.prefetch import s3

    return s3.S3(item)


def _gcs(item: sources.Item) -> model.Origin:
    from sluice.prefetch import gcs

    return gcs.Gcs(item)


ORIGINS: Final[Mapping[sources.Scheme, model.OpenOrigin]] = {
    sources.Scheme.HF: _hub,
    sources.Scheme.S3: _s3,
    sources.Scheme.GS: _gcs,
}
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
NO_REVISION: Final = "-"
"""Stands for the revision where none is named."""


@dataclasses.dataclass(frozen=True)
class Options:
    """What one run is to do."""

    cache: pathlib.Path
    links: pathlib.Path
    items: Sequence[sources.Item]
    recorded: Mapping[str, str]
    """Version by item, as the revision's first pod got it."""
    size_limit: int | None = None
    policy: download.Policy = dataclasses.field(default_factory=download.Policy)


class Prefetcher:
    """One run."""

    def __init__(
        self,
        options: Options,
        report: download.Report,
        *,
        origins: Mapping[sources.Scheme, model.OpenOrigin] = ORIGINS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._options = options
        self._report = report
        self._origins = origins
        self._sleep = sleep

    def run(self) -> dict[str, str]:
        """The version of each item, which is whole in the cache and linked then.

        Raises:
            errors.PrefetchError: an item cannot be had.
        """
        return {item.name: self._bring(item) for item in self._options.items}

    def _bring(self, item: sources.Item) -> str:
        cache = store.Store(self._options.cache, item.source)
        cache.prepare()
        recorded = self._options.recorded.get(item.name)
        known = recorded or _commit_of(item)
        manifest = cache.complete(known) if known else None
        if manifest is None:
            manifest = self._ask(item, cache, known, recorded)
        else:
            self._report({"event": "cached", "item": item.name, "source": item.source, "version": manifest.version})
        links.place(self._options.links / item.name, cache, manifest)
        return manifest.version

    def _ask(self, item: sources.Item, cache: store.Store, known: str | None, recorded: str | None) -> store.Manifest:
        origin = self._origins[item.parsed.scheme](item)
        try:
            listing = download.retrying(lambda: origin.list(known or item.revision), self._options.policy, self._sleep)
        except errors.TransientError as error:
            if known is None and (manifest := cache.recall(item.revision or NO_REVISION)) is not None:
                self._report({"event": "offline", "item": item.name, "version": manifest.version, "cause": str(error)})
                return manifest
            raise
        if recorded is not None and listing.version != recorded:
            raise errors.ChangedError(
                f"Cannot download {item.source} as this revision's first pod did: it had version {recorded} then, and has "
                f"{listing.version} now. Upload to a new prefix, and name that in spec.template.model"
            )
        listing = model.Listing(listing.version, self._select(item, listing))
        manifest = cache.complete(listing.version) or self._download(item, origin, cache, listing)
        if known is None:
            cache.remember(item.revision or NO_REVISION, manifest.version)
        return manifest

    def _select(self, item: sources.Item, listing: model.Listing) -> tuple[model.File, ...]:
        try:
            files = selection.select(listing.files)
        except ValueError as error:
            raise errors.MissingError(f"Cannot download {item.source}: {error}") from error
        if not files:
            raise errors.MissingError(f"Cannot download {item.source}: it has no files. Correct the source or its revision")
        return files

    def _download(self, item: sources.Item, origin: model.Origin, cache: store.Store, listing: model.Listing) -> store.Manifest:
        waiting = _Waiting(self._report, item.name, self._options.policy.report_every, self._sleep)
        with cache.lock(waiting.once):
            if (manifest := cache.complete(listing.version)) is not None:
                return manifest  # another pod has brought it meanwhile
            free = store.free_space(cache.home)
            download.check_space(cache, listing, free=free, limit=self._options.size_limit)
            self._report(
                {
                    "event": "downloading",
                    "item": item.name,
                    "source": item.source,
                    "version": listing.version,
                    "files": len(listing.files),
                    "missingGib": round(cache.missing(listing) / download.GIB, 2),
                }
            )
            return download.Download(origin, cache, self._report, item.name, self._options.policy).run(listing)


def _commit_of(item: sources.Item) -> str | None:
    """The item's revision where it is a whole commit, which nobody can move."""
    revision = item.revision or ""
    return revision if item.parsed.scheme is sources.Scheme.HF and _COMMIT.fullmatch(revision) else None


class _Waiting:
    """Waits for a lock, and says so now and then."""

    def __init__(self, report: download.Report, item: str, every: float, sleep: Callable[[float], None]) -> None:
        self._report = report
        self._item = item
        self._tries_between = max(1, int(every / store.LOCK_PAUSE))
        self._tries = 0
        self._sleep = sleep

    def once(self) -> None:
        if self._tries % self._tries_between == 0:
            self._report({"event": "waiting", "item": self._item, "for": "another pod that downloads the same source"})
        self._tries += 1
        self._sleep(store.LOCK_PAUSE)
