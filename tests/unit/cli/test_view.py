"""Reading objects: of older and newer operators, and of nobody in particular."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sluice.api import modeldeployment
from sluice.cli import page, printing, view
from sluice.rollout import planning

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["rollout", "lastRollout", "conditions", "history", "lastHandledCommand", "model", "observedGeneration"])
INNER = st.sampled_from(["revision", "phase", "step", "gates", "steps", "hold", "name", "weight", "startedAt", "type", "n"])
ROLLOUT = st.dictionaries(INNER, JSON | st.lists(st.dictionaries(INNER, JSON, max_size=4), max_size=2), max_size=6)


@given(st.dictionaries(KEYS, JSON | ROLLOUT, max_size=6))
def test_any_status_can_be_shown(status: dict[str, Any]) -> None:
    """What does not have the known shape is left out or shown as it is: a page is better than a traceback."""
    model = view.read({"metadata": {"name": "chat", "namespace": "shop"}, "spec": {}, "status": status})
    page.build(model, 0.0, bars=True)
    printing.wire(model)


def test_a_status_without_steps_falls_back_to_those_of_the_spec() -> None:
    """To the default ones where the spec has none; a status that has them wins, as they are frozen."""
    template = {"model": {"source": "hf://org/model"}, "engine": {"type": "VLLM"}}
    bare = {"revision": "abc", "phase": "Progressing"}
    model = view.read({"spec": {"template": template}, "status": {"rollout": bare}})
    assert model.rollout is not None
    spec = modeldeployment.ModelDeploymentSpec.model_validate({"template": template, "rollout": {"analysis": []}})
    names = [step.name for step in planning.build_plan(spec, {}, {}, first=False).steps]
    assert [step.name for step in model.rollout.steps] == names
    frozen = {**bare, "steps": [{"name": "own", "weight": "5", "hold": "0s"}]}
    known = view.read({"spec": {"template": template}, "status": {"rollout": frozen}})
    assert known.rollout is not None
    assert known.rollout.steps == (view.Step("own", "5"),)


def test_documents_have_the_names_of_the_api() -> None:
    """So that one `jq` expression serves for both."""
    wire = printing.wire(view.read({"metadata": {"name": "chat"}, "status": {"stableRevision": "abc", "podsReady": "1/1"}}))
    assert wire["podsReady"] == "1/1"
    assert "rollout" not in wire
