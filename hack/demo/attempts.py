"""Envoy's per-attempt log: which revision each attempt went to, when, and how it ended.

The only witness of what the canary did: a retry hides a failed attempt from the client and from cluster counters.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator
from typing import Final

_BAD_FLAGS: Final = frozenset({"UC", "UF", "UPE", "UT", "SI"})


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One attempt at an upstream. `at` is the epoch second at which it started."""

    at: float
    revision: str
    code: int
    flags: frozenset[str]

    @property
    def bad(self) -> bool:
        """Whether the upstream failed: a 5xx or a broken connection."""
        return self.code >= 500 or bool(self.flags & _BAD_FLAGS)


def parse(lines: Iterable[str]) -> Iterator[Attempt]:
    """Attempts in the order of the log; lines that are not of the attempt log are skipped."""
    for line in lines:
        if '"sluice_attempt"' not in line:
            continue
        entry = json.loads(line[line.index("{") :])
        yield Attempt(
            at=datetime.datetime.fromisoformat(entry["start"]).timestamp(),
            revision=entry["revision"] or "",
            code=int(entry["code"] or 0),
            flags=frozenset(flag for flag in (entry["flags"] or "").split(",") if flag not in ("", "-")),
        )


def on_revision(attempts: Iterable[Attempt], revision_hash: str) -> list[Attempt]:
    """Attempts on the revision with that hash, oldest first."""
    return sorted((a for a in attempts if a.revision.endswith(f"-{revision_hash}")), key=lambda attempt: attempt.at)


def bad_to_zero_seconds(attempts: list[Attempt]) -> float | None:
    """From the first bad attempt to the last attempt of all, for the attempts of one revision; None without a bad one."""
    first_bad = next((attempt.at for attempt in attempts if attempt.bad), None)
    return None if first_bad is None else attempts[-1].at - first_bad
