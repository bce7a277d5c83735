"""The cache: newest version wins, whatever the order in which sources tell of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.api import naming
from sluice.kube import cache, resources
from sluice.metricsapi import targets
from sluice.rollout import pods, resolved
from sluice.workloads import pod_template, prefetch

PODS = resources.PODS


def pod(name: str, version: int | str, namespace: str = "ns", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version), **metadata}}


def versions(store: cache.Cache) -> dict[str, str]:
    return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in store.list(PODS)}


def test_an_older_event_never_overwrites_a_newer_object() -> None:
    """Versions are compared as numbers: 9 is older than 10."""
    store = cache.Cache()
    assert store.put(PODS, pod("a", 10))
    assert not store.put(PODS, pod("a", 9))
    assert not store.put(PODS, pod("a", 10))
    assert store.put(PODS, pod("a", 11))
    assert versions(store) == {"a": "11"}


def test_versions_that_are_no_numbers_are_taken_in_the_order_of_arrival() -> None:
    """An API server of another make may use any strings."""
    store = cache.Cache()
    store.put(PODS, pod("a", "x2"))
    assert store.put(PODS, pod("a", "x1"))
    assert versions(store) == {"a": "x1"}


def test_a_late_event_does_not_bring_back_a_deleted_object() -> None:
    """The deletion's version is remembered; a new object of that name has a newer one."""
    store = cache.Cache()
    store.put(PODS, pod("a", 5))
    assert store.remove(PODS, pod("a", 8))
    assert not store.put(PODS, pod("a", 7))
    assert versions(store) == {}
    assert store.put(PODS, pod("a", 9))


def test_an_old_deletion_does_not_remove_a_new_object_of_the_same_name() -> None:
    """Deleted and created again: the second deletion event must be the second object's."""
    store = cache.Cache()
    store.put(PODS, pod("a", 9))
    assert not store.remove(PODS, pod("a", 8))
    assert versions(store) == {"a": "9"}


def test_a_list_evicts_what_is_gone_and_keeps_what_is_newer() -> None:
    """Objects younger than the list cannot be in it."""
    store = cache.Cache()
    store.put(PODS, pod("gone", 3))
    store.put(PODS, pod("kept", 4))
    store.put(PODS, pod("young", 12))
    evicted = store.replace(PODS, [pod("kept", 6)], "10")
    assert [obj["metadata"]["name"] for obj in evicted] == ["gone"]
    assert versions(store) == {"kept": "6", "young": "12"}


def test_an_event_older_than_the_list_does_not_bring_back_what_the_list_left_out() -> None:
    """The watch may lag behind our own list."""
    store = cache.Cache()
    store.replace(PODS, [], "10")
    assert not store.put(PODS, pod("a", 9))
    assert store.put(PODS, pod("a", 11))


def test_a_list_does_not_bring_back_what_was_deleted_after_it() -> None:
    """A slow list arrives after the deletion's event."""
    store = cache.Cache()
    store.put(PODS, pod("a", 5))
    store.remove(PODS, pod("a", 12))
    store.replace(PODS, [pod("a", 5)], "10")
    assert versions(store) == {}


def test_a_list_of_one_namespace_leaves_the_others_alone() -> None:
    """An operator of listed namespaces lists each on its own."""
    store = cache.Cache()
    store.put(PODS, pod("a", 3, namespace="one"))
    store.put(PODS, pod("b", 4, namespace="two"))
    store.replace(PODS, [], "10", namespace="one")
    assert versions(store) == {"b": "4"}
    assert store.put(PODS, pod("c", 5, namespace="two"))


def test_a_list_that_goes_back_in_time_replaces_everything() -> None:
    """A storage restored from a backup counts from an older version; what we know is of another history."""
    store = cache.Cache()
    store.replace(PODS, [pod("a", 90), pod("b", 91)], "100")
    store.put(PODS, pod("c", 120))
    store.replace(PODS, [pod("a", 30)], "40")
    assert versions(store) == {"a": "30"}


