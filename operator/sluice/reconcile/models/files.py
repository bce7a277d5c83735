"""Files of revisions: reads the ConfigMaps that templates refer to. The revisions' own copies are in `copies`.

The sources carry no label of ours and may be many, so they are neither watched nor cached as a kind: each one that is referred
to is read by name, once in an interval. What could not be read is taken to be as it was: a fault starts nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.resources
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final

from sluice.api import naming
from sluice.engine import clock as clock_
from sluice.kube import cache as kube_cache
from sluice.kube import client as kube_client
from sluice.kube import errors, resources, retry
from sluice.observability import logs
from sluice.reconcile.models import status
from sluice.workloads import files, revision

_log = logs.get(__name__)

JITTER: Final = 0.2
"""Shortens the interval by up to this share, at random, so that the reads of many models do not come together."""
RETRY_SECONDS: Final = 5.0
"""After a read that failed."""
FORGET_SECONDS: Final = 600.0
"""A source that nobody asked for so long is dropped."""
_READ: Final = retry.Policy(timeout=3.0, attempts=2)


def read_engine_files() -> files.EngineFiles:
    """Our own scripts, from this installation."""
    folder = importlib.resources.files("sluice.workloads").joinpath("engine_files")
    return files.EngineFiles(
        liveness=folder.joinpath(files.LIVENESS).read_text(encoding="utf-8"),
        hold_headers=folder.joinpath(files.HOLD_HEADERS).read_text(encoding="utf-8"),
    )


@dataclasses.dataclass(frozen=True)
class Look:
    """What the sources of one template hold."""

    contents: Mapping[str, str] | None
    """Text by file name; None while that of any file is not known."""
    problems: tuple[status.Problem, ...] = ()


@dataclasses.dataclass
class _Source:
    """One ConfigMap as it was read last."""

    texts: Mapping[str, str] | None = None
    """Text by key; None when there is no such ConfigMap."""
    binary: Collection[str] = ()
    is_known: bool = False
    fault: str = ""
    """Why the latest read failed."""
    due: float = 0.0
    """When to read it again, on the monotonic clock."""


@dataclasses.dataclass
class Files:
    """Knows what sources hold."""

    client: kube_client.Client
    cache: kube_cache.Cache
    clock: clock_.Clock
    engine: files.EngineFiles
    interval: float = 30.0
    """Seconds between two reads of a source."""
    chance: Callable[[], float] = random.random
    """Uniform in [0, 1)."""
    _sources: dict[tuple[str, str], _Source] = dataclasses.field(default_factory=dict)
    _generations: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    """The generation of each model whose sources were read for it."""

    def __post_init__(self) -> None:
        self.engine_digests = files.digests(self.engine.contents())

    async def refresh(self, namespace: str, name: str, generation: int, references: Iterable[files.Reference]) -> float | None:
        """Reads the sources of a model that are due, and all of them for a spec that is new.

        People change a template and its files together; a new spec with old contents would be a revision too many.

        Returns:
            Seconds after which one is due again; None without references.

        Raises:
            errors.Transient: a source could not be read, and nothing is known of it yet.
        """
        wanted = sorted({(namespace, reference.config_map) for reference in references})
        now = self.clock.monotonic()
        is_new = self._generations.get((namespace, name)) != generation
        is_due = is_new or any(now >= self._sources.setdefault(source, _Source()).due for source in wanted)
        due = wanted if is_due else []  # all at once: people change several together
        async with asyncio.TaskGroup() as group:
            reads = [group.create_task(self._read(*source)) for source in due]
        if due:
            self._drop_unused(now)
        for read in reads:
            if (fault := read.result()) is not None:
                raise fault
        self._generations[namespace, name] = generation
        return min((max(0.0, self._sources[source].due - now) for source in wanted), default=None)

    async def _read(self, namespace: str, name: str) -> errors.Transient | None:
        """Reads one source; returns the fault when that leaves it unknown."""
        source = self._sources.setdefault((namespace, name), _Source())
        seconds, fault = self.interval, None
        try:
            found = await self.client.get(resources.CONFIG_MAPS, namespace, name, policy=_READ)
            source.texts, source.binary = found.get("data") or {}, frozenset(found.get("binaryData") or ())
            source.is_known, source.fault = True, ""
        except errors.NotFound:
            source.texts, source.binary, source.is_known, source.fault = None, (), True, ""
        except errors.ApiError as error:
            _log.warning("file source not read", config_map=f"{namespace}/{name}", cause=str(error))
            seconds, source.fault = min(RETRY_SECONDS, self.interval), str(error)
            fault = error if isinstance(error, errors.Transient) and not source.is_known else None
        source.due = self.clock.monotonic() + seconds * (1.0 - JITTER * self.chance())
        return fault

    def _drop_unused(self, now: float) -> None:
        for key in [key for key, source in self._sources.items() if now - source.due > FORGET_SECONDS]:
            del self._sources[key]

    def forget(self, namespace: str, name: str) -> None:
        """The ModelDeployment is gone."""
        self._generations.pop((namespace, name), None)

    def look(self, namespace: str, references: Iterable[files.Reference]) -> Look:
        """What the references hold as far as it is known. Reads nothing."""
        contents: dict[str, str] = {}
        problems: list[status.Problem] = []
        is_complete = True
        for reference in references:
            source = self._sources.get((namespace, reference.config_map), _Source())
            text = (source.texts or {}).get(reference.key)
            if source.is_known and text is not None:
                contents[reference.file] = text
                continue
            is_complete = False
            problems += _problems(namespace, reference, source)
        total = files.size(contents) + files.size(self.engine.contents())
        if is_complete and contents and total > files.MAX_BYTES:
            return Look(None, (_too_large(contents, total),))
        return Look(contents if is_complete else None, tuple(problems))

    def lost(self, namespace: str, name: str, stored: Iterable[revision.Revision], look: Look) -> Iterator[status.Problem]:
        """Revisions with pods whose copy is gone and cannot be made again, for the sources hold something else now."""
        if look.contents is None and not look.problems:
            return  # not known yet
        for known in stored:
            copy = naming.files_name(name, known.hash)
            has_pods = self.cache.get(resources.DEPLOYMENTS, namespace, naming.revision_name(name, known.hash)) is not None
            if not known.files or not has_pods or self.cache.get(resources.CONFIG_MAPS, namespace, copy) is not None:
                continue
            if files.contents_of(known.files, look.contents or {}, self.engine) is None:
                yield status.Problem(
                    status.Reason.FILES_LOST,
                    f"Cannot make ConfigMap {namespace}/{copy} again: it was deleted, and the ConfigMaps that "
                    f"spec.template.model refers to no longer hold what revision {known.hash} was made of. Its pods run on, "
                    "but no new one can start: restore those contents, or roll another revision out",
                )


def _problems(namespace: str, reference: files.Reference, source: _Source) -> Iterator[status.Problem]:
    where = f"ConfigMap {namespace}/{reference.config_map}"
    left = "What runs is left alone"
    if not source.is_known:
        if source.fault:
            message = f"Cannot read {reference.field}: {source.fault}. It is tried again. {left}"
            yield status.Problem(status.Reason.FILES_UNREADABLE, message)
    elif source.texts is None:
        message = f"Cannot resolve {reference.field}: there is no {where}. Create it, or correct the reference. {left}"
        yield status.Problem(status.Reason.FILE_NOT_FOUND, message)
    elif reference.key in source.binary:
        message = (
            f"Cannot use {reference.field}: key {reference.key!r} of {where} is binary. Files are text: put it under data, "
            f"in UTF-8. {left}"
        )
        yield status.Problem(status.Reason.FILE_NOT_TEXT, message)
    else:
        message = (
            f"Cannot resolve {reference.field}: {where} has no key {reference.key!r}. Add it, or correct the reference. {left}"
        )
        yield status.Problem(status.Reason.FILE_NOT_FOUND, message)


def _too_large(contents: Mapping[str, str], total: int) -> status.Problem:
    largest = max(contents, key=lambda name: len(contents[name].encode()))
    return status.Problem(
        status.Reason.FILES_TOO_LARGE,
        f"Cannot copy the files of spec.template.model: with Sluice's own they are {total} bytes, and a ConfigMap holds "
        f"{files.MAX_BYTES}. The largest is {largest}, of {len(contents[largest].encode())} bytes: make it smaller, or mount "
        "it by spec.template.volumes. What runs is left alone",
    )
