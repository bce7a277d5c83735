"""Where output goes and in which form: tables for people, JSON and YAML for programs.

Results go to standard output, everything said beside them to standard error, so that `-o json | jq` always works.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

import rich.console
import rich.text
import yaml

from sluice.cli import texts, view

_PIPE_WIDTH: Final = 200
"""Columns where there is no terminal: long messages go over several lines, tables stay tables."""


class Format(enum.StrEnum):
    """Forms of output."""

    TEXT = "text"
    """For people."""
    JSON = "json"
    """One JSON document; of `watch` one a line for each change."""
    YAML = "yaml"
    """One YAML document; of `watch` one for each change."""


def console(*, stderr: bool = False) -> rich.console.Console:
    """Where to print. Markup and emoji codes in what is printed are only text."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return rich.console.Console(stderr=stderr, markup=False, emoji=False, highlight=False, width=width)


def say(message: str) -> None:
    """One line beside the result. Wrapped by the terminal alone, so that it can be searched for."""
    console(stderr=True).print(rich.text.Text(texts.clean(message)), soft_wrap=True)


def document(value: Any, form: Format) -> None:
    """Data in a machine's form. JSON escapes all but ASCII, and YAML what is not printable."""
    if form is Format.JSON:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
    else:
        sys.stdout.write(to_yaml(value))


def to_yaml(value: Any) -> str:
    """Plain YAML in the order given."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=4096)
    return text


def wire(value: Any) -> Any:
    """Dataclasses as JSON data with camel-cased keys, without what is None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {view.camel(field.name): getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key: wire(member) for key, member in fields.items() if member is not None}
    if isinstance(value, Mapping):
        return {str(key): wire(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [wire(member) for member in value]
    return value


class _Dumper(yaml.SafeDumper):
    """No anchors; texts of several lines as blocks, as people write them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        """Everything is written out where it stands."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
