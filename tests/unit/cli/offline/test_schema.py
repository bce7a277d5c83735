"""Shapes, defaults and rules, where the files of the CRDs leave gaps."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.cli.offline import cel, schema

TEXT = {"type": "string", "maxLength": 4}


def about(value: Any, given: dict[str, Any]) -> list[str]:
    """Messages about `spec.field` of an object with that schema."""
    whole = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"field": given}}}}
    return [f"{each.field}: {each.message}" for each in schema.check({"spec": {"field": value}}, whole)]


@pytest.mark.parametrize(
    ("value", "given", "said"),
    [
        (True, {"type": "integer"}, "must be of type integer"),
        (1, {"type": "boolean"}, "must be of type boolean"),
        (None, TEXT, "must be of type string"),
        (True, {"x-kubernetes-int-or-string": True, "anyOf": []}, "must be of type integer or string"),
        ("äöüßx", TEXT, "may not be more than 4 characters"),
        ({"a": 1, "b": 2}, {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 1}, "at most 1"),
        ({}, {"type": "object", "additionalProperties": TEXT, "minProperties": 1}, "at least 1 properties"),
        ([1], {"type": "array", "items": TEXT}, "spec.field[0]: "),
        ({"a": 1}, {"type": "object", "additionalProperties": TEXT}, "spec.field.a: "),
        (
            ["a", "b", "a"],
            {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
            'spec.field[2]: Duplicate value: "a"',
        ),
        (2.5, {"type": "number", "maximum": 2}, "less than or equal to 2"),
    ],
)
def test_wrong_shapes_are_found(value: Any, given: dict[str, Any], said: str) -> None:
    """A truth is no number, and characters are counted, not bytes."""
    (message,) = about(value, given)
    assert said in message


@pytest.mark.parametrize(
    ("value", "given"),
    [("äöüß", TEXT), (1, {"type": "number"}), (5, {"x-kubernetes-int-or-string": True, "maximum": 5}), ("x", {"enum": ["x"]})],
)
def test_right_shapes_are_not(value: Any, given: dict[str, Any]) -> None:
    """Bounds of one type say nothing of others."""
    assert about(value, given) == []


def test_defaults_are_filled_in_before_rules_are_asked() -> None:
    """Where the parent is there; a null is as good as nothing where there is a default."""
    rule = {"rule": "self.size == 3", "message": "must be 3"}
    inner = {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}, "x-kubernetes-validations": [rule]}
    assert about({}, inner) == []
    assert about({"size": None}, inner) == []
    assert about({"size": 4}, inner) == ['spec.field: Invalid value: "object": must be 3']


def test_rules_have_kubernetes_names_for_reserved_words_and_make_their_own_messages() -> None:
    """And a rule that cannot be evaluated refuses, as at the API server."""
    fields = {"type": "object", "properties": {"namespace": TEXT}}
    said = {"rule": "self.__namespace__ != 'x'", "message": "not x", "messageExpression": "'not ' + self.__namespace__"}
    assert about({"namespace": "x"}, {**fields, "x-kubernetes-validations": [said]}) == [
        'spec.field: Invalid value: "object": not x'
    ]
    broken = {"rule": "self.missing > 1", "message": "must be above 1"}
    (message,) = about({"namespace": "y"}, {**fields, "x-kubernetes-validations": [broken]})
    assert "must be above 1 (the rule cannot be evaluated" in message


@pytest.mark.parametrize(
    ("rule", "value", "holds"),
    [
        ("quantity(self).compareTo(quantity('1')) == 0", "1000m", True),
        ("quantity(self).isGreaterThan(quantity('1Gi'))", "1G", False),
        ("quantity(self).isLessThan(quantity('1Gi'))", "1G", True),
        ("quantity(self).isInteger()", "1500m", False),
        ("isCIDR(self)", "10.0.0.0", False),
        ("isCIDR(self)", "2001:db8::/32", True),
        ("cidr(self).containsCIDR('10.1.0.0/16')", "10.0.0.0/8", True),
        ("cidr(self).containsCIDR('2001:db8::/32')", "10.0.0.0/8", False),
        ("cidr(self).prefixLength() == 8", "10.0.0.0/8", True),
        ("self.split('=')[0].replace('_', '-') == '--a-b'", "--a_b=c", True),
        ("self.lowerAscii() == 'x-Ä' && self.upperAscii() == 'X-Ä'", "X-Ä", True),
        ("self.missing || true", {}, True),
    ],
)
def test_kubernetes_functions_do_as_documented(rule: str, value: Any, holds: bool) -> None:
    """What the library has not."""
    assert cel.holds(rule, value) is holds
