"""Files of a revision: what a template refers to, and the immutable ConfigMap that is made of it."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
from hypothesis import strategies as st

from sluice.api import model_source
from sluice.workloads import files

ENGINE = files.EngineFiles(liveness="probe", hold_headers="middleware")


def template(**model: Any) -> dict[str, Any]:
    """A template with this in its model."""
    return {"model": {"source": "file:///m", **model}, "engine": {"type": "VLLM"}}


def source(name: str, key: str) -> dict[str, Any]:
    """A key of a ConfigMap."""
    return {"configMapKeyRef": {"name": name, "key": key}}


def test_references_name_the_field_that_they_are_in() -> None:
    """So that a message can say what to mend."""
    found = files.references(
        template(chatTemplate=source("prompts", "chat"), files=[{"name": "system.txt", **source("prompts", "system")}])
    )
    assert found == (
        files.Reference("chat_template.jinja", "spec.template.model.chatTemplate.configMapKeyRef", "prompts", "chat"),
        files.Reference("system.txt", "spec.template.model.files[system.txt].configMapKeyRef", "prompts", "system"),
    )
    assert files.references(template()) == ()


def test_names_of_our_files_are_those_that_the_api_keeps_free() -> None:
    """A user's file of such a name would be overwritten in silence."""
    assert {*files.OWN, files.CHAT_TEMPLATE} == set(model_source.FILES_OF_SLUICE)


@hypothesis.given(st.dictionaries(st.sampled_from(["a.txt", "b.txt", "chat_template.jinja"]), st.text(max_size=20)))
def test_a_copy_can_be_made_again_from_the_same_contents_only(contents: dict[str, str]) -> None:
    """With newer scripts of ours and with files of other templates at hand, but with nothing of the user's changed."""
    recorded = files.digests({**contents, **ENGINE.contents()})
    newer = files.EngineFiles(liveness="probe 2", hold_headers="middleware")
    assert files.contents_of(recorded, {**contents, "other.txt": "more"}, newer) == {**contents, **newer.contents()}
    for name in contents:
        assert files.contents_of(recorded, {**contents, name: contents[name] + "!"}, ENGINE) is None
        assert files.contents_of(recorded, {key: text for key, text in contents.items() if key != name}, ENGINE) is None


def test_size_counts_bytes() -> None:
    """Kubernetes counts UTF-8, not characters."""
    assert files.size({"a": "é", "b": "x"}) == 3


def test_the_config_map_is_immutable_and_mounted_by_its_name() -> None:
    """What a pod mounts is the copy of its own revision."""
    owner = {"uid": "1"}
    made = files.build_config_map(namespace="ml", name="chat", revision_hash="abc", contents={"a": "b"}, owner=owner)
    assert (made["immutable"], made["data"], made["metadata"]["ownerReferences"]) == (True, {"a": "b"}, [owner])
    assert files.labels("chat").items() <= made["metadata"]["labels"].items()
    parts = files.pod_parts("chat", "abc")
    assert made["metadata"]["name"] in json.dumps(parts.volumes)
    assert parts.engine_mounts[0]["readOnly"]
