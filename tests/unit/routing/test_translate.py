"""The routing table of a Gateway. Whole examples are the golden files; these are the rules."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from sluice.api import conditions, gateway
from sluice.routing import chain, inputs, ir, reasons, translate

STABLE = inputs.Revision("prod/chat-1", (inputs.Endpoint("10.0.0.1", 8000),))
CANARY = inputs.Revision("prod/chat-2", (inputs.Endpoint("10.0.0.2", 8000),))
Type = conditions.ConditionType


def model(name: str, **fields: Any) -> inputs.ModelInput:
    """A ModelDeployment in `prod` with a stable revision."""
    split = inputs.Split(inputs.Revision(f"prod/{name}-1"))
    defaults: dict[str, Any] = {"created": "2026-01-01T00:00:00Z", "served_name": name, "gateway_allowed": True, "split": split}
    return inputs.ModelInput("prod", name, **{**defaults, **fields})


def run(*models: inputs.ModelInput, keys: dict[str, str] | None = None, **spec: Any) -> translate.Translation:
    """The translation of a Gateway of these fields."""
    parsed = gateway.parse(
        {"metadata": {"name": "edge", "namespace": "prod"}, "spec": {"clients": {"anonymous": True}, **spec}}
    )
    return translate.translate(inputs.GatewayInputs(parsed, models, api_keys=keys or {}))


def reason(translation: translate.Translation, route: str, type_: str = Type.ACCEPTED) -> str | None:
    """The reason of a route's condition."""
    status = next(status for status in translation.routes if status.name == route)
    found = conditions.find(status.conditions, type_)
    return found.reason if found else None


@hypothesis.given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_a_split_has_no_empty_group_no_zero_weight_and_one_total(weight: int, with_stable: bool, with_canary: bool) -> None:
    """Envoy refuses weights of 0; a constant total with stable first keeps users where they are when the weight rises."""
    groups = chain.build_groups(inputs.Split(STABLE if with_stable else None, CANARY if with_canary else None, weight))
    for group in groups:
        assert sum(member.weight for member in group.members) == ir.TOTAL_WEIGHT
        assert all(member.weight > 0 for member in group.members)
    if with_stable and with_canary:
        shares = {member.cluster: member.weight for member in groups[0].members}
        assert shares.get(CANARY.cluster, 0) == weight
        assert groups[0].members[0].cluster == (CANARY if weight == ir.TOTAL_WEIGHT else STABLE).cluster


@hypothesis.given(st.integers(1, 10_000))
def test_a_canary_with_weight_is_always_shielded(weight: int) -> None:
    """Behind a group with the canary there is stable alone, and the canary's cluster may be retried."""
    table = run(model("chat", split=inputs.Split(STABLE, CANARY, weight))).ir
    assert table.routes[0].groups[-1] == ir.Group((ir.Member(STABLE.cluster, ir.TOTAL_WEIGHT),))
    retries = {cluster.name: cluster.max_retries for cluster in table.clusters}
    assert retries == {CANARY.cluster: 100, STABLE.cluster: 0}


@hypothesis.given(st.integers(0, 10_000))
def test_without_a_shield_the_canary_fails_for_itself(weight: int) -> None:
    """Nothing is behind it, and nothing is retried; testers meet the canary alone too."""
    unshielded = inputs.Split(STABLE, CANARY, weight, override=QA, shield=inputs.Shield(enabled=False))
    table = run(model("chat", split=unshielded)).ir
    assert len(table.routes[0].groups) == 1
    assert table.routes[0].override is not None
    assert table.routes[0].override.groups == (ir.Group((ir.Member(CANARY.cluster, ir.TOTAL_WEIGHT),)),)
    assert {cluster.max_retries for cluster in table.clusters if isinstance(cluster, ir.RevisionCluster)} == {0}


