"""One decision at a time: facts in, what follows from them out.

Longer than other files because its tables share one set of facts and are read against each other: they are the order of
precedence of `decide`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sluice.api import evalgate, modeldeployment
from sluice.rollout import decide, health, model, plan
from sluice.workloads import revision
from tests.unit.rollout import scenario

NOW = 1_000_000.0
Label = revision.OutcomeLabel
Verdict = modeldeployment.Verdict
Phase = modeldeployment.Phase
Outcome = modeldeployment.Outcome
READY = health.Health(2, 2)
LOADING = health.Health(2, 1, health.Cause.STARTING, health.CauseClass.NONE, "loads", 300.0)
NO_ROOM = health.Health(2, 1, health.Cause.UNSCHEDULABLE, health.CauseClass.ENVIRONMENT, "no node has room")
CRASHED = health.Health(2, 0, health.Cause.CRASH_LOOP, health.CauseClass.REVISION, "exit code 1")

OLD = model.Revision("old", 1, Label.STABLE, READY, has_pods=True)
NEW = model.Revision("new", 2, Label.CANDIDATE, READY, has_pods=True)


def rollout(phase: Phase = Phase.PROGRESSING, **changes: Any) -> model.State:
    """The rollout of `new`: at step `some` with 25 percent, entered 5 s ago, unless said otherwise."""
    weighted = phase in (Phase.PROGRESSING, Phase.PROMOTING)
    state = model.State(
        revision="new",
        phase=phase,
        started_at=NOW - 100,
        step="some" if phase is not Phase.WARMING_UP else None,
        weight=2500 if weighted else 0,
        epoch=7,
        step_entered_at=NOW - 5 if phase is Phase.PROGRESSING else None,
        had_traffic=phase is not Phase.WARMING_UP,
    )
    return dataclasses.replace(state, **changes)


def gate(pair: tuple[str, str], verdict: Verdict, **rest: Any) -> modeldeployment.GateStatus:
    """What a gate says."""
    return modeldeployment.GateStatus(name=pair[0], metric=pair[1], verdict=verdict, **rest)


PASSED = tuple(gate(pair, Verdict.PASS) for pair in (scenario.EVAL, scenario.METRIC, scenario.ANALYSIS))


def facts(state: model.State | None = None, *, new: model.Revision | None = NEW, **changes: Any) -> model.Input:
    """`old` serves, `new` is wanted and everything is well, unless said otherwise."""
    inputs = model.Input(
        wanted="new",
        revisions=(OLD,) if new is None else (OLD, new),
        state=state,
        last_epoch=state.epoch if state is not None else 0,
        acknowledged=99,
        plan=scenario.make_plan(),
        verdicts=PASSED,
    )
    return dataclasses.replace(inputs, **changes)


def act(inputs: model.Input, now: float = NOW) -> model.Decision:
    """The decision."""
    return decide.decide(inputs, now)


def plain(decision: model.Decision) -> tuple[model.LabelWrite, ...]:
    """Its label writes, without what they say of how the rollout ended."""
    return tuple(dataclasses.replace(write, result=None) for write in decision.labels)


def sick(how: health.Health) -> model.Revision:
    """`new` with pods like this."""
    return dataclasses.replace(NEW, health=how)


def said(pair: tuple[str, str], verdict: Verdict) -> tuple[modeldeployment.GateStatus, ...]:
    """Everything passed but this."""
    return tuple(gate(pair, verdict) if (each.name, each.metric) == pair else each for each in PASSED)


FAILURES = [
    ({"verdicts": said(scenario.METRIC, Verdict.FAIL)}, "GateFailed", "a gate of the step"),
    ({"verdicts": said(scenario.ANALYSIS, Verdict.FAIL)}, "GateFailed", "the analysis, in any step"),
    ({"verdicts": said(scenario.EVAL, Verdict.FAIL)}, "GateFailed", "a gate of an earlier step"),
    (
        {"verdicts": said(scenario.METRIC, Verdict.FAIL), "state": rollout(step="few", weight=500)},
        "GateFailed",
        "a gate of a later step: its metric is measured already",
    ),
    ({"new": sick(CRASHED)}, "CrashLoop", "the pods, by the revision's fault"),
    ({"new": dataclasses.replace(NEW, outcome=Label.REJECTED)}, "MarkedRejected", "a process died after it wrote the label"),
]
HANDICAPS: dict[str, dict[str, Any]] = {
    "everything works": {},
    "the API server is down": {"protect_only": True},
    "the counters cannot be read": {"source_ok": False},
    "the plan is lost": {"plan": None},
    "no gateway accepts": {"split": model.Split.UNAVAILABLE},
    "proxies lag": {"acknowledged": 3},
}


@pytest.mark.parametrize("handicap", HANDICAPS.values(), ids=HANDICAPS.keys())
@pytest.mark.parametrize(("change", "cause", "reason"), FAILURES, ids=[row[2] for row in FAILURES])
def test_nothing_blocks_a_rollback(change: dict[str, Any], cause: str, reason: str, handicap: dict[str, Any]) -> None:
    """A failure takes the weight away at once, at the proxies first, whatever else is broken."""
    decision = act(facts(**{"state": rollout(), **change, **handicap}))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.reason) == (Phase.ROLLING_BACK, cause), reason
    assert decision.traffic == model.Traffic("old", epoch=8)
    assert decision.order is model.Order.PROXIES_FIRST
    assert {"old", "new"} <= decision.keep, "in-flight requests are not cut"
    assert {write.outcome for write in decision.labels} <= {Label.REJECTED}


ENDS = [
    (rollout(Phase.ROLLING_BACK, reason="GateFailed"), Label.REJECTED, Outcome.ROLLED_BACK, "it had traffic"),
    (rollout(Phase.ROLLING_BACK, reason="CrashLoop", had_traffic=False), Label.REJECTED, Outcome.REJECTED, "it never had any"),
    (rollout(Phase.ROLLING_BACK, reason="Superseded"), Label.SUPERSEDED, Outcome.SUPERSEDED, "nothing was wrong with it"),
    (rollout(Phase.ROLLING_BACK, reason="Withdrawn"), Label.SUPERSEDED, Outcome.SUPERSEDED, "nothing was wrong with it"),
]


@pytest.mark.parametrize(("state", "label", "outcome", "reason"), ENDS, ids=[f"{row[2]}: {row[0].reason}" for row in ENDS])
def test_a_rollback_ends_when_acknowledged_and_labelled(
    state: model.State, label: Label, outcome: Outcome, reason: str
) -> None:
    """The outcome follows from whether users ever met the revision, and the label comes before the end."""
    unlabelled = act(facts(state, verdicts=()))
    lagging = act(facts(state, new=dataclasses.replace(NEW, outcome=label), acknowledged=6))
    done = act(facts(state, new=dataclasses.replace(NEW, outcome=label)))

    assert unlabelled.state is not None
    assert plain(unlabelled) == (model.LabelWrite("new", label),)
    assert lagging.state is not None
    assert done.state is None
    assert done.ended is not None
    assert (done.ended.outcome, done.ended.reason) == (outcome, state.reason), reason
    assert done.keep == {"old"}, "its pods may go now"
    assert unlabelled.labels[0].result is not None, "how it ended is written with the label, for a status that is lost"
    assert unlabelled.labels[0].result.outcome == done.ended.outcome
    assert (unlabelled.labels[0].result.reason, unlabelled.labels[0].result.message) == (done.ended.reason, done.ended.message)
    assert unlabelled.labels[0].result.started_at == model.time_text(state.started_at)


HOLDS = [
    ({}, "Holding", "the hold is not over"),
    ({"acknowledged": 6}, "ProxiesPending", "a proxy has the old weight"),
    ({"new": sick(LOADING), "now": NOW + 60}, "PodsStarting", "a pod is being replaced"),
    ({"verdicts": PASSED[:1], "now": NOW + 60}, "GatesPending", "the metric has said nothing"),
    ({"verdicts": said(scenario.METRIC, Verdict.INCONCLUSIVE), "now": NOW + 60}, "GatesPending", "not enough evidence"),
    ({"verdicts": said(scenario.METRIC, Verdict.ERROR), "now": NOW + 60}, "MeasurementFailed", "no measurement is not a pass"),
    ({"verdicts": said(scenario.METRIC, Verdict.ERROR), "now": NOW + 9e9}, "MeasurementFailed", "an error holds for ever"),
    ({"verdicts": said(scenario.ANALYSIS, Verdict.ERROR), "now": NOW + 60}, "MeasurementFailed", "nothing watches users"),
    ({"source_ok": False, "now": NOW + 60}, "MeasurementFailed", "the counters cannot be read"),
    ({"split": model.Split.UNAVAILABLE, "now": NOW + 60}, "GatewayUnavailable", "weights reach nobody"),
    ({"plan": None, "now": NOW + 60}, "PlanUnavailable", "the plan is lost"),
    ({"protect_only": True, "now": NOW + 60}, "ProtectOnly", "an increase could not be persisted"),
]


@pytest.mark.parametrize(("change", "why", "reason"), HOLDS, ids=[row[2] for row in HOLDS])
def test_a_step_holds_and_says_why(change: dict[str, Any], why: str, reason: str) -> None:
    """Nothing moves while something required is missing, and the status names it."""
    change = dict(change)
    now = change.pop("now", NOW)

    decision = act(facts(rollout(), **change), now)

    assert decision.state is not None
    assert decision.waiting is not None
    assert (decision.state.phase, decision.traffic) == (Phase.PROGRESSING, model.Traffic("old", "new", 2500, 7)), reason
    assert decision.waiting.reason == decision.state.reason == why


def test_an_increase_is_persisted_first_under_a_new_epoch() -> None:
    """The next step's weight is decided once hold and gates are done; it is not entered yet."""
    decision = act(facts(rollout()), NOW + 60)

    assert decision.state is not None
    assert (decision.state.step, decision.state.step_entered_at) == ("half", None)
    assert decision.traffic == model.Traffic("old", "new", 5000, 8)
    assert decision.order is model.Order.STATUS_FIRST


