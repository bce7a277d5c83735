"""Reads manifests from files, folders and standard input; what is not ours is passed over."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, Final

import yaml

from sluice.api import base
from sluice.cli import exits

STDIN: Final = "-"
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """One document of a file."""

    source: str
    """The file."""
    obj: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.obj.get("kind") or "")

    @property
    def is_ours(self) -> bool:
        """Whether it is of our API group."""
        return str(self.obj.get("apiVersion") or "").split("/")[0] == base.GROUP

    @property
    def name(self) -> str:
        """Its name."""
        return self._metadata("name")

    @property
    def namespace(self) -> str:
        """Its namespace; empty where it does not say."""
        return self._metadata("namespace")

    def _metadata(self, key: str) -> str:
        metadata = self.obj.get("metadata")
        return str(metadata.get(key) or "") if isinstance(metadata, dict) else ""

    @property
    def title(self) -> str:
        """How findings name it."""
        return f"{self.source}: {self.kind or 'a document without a kind'} {self.name or 'without a name'}"


def read(given: list[str], *, recursive: bool = False) -> list[Manifest]:
    """Every document of the files and folders, `List`s opened.

    Raises:
        exits.Failure: a file cannot be read, or is not YAML or JSON.
    """
    return [
        manifest for each in given for source, text in _texts(each, recursive=recursive) for manifest in parse(source, text)
    ]


def _texts(given: str, *, recursive: bool) -> Iterator[tuple[str, str]]:
    if given == STDIN:
        yield "standard input", sys.stdin.read()
        return
    path = pathlib.Path(given)
    files = sorted(path.rglob("*") if recursive else path.glob("*")) if path.is_dir() else [path]
    wanted = [file for file in files if file.is_file() and file.suffix in _SUFFIXES] if path.is_dir() else files
    if not wanted:
        raise exits.Failure(exits.Exit.USAGE, f"Cannot read {given}: it has no .yaml, .yml or .json files")
    for file in wanted:
        try:
            yield str(file), file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise exits.Failure(exits.Exit.USAGE, f"Cannot read {file}: {error}") from error


def parse(source: str, text: str) -> Iterator[Manifest]:
    """The documents of a text; `source` names it. Raises exits.Failure."""
    try:
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise exits.Failure(exits.Exit.USAGE, f"Cannot read {source} as YAML: {error}") from error
    for document in documents:
        members = document.get("items") if isinstance(document, dict) and str(document.get("kind")).endswith("List") else None
        for obj in members if isinstance(members, list) else [document]:
            if isinstance(obj, dict):
                yield Manifest(source, obj)
            elif obj is not None:
                raise exits.Failure(
                    exits.Exit.USAGE, f"Cannot read {source}: a document is {type(obj).__name__}, not an object"
                )


class _Loader(yaml.SafeLoader):
    """As Kubernetes reads YAML: times are texts, and a key that stands twice is a mistake."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuses keys that stand twice."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1 and key != "<<"})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
