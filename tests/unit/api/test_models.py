"""Models read what the API server admits, and write what it accepts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import modeldeployment, naming, rollout_spec
from sluice.api import template as template_api

METADATA = {"name": "chat", "namespace": "team"}
SPEC = {"template": {"model": {"source": "hf://a/b", "servedName": "chat"}, "engine": {"type": "VLLM"}}}


def test_a_field_of_a_newer_crd_is_no_error() -> None:
    """During an upgrade the CRD may be newer than this process."""
    parsed = modeldeployment.parse({"metadata": METADATA, "spec": {**SPEC, "fieldOfTomorrow": 1}})
    assert parsed.spec.template.model.served_name == "chat"


def test_wire_form_is_camel_case_without_unset_fields() -> None:
    """Server-side apply owns each field that is sent, so nothing unset is sent."""
    parsed = modeldeployment.parse({"metadata": METADATA, "spec": SPEC})
    assert parsed.spec.template.to_wire() == SPEC["template"]


def test_an_absent_status_reads_as_never_seen() -> None:
    """A wiped status is a valid object."""
    assert modeldeployment.parse({"metadata": METADATA, "spec": SPEC}).status.observed_generation == -1


@pytest.mark.parametrize(("weight", "points"), [(0, 0), (5, 500), (100, 10_000), ("0.5", 50), ("12.34", 1234), ("100", 10_000)])
def test_weight_in_basis_points(weight: int | str, points: int) -> None:
    """Both forms of a weight mean hundredths of a percent."""
    assert rollout_spec.weight_basis_points(weight) == points


@given(st.integers(min_value=0, max_value=10_000))
def test_weight_text_is_the_inverse(points: int) -> None:
    """Status shows a weight that reads back as the same."""
    assert rollout_spec.weight_basis_points(rollout_spec.weight_text(points)) == points


def test_quantities_may_be_numbers() -> None:
    """`cpu: 2` and `cpu: "2"` are the same request."""
    number, text = (template_api.Resources.model_validate({"requests": {"cpu": cpu}}) for cpu in (2, "2"))
    assert number == text


def test_names_derived_from_the_longest_name_fit_a_dns_label() -> None:
    """Everything that is named after a ModelDeployment is a Service or pod label somewhere."""
    assert len(naming.revision_name("n" * naming.NAME_MAX, "h" * naming.HASH_LENGTH)) <= 63


def test_content_hash_ignores_the_order_of_keys() -> None:
    """Order of keys is no difference in YAML."""
    assert naming.content_hash({"a": 1, "b": [1, 2]}) == naming.content_hash({"b": [1, 2], "a": 1})
    assert naming.content_hash({"a": [1, 2]}) != naming.content_hash({"a": [2, 1]})