def test_without_a_shield_the_rest_of_a_chain_stays() -> None:
    """Fallback is the Gateway's, the shield the rollout's: a provider behind the model answers what the canary fails."""
    unshielded = model("chat", split=inputs.Split(STABLE, CANARY, 500, override=QA, shield=inputs.Shield(enabled=False)))
    chained = [
        {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}},
        {"type": "Provider", "provider": {"name": "p"}},
    ]
    route = {"name": "r", "match": {"models": ["chat"]}, "chain": [{"backends": [backend]} for backend in chained]}
    providers = [{"name": "p", "type": "OpenAICompatible", "url": "https://p.example"}]
    table = run(unshielded, routes=[route], providers=providers).ir
    behind = [[member.cluster for member in group.members] for groups in table.routes[0].chains for group in groups]
    assert behind == [[CANARY.cluster], ["provider/p"], [STABLE.cluster, CANARY.cluster], ["provider/p"]]
    retries = {cluster.name: cluster.max_retries for cluster in table.clusters}
    assert retries == {CANARY.cluster: ir.FAILOVER_RETRIES, STABLE.cluster: ir.FAILOVER_RETRIES, "provider/p": 0}


SPLITS = st.builds(
    inputs.Split,
    st.none() | st.just(STABLE),
    st.none() | st.just(CANARY),
    weight=st.integers(0, 10_000),
    mirror=st.integers(0, 10_000),
    stickiness=st.none() | st.just("x-user-id"),
    override=st.none() | st.just(inputs.Override("x-canary", "yes", ("qa",))),
    shield=st.builds(inputs.Shield, st.booleans(), st.floats(0.001, 1)),
    stable_in_flight=st.none() | st.integers(0, 100_000),
)


@hypothesis.given(SPLITS, st.sampled_from(["by its name", "first of a chain", "last of a chain"]))
def test_whatever_the_split_every_cluster_that_is_named_is_there(split: inputs.Split, place: str) -> None:
    """Envoy answers 503 for a cluster that it does not have, and refuses a member without weight."""
    backends: list[dict[str, Any]] = [
        {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}},
        {"type": "Provider", "provider": {"name": "p"}},
    ]
    chained = [{"backends": [backend]} for backend in (backends if place == "first of a chain" else backends[::-1])]
    routes = [] if place == "by its name" else [{"name": "r", "match": {"models": ["chat"]}, "chain": chained}]
    providers = [{"name": "p", "type": "OpenAICompatible", "url": "https://p.example"}]
    table = run(model("chat", split=split), routes=routes, providers=providers).ir
    clusters = {cluster.name for cluster in table.clusters}
    for route in table.routes:
        members = [member for groups in route.chains for group in groups for member in group.members]
        assert {member.cluster for member in members} <= clusters
        assert all(member.weight > 0 for member in members)
        assert all(group.members for groups in route.chains for group in groups)
        assert route.mirror is None or route.mirror.cluster in clusters
        assert route.override is None or route.override.groups[0].members[0].cluster == CANARY.cluster


def test_clusters_do_not_depend_on_the_weight() -> None:
    """A step of the rollout changes routes only: no cluster is made anew while it carries traffic."""
    tables = [run(model("chat", split=inputs.Split(STABLE, CANARY, weight))).ir for weight in (0, 1, 5000, 10_000)]
    assert all(table.clusters == tables[0].clusters for table in tables)


@pytest.mark.parametrize(("weight", "mirror", "named"), [(10_001, 0, "weight 10001"), (0, 10_001, "mirror 10001")])
def test_a_share_out_of_bounds_is_a_defect(weight: int, mirror: int, named: str) -> None:
    """Basis points, not percent: 10001 is refused before it reaches a proxy."""
    with pytest.raises(ValueError, match=named):
        inputs.Split(STABLE, CANARY, weight, mirror)


@pytest.mark.parametrize(("weight", "is_sticky"), [(0, False), (1, True), (9999, True), (10_000, False)])
def test_users_stay_where_there_is_a_choice(weight: int, is_sticky: bool) -> None:
    """By the header, salted with the canary; where one revision gets all there is nothing to hash."""
    table = run(model("chat", split=inputs.Split(STABLE, CANARY, weight, stickiness="x-user-id"))).ir
    assert table.routes[0].stickiness == (ir.Stickiness("x-user-id", CANARY.cluster) if is_sticky else None)


QA = inputs.Override("x-sluice-revision", "canary", ("qa", "qa2"))


