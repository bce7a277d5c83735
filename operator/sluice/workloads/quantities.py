"""Kubernetes quantities as exact numbers, so that `1` and `1000m` compare as equal."""

from __future__ import annotations

import decimal
from typing import Final

_SUFFIXES: Final = {
    "m": decimal.Decimal("0.001"),
    "": decimal.Decimal(1),
    **{unit: decimal.Decimal(1000) ** power for power, unit in enumerate("kMGTPE", start=1)},
    **{f"{unit}i": decimal.Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}


def parse(text: str) -> decimal.Decimal:
    """The quantity as a number.

    Raises:
        ValueError: the text is not a quantity.
    """
    number = text.rstrip("mkKMGTPEi")
    try:
        return decimal.Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (KeyError, decimal.InvalidOperation) as error:
        raise ValueError(f"Cannot read quantity {text!r}: use a form such as 500m, 2 or 16Gi") from error
