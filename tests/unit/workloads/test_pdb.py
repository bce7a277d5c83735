"""How many pods a drain may take."""

from __future__ import annotations

import pytest

from sluice.workloads import pdb, pod_template


@pytest.mark.parametrize(("given", "wanted"), [(None, 1), (0, 0), (2, 2), ("25%", "25%")])
def test_the_budget_is_what_the_spec_says_or_one_pod(given: int | str | None, wanted: int | str) -> None:
    """Of this revision's pods, and of no other's."""
    built = pdb.build_pdb(namespace="ml", name="chat", revision_hash="abc", max_unavailable=given, owner={"uid": "u"})
    assert built["metadata"]["name"] == "chat-abc"
    assert built["metadata"]["ownerReferences"] == [{"uid": "u"}]
    assert built["spec"]["maxUnavailable"] == wanted
    assert built["spec"]["selector"]["matchLabels"] == pod_template.revision_labels("chat", "abc")


def test_pods_that_do_not_serve_hold_up_no_drain() -> None:
    """By default Kubernetes lets a crash loop block the drain of its node for ever."""
    built = pdb.build_pdb(namespace="ml", name="chat", revision_hash="abc", max_unavailable=1, owner={})
    assert built["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
