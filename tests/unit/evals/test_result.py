"""Counts travel through a termination message and a ConfigMap unchanged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.evals import result as results

SHA = "ab" * 32
RESULT = results.EvalResult(n=100, passed=96, failed=3, errors=1, dataset_sha256=SHA)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_counts_survive_message_and_config_map(passed: int, failed: int, errors: int) -> None:
    """What is read is what was written."""
    result = results.EvalResult(passed + failed + errors, passed, failed, errors, SHA)
    assert results.from_message(results.to_message(result)) == result
    assert results.from_config_map(results.to_config_map({"name": "x"}, result)) == result


@given(st.sampled_from(list(results.Failure)), st.text(max_size=3000))
def test_a_failure_fits_into_a_termination_message(reason: results.Failure, text: str) -> None:
    """Whatever the text, the kubelet cuts nothing off."""
    written = results.to_message(results.EvalFailure(reason, text))
    assert len(written.encode(errors="surrogatepass")) <= results.MESSAGE_MAX
    assert results.from_message(written) == results.EvalFailure(reason, text[: results.TEXT_MAX])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):",
        "[]",
        "3",
        "{}",
        json.dumps(RESULT.to_json() | {"n": 101}),
        json.dumps(RESULT.to_json() | {"passed": -1, "failed": 100}),
        json.dumps(RESULT.to_json() | {"passed": "96"}),
        json.dumps(RESULT.to_json() | {"passed": 96.0}),
        json.dumps(RESULT.to_json() | {"datasetSha256": "x"}),
        '{"error": {"reason": "Mood", "message": "x"}}',
        '{"error": "x"}',
    ],
)
def test_anything_else_is_no_result(text: str) -> None:
    """One typed error, never a count."""
    with pytest.raises(results.ResultError):
        results.from_message(text)


def test_the_cache_is_immutable_and_owned() -> None:
    """The ConfigMap has the Job's name, labels and owner."""
    metadata = {
        "name": "sluice-eval-1",
        "namespace": "team",
        "labels": {"a": "b"},
        "ownerReferences": [{"uid": "u"}],
        "uid": "j",
    }
    config_map = results.to_config_map(metadata, RESULT)
    assert config_map["immutable"] is True
    assert config_map["metadata"] == {key: metadata[key] for key in ("name", "namespace", "labels", "ownerReferences")}


@pytest.mark.parametrize("data", [None, {}, {"counts": '{"error": {"reason": "TimedOut", "message": ""}}'}])
def test_a_config_map_without_counts_is_no_result(data: dict[str, str] | None) -> None:
    """A damaged cache is a miss with a reason."""
    with pytest.raises(results.ResultError):
        results.from_config_map({"data": data})
