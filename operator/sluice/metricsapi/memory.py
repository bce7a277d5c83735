"""Answers of the API server kept for some seconds: each HPA asks every 15 s, and its rights do not change meanwhile."""

from __future__ import annotations

import collections
from typing import Final, Generic, TypeVar

SIZE: Final = 4096

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """Values by key, each for `seconds`; at most `size`, the oldest go first. Times are the caller's monotonic seconds."""

    def __init__(self, seconds: float, size: int = SIZE) -> None:
        self._seconds = seconds
        self._size = size
        self._values: collections.OrderedDict[object, tuple[float, Value]] = collections.OrderedDict()

    def knows(self, key: object, now: float) -> bool:
        """Whether there is a value that still counts."""
        found = self._values.get(key)
        return found is not None and now - found[0] <= self._seconds

    def get(self, key: object) -> Value:
        """The value. Raises KeyError."""
        return self._values[key][1]

    def put(self, key: object, value: Value, now: float) -> None:
        """Keeps a value from `now` on."""
        self._values.pop(key, None)
        self._values[key] = (now, value)
        while len(self._values) > self._size:
            self._values.popitem(last=False)
