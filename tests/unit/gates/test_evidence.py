"""Verdicts of one metric: closed, sticky, restartable, and readable."""

import dataclasses
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.api import rollout_status
from sluice.gates import evidence, plans, sequential

V = rollout_status.Verdict
R = evidence.Reason
MARGIN = plans.MetricPlan("slo", "errors", "ErrorRate", sequential.Margin(0.01), plans.Require.NO_HARM, 0.01)
LIMIT = dataclasses.replace(MARGIN, bound=sequential.Limit(0.02))
PROOF = dataclasses.replace(MARGIN, require=plans.Require.PROOF)
HEALTHY = sequential.Block(0, 5, 0, 45)
BROKEN = sequential.Block(5, 5, 0, 45)


def after(frozen: plans.MetricPlan, *blocks: sequential.Block) -> evidence.MetricEvidence:
    state = evidence.MetricEvidence.start(frozen)
    for block in blocks:
        state = state.observe(block)
    return state


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        (after(MARGIN), (V.INCONCLUSIVE, R.NO_DATA), "nothing was seen"),
        (after(MARGIN, sequential.Block(0, 0, 0, 50)), (V.INCONCLUSIVE, R.NO_DATA), "stable alone is no data"),
        (after(MARGIN, sequential.Block(0, 5, 0, 0)), (V.INCONCLUSIVE, R.NO_STABLE_TRAFFIC), "nothing to compare with"),
        (after(MARGIN, HEALTHY), (V.INCONCLUSIVE, R.NEEDS_MORE_REQUESTS), "five requests are not enough"),
        (after(MARGIN, *[HEALTHY] * 120), (V.PASS, R.HARM_RULED_OUT), "six hundred good ones are"),
        (after(PROOF, *[HEALTHY] * 120), (V.PASS, R.NON_INFERIOR), "and prove the margin itself, as none failed"),
        (after(MARGIN, *[BROKEN] * 4), (V.FAIL, R.HARM_PROVEN), "all failed"),
        (after(LIMIT, *[sequential.Block(5, 5, 0, 0)] * 4), (V.FAIL, R.HARM_PROVEN), "a limit needs no stable revision"),
        (
            after(MARGIN, *[sequential.Block(5, 5, 45, 45)] * 20),
            (V.PASS, R.HARM_RULED_OUT),
            "no worse than stable: a margin says no more",
        ),
    ],
)
def test_the_verdict_follows_the_evidence(
    state: evidence.MetricEvidence, expected: tuple[rollout_status.Verdict, evidence.Reason], reason: str
) -> None:
    """Each closed case once."""
    assert state.verdict() == expected, reason
    status = state.status(rate=5.0)
    assert (status.verdict, status.reason) == expected
    assert rollout_status.GateStatus.model_validate(status.to_wire()) == status


def test_an_unreadable_source_never_passes() -> None:
    """A Pass is withheld while the counters cannot be read; a Fail stands."""
    assert after(MARGIN, *[HEALTHY] * 120).verdict(source_available=False) == (V.ERROR, R.SOURCE_UNAVAILABLE)
    assert after(MARGIN, *[BROKEN] * 4).verdict(source_available=False) == (V.FAIL, R.HARM_PROVEN)


def test_the_first_revision_has_no_baseline() -> None:
    """Relative limits say so; absolute ones judge as ever."""
    assert after(MARGIN).verdict(has_baseline=False) == (V.INCONCLUSIVE, R.NO_BASELINE)
    assert after(LIMIT, *[sequential.Block(0, 5, 0, 0)] * 80).verdict(has_baseline=False)[0] is V.PASS


def test_a_baking_revision_has_no_baseline_either() -> None:
    """What was proven before stays; absolute limits judge as ever."""
    assert after(MARGIN, *[HEALTHY] * 120).verdict(baking=True) == (V.INCONCLUSIVE, R.NO_BASELINE_IN_BAKE)
    assert after(MARGIN, *[BROKEN] * 4).verdict(baking=True) == (V.FAIL, R.HARM_PROVEN)
    assert after(LIMIT, *[sequential.Block(0, 5, 0, 0)] * 80).verdict(baking=True)[0] is V.PASS


