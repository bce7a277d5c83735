"""Does a live object lack anything of what we want? Only then is it applied again.

Only desired fields are compared, so what the API server defaults, and what others own, is no difference. What we wanted once
and want no more cannot be seen that way: `stamp` puts a digest of the whole wish onto the object, so that a new wish differs
too.
"""

from __future__ import annotations

import decimal
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sluice.api import naming

ANNOTATION: Final = "sluice.dev/applied"
"""The digest of the desired object as it was last applied."""

_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    # Lists that are merged by key: others may add elements, and the order of ours may differ.
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "conditions": ("type",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_SETS: Final = frozenset({"finalizers"})
_PORTS: Final = ("containerPort", "port")
_QUANTITY_PARENTS: Final = frozenset({"limits", "requests", "capacity", "target"})
_QUANTITY_FIELDS: Final = frozenset({"sizeLimit", "storage", "tolerance"})
_MAY_BE_DROPPED: Final = frozenset({"tolerance"})
"""Fields that an older API server drops without a word, which is no difference once they were sent."""
_SUFFIXES: Final = {
    "": decimal.Decimal(1),
    **{
        suffix: decimal.Decimal(1000) ** power
        for power, suffix in zip((-3, -2, -1, 1, 2, 3, 4, 5, 6), "numkMGTPE", strict=True)
    },
    **{f"{suffix}i": decimal.Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def stamp(desired: dict[str, Any]) -> dict[str, Any]:
    """The desired object with the annotation that carries its digest. Apply this, and compare this with what is live."""
    metadata = desired["metadata"]
    annotations = {**(metadata.get("annotations") or {})}
    annotations.pop(ANNOTATION, None)
    plain = {**desired, "metadata": {**metadata, "annotations": annotations}}
    annotations = {**annotations, ANNOTATION: naming.content_hash(plain, length=16)}
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


def differs(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> str | None:
    """The path of the first desired field that `live` lacks or has otherwise; None when there is none, "." without an object.

    Secrets must be given as `data`: the API server never shows `stringData`.
    """
    if live is None:
        return "."
    return _compare(desired, live, ())


def quantity(text: str | float) -> decimal.Decimal | None:
    """The number that a Kubernetes quantity ("500m", "2Gi", 1, "1e3") stands for; None when it is none."""
    value = str(text).strip()
    number = value.rstrip("numkKMGTPEi")
    factor = _SUFFIXES.get(value[len(number) :])
    if factor is None:
        return None
    try:
        return decimal.Decimal(number) * factor
    except decimal.InvalidOperation:
        return None


def _compare(desired: Any, live: Any, path: tuple[str, ...]) -> str | None:
    if isinstance(desired, dict | list) and desired == live:
        return None  # most is exactly as it was applied, and this is quick
    if _empty(desired) and _empty(live):
        return None  # the API server drops most empty values
    if isinstance(desired, Mapping):
        return _compare_fields(desired, live, path) if isinstance(live, Mapping) else _name(path)
    if isinstance(desired, Sequence) and not isinstance(desired, str):
        return _compare_elements(desired, live, path) if isinstance(live, Sequence) else _name(path)
    return None if _same(desired, live, path) else _name(path)


def _compare_fields(desired: Mapping[str, Any], live: Mapping[str, Any], path: tuple[str, ...]) -> str | None:
    for field, value in desired.items():
        if field in _MAY_BE_DROPPED and field not in live:
            continue  # the stamp says whether it was sent
        found = _compare(value, live.get(field), (*path, field))
        if found:
            return found
    return None


def _compare_elements(desired: Sequence[Any], live: Sequence[Any], path: tuple[str, ...]) -> str | None:
    if path[-1] in _SETS:
        return None if set(desired) <= set(live) else _name(path)
    keys = _merge_keys(desired, path)
    if keys:
        by_key = {_key(element, keys): element for element in live}
        for element in desired:
            key = _key(element, keys)
            found = _compare(element, by_key.get(key), (*path[:-1], f"{path[-1]}[{'/'.join(map(str, key))}]"))
            if found:
                return found
        return None
    if len(desired) != len(live):
        return _name(path)
    for index, (wanted, present) in enumerate(zip(desired, live, strict=True)):
        found = _compare(wanted, present, (*path[:-1], f"{path[-1]}[{index}]"))
        if found:
            return found
    return None


def _merge_keys(desired: Sequence[Any], path: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that name an element of this list; none for a list that is one value."""
    if not all(isinstance(element, Mapping) for element in desired):
        return ()
    candidates = [(key,) for key in _PORTS] if path[-1] == "ports" else [_KEYS.get(path[-1], ())]
    for keys in candidates:
        names = [_key(element, keys) for element in desired]
        if keys and all(isinstance(part, str | int) for name in names for part in name) and len(set(names)) == len(names):
            return keys
    return ()


def _key(element: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(element.get(key) for key in keys)


def _same(desired: Any, live: Any, path: tuple[str, ...]) -> bool:
    if desired == live:
        return isinstance(desired, bool) == isinstance(live, bool)
    if live is None or isinstance(desired, bool) or isinstance(live, bool):
        return False
    if path[-1] in _QUANTITY_FIELDS or (len(path) > 1 and path[-2] in _QUANTITY_PARENTS):
        wanted, present = quantity(desired), quantity(live)
        return wanted is not None and wanted == present
    return False


def _empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (str, Mapping, Sequence)) and not value)


def _name(path: tuple[str, ...]) -> str:
    return ".".join(path)
