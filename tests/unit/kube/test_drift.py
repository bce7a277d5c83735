"""What counts as a difference between the desired and the live object, and what does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.kube import drift

Object = dict[str, Any]


def container(**fields: Any) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "engine", **fields}]}}}}


ENGINE = "spec.template.spec.containers[engine]"


@pytest.mark.parametrize(
    ("desired", "live", "reason"),
    [
        ({"spec": {"replicas": 1}}, {"spec": {"replicas": 1, "paused": False}, "status": {}}, "the server's own fields"),
        ({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"a": "1", "b": "2"}}}, "another's label"),
        ({"spec": {"nodeSelector": {}}}, {"spec": {}}, "an empty map is dropped"),
        ({"spec": {"tolerations": []}}, {"spec": {}}, "an empty list is dropped"),
        ({"spec": {"hostNetwork": False}}, {"spec": {}}, "false is dropped"),
        ({"spec": {"clusterIP": None}}, {"spec": {"clusterIP": None}}, "no value is no value"),
        (container(resources={"limits": {"cpu": "500m"}}), container(resources={"limits": {"cpu": "0.5"}}), "one quantity"),
        (container(resources={"limits": {"memory": "1024Mi"}}), container(resources={"limits": {"memory": "1Gi"}}), "binary"),
        (container(resources={"requests": {"cpu": 2}}), container(resources={"requests": {"cpu": "2"}}), "a bare number"),
        ({"emptyDir": {"sizeLimit": "2048Mi"}}, {"emptyDir": {"sizeLimit": "2Gi"}}, "a size"),
        (container(env=[{"name": "A", "value": "1"}]), container(env=[{"name": "B"}, {"name": "A", "value": "1"}]), "by name"),
        (
            container(ports=[{"containerPort": 8000}]),
            container(ports=[{"containerPort": 8000, "protocol": "TCP"}]),
            "defaulted",
        ),
        ({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b", "a"]}}, "a set"),
        ({"target": {"averageValue": "1000"}}, {"target": {"averageValue": "1k"}}, "what an HPA holds a metric at"),
        ({"scaleUp": {"tolerance": "0.05"}}, {"scaleUp": {"tolerance": "50m"}}, "a tolerance"),
        ({"scaleUp": {"tolerance": "0.05"}}, {"scaleUp": {}}, "an API server without that feature drops it"),
    ],
)
def test_what_the_api_server_or_others_add_or_rewrite_is_no_difference(desired: Object, live: Object, reason: str) -> None:
    """Otherwise every reconcile would write."""
    assert drift.differs(desired, live) is None, reason


@pytest.mark.parametrize(
    ("desired", "live", "path"),
    [
        ({"spec": {"replicas": 2}}, {"spec": {"replicas": 1}}, "spec.replicas"),
        ({"spec": {"replicas": 2}}, {"spec": {}}, "spec.replicas"),
        ({"target": {"averageValue": "10"}}, {"target": {"averageValue": "10m"}}, "target.averageValue"),
        ({"target": {"type": "Value"}}, {"target": {"type": "AverageValue"}}, "target.type"),
        ({"scaleUp": {"tolerance": "0.05"}}, {"scaleUp": {"tolerance": "5m"}}, "scaleUp.tolerance"),
        ({"spec": {"replicas": 0}}, {"spec": {"replicas": 1}}, "spec.replicas"),
        ({"spec": {"replicas": 0}}, {"spec": {}}, "spec.replicas"),
        ({"spec": {"paused": False}}, {"spec": {"paused": True}}, "spec.paused"),
        ({"spec": {"type": "X"}}, {"spec": "X"}, "spec"),
        (container(image="a"), container(image="b"), f"{ENGINE}.image"),
        (container(image="a"), {"spec": {"template": {"spec": {"containers": [{"name": "x"}]}}}}, ENGINE),
        (container(args=["a", "b"]), container(args=["b", "a"]), f"{ENGINE}.args[0]"),
        (container(args=["a"]), container(args=["a", "b"]), f"{ENGINE}.args"),
        (
            container(resources={"limits": {"cpu": "1"}}),
            container(resources={"limits": {"cpu": "2"}}),
            f"{ENGINE}.resources.limits.cpu",
        ),
        ({"data": {"a": "500m"}}, {"data": {"a": "0.5"}}, "data.a"),
        ({"spec": {"ports": [{"port": 80}]}}, {"spec": {"ports": [{"port": 81}]}}, "spec.ports[80]"),
        ({"metadata": {"ownerReferences": [{"uid": "1"}]}}, {"metadata": {}}, "metadata.ownerReferences"),
        ({"metadata": {"finalizers": ["a"]}}, {"metadata": {"finalizers": ["b"]}}, "metadata.finalizers"),
    ],
)
def test_a_real_difference_is_named_by_its_path(desired: Object, live: Object, path: str) -> None:
    """The log says why something was applied."""
    assert drift.differs(desired, live) == path


def test_an_object_that_is_not_there_differs() -> None:
    """It has to be made."""
    assert drift.differs({"spec": {}}, None) == "."


def test_a_stamped_wish_differs_when_something_was_taken_out_of_it() -> None:
    """A removed field is invisible to the comparison of fields; the digest tells."""
    before = drift.stamp({"metadata": {"name": "x"}, "data": {"a": "1", "b": "2"}})
    after = drift.stamp({"metadata": {"name": "x"}, "data": {"a": "1"}})
    assert drift.differs(after, before) == f"metadata.annotations.{drift.ANNOTATION}"
    assert drift.differs(before, before) is None


def test_stamping_twice_changes_nothing() -> None:
    """The digest is not part of what is digested."""
    once = drift.stamp({"metadata": {"name": "x", "annotations": {"a": "1"}}, "data": {"k": "v"}})
    assert drift.stamp(once) == once


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("1.5", 1.5), ("100m", 0.1), ("1k", 1000), ("1Ki", 1024), ("2Gi", 2**31), ("1e3", 1000), ("5E", 5e18)],
)
def test_quantities_are_read_as_kubernetes_does(text: str, number: float) -> None:
    """Decimal and binary suffixes, and exponents."""
    value = drift.quantity(text)
    assert value is not None
    assert float(value) == pytest.approx(number)


@pytest.mark.parametrize("text", ["", "x", "1x", "1Kii", "m"])
def test_what_is_no_quantity_is_none(text: str) -> None:
    """It then compares as plain text."""
    assert drift.quantity(text) is None


_VALUES = st.recursive(
    st.one_of(st.text("ab1", max_size=3), st.integers(-2, 5), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "env", "limits", "name"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_VALUES, st.dictionaries(st.sampled_from(["x", "y"]), st.integers(), max_size=2))
def test_an_object_never_differs_from_itself_with_additions(value: Any, more: dict[str, int]) -> None:
    """Applying what was applied is never needed, whatever its shape."""
    desired = {"spec": value}
    live = copy.deepcopy(desired) | more
    assert drift.differs(desired, live) is None