def test_the_hold_counts_from_the_last_acknowledgement() -> None:
    """A step is entered when every proxy has its weight, and the operator wakes when its hold is over."""
    decision = act(facts(rollout(step_entered_at=None)))

    assert decision.state is not None
    assert decision.state.step_entered_at == NOW
    assert decision.wake_after == 10


def test_a_clock_that_went_back_does_not_freeze_a_step() -> None:
    """An entry in the future counts anew from now."""
    decision = act(facts(rollout(step_entered_at=NOW + 86400)))

    assert decision.state is not None
    assert decision.state.step_entered_at == NOW


def test_a_step_that_stays_inconclusive_is_taken_back_at_its_deadline() -> None:
    """hold + stepDeadline after entry, not before."""
    inputs = facts(
        rollout(step_entered_at=NOW),
        plan=scenario.make_plan(step_deadline=100.0),
        verdicts=said(scenario.METRIC, Verdict.INCONCLUSIVE),
    )

    before, after = act(inputs, NOW + 109), act(inputs, NOW + 110)

    assert before.state is not None
    assert (before.state.phase, before.wake_after) == (Phase.PROGRESSING, 1)
    assert after.state is not None
    assert (after.state.phase, after.state.reason) == (Phase.ROLLING_BACK, "StepDeadlineExceeded")


