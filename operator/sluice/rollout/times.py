"""Moments as a rollout stores them: epoch seconds, in milliseconds' precision."""

from __future__ import annotations

import datetime


def at(now: float) -> float:
    """A time as it is stored: in milliseconds, so that it survives the status unchanged."""
    return round(now, 3)


def time_text(moment: float) -> str:
    """RFC 3339 with milliseconds, in UTC."""
    stamp = datetime.datetime.fromtimestamp(round(moment, 3), tz=datetime.UTC)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str | None) -> float | None:
    """The inverse of `time_text`; None for what is not a time."""
    try:
        return round(datetime.datetime.fromisoformat(text).timestamp(), 3) if text else None
    except (ValueError, OverflowError, OSError):
        return None