@pytest.mark.parametrize("weight", [0, 500, 10_000])
def test_testers_get_the_canary_and_are_shielded(weight: int) -> None:
    """Whatever the weight; stable is behind it, and its failures may be retried."""
    table = run(model("chat", split=inputs.Split(STABLE, CANARY, weight, override=QA))).ir
    alone = [ir.Group((ir.Member(revision.cluster, ir.TOTAL_WEIGHT),)) for revision in (CANARY, STABLE)]
    assert table.routes[0].override == ir.Override(QA.header, QA.value, QA.clients, tuple(alone))
    assert table.routes[0].groups == chain.build_groups(inputs.Split(STABLE, CANARY, weight))


def test_testers_of_a_chained_model_come_first_to_the_canary() -> None:
    """Even where another backend is before it; what is left of the chain follows."""
    asked = model("chat", split=inputs.Split(STABLE, CANARY, 500, override=QA))
    providers = [{"name": "p", "type": "OpenAICompatible", "url": "https://p.example"}]
    backends = [
        {"type": "Provider", "provider": {"name": "p"}},
        {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}},
    ]
    route = {"name": "r", "match": {"models": ["chat"]}, "chain": [{"backends": [backend]} for backend in backends]}
    translation = run(asked, routes=[route], providers=providers, keys={"a" * 64: "qa", "b" * 64: "qa2"})
    override = translation.ir.routes[0].override
    assert override is not None
    assert [member.cluster for group in override.groups for member in group.members] == [
        CANARY.cluster,
        "provider/p",
        STABLE.cluster,
    ]
    assert reason(translation, "r", Type.RESOLVED_REFS) == reasons.Reason.RESOLVED


@pytest.mark.parametrize("routes", [(), ("r",)], ids=["by its name", "in a chain"])
def test_a_tester_that_the_gateway_has_no_key_of_is_told(routes: tuple[str, ...]) -> None:
    """A misspelt client would else wonder why the header has no effect."""
    asked = model("chat", split=inputs.Split(STABLE, CANARY, 500, override=QA))
    backend = {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}
    spec = [{"name": name, "match": {"models": ["chat"]}, "chain": [{"backends": [backend]}]} for name in routes]
    translation = run(asked, routes=spec, keys={"a" * 64: "qa"})
    name = routes[0] if routes else "prod/chat"
    status = next(status for status in translation.routes if status.name == name)
    found = conditions.find(status.conditions, Type.RESOLVED_REFS)
    assert found is not None
    assert (found.status, found.reason) == ("False", reasons.Reason.MATCHES_NOTHING)
    assert "override.clients names qa2" in found.message


def test_copies_go_to_a_bounded_cluster_of_their_own() -> None:
    """So that they count apart and never pile up; it has the canary's endpoints, and is there only while it is used."""
    table = run(model("chat", split=inputs.Split(STABLE, CANARY, mirror=500))).ir
    assert table.routes[0].mirror == ir.Mirror("prod/chat-2/shadow", 500)
    assert table.routes[0].groups == (ir.Group((ir.Member(STABLE.cluster, ir.TOTAL_WEIGHT),)),)
    shadow = next(cluster for cluster in table.clusters if cluster.name == "prod/chat-2/shadow")
    assert shadow == ir.RevisionCluster("prod/chat-2/shadow", CANARY.endpoints, 0, max_requests=ir.SHADOW_REQUESTS)
    without = run(model("chat", split=inputs.Split(STABLE, CANARY))).ir
    assert [cluster.name for cluster in without.clusters] == [STABLE.cluster, CANARY.cluster]


def test_copies_are_made_where_the_model_answers_first() -> None:
    """Behind another backend most requests are not for it, and without a stable revision the canary answers itself."""
    copied = model("chat", split=inputs.Split(STABLE, CANARY, mirror=500))
    chained = [
        {"type": "ModelDeployment", "modelDeployment": {"name": "chat"}},
        {"type": "Provider", "provider": {"name": "p"}},
    ]
    providers = [{"name": "p", "type": "OpenAICompatible", "url": "https://p.example"}]
    for order, mirror in ((chained, ir.Mirror("prod/chat-2/shadow", 500)), (chained[::-1], None)):
        route = {"name": "r", "match": {"models": ["chat"]}, "chain": [{"backends": [backend]} for backend in order]}
        translation = run(copied, routes=[route], providers=providers)
        assert translation.ir.routes[0].mirror == mirror
        told = reasons.Reason.RESOLVED if mirror is not None else reasons.Reason.NOT_MIRRORED
        assert reason(translation, "r", Type.RESOLVED_REFS) == told
    assert run(model("chat", split=inputs.Split(None, CANARY, 100, mirror=500))).ir.routes[0].mirror is None