def test_a_running_eval_is_waited_for_past_the_deadline() -> None:
    """An eval has its own timeout; a Job that waits for room is nobody's verdict."""
    state = rollout(step="evals", weight=0, step_entered_at=NOW)
    inputs = facts(state, plan=scenario.make_plan(step_deadline=1.0), verdicts=(gate(scenario.EVAL, Verdict.RUNNING),))

    decision = act(inputs, NOW + 5000)

    assert decision.state is not None
    assert (decision.state.phase, decision.evals) == (Phase.PROGRESSING, (scenario.EVAL,))


def test_the_last_step_needs_the_analysis() -> None:
    """A metric of the analysis that is inconclusive holds the last step, but none before."""
    undecided = said(scenario.ANALYSIS, Verdict.INCONCLUSIVE)

    early = act(facts(rollout(), verdicts=undecided), NOW + 60)
    last = act(facts(rollout(step="half", weight=5000), verdicts=undecided), NOW + 60)

    assert early.traffic.weight == 5000
    assert last.waiting is not None
    assert (last.traffic.weight, last.waiting.reason) == (5000, "GatesPending")


def test_promotion_goes_from_weight_to_label_to_end() -> None:
    """All traffic as the canary, then the labels with the new Stable first, then the end; its pods are kept all along."""
    ready = act(facts(rollout(step="half", weight=5000)), NOW + 60)
    assert ready.state is not None
    lagging = act(facts(ready.state, acknowledged=7))
    labels = act(facts(ready.state, acknowledged=8))
    assert labels.state is not None
    moved = (dataclasses.replace(OLD, outcome=Label.PREVIOUS), dataclasses.replace(NEW, outcome=Label.STABLE))
    done = act(facts(labels.state, revisions=moved, acknowledged=8))

    assert (ready.state.phase, ready.traffic) == (Phase.PROMOTING, model.Traffic("old", "new", 10_000, 8))
    assert lagging.labels == ()
    assert plain(labels) == (model.LabelWrite("new", Label.STABLE), model.LabelWrite("old", Label.PREVIOUS))
    assert labels.traffic == ready.traffic
    assert done.ended is not None
    assert (done.state, done.ended.outcome) == (None, Outcome.PROMOTED)
    assert labels.labels[0].result is not None, "why it serves is written with the label"
    assert (labels.labels[0].result.outcome, labels.labels[0].result.message) == (Outcome.PROMOTED, done.ended.message)
    assert labels.labels[1].result is None, "how the old one's own rollout ended stays as it is"
    assert (done.traffic, done.stable) == (model.Traffic("new", epoch=9), "new")
    assert done.order is model.Order.STATUS_FIRST
    assert done.keep == {"old", "new"}, "a proxy may still retry on the old one"
    assert act(facts(None, revisions=moved, last_epoch=9, acknowledged=9)).keep == {"new"}


