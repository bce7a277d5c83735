"""The status of a ModelDeployment: what it says for each situation, and the rules of kstatus for all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import modeldeployment, rollout_status
from sluice.reconcile.models import status
from sluice.rollout import health
from sluice.rollout import model as rollout
from sluice.workloads import revision
from tests.support import statuses
from tests.unit.reconcile import parts

NOW, LATER = "2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"
Label = revision.OutcomeLabel


def stored(name: str, outcome: Label | None = None) -> revision.Revision:
    return revision.Revision(name, 1, {}, {}, {}, {}, outcome)


def model(replicas: int = 2) -> modeldeployment.ModelDeployment:
    obj = parts.model()
    obj["metadata"]["generation"] = 3
    obj["spec"]["replicas"] = replicas
    return modeldeployment.parse(obj)


SERVING = status.View(
    model=model(),
    served_name="chat",
    wanted=stored("a", Label.STABLE),
    stable=stored("a", Label.STABLE),
    replicas=2,
    ready_replicas=2,
    selector="x=y",
    wanted_ready=True,
    rollout=None,
    last_rollout=None,
    epoch=1,
    split=True,
)
ROLLING = rollout_status.RolloutStatus(revision="b", phase=rollout_status.Phase.PROGRESSING, step="half", weight="50")
REJECTION = rollout_status.LastRollout(
    revision="b", outcome=rollout_status.Outcome.REJECTED, reason="CrashLoop", message="it ended three times"
)
WAITING = rollout_status.RolloutStatus(
    revision="b", phase=rollout_status.Phase.WARMING_UP, reason="Unschedulable", message="0 of 2 pods are ready."
)
NO_GPU = health.Trouble(
    health.Cause.UNSCHEDULABLE, health.CauseClass.ENVIRONMENT, "Pod chat-a-1 asks for 8 nvidia.com/gpu. Environment: add nodes."
)
CRASHING = health.Trouble(health.Cause.CRASH_LOOP, health.CauseClass.REVISION, "Pod chat-a-1: the engine ended 3 times.")
LOADING = health.Trouble(health.Cause.STARTING, health.CauseClass.NONE, "Pod chat-a-1 loads its model.")
PROBLEM = status.Problem(status.Reason.GATEWAY_NOT_FOUND, "Cannot resolve spec.gatewayRefs[0]: there is none")


def gate(verdict: rollout_status.Verdict, n: int = 0) -> rollout_status.GateStatus:
    return rollout_status.GateStatus(name="slo", metric="errors", verdict=verdict, n=n)


def said(view: status.View) -> dict[str, tuple[str, str]]:
    """Status and reason by type."""
    return {c.type: (c.status, c.reason) for c in status.build_status(view, now=NOW).conditions}


@pytest.mark.parametrize(
    ("change", "ready", "available", "going", "reason"),
    [
        ({}, ("True", "Serving"), "True", None, "it serves"),
        ({"ready_replicas": 1}, ("False", "PodsNotReady"), "True", "Reconciling", "one pod is missing"),
        ({"ready_replicas": 0}, ("False", "PodsNotReady"), "False", "Reconciling", "no pod is ready"),
        ({"rollout": ROLLING}, ("False", "RollingOut"), "True", "Reconciling", "a rollout is under way"),
        (
            {"rollout": ROLLING.model_copy(update={"reason": "Holding"})}, ("False", "Holding"), "True", "Reconciling",
            "the rollout says what it waits for",
        ),
        (
            {"wanted": stored("b", Label.REJECTED), "last_rollout": REJECTION}, ("False", "RevisionRejected"), "True",
            "Stalled", "rejected, stable serves",
        ),
        (
            {"wanted": stored("b", Label.REJECTED), "stable": None, "ready_replicas": 0}, ("False", "RevisionRejected"),
            "False", "Stalled", "the first revision is rejected",
        ),
        ({"problems": (PROBLEM,)}, ("False", "GatewayNotFound"), "True", "Stalled", "a user's mistake while it serves"),
        ({"problems": (PROBLEM,), "rollout": ROLLING}, ("False", "GatewayNotFound"), "True", "Stalled", "and in a rollout"),
        (
            {"wanted": stored("b"), "waiting": rollout.Notice("PodsLeaving", "they leave")}, ("False", "PodsLeaving"), "True",
            "Reconciling", "a revision waits for its rollout",
        ),
        ({"wanted": stored("b")}, ("False", "RollingOut"), "True", "Reconciling", "a revision was just asked for"),
        ({"model": model(0), "ready_replicas": 0, "replicas": 0}, ("True", "ScaledToZero"), "False", None, "scaled to zero"),
        (
            {"ready_replicas": 1, "trouble": NO_GPU}, ("False", "Unschedulable"), "True", "Reconciling",
            "a pod of what serves waits for a GPU",
        ),
        (
            {"ready_replicas": 0, "trouble": CRASHING}, ("False", "CrashLoop"), "False", "Reconciling",
            "what serves began to crash",
        ),
        (
            {"ready_replicas": 1, "trouble": LOADING}, ("False", "PodsNotReady"), "True", "Reconciling",
            "a pod that loads is nobody's fault",
        ),
        (
            {"ready_replicas": 1, "trouble": dataclasses.replace(NO_GPU, lasting=True)}, ("False", "Unschedulable"), "True",
            "Stalled", "and waits for too long",
        ),
        (
            {"rollout": WAITING, "rollout_trouble": dataclasses.replace(NO_GPU, lasting=True)}, ("False", "Unschedulable"),
            "True", "Stalled", "a new revision waits for too long",
        ),
        (
            {"rollout": WAITING, "rollout_trouble": NO_GPU}, ("False", "Unschedulable"), "True", "Reconciling",
            "a new revision waits for a GPU",
        ),
        (
            {"rollout": WAITING, "trouble": dataclasses.replace(NO_GPU, lasting=True)}, ("False", "Unschedulable"), "True",
            "Reconciling", "in a rollout its own pods count",
        ),
        ({"fault": "Cannot apply: 500"}, ("False", "APIFault"), "True", "Reconciling", "a webhook fails"),
    ],
)  # fmt: skip
def test_conditions(change: dict[str, Any], ready: tuple[str, str], available: str, going: str | None, reason: str) -> None:
    """Ready, Available and what goes on, for each situation."""
    found = said(dataclasses.replace(SERVING, **change))
    assert found["Ready"] == ready, reason
    assert found["Available"][0] == available, reason
    assert {"Reconciling", "Stalled"} & found.keys() == ({going} if going else set()), reason


def test_rejection_says_why_and_what_serves() -> None:
    """The message has the cause of the rollout's end, what goes on serving, and what to do."""
    view = dataclasses.replace(SERVING, wanted=stored("b", Label.REJECTED), last_rollout=REJECTION)
    message = next(c.message for c in status.build_status(view, now=NOW).conditions if c.type == "Stalled")
    for part in ("CrashLoop", "it ended three times", "revision a goes on serving", "Change spec.template"):
        assert part in message


