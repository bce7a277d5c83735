"""What a cluster can do is read from what it says of itself."""

from __future__ import annotations

import pytest

from sluice.kube import platform

GROUPS = {"groups": [{"name": "apps"}, {"name": "security.openshift.io"}]}


@pytest.mark.parametrize(
    ("version", "expected", "image_volumes"),
    [
        ({"major": "1", "minor": "36"}, (1, 36), True),
        ({"major": "1", "minor": "35+"}, (1, 35), True),
        ({"major": "1", "minor": "34"}, (1, 34), False),
        ({"major": "2", "minor": "0"}, (2, 0), True),
        ({}, (0, 0), False),
        ({"major": "", "minor": "x"}, (0, 0), False),
    ],
)
def test_version(version: dict[str, str], expected: tuple[int, int], image_volumes: bool) -> None:
    """Images are volumes from 1.35; what cannot be read can do nothing new."""
    found = platform.read(version, {})
    assert (found.version, found.image_volumes, found.openshift) == (expected, image_volumes, False)


def test_openshift_is_known_by_its_api() -> None:
    """Not by a vendor string, which resellers change."""
    assert platform.read({}, GROUPS).openshift
