"""The dataset of an eval: JSON lines with `id`, `prompt` or `messages`, and `reference`. Text in, items out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

ROLES: Final = frozenset({"system", "user", "assistant", "developer", "tool"})


class DatasetError(ValueError):
    """A dataset cannot be used; the message names line and field."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """One question and the answer that is right."""

    id: str
    messages: tuple[Message, ...]
    reference: str


def digest(data: bytes) -> str:
    """SHA-256 of the file, in hex: what a rollout freezes."""
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes) -> tuple[Item, ...]:
    """The items of a JSONL file; empty lines are skipped.

    Raises:
        DatasetError: a line is not what it should be, an id occurs twice, or there is no item at all.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"Cannot read dataset: it is not UTF-8 at byte {error.start}") from error
    items: dict[str, Item] = {}
    # Not splitlines(): JSON strings may contain U+2028, which ends a line there but not in JSONL.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        item = _item(line, number)
        if item.id in items:
            raise _error(number, "id", f"{item.id!r} occurs twice")
        items[item.id] = item
    if not items:
        raise DatasetError("Cannot read dataset: it has no items")
    return tuple(items.values())


def sample(items: Sequence[Item], size: int | None) -> tuple[Item, ...]:
    """`size` items, taken evenly over the dataset and always the same; all of them when there are no more."""
    if size is None or size >= len(items):
        return tuple(items)
    return tuple(items[(2 * i + 1) * len(items) // (2 * size)] for i in range(size))


def _item(line: str, number: int) -> Item:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"Cannot read dataset line {number}: it is not JSON: {error.msg}") from error
    if not isinstance(value, Mapping):
        raise DatasetError(f"Cannot read dataset line {number}: it must be a JSON object")
    return Item(id=_id(value, number), messages=_messages(value, number), reference=_text(value, "reference", number))


def _id(value: Mapping[str, Any], number: int) -> str:
    found = value.get("id")
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return _text(value, "id", number)


def _messages(value: Mapping[str, Any], number: int) -> tuple[Message, ...]:
    if ("prompt" in value) == ("messages" in value):
        raise _error(number, "prompt", "exactly one of prompt and messages is needed")
    if "prompt" in value:
        return (Message("user", _text(value, "prompt", number)),)
    turns = value["messages"]
    if not isinstance(turns, list) or not turns:
        raise _error(number, "messages", "it must be a list with at least one message")
    return tuple(_message(turn, f"messages[{i}]", number) for i, turn in enumerate(turns))


def _message(turn: Any, field: str, number: int) -> Message:
    if not isinstance(turn, Mapping):
        raise _error(number, field, "it must be an object with role and content")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise _error(number, f"{field}.role", f"{role!r} is none of {', '.join(sorted(ROLES))}")
    if not isinstance(content, str):
        raise _error(number, f"{field}.content", "it must be a string")
    return Message(role, content)


def _text(value: Mapping[str, Any], field: str, number: int) -> str:
    found = value.get(field)
    if not isinstance(found, str) or not found.strip():
        raise _error(number, field, "it must be a string that is not empty")
    return found


def _error(number: int, field: str, cause: str) -> DatasetError:
    return DatasetError(f"Cannot read dataset line {number}, field {field}: {cause}")
