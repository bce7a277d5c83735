"""Generated YAML means to Kubernetes what it meant to us."""

from __future__ import annotations

import pytest

from hack import generate


@pytest.mark.parametrize("word", ["n", "N", "y", "Y", "no", "on", "off", "yes", "null", "1"])
def test_words_that_yaml_takes_for_values_are_quoted(word: str) -> None:
    """YAML 1.1 reads a bare `n` as false: a field of that name would be lost from the CRD."""
    assert f"'{word}': 1" in generate.to_yaml({word: 1})
    assert f"a: '{word}'" in generate.to_yaml({"a": word})
