"""How values read on a terminal: ages, times, and text from the cluster with nothing in it that a terminal would obey.

Messages hold words of engines, registries and users. An escape sequence among them could rewrite what was printed before it.
"""

from __future__ import annotations

import datetime
import unicodedata
from typing import Final

NOTHING: Final = "-"
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of what has no shape of its own: controls, marks that turn the direction, separators of lines."""


def clean(text: str, *, lines: bool = False) -> str:
    """The text with everything invisible written out as its number. `lines` keeps line feeds; else they become blanks."""
    kept = text if lines else text.replace("\r\n", "\n").replace("\n", " ").replace("\t", " ")
    return "".join(_shown(character) for character in kept)


def _shown(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in _HIDDEN:
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def or_dash(text: str) -> str:
    """The text, or a dash where there is none: an empty cell looks like a mistake."""
    return clean(text) or NOTHING


def moment(text: str) -> float | None:
    """Epoch seconds of an RFC 3339 time; None where it is none."""
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp()


def span(seconds: float) -> str:
    """A length of time as kubectl writes ages: `42s`, `7m30s`, `3h5m`, `2d4h`."""
    left = max(0, int(seconds))
    days, hours, minutes = left // 86400, left // 3600 % 24, left // 60 % 60
    if days:
        return f"{days}d{hours}h" if hours and days < 10 else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if minutes:
        return f"{minutes}m{left % 60}s" if left % 60 and minutes < 10 else f"{minutes}m"
    return f"{left}s"


def age(text: str, now: float) -> str:
    """How long ago a time was; a dash where there is none."""
    then = moment(text)
    return NOTHING if then is None else span(now - then)


def percent(weight: str) -> str:
    """A weight with its sign."""
    return f"{clean(weight) or '0'} %"


def counted(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
