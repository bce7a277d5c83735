"""Resources as versions and bytes."""

from __future__ import annotations

import subprocess
import sys

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2

from sluice.xds import snapshot, versions


def cluster(name: str, *, eds: bool = True) -> snapshot.Message:
    message = cluster_pb2.Cluster(name=name)
    if eds:
        message.type = cluster_pb2.Cluster.EDS
        message.eds_cluster_config.eds_config.ads.SetInParent()
    return message


def test_the_first_update_is_version_1_and_equal_content_keeps_it() -> None:
    """A version rises only when something changed, whether or not the messages are the same objects."""
    versioner = versions.Versioner()
    assert versioner.update({snapshot.CLUSTER: {"a": cluster("a")}})
    assert not versioner.update({snapshot.CLUSTER: {"a": cluster("a")}, snapshot.ROUTE: {}})
    assert versioner.latest is not None
    assert versioner.latest.version == 1


def test_a_change_raises_the_version_by_one_and_keeps_other_entries() -> None:
    """Entries that did not change are the same objects: nothing is serialised or compared again for each proxy."""
    versioner = versions.Versioner()
    versioner.update({snapshot.CLUSTER: {"a": cluster("a"), "b": cluster("b")}})
    before = versioner.latest
    assert before is not None
    assert versioner.update({snapshot.CLUSTER: {"a": cluster("a"), "b": cluster("b", eds=False)}})
    after = versioner.latest
    assert after is not None
    assert after.version == 2
    assert after.of(snapshot.CLUSTER)["a"] is before.of(snapshot.CLUSTER)["a"]
    assert after.of(snapshot.CLUSTER)["b"].version != before.of(snapshot.CLUSTER)["b"].version


def test_the_same_object_is_not_serialised_again() -> None:
    """A push of one weight costs one route configuration, not the whole gateway."""

    class Counting:
        calls = 0

        def SerializeToString(self, *, deterministic: bool) -> bytes:  # noqa: N802 - protobuf's name
            self.calls += 1
            return b"x"

    message = Counting()
    versioner = versions.Versioner()
    versioner.update({snapshot.ROUTE: {"r": message}})
    versioner.update({snapshot.ROUTE: {"r": message, "s": route_pb2.RouteConfiguration(name="s")}})
    assert message.calls == 1


def test_a_removed_resource_is_a_change() -> None:
    """Going to nothing is a state as well."""
    versioner = versions.Versioner()
    versioner.update({snapshot.ROUTE: {"r": route_pb2.RouteConfiguration(name="r")}})
    assert versioner.update({})
    assert versioner.latest is not None
    assert not versioner.latest.of(snapshot.ROUTE)


def test_clusters_with_endpoints_from_ads_say_under_which_name() -> None:
    """The proxy asks by service name where there is one; static clusters have no endpoints of ours."""
    named = cluster("b")
    named.eds_cluster_config.service_name = "elsewhere"
    versioner = versions.Versioner()
    versioner.update({snapshot.CLUSTER: {"a": cluster("a"), "b": named, "c": cluster("c", eds=False)}})
    assert versioner.latest is not None
    assert versioner.latest.endpoints == {"a": "a", "b": "elsewhere"}


def test_versions_are_the_same_in_another_process() -> None:
    """A new leader must recognise what a proxy got from the last one, whatever the hash seed."""
    script = (
        "from google.protobuf import struct_pb2\n"
        "from sluice.xds import versions\n"
        "message = struct_pb2.Struct()\n"
        "message.update({str(i): i for i in range(50)})\n"
        "versioner = versions.Versioner()\n"
        "versioner.update({'t': {'n': message}})\n"
        "print(versioner.latest.of('t')['n'].version)\n"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "operator"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(seen) == 1
