"""Whether objects fit together, and what is only missing here."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.cli.offline import findings, given, manifests, samples, together

Level = findings.Level
IMAGE = "vllm/vllm-openai:v0.33.0"
TEMPLATE = {"model": {"source": "hf://org/model"}, "engine": {"type": "VLLM"}}


def obj(kind: str, name: str, spec: dict[str, Any] | None = None, **more: Any) -> manifests.Manifest:
    """A document of a file."""
    version = "v1" if kind == "ConfigMap" else "sluice.dev/v1alpha1"
    content = {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}
    return manifests.Manifest("file.yaml", content if spec is None else {**content, "spec": spec})


def model(name: str = "chat", **spec: Any) -> manifests.Manifest:
    """A ModelDeployment."""
    return obj("ModelDeployment", name, {"template": TEMPLATE, **spec})


def steps(*given_steps: dict[str, Any], **canary: Any) -> dict[str, Any]:
    """A rollout's settings with these steps and no analysis."""
    return {"analysis": [], "strategy": {"type": "Canary", "canary": {"steps": list(given_steps), **canary}}}


def gate(name: str, **spec: Any) -> manifests.Manifest:
    """An EvalGate with a metric, if nothing else is said."""
    metric = {"name": "errors", "signal": {"type": "ErrorRate"}, "regression": {"points": "1%"}}
    return obj("EvalGate", name, spec or {"metrics": [metric]})


def found(*read: manifests.Manifest) -> list[tuple[Level, str, str]]:
    """Everything that is found: level, field and message."""
    content, problems = given.gather(read, "shop")
    problems += together.check(content, engine_image=IMAGE)
    return [(each.level, each.field, each.message) for each in problems]


GATEWAY = obj("Gateway", "edge", {"clients": {"anonymous": True}})
FIRST = {"name": "first", "weight": 50, "gates": [{"name": "slo"}]}


def test_objects_that_fit_give_nothing_to_say() -> None:
    """Gates, gateways and datasets are among the files."""
    assert found(model(gatewayRefs=[{"name": "edge"}], rollout=steps(FIRST)), gate("slo"), GATEWAY) == []


def test_what_is_named_and_not_given_may_be_in_the_cluster() -> None:
    """So it is a warning that names it with its namespace."""
    listed = found(model(gatewayRefs=[{"name": "edge", "namespace": "platform"}], rollout=steps(FIRST)))
    assert [level for level, _, _ in listed] == [Level.WARNING, Level.WARNING]
    assert "EvalGate shop/slo is not among the files" in listed[0][2]
    assert "Gateway platform/edge is not among the files" in listed[1][2]


def test_a_weight_that_falls_is_an_error() -> None:
    """In the operator's own words."""
    rollout = steps({"name": "half", "weight": 50}, {"name": "less", "weight": 5})
    ((level, field, message),) = found(model(rollout=rollout))
    assert (level, field) == (Level.ERROR, "spec.rollout.strategy.canary.steps[less].weight")
    assert "must be at least 50" in message


def test_a_gateway_that_keeps_the_namespace_out_is_an_error() -> None:
    """It is there, and does not fit."""
    elsewhere = manifests.Manifest("file.yaml", {**GATEWAY.obj, "metadata": {"name": "edge", "namespace": "platform"}})
    ((level, _, message),) = found(model(gatewayRefs=[{"name": "edge", "namespace": "platform"}]), elsewhere)
    assert level is Level.ERROR
    assert "allows only its own namespace" in message


@pytest.mark.parametrize(
    ("data", "level", "said"),
    [
        ({"other": ""}, Level.ERROR, "has no key 'qa.jsonl': its keys are other"),
        ({"qa.jsonl": "{"}, Level.ERROR, "line 1"),
        (
            {"qa.jsonl": '{"id": "a", "prompt": "b", "reference": "c"}'},
            Level.WARNING,
            "asks for 5 items, and the dataset has 1",
        ),
    ],
)
def test_datasets_are_read(data: dict[str, str], level: Level, said: str) -> None:
    """A missing key or a broken line would stall the rollout."""
    one = {
        "name": "qa",
        "runner": {"type": "Builtin"},
        "dataset": {"type": "ConfigMap", "configMap": {"name": "data", "key": "qa.jsonl"}},
        "scorer": {"type": "ExactMatch"},
        "threshold": {"min": "0.9"},
        "sampleSize": 5,
    }
    ((found_level, _, message),) = found(gate("golden", evals=[one]), obj("ConfigMap", "data", data=data))
    assert found_level is level
    assert said in message


