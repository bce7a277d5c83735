"""Answers of outside sources: one finite number, or an error that says what was wrong with it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.sources import external

CONTEXT = external.Context("ml", "chat", "7c9d", "1a2b", "half", 50.0)


def vector(*values: Any) -> Any:
    """The answer of an instant query."""
    result = [{"metric": {}, "value": [1.0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def test_one_number_is_a_value() -> None:
    """As a vector of one, or as a scalar."""
    assert external.prometheus_value(vector("0.25")) == 0.25
    assert external.prometheus_value({"status": "success", "data": {"resultType": "scalar", "result": [1, "3"]}}) == 3
    assert external.webhook_value({"value": 7, "more": "x"}) == 7


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (vector(), "is empty"),
        (vector("1", "2", "3"), "3 series: aggregate"),
        (vector("NaN"), "no finite number"),
        (vector("+Inf"), "no finite number"),
        (vector("many"), "is no number"),
        (vector(1.5), "no sample"),
        ({"status": "success", "data": {"resultType": "vector", "result": [None]}}, "no sample"),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, "neither a vector nor a scalar"),
        ({"status": "success", "data": {"resultType": "vector", "result": {}}}, "neither a vector nor a scalar"),
        ({"status": "error", "errorType": "timeout"}, "no result of a query"),
        ({"status": "success"}, "no result of a query"),
        ([], "no result of a query"),
        (None, "no result of a query"),
    ],
)
def test_what_is_not_one_number_is_an_error(answer: Any, said: str) -> None:
    """Never zero, and never the first of several."""
    with pytest.raises(external.SourceError, match=said):
        external.prometheus_value(answer)


@pytest.mark.parametrize("answer", [None, [], {}, {"value": None}, {"value": "1"}, {"value": True}, {"value": 10**400}, 3])
def test_a_webhook_answers_with_a_number(answer: Any) -> None:
    """Text that looks like one is none."""
    with pytest.raises(external.SourceError, match="value"):
        external.webhook_value(answer)


json_like = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8) | st.sampled_from(["success", "vector", "scalar"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "data", "result", "resultType", "value"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(json_like)
def test_no_answer_breaks_a_reading(answer: Any) -> None:
    """A finite number or a SourceError, whatever comes."""
    for read in (external.prometheus_value, external.webhook_value):
        with contextlib.suppress(external.SourceError):
            assert abs(read(answer)) < float("inf")


def test_placeholders_are_replaced() -> None:
    """By names that Kubernetes admits, which mean nothing to a query language; braces of PromQL stay."""
    query = 'sum(x{namespace="{{namespace}}", pod=~"{{model}}-{{revision}}-.*"}) / sum(x{pod=~"{{model}}-{{stable}}-.*"})'
    assert external.filled(query, CONTEXT) == ('sum(x{namespace="ml", pod=~"chat-7c9d-.*"}) / sum(x{pod=~"chat-1a2b-.*"})')