def test_a_crash_between_the_two_labels_is_repaired() -> None:
    """Two are Stable: the newer one serves, and the other becomes Previous."""
    both = (OLD, dataclasses.replace(NEW, outcome=Label.STABLE))

    decision = act(facts(rollout(Phase.PROMOTING, weight=10_000), revisions=both))

    assert decision.ended is not None
    assert (decision.ended.outcome, decision.stable) == (Outcome.PROMOTED, "new")
    assert plain(decision) == (model.LabelWrite("old", Label.PREVIOUS),)


def test_a_restart_after_the_first_promotions_label_sends_under_a_new_epoch() -> None:
    """Nothing served under the persisted epoch, and now something does: the same epoch would be two truths."""
    inputs = facts(rollout(Phase.PROMOTING, weight=0), revisions=(dataclasses.replace(NEW, outcome=Label.STABLE),))

    assert act(inputs).traffic == model.Traffic("new", epoch=8)


@pytest.mark.parametrize(
    ("change", "why"), [({"source_ok": False}, "MeasurementFailed"), ({"new": sick(LOADING)}, "PodsStarting")]
)
def test_promotion_is_not_made_final_while_something_is_wrong(change: dict[str, Any], why: str) -> None:
    """It has all traffic and no label yet: a failure can still take it back."""
    decision = act(facts(rollout(Phase.PROMOTING, weight=10_000), **change))

    assert decision.waiting is not None
    assert (decision.labels, decision.waiting.reason) == ((), why)