def test_two_models_may_not_claim_one_name_at_one_gateway() -> None:
    """The younger would have no route."""
    refs = [{"name": "edge"}]
    named = {**TEMPLATE, "model": {"source": "hf://org/model", "servedName": "chat"}}
    other = obj("ModelDeployment", "other", {"template": named, "gatewayRefs": refs})
    ((level, _, message),) = found(model(gatewayRefs=refs), other, GATEWAY)
    assert level is Level.ERROR
    assert "'chat' is served through Gateway shop/edge by shop/chat too" in message


def test_one_object_twice_is_a_warning_and_unknown_kinds_and_versions_are_errors() -> None:
    """What is not ours is not our matter."""
    ((level, field, message),) = found(model(), model())
    assert (level, field) == (Level.WARNING, "metadata.name")
    assert "shop/chat is there twice, and the later one wins" in message
    assert "Unsupported value: 'Modeldeployment'" in found(obj("Modeldeployment", "chat", {}))[0][2]
    older = manifests.Manifest("file.yaml", {**model().obj, "apiVersion": "sluice.dev/v1"})
    assert "use 'sluice.dev/v1alpha1'" in found(older)[0][2]
    assert found(obj("ConfigMap", "other")) == []


def advice(rate: float, *read: manifests.Manifest) -> list[findings.Finding]:
    """What is said of samples."""
    content, problems = given.gather(read, "shop")
    assert problems == []
    return [each for item in content.models.values() for each in samples.advise(item, content, samples.Load(rate))]


def judged(**canary: Any) -> tuple[manifests.Manifest, ...]:
    """A model whose two steps hold ten minutes each, the second with a gate."""
    rollout = steps({"name": "few", "weight": 5, "hold": "10m"}, {**FIRST, "hold": "10m"}, **canary)
    return model(gatewayRefs=[{"name": "edge"}], rollout=rollout), gate("slo"), GATEWAY


def test_advice_says_in_which_step_a_metric_has_requests_enough() -> None:
    """The more requests, the earlier."""
    (fast,), (slow,) = advice(100, *judged()), advice(1, *judged())
    assert fast.level is slow.level is Level.ADVICE
    assert "gets them in step 'few'" in fast.message
    assert "gets them in step 'first'" in slow.message


def test_advice_says_how_much_longer_a_step_lasts_and_warns_of_the_deadline() -> None:
    """A step that cannot pass before its deadline is a warning."""
    (longer,), (never,) = advice(0.2, *judged()), advice(0.2, *judged(stepDeadline="1m"))
    assert longer.level is Level.ADVICE
    assert "longer" in longer.message
    assert never.level is Level.WARNING
    assert "stepDeadline is over after 60 s" in never.message


def test_without_gateway_or_metrics_there_is_no_advice() -> None:
    """Nothing is measured then."""
    assert advice(1, model(rollout=steps(FIRST)), gate("slo")) == []
    assert advice(1, model(gatewayRefs=[{"name": "edge"}], rollout=steps({"name": "a", "weight": 5})), GATEWAY) == []


def test_what_cannot_be_told_is_not_guessed() -> None:
    """How many requests it takes to see that answers are slower depends on how latencies spread."""
    metric = {"name": "slow", "signal": {"type": "E2ELatency", "percentile": 95}, "regression": {"ratio": "20%"}}
    rollout = steps({**FIRST, "hold": "10m"})
    (said,) = advice(1, model(gatewayRefs=[{"name": "edge"}], rollout=rollout), gate("slo", metrics=[metric]), GATEWAY)
    assert said.level is Level.ADVICE
    assert "cannot be told beforehand" in said.message
