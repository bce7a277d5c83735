"""The rules of our CRDs, evaluated as the API server does: CEL of a library, with Kubernetes' own functions beside it.

Only the functions that our rules use are there; a test evaluates every rule. What costs too much for the API server is not
noticed here: that a CRD is admitted at all is shown by the tests on a real one.
"""

from __future__ import annotations

import functools
import ipaddress
import string
from collections.abc import Callable, Mapping
from typing import Any, Final

import cel

from sluice.workloads import quantities


class EvaluationError(Exception):
    """A rule has no value, as for a field that is missing: the API server refuses the object then."""


def holds(rule: str, value: Any) -> bool:
    """Whether a rule holds with `self` as given. Raises EvaluationError."""
    return _evaluate(rule, value) is True


def text(expression: str, value: Any) -> str:
    """The text that an expression makes of `self`. Raises EvaluationError."""
    found = _evaluate(expression, value)
    if not isinstance(found, str):
        raise EvaluationError(f"{expression} is no text")
    return found


def functions(expression: str) -> list[str]:
    """Names of the functions and operators that an expression calls."""
    return _compiled(expression).functions()


def _evaluate(expression: str, value: Any) -> Any:
    try:
        return _compiled(expression).execute(cel.Context(variables={"self": value}, functions=dict(FUNCTIONS)))
    except (ValueError, TypeError, KeyError, RuntimeError, ArithmeticError, LookupError) as error:
        raise EvaluationError(str(error)) from error


@functools.cache
def _compiled(expression: str) -> cel.Program:
    return cel.compile(expression)


_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER: Final = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def _replace(given: str, old: str, new: str) -> str:
    return given.replace(old, new)


def _split(given: str, separator: str) -> list[str]:
    return given.split(separator) if separator else list(given)


def _compare(one: str, other: str) -> int:
    left, right = quantities.parse(one), quantities.parse(other)
    return (left > right) - (left < right)


def _is_integer(given: str) -> bool:
    number = quantities.parse(given)
    return number == number.to_integral_value()


def _quantity(given: str) -> str:
    """A quantity stays text here: its methods read it."""
    quantities.parse(given)
    return given


def _network(given: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A CIDR in the form that Kubernetes takes: no host bits are required to be zero, but a prefix is there."""
    if "/" not in given:
        raise ValueError(f"{given!r} has no prefix")
    return ipaddress.ip_network(given, strict=False)


def _is_cidr(given: str) -> bool:
    try:
        _network(given)
    except ValueError:
        return False
    return True


def _cidr(given: str) -> str:
    _network(given)
    return given


def _contains_cidr(outer: str, inner: str) -> bool:
    one, other = _network(outer), _network(inner)
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return other.subnet_of(one)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return other.subnet_of(one)
    return False


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "replace": _replace,
    "split": _split,
    "lowerAscii": lambda given: given.translate(_LOWER),
    "upperAscii": lambda given: given.translate(_UPPER),
    "quantity": _quantity,
    "compareTo": _compare,
    "isGreaterThan": lambda one, other: _compare(one, other) > 0,
    "isLessThan": lambda one, other: _compare(one, other) < 0,
    "isInteger": _is_integer,
    "isCIDR": _is_cidr,
    "cidr": _cidr,
    "containsCIDR": _contains_cidr,
    "prefixLength": lambda given: _network(given).prefixlen,
}
"""What the library has not. A method is a function of what stands before its dot.

Its own `size` of a text counts bytes, and Kubernetes' counts characters: our rules ask for the size of lists only, by a test.
"""