def test_a_stable_revision_whose_object_is_gone_is_replaced_by_the_previous_one() -> None:
    """Somebody deleted it by hand: what served before serves again."""
    decision = act(facts(None, revisions=(dataclasses.replace(OLD, outcome=Label.PREVIOUS),), wanted="old"))

    assert decision.stable == "old"
    assert plain(decision) == (model.LabelWrite("old", Label.STABLE),)


def test_environment_takes_the_weight_and_the_step_stays() -> None:
    """Pods that the cluster took: weight 0, WarmingUp with the cause, no label, and back to the same step later."""
    lost = act(facts(rollout(), new=sick(NO_ROOM)))
    assert lost.state is not None
    back = act(facts(lost.state))

    assert (lost.state.phase, lost.state.step, lost.state.reason) == (Phase.WARMING_UP, "some", "Unschedulable")
    assert (lost.traffic, lost.order, lost.labels) == (model.Traffic("old", epoch=8), model.Order.PROXIES_FIRST, ())
    assert back.state is not None
    assert (back.state.step, back.traffic) == ("some", model.Traffic("old", "new", 2500, 9))


def test_a_canary_that_answers_keeps_its_traffic_while_stable_does_not() -> None:
    """Half a canary is better than no stable revision."""
    dead = dataclasses.replace(OLD, health=health.Health(2, 0, health.Cause.NODE_LOST, health.CauseClass.ENVIRONMENT, "gone"))

    decision = act(facts(rollout(), revisions=(dead, sick(NO_ROOM))))

    assert decision.traffic.weight == 2500


WARMING = [
    (sick(LOADING), "PodsStarting", "the model loads"),
    (sick(NO_ROOM), "Unschedulable", "the cluster is full: it waits for ever, and says so"),
    (sick(health.Health(0, 0)), "ScaledToZero", "nothing runs, so nothing can be judged"),
    (dataclasses.replace(NEW, health=None), "PodsStarting", "the Deployment is not made yet"),
]


@pytest.mark.parametrize(("new", "why", "reason"), WARMING, ids=[row[2] for row in WARMING])
def test_warming_up_waits_and_says_why(new: model.Revision, why: str, reason: str) -> None:
    """No traffic and no failure before every pod is ready."""
    decision = act(facts(rollout(Phase.WARMING_UP), new=new, verdicts=()), NOW + 9e9)

    assert decision.state is not None
    assert decision.waiting is not None
    assert (decision.state.phase, decision.waiting.reason) == (Phase.WARMING_UP, why), reason
    assert decision.traffic.weight == 0


def test_evals_before_traffic_run_once_warm_without_asking_proxies() -> None:
    """The step without weight is entered at once, and its evals are asked for until they have a verdict."""
    decision = act(facts(rollout(Phase.WARMING_UP), verdicts=(), acknowledged=-1))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.step, decision.state.step_entered_at) == (Phase.PROGRESSING, "evals", NOW)
    assert decision.evals == (scenario.EVAL,)
    assert (decision.state.had_traffic, decision.traffic.weight) == (False, 0)


def test_no_weight_is_raised_from_zero_while_the_counters_cannot_be_read() -> None:
    """A canary that nobody can watch gets no users."""
    state = rollout(step="evals", weight=0)

    decision = act(facts(state, source_ok=False))

    assert decision.waiting is not None
    assert (decision.traffic.weight, decision.waiting.reason) == (0, "MeasurementFailed")


def test_a_metric_without_traffic_that_calls_itself_broken_does_not_hold_for_ever() -> None:
    """At weight 0 no metric can have data; only the source counts."""
    decision = act(facts(rollout(step="evals", weight=0), verdicts=said(scenario.ANALYSIS, Verdict.ERROR)))

    assert decision.traffic.weight == 500


