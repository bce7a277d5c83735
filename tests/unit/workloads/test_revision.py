"""What makes two templates the same revision, and what a revision keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.workloads import platform_config, pod_template, revision

DEFAULTS = pod_template.Defaults(engine_image="vllm:1")
TIMING = pod_template.Timing(startup=1200, drain=300)
NONE: Final[Mapping[str, str]] = {}
ENGINE: Final = {"liveness.py": "a1", "hold_headers.py": "b1"}
"""Digests of our own scripts."""


def template(**changes: Any) -> dict[str, Any]:
    """A small admitted template."""
    return {"model": {"source": "file:///models/good"}, "engine": {"type": "VLLM", "image": "vllm:1"}, **changes}


def of(name: str, config_map: str) -> dict[str, Any]:
    """A file of that name from the key `text` of a ConfigMap."""
    return {"name": name, "configMapKeyRef": {"name": config_map, "key": "text"}}


def term(expression: dict[str, Any]) -> dict[str, Any]:
    """An affinity to nodes of one expression."""
    terms = [{"matchExpressions": [expression]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def make(
    wanted: dict[str, Any],
    *known: revision.Revision,
    files: Mapping[str, str] = NONE,
    defaults: pod_template.Defaults = DEFAULTS,
    platform: platform_config.Defaults = platform_config.EMPTY.defaults,
) -> revision.Revision:
    """A revision of the ModelDeployment `chat`."""
    return revision.make_revision("chat", wanted, files=files, known=known, defaults=defaults, platform=platform, timing=TIMING)


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        (template(resources={"requests": {"cpu": "1"}}), template(resources={"requests": {"cpu": "1000m"}}), "same quantity"),
        (template(resources={"sharedMemory": "1Gi"}), template(resources={"sharedMemory": "1024Mi"}), "same size"),
        (template(resources={"limits": {"memory": "1G"}}), template(resources={"limits": {"memory": "1000M"}}), "same limit"),
        (template(), template(resources={}), "an empty member says nothing"),
        (
            template(engine={"type": "VLLM", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}),
            template(engine={"type": "VLLM", "env": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}]}),
            "the order of variables has no meaning",
        ),
        (
            template(model={"source": "file:///m", "files": [of("a", "one"), of("b", "two")]}),
            template(model={"source": "file:///m", "files": [of("b", "two"), of("a", "one")]}),
            "files have names",
        ),
        (
            template(model={"source": "hf://a/b", "cache": {"type": "EmptyDir", "emptyDir": {"sizeLimit": "1Gi"}}}),
            template(model={"source": "hf://a/b", "cache": {"type": "EmptyDir", "emptyDir": {"sizeLimit": "1024Mi"}}}),
            "same size of the cache",
        ),
        (
            template(scheduling={"tolerations": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]}),
            template(scheduling={"tolerations": [{"operator": "Exists", "key": "b"}, {"operator": "Exists", "key": "a"}]}),
            "tolerations are a set",
        ),
        (
            template(scheduling={"affinity": term({"operator": "In", "key": "zone", "values": ["a", "b"]})}),
            template(scheduling={"affinity": term({"key": "zone", "operator": "In", "values": ["b", "a"]})}),
            "values of an expression are a set",
        ),
    ],
)
def test_templates_that_mean_the_same_are_one_revision(left: dict[str, Any], right: dict[str, Any], reason: str) -> None:
    """Writing the same wish differently starts no rollout."""
    known = make(left)
    assert revision.find_same([known], right, NONE) == known, reason


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        (template(), template(model={"source": "file:///models/bad"}), "another model"),
        (
            template(engine={"type": "VLLM", "vllm": {"extraArgs": ["--a", "--b"]}}),
            template(engine={"type": "VLLM", "vllm": {"extraArgs": ["--b", "--a"]}}),
            "arguments are ordered",
        ),
        (template(resources={"requests": {"cpu": "1"}}), template(resources={"requests": {"cpu": "2"}}), "another amount"),
        (template(), template(scheduling={"topologySpreadConstraints": []}), "no spread is not the default spread"),
        (
            template(scheduling={"nodeSelector": {"sizeLimit": "1Gi"}}),
            template(scheduling={"nodeSelector": {"sizeLimit": "1024Mi"}}),
            "labels are texts",
        ),
    ],
)
def test_templates_that_differ_are_two_revisions(left: dict[str, Any], right: dict[str, Any], reason: str) -> None:
    """A real difference is never taken for the same."""
    assert revision.find_same([make(left)], right, NONE) is None, reason


def test_a_revision_survives_its_controller_revision() -> None:
    """What is stored is what is read back."""
    made = make(template(resources={"requests": {"cpu": "1"}}))
    stored = revision.build_controller_revision(made, namespace="ml", name="chat", owner={"uid": "1"})
    assert revision.parse_controller_revision(stored) == made


def test_a_hash_that_is_taken_by_another_template_is_not_used_again() -> None:
    """The hash is only a name: equality is decided on the templates."""
    first = make(template())
    other = dataclasses.replace(first, template=template(model={"source": "file:///models/other"}))
    second = make(template(), other)
    assert second.hash != other.hash
    assert second.number == other.number + 1


def test_a_changed_default_changes_no_existing_revision() -> None:
    """The template is compared as admitted, without defaults, so an upgrade finds the revision it had."""
    known = make(template(engine={"type": "VLLM"}))
    later = dataclasses.replace(DEFAULTS, engine_image="vllm:2", shared_memory="8Gi")
    assert revision.find_same([known], template(engine={"type": "VLLM"}), NONE) == known
    assert make(template(engine={"type": "VLLM"}), defaults=later).pod_template != known.pod_template


@hypothesis.given(st.permutations(range(6)))
def test_numbers_rise_whatever_order_revisions_are_listed_in(order: list[int]) -> None:
    """A new revision is numbered after every known one."""
    known: list[revision.Revision] = []
    for index in range(6):
        known.append(make(template(model={"source": f"file:///models/{index}"}), *known))
    assert make(template(), *[known[index] for index in order]).number == 7


def test_contents_of_files_make_a_revision_and_going_back_finds_the_old_one() -> None:
    """An edited prompt is another revision although the template is the same; the old content is the old revision."""
    old = make(template(), files=ENGINE | {"prompt.txt": "one"})
    new = make(template(), old, files=ENGINE | {"prompt.txt": "two"})
    assert old.hash != new.hash
    assert revision.find_same([old, new], template(), {"prompt.txt": "two"}) == new
    assert revision.find_same([old, new], template(), {"prompt.txt": "one"}) == old
    assert revision.find_same([old, new], template(), {"prompt.txt": "three"}) is None


def test_our_own_scripts_make_no_revision() -> None:
    """An operator with newer scripts finds the revision it had, and one of a version that knew no files."""
    known, before = make(template(), files=ENGINE), make(template())
    assert known.hash == before.hash
    for stored in (known, before):
        assert revision.find_same([stored], template(), {"liveness.py": "a2", "hold_headers.py": "b2"}) == stored