def test_the_oldest_claim_wins_whatever_the_order() -> None:
    """By creation time, then namespace and name; the message names both."""
    claims = [
        model("young", served_name="chat", created="2026-03-01T00:00:00Z"),
        model("b", served_name="chat"),
        model("a", served_name="chat"),
    ]
    translations = [run(*order) for order in itertools.permutations(claims)]
    assert all(translation == translations[0] for translation in translations)
    assert translations[0].ir.routes[0].name == "prod/a"
    assert [reason(translations[0], f"prod/{name}") for name in ("a", "b", "young")] == [
        reasons.Reason.ACCEPTED,
        reasons.Reason.CONFLICT,
        reasons.Reason.CONFLICT,
    ]
    loser = next(status for status in translations[0].routes if status.name == "prod/young")
    assert "prod/young" in loser.conditions[0].message
    assert "prod/a" in loser.conditions[0].message


def test_adapters_are_routed_to_their_model_unless_their_name_is_taken() -> None:
    """A client asks for an adapter as for a model; of two that claim a name, the older has it, and the other says so."""
    translation = run(
        model("chat", adapters=("sql", "tone")),
        model("code", adapters=("sql",), created="2026-03-01T00:00:00Z"),
        model("tone", created="2025-01-01T00:00:00Z"),
    )
    assert {route.model: route.name for route in translation.ir.routes} == {
        "chat": "prod/chat",
        "sql": "prod/chat",
        "code": "prod/code",
        "tone": "prod/tone",
    }
    statuses = {status.name: status for status in translation.routes}
    assert statuses["prod/chat"].models == ("chat", "sql")
    assert "not its adapters tone" in statuses["prod/chat"].conditions[0].message
    assert "not its adapters sql" in statuses["prod/code"].conditions[0].message


def test_a_claim_that_is_not_allowed_is_none() -> None:
    """An older ModelDeployment that the Gateway does not let in takes no name from anyone."""
    translation = run(model("old", served_name="chat", created="2025-01-01T00:00:00Z", gateway_allowed=False), model("chat"))
    assert [route.name for route in translation.ir.routes] == ["prod/chat"]
    assert reason(translation, "prod/old") == reasons.Reason.NOT_ALLOWED


def test_a_model_that_no_gateway_ref_offers_is_not_routed() -> None:
    """Without a gatewayRef it is neither routed nor reported."""
    translation = run(model("chat", refers=False))
    assert (translation.ir.routes, translation.ir.clusters, translation.routes) == ((), (), ())


def test_order_of_inputs_changes_nothing() -> None:
    """Pods and models in another order give an equal table, so that nothing is sent for nothing."""
    pods = tuple(inputs.Endpoint(f"10.0.0.{last}", 8000) for last in (3, 1, 2))
    one = model("chat", split=inputs.Split(dataclasses.replace(STABLE, endpoints=pods)))
    other = model("chat", split=inputs.Split(dataclasses.replace(STABLE, endpoints=pods[::-1])))
    assert run(one, model("code")).ir == run(model("code"), other).ir


@pytest.mark.parametrize(
    ("clients", "access"),
    [
        ({"anonymous": True}, ir.Access.OPEN),
        ({"anonymous": True, "apiKeys": [{"secretRef": {"name": "k"}}]}, ir.Access.KEY_OR_ANONYMOUS),
        ({"apiKeys": [{"secretRef": {"name": "k"}}]}, ir.Access.KEY),
        ({}, ir.Access.KEY),
    ],
)
def test_only_anonymous_opens_the_door(clients: dict[str, Any], access: ir.Access) -> None:
    """Nobody gets in without a key unless the spec says so; a named Secret without keys is not the same as none."""
    assert run(model("chat"), clients=clients).ir.clients.access == access


def test_only_hashes_and_names_become_keys() -> None:
    """What is no SHA-256 or no Secret key reaches no proxy: its quotes could end a string of the proxy's program."""
    good = "a" * 64
    keys = {good: "team-a", "A" * 64: "upper", "a" * 63: "short", "b" * 64: 'x"]==]', "c" * 64: ""}
    assert run(model("chat"), keys=keys, clients={}).ir.clients.keys == ((good, "team-a"),)