@pytest.mark.parametrize("type_", ["Ready", "Available", "Reconciling"])
def test_trouble_of_what_serves_is_told_in_the_containers_own_words(type_: str) -> None:
    """Every condition that is not as wanted says which pod, what it said and whose it is to mend."""
    view = dataclasses.replace(SERVING, ready_replicas=0, trouble=NO_GPU)
    said_of = next(c for c in status.build_status(view, now=NOW).conditions if c.type == type_)
    assert said_of.reason == "Unschedulable"
    assert "asks for 8 nvidia.com/gpu. Environment: add nodes" in said_of.message


def test_what_lasts_says_for_how_long() -> None:
    """A person who is called has to know why only now."""
    view = dataclasses.replace(SERVING, ready_replicas=1, trouble=dataclasses.replace(NO_GPU, lasting=True))
    message = next(c.message for c in status.build_status(view, now=NOW).conditions if c.type == "Stalled")
    assert "longer than spec.startupTimeout (20m)" in message


def test_trouble_beyond_the_smallest_size_leaves_it_ready() -> None:
    """A model that grows by its load is not less ready because there is no room for more."""
    scaled = modeldeployment.parse(
        {**parts.model(), "spec": {**parts.model()["spec"], "replicas": None, "autoscaling": AUTOSCALING}}
    )
    trouble = dataclasses.replace(NO_GPU, lasting=True)
    view = dataclasses.replace(SERVING, model=scaled, replicas=4, ready_replicas=2, trouble=trouble)
    found = {c.type: c for c in status.build_status(view, now=NOW).conditions}
    assert (found["Ready"].status, found["Ready"].reason) == ("True", "Serving")
    assert "2 of 4 pods. Pod chat-a-1 asks for" in found["Ready"].message
    assert "Stalled" not in found


AUTOSCALING = {"minReplicas": 2, "maxReplicas": 4, "metrics": [{"name": "RequestsWaiting", "target": "10"}]}

