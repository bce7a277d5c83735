"""What kind of cluster this is, as far as pods depend on it. Asked once, at the start: an upgrade restarts us anyway."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from sluice.kube import client

IMAGE_VOLUMES_SINCE: Final = (1, 35)
"""The first version that mounts images as volumes without being asked to (the feature gate ImageVolume)."""
_OPENSHIFT_GROUP: Final = "security.openshift.io"
_DIGITS: Final = re.compile(r"\d+")


@dataclasses.dataclass(frozen=True)
class Platform:
    """Facts of a cluster."""

    version: tuple[int, int]
    """Major and minor version of the API server."""
    openshift: bool
    """Its admission gives each namespace a range of user IDs, and refuses others."""

    @property
    def image_volumes(self) -> bool:
        """Whether an image can be mounted as a volume."""
        return self.version >= IMAGE_VOLUMES_SINCE


UNKNOWN: Final = Platform((0, 0), openshift=False)
"""Before it was asked: nothing new, nothing special."""


async def describe(api: client.Client) -> Platform:
    """Asks the API server. Raises errors.ApiError."""
    return read(await api.discover("/version"), await api.discover("/apis"))


def read(version: dict[str, Any], groups: dict[str, Any]) -> Platform:
    """The facts in its answers; a version that cannot be read is 0.0, which has nothing new."""
    return Platform(
        version=(_number(version.get("major")), _number(version.get("minor"))),
        openshift=any(group.get("name") == _OPENSHIFT_GROUP for group in groups.get("groups") or ()),
    )


def _number(text: object) -> int:
    """Providers write the minor version as `35+`, too."""
    found = _DIGITS.match(str(text or ""))
    return int(found.group()) if found else 0
