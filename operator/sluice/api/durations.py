"""GEP-2257 durations (`1h30m`, `500ms`) to and from seconds."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"([0-9]{1,5})(ms|h|m|s)")


def seconds(text: str) -> float:
    """Length in seconds of a GEP-2257 duration.

    Raises:
        ValueError: the text is not such a duration. The API server refuses those by pattern, so this is a defect of ours.
    """
    position, total = 0, 0.0
    for match in _PART.finditer(text):
        if match.start() != position:
            break
        total += int(match[1]) * _UNITS[match[2]]
        position = match.end()
    if position != len(text) or not text:
        raise ValueError(f"Cannot read duration {text!r}: use a form such as 30s, 10m or 1h30m")
    return total


def text(length: float) -> str:
    """The shortest duration text for whole seconds, `0s` for nothing: 5400 -> `1h30m`."""
    left, parts = round(length), []
    for unit in ("h", "m", "s"):
        count, left = divmod(left, int(_UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