def test_bookkeeping_of_others_is_dropped_and_the_type_filled_in() -> None:
    """managedFields are half of an object's bytes; items of lists carry no kind."""
    store = cache.Cache()
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    given_object = pod("a", 1, managedFields=[{"manager": "x"}], annotations=annotations)
    store.put(PODS, given_object)
    known = store.get(PODS, "ns", "a")
    assert known is not None
    assert known["metadata"]["annotations"] == {"mine": "1"}
    assert "managedFields" not in known["metadata"]
    assert (known["apiVersion"], known["kind"]) == ("v1", "Pod")
    assert "managedFields" in given_object["metadata"], "the caller's object is left as it was"


def test_contents_of_revisions_files_are_not_kept() -> None:
    """They are large, many and never read again; other ConfigMaps are kept whole."""
    store = cache.Cache()
    for name, component in (("files", naming.COMPONENT_FILES), ("evidence", "evidence")):
        given_object = pod(name, 1, labels={naming.LABEL_COMPONENT: component})
        store.put(resources.CONFIG_MAPS, {**given_object, "immutable": True, "data": {"prompt.txt": "x" * 1000}})
    found = {obj["metadata"]["name"]: obj.get("data") for obj in store.list(resources.CONFIG_MAPS)}
    assert found == {"files": None, "evidence": {"prompt.txt": "x" * 1000}}


def test_lists_select_by_namespace_and_labels_in_a_stable_order() -> None:
    """With and without an indexed label the answer is the same."""
    store = cache.Cache()
    chat = {naming.LABEL_MODEL_DEPLOYMENT: "chat", "x": "1"}
    store.put(PODS, pod("b", 1, labels=chat))
    store.put(PODS, pod("a", 2, labels={**chat, "x": "2"}))
    store.put(PODS, pod("c", 3, labels={naming.LABEL_MODEL_DEPLOYMENT: "other"}))
    store.put(PODS, pod("d", 4, namespace="else", labels=chat))

    def names(namespace: str | None, labels: dict[str, str]) -> list[str]:
        return [obj["metadata"]["name"] for obj in store.list(PODS, namespace, labels)]

    assert names("ns", {naming.LABEL_MODEL_DEPLOYMENT: "chat"}) == ["a", "b"]
    assert names("ns", {naming.LABEL_MODEL_DEPLOYMENT: "chat", "x": "1"}) == ["b"]
    assert names(None, {naming.LABEL_MODEL_DEPLOYMENT: "chat"}) == ["d", "a", "b"]
    assert names("ns", {}) == ["a", "b", "c"]


def test_the_label_and_owner_indexes_follow_changes() -> None:
    """An object that changes its label or owner moves; one that goes leaves nothing behind."""
    store = cache.Cache()
    first = {naming.LABEL_MODEL_DEPLOYMENT: "one"}
    second = {naming.LABEL_MODEL_DEPLOYMENT: "two"}
    store.put(PODS, pod("a", 1, labels=first, ownerReferences=[{"uid": "u1"}]))
    store.put(PODS, pod("a", 2, labels=second, ownerReferences=[{"uid": "u2"}]))
    assert store.list(PODS, "ns", first) == []
    assert store.owned_by("u1", PODS) == []
    assert [obj["metadata"]["name"] for obj in store.list(PODS, "ns", second)] == ["a"]
    assert [obj["metadata"]["name"] for obj in store.owned_by("u2", PODS)] == ["a"]
    store.remove(PODS, pod("a", 3))
    assert store.list(PODS, "ns", second) == []
    assert store.owned_by("u2", PODS) == []