def test_a_proof_asks_for_more_than_no_harm() -> None:
    """At 300 good requests harm of twice the margin is ruled out, the margin itself is not yet proven."""
    some = [HEALTHY] * 30
    assert after(MARGIN, *some).verdict()[0] is V.PASS
    assert after(PROOF, *some).verdict()[0] is V.INCONCLUSIVE


counts = st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
any_block = st.tuples(counts, counts).map(lambda sides: sequential.Block(*sides[0], *sides[1]))
observation = st.tuples(any_block, st.booleans(), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([MARGIN, LIMIT, PROOF]), st.lists(observation, max_size=60), st.integers(0, 60))
def test_a_restart_changes_nothing(
    frozen: plans.MetricPlan, stream: list[tuple[sequential.Block, bool, bool]], restart_at: int
) -> None:
    """State read back from JSON at any moment gives the same state from there on, text included."""
    straight = resumed = evidence.MetricEvidence.start(frozen)
    for i, (block, gap, settling) in enumerate(stream):
        if i == restart_at:
            resumed = evidence.MetricEvidence.from_json(frozen, json.loads(json.dumps(resumed.to_json(), allow_nan=False)))
        straight = straight.observe(block, gap=gap, settling=settling)
        resumed = resumed.observe(block, gap=gap, settling=settling)
    assert resumed == straight
    assert resumed.status(rate=3.0) == straight.status(rate=3.0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([MARGIN, LIMIT, PROOF]), st.lists(observation, max_size=60))
def test_a_verdict_never_un_happens(frozen: plans.MetricPlan, stream: list[tuple[sequential.Block, bool, bool]]) -> None:
    """After a Fail nothing but Fail; after a Pass only Pass or Fail."""
    allowed = {V.INCONCLUSIVE, V.PASS, V.FAIL}
    state = evidence.MetricEvidence.start(frozen)
    for block, gap, settling in stream:
        state = state.observe(block, gap=gap, settling=settling)
        verdict, _ = state.verdict()
        assert verdict in allowed
        if verdict is not V.INCONCLUSIVE:
            allowed = {V.FAIL} if verdict is V.FAIL else {V.PASS, V.FAIL}


@pytest.mark.parametrize("down_at", [0, 1, 2, 3, 600])
def test_a_restart_never_loses_a_fail(down_at: int) -> None:
    """What failed while the operator was away arrives as one block, and is proven at once."""
    state = after(MARGIN, *[HEALTHY] * down_at)
    state = evidence.MetricEvidence.from_json(MARGIN, state.to_json())
    assert state.observe(sequential.Block(30, 60, 0, 540), gap=True).verdict()[0] is V.FAIL


def test_settling_blocks_are_left_out_of_relative_evidence_only() -> None:
    """Just after a weight rise a margin sees nothing, a limit everything."""
    relative, absolute = (evidence.MetricEvidence.start(frozen) for frozen in (MARGIN, LIMIT))
    assert relative.observe(BROKEN, settling=True) == relative
    assert absolute.observe(BROKEN, settling=True).seen == BROKEN


def test_canary_requests_wait_shortly_for_stable_ones() -> None:
    """With rare stable requests nothing is lost for some seconds, and nothing is compared across minutes."""
    alone, late = sequential.Block(1, 5, 0, 0), sequential.Block(0, 5, 0, 1)
    assert after(MARGIN, alone, alone, late).seen == sequential.Block(2, 15, 0, 1)
    assert after(MARGIN, *[alone] * 10, late).seen == late


def test_the_estimate_is_not_fooled_by_changing_weights() -> None:
    """Both sides alike in each phase, failures only while the canary's share is high: pooled rates would differ."""
    calm, storm = sequential.Block(0, 10, 0, 990), sequential.Block(50, 500, 50, 500)
    estimate = after(MARGIN, *[calm] * 10, *[storm] * 10).estimate
    assert estimate == pytest.approx(0.0)