VIEWS = st.builds(
    status.View,
    model=st.sampled_from([model(), model(0)]),
    served_name=st.just("chat"),
    wanted=st.one_of(st.none(), st.builds(stored, st.sampled_from("ab"), st.sampled_from([None, *Label]))),
    stable=st.one_of(st.none(), st.just(stored("a", Label.STABLE))),
    replicas=st.integers(0, 3),
    ready_replicas=st.integers(0, 3),
    selector=st.none(),
    wanted_ready=st.booleans(),
    rollout=st.one_of(
        st.none(),
        st.builds(
            rollout_status.RolloutStatus,
            revision=st.just("b"),
            phase=st.sampled_from(rollout_status.Phase),
            step=st.sampled_from([None, "half"]),
            reason=st.sampled_from([None, "Holding"]),
            message=st.sampled_from([None, "text"]),
            gates=st.lists(
                st.builds(
                    rollout_status.GateStatus,
                    name=st.just("slo"),
                    metric=st.just("errors"),
                    verdict=st.sampled_from(rollout_status.Verdict),
                ),
                max_size=2,
            ).map(tuple),
        ),
    ),
    last_rollout=st.sampled_from([None, REJECTION]),
    epoch=st.integers(0, 9),
    split=st.booleans(),
    waiting=st.sampled_from([None, rollout.Notice("PodsLeaving", "they leave")]),
    notes=st.lists(st.sampled_from([rollout.Note(kind, "text") for kind in rollout.NoteType]), unique=True).map(tuple),
    problems=st.sampled_from([(), (PROBLEM,), (PROBLEM, PROBLEM)]),
    trouble=st.sampled_from([None, NO_GPU, dataclasses.replace(NO_GPU, lasting=True), CRASHING, LOADING]),
    rollout_trouble=st.sampled_from([None, NO_GPU, dataclasses.replace(NO_GPU, lasting=True), CRASHING]),
    fault=st.sampled_from([None, "Cannot apply deployments.apps ml/chat: 500"]),
)


@given(VIEWS, VIEWS)
def test_kstatus(first: status.View, second: status.View) -> None:
    """Any two statuses one after the other keep the rules that tools rely on, and survive the API server."""
    versions = []
    made = modeldeployment.ModelDeploymentStatus()
    for number, (view, now) in enumerate(((first, NOW), (second, LATER), (second, "2027-01-15T10:00:00Z"))):
        made = status.build_status(dataclasses.replace(view, model=view.model.model_copy(update={"status": made})), now=now)
        assert modeldeployment.ModelDeploymentStatus.model_validate(made.to_wire()) == made
        metadata = {"uid": "1", "namespace": "ml", "name": "chat", "resourceVersion": str(number), "generation": 3}
        versions.append({"kind": "ModelDeployment", "metadata": metadata, "status": made.to_wire()})
    assert statuses.violations(list(versions)) == []
    assert versions[1]["status"] == versions[2]["status"], "the same situation is the same status, whatever the time"


@given(VIEWS)
def test_what_is_ready_serves(view: status.View) -> None:
    """Ready is never said of a model whose wanted revision does not serve with all its pods, unless none are asked for."""
    if said(view)["Ready"][0] == "True":
        assert said(view)["Available"][0] == "True" or view.model.spec.replicas == 0
        assert view.stable is not None
        assert view.wanted is not None
        assert view.wanted.hash == view.stable.hash
        assert view.ready_replicas >= (view.model.spec.replicas or 0)
        assert view.rollout is None
        assert not view.problems


@pytest.mark.parametrize(
    ("change", "calm"),
    [
        ({"gates": (gate(rollout_status.Verdict.RUNNING, 5),)}, True),
        ({"message": "another"}, True),
        ({"gates": (gate(rollout_status.Verdict.FAIL),)}, False),
        ({"phase": rollout_status.Phase.ROLLING_BACK}, False),
        ({"step": "other"}, False),
        ({"weight": "51"}, False),
        ({"reason": "Holding"}, False),
        ({"epoch": 9}, False),
    ],
)  # fmt: skip
def test_only_numbers_and_texts_wait(change: dict[str, Any], calm: bool) -> None:
    """A change of phase, step, weight, epoch, reason or verdict is written at once."""
    before = ROLLING.model_copy(update={"gates": (gate(rollout_status.Verdict.RUNNING),)})
    after = before.model_copy(update=change)
    old, new = (status.build_status(dataclasses.replace(SERVING, rollout=each), now=NOW) for each in (before, after))
    assert status.is_calm(old, new) is calm
