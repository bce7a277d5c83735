"""Downloads of a model from an object store into folders of a test, and what can go wrong between the store and us."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, Final

import pytest

from sluice.prefetch import download, errors, model, run
from sluice.workloads import sources

BUCKET: Final = "models"
PREFIX: Final = "llama/v1"
POLICY: Final = download.Policy(pause=0.001, attempts=3)
Prefetch = Callable[..., dict[str, str]]


def into(folder: pathlib.Path, scheme: str) -> Prefetch:
    """Runs one download of a prefix, as often as it is called; gives the versions."""

    def go(prefix: str = PREFIX, *, recorded: str | None = None, bucket: str = BUCKET) -> dict[str, str]:
        item = sources.model_item(f"{scheme}://{bucket}/{prefix}")
        known = {"model": recorded} if recorded else {}
        options = run.Options(folder / "cache", folder / "links", (item,), known, policy=POLICY)
        return run.Prefetcher(options, lambda _: None).run()

    return go


def content(links: pathlib.Path) -> dict[str, bytes]:
    """What the engine would find."""
    root = links / "model"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def cut_once(monkeypatch: pytest.MonkeyPatch, origin: type[Any], path: str, sent: bytes) -> list[int]:
    """Breaks the first read of the file off after `sent`; gives the offsets at which it is asked for, as they come."""
    offsets: list[int] = []
    fetch = origin.fetch

    def cut(self: Any, file: model.File, offset: int, sink: model.Sink) -> None:
        if file.path == path:
            offsets.append(offset)
            if len(offsets) == 1:
                sink.write(sent)
                raise errors.TransientError("cut")
        fetch(self, file, offset, sink)

    monkeypatch.setattr(origin, "fetch", cut)
    return offsets


def flip_bits(monkeypatch: pytest.MonkeyPatch, origin: type[Any]) -> None:
    """Everything that is read arrives with wrong bytes."""
    fetch = origin.fetch

    class Flipped:
        def __init__(self, sink: model.Sink) -> None:
            self._sink = sink
            self.restart = sink.restart

        def write(self, data: bytes, /) -> int:
            return self._sink.write(data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(origin, "fetch", lambda self, file, offset, sink: fetch(self, file, offset, Flipped(sink)))