def test_an_alpha_of_another_plan_is_refused() -> None:
    """Evidence counts for the plan it was gathered for."""
    data = after(MARGIN, HEALTHY).to_json()
    with pytest.raises(evidence.EvidenceError, match="another plan"):
        evidence.MetricEvidence.from_json(dataclasses.replace(MARGIN, alpha=0.005), data)


@pytest.mark.parametrize("broken", [{}, {"version": 1}, {"seen": [1]}, {"harm": {"parts": [[1]]}}, {"interval": None}])
def test_damaged_evidence_is_refused(broken: dict[str, object]) -> None:
    """A state that cannot be read raises one typed error that names gate and metric."""
    data = {**after(MARGIN, HEALTHY).to_json(), **broken} if broken else {}
    if broken == {"version": 1}:
        data = dict(broken)
    with pytest.raises(evidence.EvidenceError, match="slo/errors"):
        evidence.MetricEvidence.from_json(MARGIN, data)


def test_needs_shrink_to_nothing() -> None:
    """What is still needed falls as evidence grows, and is close to what an equal revision took."""
    first = after(MARGIN, sequential.Block(0, 5, 0, 45)).requests_needed()
    later = after(MARGIN, *[HEALTHY] * 10).requests_needed()
    assert first > later > 0
    assert after(MARGIN, *[HEALTHY] * 120).requests_needed() == 0


def test_four_in_five_equal_revisions_pass_within_what_was_needed() -> None:
    """The n that is shown is one that 80 % of equal revisions reach a Pass by."""
    rng = random.Random(11)
    passed = runs = 0
    for _ in range(40):
        state = after(MARGIN, *[sequential.Block(0, 0, sum(rng.random() < 0.005 for _ in range(50)), 50) for _ in range(20)])
        need = state.requests_needed()
        while state.proof.total < need and not state.passed:
            bad_c, bad_s = (sum(rng.random() < 0.005 for _ in range(n)) for n in (5, 45))
            state = state.observe(sequential.Block(bad_c, 5, bad_s, 45))
        runs += 1
        passed += state.passed
    assert passed / runs >= 0.8


def test_the_interval_holds_the_truth() -> None:
    """In 30 runs at 90 % a side, the range misses the true difference in at most one run of five, at any of its looks."""
    frozen = dataclasses.replace(MARGIN, alpha=0.1)
    missed = 0
    for seed in range(30):
        rng, state = random.Random(seed), evidence.MetricEvidence.start(frozen)
        out = False
        for _ in range(150):
            bad_c, bad_s = sum(rng.random() < 0.03 for _ in range(5)), sum(rng.random() < 0.01 for _ in range(20))
            state = state.observe(sequential.Block(bad_c, 5, bad_s, 20))
            low, high = state.ends()
            out = out or (low is not None and low > 0.02) or (high is not None and high < 0.02)
        missed += out
    assert missed <= 6


@pytest.mark.parametrize(
    ("frozen", "blocks", "expected"),
    [
        (
            MARGIN,
            [HEALTHY],
            {"estimate": "0 points", "interval": "not yet bounded", "limit": "at most 1 point above stable", "n": 5},
        ),
        (LIMIT, [sequential.Block(1, 40, 0, 0)] * 10, {"estimate": "2.5%", "limit": "at most 2%", "n": 400}),
        (MARGIN, [BROKEN] * 2, {"estimate": "+100 points", "interval": "at least +1 points"}),
    ],
)
def test_a_status_reads_well(frozen: plans.MetricPlan, blocks: list[sequential.Block], expected: dict[str, object]) -> None:
    """Numbers carry their units."""
    wire = after(frozen, *blocks).status().to_wire()
    assert {key: wire.get(key) for key in expected} == expected


def test_needs_tell_the_time_at_this_rate() -> None:
    """A rate turns requests into a length of time."""
    state = after(MARGIN, HEALTHY)
    assert (state.status(rate=None).needs or "").endswith("more requests")
    assert (state.status(rate=0.5).needs or "").endswith("min at this rate")
