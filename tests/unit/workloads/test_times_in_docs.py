"""The times that the documentation promises are those that follow from the code."""

from __future__ import annotations

import pathlib

import pytest

from sluice.workloads import pod_template, probes

DOCS = pathlib.Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("page", "promise"),
    [
        ("operations.md", f"nothing has moved for {probes.STALL_SECONDS} s"),
        ("operations.md", f"at most {probes.longest_detection()} s"),
        ("operations.md", f"{pod_template.PRE_STOP_SECONDS} s until SIGTERM"),
        ("operations.md", f"then {pod_template.GRACE_MARGIN_SECONDS} s"),
        ("pods.md", f"waited for **{probes.STALL_SECONDS} seconds**"),
        ("pods.md", f"within {probes.longest_detection()} seconds"),
        ("pods.md", f"sleeps for {pod_template.PRE_STOP_SECONDS} seconds"),
    ],
)
def test_promised_times_are_kept(page: str, promise: str) -> None:
    """A constant that changes changes its page."""
    assert promise in (DOCS / page).read_text()
