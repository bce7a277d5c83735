"""`sluice prefetch`: brings models and adapters into the cache, and says in the termination message what it got.

Exit codes are those of `workloads.prefetch.ExitCode`. The message of a success is one line of JSON with the version of each
item, that of a failure one sentence. Progress goes to stdout, one JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any, Final

from sluice.prefetch import errors, run
from sluice.workloads import prefetch, sources

_UMASK: Final = 0o002
"""Files are for the group too: pods that share a cache share its fsGroup, not always the user."""
_MESSAGE_LENGTH: Final = 4000
"""Characters of a termination message that Kubernetes keeps for sure."""


def main(argv: Sequence[str]) -> int:
    """Runs once; `argv` without the program's and the command's name. Returns the exit code."""
    try:
        parsed = build_parser().parse_args(argv)
        options = read_options(parsed)
    except SystemExit as end:
        return int(end.code or 0)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return prefetch.ExitCode.BAD_INPUT
    os.umask(_UMASK)
    signal.signal(signal.SIGTERM, _end)
    result = pathlib.Path(parsed.result)
    try:
        resolved = run.Prefetcher(options, report).run()
    except errors.PrefetchError as error:
        report({"event": "failed", "cause": str(error)})
        return _write(result, str(error), error.code)
    report({"event": "finished", "resolved": resolved})
    return _write(result, prefetch.resolved_message(resolved), prefetch.ExitCode.OK)


def read_options(parsed: argparse.Namespace) -> run.Options:
    """What the arguments ask for. Raises ValueError for those that make no sense."""
    revisions = dict(_pair("--revision", text) for text in parsed.revision)
    items = tuple(sources.Item(name, source, revisions.get(name)) for name, source in (_pair("--item", t) for t in parsed.item))
    for item in items:
        if not item.parsed.is_downloaded:
            raise ValueError(f"Cannot download {item.source}: only hf://, s3:// and gs:// are downloaded")
    recorded = read_recorded(pathlib.Path(parsed.resolved)) if parsed.resolved else {}
    return run.Options(pathlib.Path(parsed.cache), pathlib.Path(parsed.links), items, recorded, parsed.size_limit)


def read_recorded(path: pathlib.Path) -> dict[str, str]:
    """Version by item as the first pod got it; nothing while no pod has."""
    try:
        return prefetch.parse_resolved(path.read_text(encoding="utf-8")) or {}
    except OSError:
        return {}


def report(event: Mapping[str, Any]) -> None:
    """One line of progress."""
    sys.stdout.write(json.dumps(event, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def build_parser() -> argparse.ArgumentParser:
    """The command line; `workloads.prefetch.build_args` writes it."""
    parser = argparse.ArgumentParser(prog="sluice prefetch", description="Download models and adapters into a cache.")
    add = parser.add_argument
    add("--cache", required=True, help="folder that pods share")
    add("--links", required=True, help="folder of this pod's own, where each item is linked under its name")
    add("--item", action="append", default=[], metavar="NAME=SOURCE", help="what to bring; may be repeated")
    add("--revision", action="append", default=[], metavar="NAME=REVISION", help="commit, tag or branch of an hf:// item")
    add("--resolved", help="JSON file with what the first pod of the revision got; it need not exist")
    add("--size-limit", type=int, help="most bytes that the cache may hold")
    add("--result", default=prefetch.TERMINATION_LOG, help="where the outcome is written")
    return parser


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"Cannot read {flag} {text!r}: use NAME=VALUE")
    return name, value


def _write(path: pathlib.Path, message: str, code: prefetch.ExitCode) -> int:
    try:
        path.write_text(message[:_MESSAGE_LENGTH], encoding="utf-8")
    except OSError as error:
        report({"event": "failed", "cause": f"Cannot write outcome to {path}: {error}"})
        return prefetch.ExitCode.DEFECT
    return code


def _end(_number: int, _frame: FrameType | None) -> None:
    # What has arrived is on disk, and the first process of a container would ignore the signal otherwise.
    os._exit(128 + signal.SIGTERM)
