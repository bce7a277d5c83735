"""Times as Kubernetes writes them."""

from __future__ import annotations

import datetime


def micro_time(epoch: float) -> str:
    """A MicroTime, such as `2027-01-15T08:00:00.000000Z`."""
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