STARTS = [
    ({"wanted": "old"}, None, (), "the stable revision is wanted: nothing to do"),
    ({"wanted": None}, None, (), "the spec cannot be made into a revision: what serves goes on"),
    ({"new": dataclasses.replace(NEW, outcome=Label.REJECTED)}, "RevisionRejected", (), "it failed, and is not tried again"),
    ({"plan": None}, "PlanUnavailable", (), "a gate does not exist"),
    ({"protect_only": True}, "ProtectOnly", (), "nothing can be persisted"),
    (
        {"revisions": (OLD, NEW, model.Revision("mid", 3, Label.SUPERSEDED, has_pods=True))},
        "PodsLeaving",
        (),
        "pods of another revision are still there",
    ),
    (
        {"revisions": (dataclasses.replace(OLD, number=5), dataclasses.replace(NEW, outcome=Label.PREVIOUS))},
        "LabelsPending",
        (model.LabelWrite("new", Label.CANDIDATE, 6),),
        "one that served before is tried again as the newest",
    ),
    (
        {"new": dataclasses.replace(NEW, outcome=Label.SUPERSEDED)},
        "LabelsPending",
        (model.LabelWrite("new", Label.CANDIDATE),),
        "one that was never judged is tried again",
    ),
]


@pytest.mark.parametrize(("change", "why", "labels", "reason"), STARTS, ids=[row[3] for row in STARTS])
def test_no_rollout_starts(change: dict[str, Any], why: str | None, labels: tuple[model.LabelWrite, ...], reason: str) -> None:
    """Without a state: what is waited for, and that traffic stays where it is."""
    decision = act(facts(None, **{"verdicts": (), **change}))

    assert decision.state is None
    assert (decision.waiting.reason if decision.waiting is not None else None) == why, reason
    assert plain(decision) == (labels or _repairs(change))
    assert decision.traffic.same_split(model.Traffic("old"))
    assert decision.keep == {"old"}


def _repairs(change: dict[str, Any]) -> tuple[model.LabelWrite, ...]:
    """A candidate that nobody wants any more is superseded."""
    return (model.LabelWrite("new", Label.SUPERSEDED),) if change.get("wanted") == "old" else ()


def test_a_candidate_starts_at_its_first_step_and_freezes_its_plan() -> None:
    """A new revision, or one whose status was lost in the middle."""
    decision = act(facts(None, last_epoch=41))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.step, decision.state.started_at) == (Phase.WARMING_UP, None, NOW)
    assert decision.store_plan
    assert decision.traffic == model.Traffic("old", epoch=41)
    assert decision.keep == {"old", "new"}


SPEC_CHANGES = [("old", "Withdrawn", "back to the stable one"), ("third", "Superseded", "on to a third")]


@pytest.mark.parametrize(("wanted", "why", "reason"), SPEC_CHANGES, ids=[row[2] for row in SPEC_CHANGES])
@pytest.mark.parametrize("phase", [Phase.WARMING_UP, Phase.PROGRESSING, Phase.PROMOTING])
def test_a_spec_that_changes_takes_the_revision_back(wanted: str, why: str, reason: str, phase: Phase) -> None:
    """In any phase before the label is written; nothing is said against the revision."""
    third = model.Revision("third", 3, Label.CANDIDATE)

    decision = act(facts(rollout(phase), revisions=(OLD, NEW, third), wanted=wanted))

    assert decision.state is not None
    assert (decision.state.phase, decision.state.reason) == (Phase.ROLLING_BACK, why), reason
    assert decision.traffic.weight == 0
    assert model.LabelWrite("new", Label.SUPERSEDED) in plain(decision)


def test_the_first_revision_is_promoted_by_the_gates_before_traffic() -> None:
    """Nothing serves: no weights, no holds, no live metrics, but its evals count."""
    first = scenario.make_plan(first=True)
    alone: dict[str, Any] = {"plan": first, "revisions": (NEW,), "acknowledged": -1}
    answered = (gate(scenario.EVAL, Verdict.PASS), gate(scenario.ANALYSIS, Verdict.INCONCLUSIVE, reason="NoBaseline"))
    entered = act(facts(rollout(Phase.WARMING_UP), verdicts=(), **alone))
    assert entered.state is not None
    passed = act(facts(entered.state, verdicts=answered, **alone))
    assert passed.state is not None
    labels = act(facts(passed.state, verdicts=answered, **alone))

    assert entered.evals == (scenario.EVAL,)
    assert (passed.state.phase, passed.traffic) == (Phase.PROMOTING, model.Traffic(None, epoch=7))
    assert plain(labels) == (model.LabelWrite("new", Label.STABLE),)