def test_listeners_hear_of_every_change_with_old_and_new() -> None:
    """Additions, changes, deletions and evictions are all told; what tells nothing new is not."""
    heard: list[tuple[str | None, str | None]] = []

    def listen(resource: resources.Resource, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        assert resource is PODS
        was, now = (obj["metadata"]["resourceVersion"] if obj else None for obj in (old, new))
        heard.append((was, now))

    store = cache.Cache(listen)
    store.put(PODS, pod("a", 1))
    store.put(PODS, pod("a", 1))
    store.put(PODS, pod("a", 2))
    store.remove(PODS, pod("a", 3))
    store.put(PODS, pod("b", 4))
    store.replace(PODS, [], "10")
    assert heard == [(None, "1"), ("1", "2"), ("2", None), (None, "4"), ("4", None)]


def test_a_resource_is_complete_once_marked() -> None:
    """Work starts only when everything that it reads has been taken in."""
    store = cache.Cache()
    store.mark_complete(PODS)
    assert store.complete(PODS)
    assert not store.complete(PODS, resources.SERVICES)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_the_order_of_news_the_cache_ends_with_the_truth(data: st.DataObject) -> None:
    """Shuffled events with lists between them, then one last list: the cache equals the cluster."""
    truth: dict[str, int] = {}
    news: list[tuple[str, Any]] = []
    for version in range(1, data.draw(st.integers(1, 15)) + 1):
        name = data.draw(st.sampled_from("abc"))
        if name in truth and data.draw(st.booleans()):
            del truth[name]
            news.append(("gone", pod(name, version)))
        else:
            truth[name] = version
            news.append(("put", pod(name, version)))
        if data.draw(st.booleans()):
            news.append(("list", ([pod(n, v) for n, v in truth.items()], str(version))))
    final = str(version)
    lists = [item for item in news if item[0] == "list"]
    others = data.draw(st.permutations([item for item in news if item[0] != "list"]))
    # Lists arrive in order: each is requested after the one before was answered. Events may fall anywhere between.
    told = list(others)
    for position, item in zip(sorted(data.draw(st.integers(0, len(told))) for _ in lists), lists, strict=True):
        told.insert(position + lists.index(item), item)
    store = cache.Cache()
    for kind, value in [*told, ("list", ([pod(n, v) for n, v in truth.items()], final))]:
        if kind == "put":
            store.put(PODS, value)
        elif kind == "gone":
            store.remove(PODS, value)
        else:
            store.replace(PODS, *value)
    assert versions(store) == {name: str(version) for name, version in truth.items()}


@pytest.mark.parametrize("order", [("put", "gone"), ("gone", "put")])
def test_an_addition_and_its_deletion_end_in_nothing_in_either_order(order: tuple[str, str]) -> None:
    """No list is needed for this: the deletion's version is enough."""
    store = cache.Cache()
    for step in order:
        if step == "put":
            store.put(PODS, pod("a", 1))
        else:
            store.remove(PODS, pod("a", 2))
    assert versions(store) == {}


def test_what_is_read_of_pods_is_kept() -> None:
    """Most of a pod's spec is left out, and of what is left everybody reads the same as of the whole."""
    labels = {naming.LABEL_MODEL_DEPLOYMENT: "chat", naming.LABEL_REVISION: "abc"}
    port = {"name": pod_template.PORT_NAME, "containerPort": 8000}
    bulk = {"env": [{"name": "A"}], "volumeMounts": [{"mountPath": "/m"}], "livenessProbe": {}, "securityContext": {}}
    claims = [{"name": "gpu", "resourceClaimTemplateName": "one"}]
    engine = {"name": pod_template.CONTAINER, "image": "vllm:1", "ports": [port], "resources": {"limits": {"gpu": 1}}, **bulk}
    fetch = {"name": prefetch.CONTAINER, "args": ["prefetch", "--item=model=hf://a/b"], **bulk}
    volumes = [{"name": "m", "image": {"reference": "registry/model:1"}}]
    spec = {"containers": [engine], "initContainers": [fetch], "nodeName": "n", "resourceClaims": claims, "volumes": volumes}
    container = {"ready": True, "restartCount": 0, "imageID": "vllm@sha256:abc", "state": {}}
    status = {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": pod_template.CONTAINER, **container}],
        "initContainerStatuses": [{"name": prefetch.CONTAINER, **container}],
    }
    whole = pod("a", 1, uid="u", labels=labels) | {"spec": {**spec, "affinity": {}, "tolerations": []}, "status": status}
    store = cache.Cache()
    store.put(resources.PODS, whole)
    (kept,) = store.list(resources.PODS)
    assert not {"affinity", "tolerations"} & kept["spec"].keys()
    assert not any(bulk.keys() & each.keys() for each in (*kept["spec"]["containers"], *kept["spec"]["initContainers"]))
    for read in (pods.parse_pod, resolved.facts_of, targets.target_of):
        assert read(kept) == read(whole)
    assert targets.target_of(kept) is not None
