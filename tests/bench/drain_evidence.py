"""What became of pods that were removed and of their streams: readings, and the figures that follow from them."""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tests.support import streams

SIGTERM_LINE: Final = "[shutdown] API server: shutdown triggered"
"""What vLLM logs when the signal comes."""
NEAR: Final = 3.0
"""Seconds from SIGTERM within which a reading says something of it."""
_SHOWN: Final = 60.0
_STAMP: Final = re.compile(r"^(\S+Z) ")


@dataclasses.dataclass
class Pod:
    """One engine pod: its requests in flight over time, and when SIGTERM came, if it did. Times are epoch seconds."""

    name: str
    readings: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    log: list[str] = dataclasses.field(default_factory=list)
    """Its lines, each with the kubelet's time stamp."""

    @property
    def terminated_at(self) -> float | None:
        """When the engine got SIGTERM."""
        return next((_stamp(line) for line in self.log if SIGTERM_LINE in line), None)

    @property
    def open_at_sigterm(self) -> int:
        """Requests in flight at SIGTERM: the smaller of the readings just before and after it, 0 without both."""
        at = self.terminated_at
        if at is None:
            return 0
        before = [load for moment, load in self.readings if at - NEAR <= moment <= at][-1:]
        after = [load for moment, load in self.readings if at < moment <= at + NEAR][:1]
        return min(*before, *after) if before and after else 0

    def raw(self) -> dict[str, Any]:
        """All that is known of it, for whoever doubts the figures."""
        at = self.terminated_at
        near = [(round(moment - at, 2), load) for moment, load in self.readings if abs(moment - at) < _SHOWN] if at else []
        return {"sigterm": at, "open_at_sigterm": self.open_at_sigterm, "load_by_seconds_from_sigterm": near}


def _stamp(line: str) -> float:
    found = _STAMP.match(line)
    assert found is not None, line
    # Python 3.11 reads at most microseconds.
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z$", r"\1Z", found[1])).timestamp()


@dataclasses.dataclass(frozen=True)
class Removal:
    """One way of removing pods while streams are open: which pods went, and how every stream ended."""

    name: str
    removed: Sequence[Pod]
    opened: Sequence[streams.Stream]
    tokens: int
    """That each stream was to have."""
    seconds: float

    @property
    def cut(self) -> int:
        """Streams that began and are not whole."""
        return sum(stream.status == 200 and not self._whole(stream) for stream in self.opened)

    @property
    def non_2xx(self) -> int:
        """Streams that were answered with an error, or not at all."""
        return sum(stream.status != 200 for stream in self.opened)

    def _whole(self, stream: streams.Stream) -> bool:
        return stream.whole and stream.completion_tokens == self.tokens

    def causes(self) -> list[str]:
        """What was wrong with those that count as cut or refused."""
        bad = [stream for stream in self.opened if stream.status != 200 or not self._whole(stream)]
        return [f"{each.status} {each.error or each.finish_reason} after {each.completion_tokens} tokens" for each in bad]

    def evidence(self) -> dict[str, Any]:
        """What the figures are made of."""
        return {
            "opened": len(self.opened),
            "seconds": round(self.seconds, 1),
            "open_at_sigterm": {pod.name: pod.open_at_sigterm for pod in self.removed},
            "causes": self.causes(),
        }


def figures(removals: Iterable[Removal], others: Mapping[int | None, int]) -> dict[str, Any]:
    """The benchmark's figures; `others` are the statuses of short requests that were sent all along, with their numbers.

    Raises:
        ValueError: a pod was removed without a stream: then the figures would say nothing.
    """
    removals = list(removals)
    idle = [pod.name for removal in removals for pod in removal.removed if not pod.open_at_sigterm]
    if idle or not all(removal.removed for removal in removals):
        raise ValueError(f"Cannot judge the drain: no stream was open at SIGTERM on {', '.join(idle) or 'any pod'}")
    return {
        "streams": sum(pod.open_at_sigterm for removal in removals for pod in removal.removed),
        "cut": sum(removal.cut for removal in removals),
        "non_2xx": sum(removal.non_2xx for removal in removals) + sum(n for status, n in others.items() if status != 200),
        "other_requests": sum(others.values()),
        **{removal.name: removal.evidence() for removal in removals},
    }