def test_a_first_revision_that_fails_leaves_nothing_serving() -> None:
    """Rejected, its pods go, and the message says that nothing serves."""
    rejected = dataclasses.replace(NEW, outcome=Label.REJECTED)

    decision = act(facts(None, revisions=(rejected,), verdicts=()))

    assert decision.waiting is not None
    assert (decision.stable, decision.keep) == (None, frozenset())
    assert "Nothing serves" in decision.waiting.message


def test_without_a_gateway_the_service_moves_once_the_evals_pass() -> None:
    """No weight is ever claimed, and a note says so."""
    state = rollout(step="evals", weight=0, had_traffic=False)

    decision = act(facts(state, split=model.Split.NONE, verdicts=PASSED[:1], acknowledged=-1))

    assert decision.state is not None
    assert (decision.state.phase, decision.traffic.weight) == (Phase.PROMOTING, 0)
    assert [note.type for note in decision.notes] == [model.NoteType.NO_TRAFFIC_SPLIT]


NOTES = [
    ({}, [], "all is well"),
    ({"plan": scenario.make_plan(analysis=(), steps=(plan.StepPlan("few", 500, 0.0),))}, ["NoLiveGate"], "no metric at all"),
    ({"revisions": (dataclasses.replace(OLD, health=health.Health(2, 0)), NEW)}, ["NoBaseline"], "no pod of stable is ready"),
    (
        {
            "plan": scenario.make_plan(
                steps=(plan.StepPlan("none", 0, 0.0, (scenario.LIVE_GATE,)), plan.StepPlan("few", 500, 0.0))
            )
        },
        ["NothingToJudge"],
        "metrics cannot judge a step without traffic",
    ),
]


@pytest.mark.parametrize(("change", "notes", "reason"), NOTES, ids=[row[2] for row in NOTES])
def test_notes_say_what_a_rollout_cannot_know(change: dict[str, Any], notes: list[str], reason: str) -> None:
    """A rollout that proves less than it seems to says so."""
    if "plan" in change:
        change = {**change, "plan": dataclasses.replace(change["plan"], gates=_used(change["plan"]))}

    decision = act(facts(rollout(Phase.WARMING_UP), **change))

    assert [note.type.value for note in decision.notes] == notes, reason


def _used(frozen: plan.Plan) -> dict[str, evalgate.EvalGateSpec]:
    names = {*frozen.analysis, *(name for step in frozen.steps for name in step.gates)}
    return {name: spec for name, spec in frozen.gates.items() if name in names}


def test_what_was_sent_but_not_written_counts() -> None:
    """A decrease went to the proxies while the API server was down: the old weight of the status is not sent again."""
    back = act(facts(rollout(), verdicts=said(scenario.METRIC, Verdict.FAIL), protect_only=True))
    sent = model.Sent(back.state, back.traffic)

    decision = act(facts(rollout(), sent=sent, protect_only=True))

    assert decision.state is not None
    assert decision.state.phase is Phase.ROLLING_BACK
    assert decision.traffic == back.traffic


def test_a_late_cache_does_not_undo_a_step() -> None:
    """The status was written and sent; the cache still shows the step before."""
    ahead = act(facts(rollout()), NOW + 60)

    decision = act(facts(rollout(), sent=model.Sent(ahead.state, ahead.traffic), acknowledged=7), NOW + 61)

    assert decision.traffic == ahead.traffic
    assert decision.waiting is not None
    assert decision.waiting.reason == "ProxiesPending"


def test_a_step_that_the_plan_does_not_know_starts_at_the_first() -> None:
    """The stored plan was lost and made again from a spec with other steps."""
    decision = act(facts(rollout(step="gone")))

    assert decision.state is not None
    assert (decision.state.step, decision.traffic.weight) == ("evals", 0)
    assert decision.order is model.Order.PROXIES_FIRST
