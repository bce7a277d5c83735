"""The status of a Gateway: what it says for each state of its proxies, and the rules of kstatus for all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.api import conditions
from sluice.api import gateway as api
from sluice.reconcile.gateways import status
from tests.support import statuses
from tests.unit.reconcile import parts

NOW = "2027-01-15T08:00:00Z"
PROBLEM = status.Problem(status.Reason.SECRET_NOT_FOUND, "Cannot resolve spec.clients.apiKeys[0].secretRef: there is none")


def edge(replicas: int = 2) -> api.Gateway:
    return api.parse(parts.edge(replicas=replicas))


GOOD = status.View(gateway=edge(), routes=(), connected=2, in_sync=2, rejected=0, errors=(), ready_pods=2)


def said(view: status.View) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.build_status(view, now=NOW).conditions}


@pytest.mark.parametrize(
    ("change", "ready", "programmed", "available", "going"),
    [
        ({}, "Ready", "Programmed", "True", None),
        ({"ready_pods": 1}, "ProxiesNotReady", "Programmed", "True", "Reconciling"),
        ({"connected": 0, "in_sync": 0}, "NoProxies", "NoProxies", "True", "Reconciling"),
        ({"in_sync": 1}, "Pending", "Pending", "True", "Reconciling"),
        (
            {"in_sync": 1, "rejected": 1, "errors": ("bad",)}, "ConfigurationRejected", "ConfigurationRejected", "True",
            "Reconciling",
        ),
        ({"ready_pods": 0, "connected": 0, "in_sync": 0}, "ProxiesNotReady", "NoProxies", "False", "Reconciling"),
        ({"problems": (PROBLEM,)}, "SecretNotFound", "Programmed", "True", "Stalled"),
        ({"gateway": edge(0), "ready_pods": 0, "connected": 0, "in_sync": 0}, "ScaledToZero", "NoProxies", "False", None),
    ],
)  # fmt: skip
def test_conditions(change: dict[str, Any], ready: str, programmed: str, available: str, going: str | None) -> None:
    """Reasons of Ready and Programmed, Available, and what goes on, for each state of the proxies."""
    found = said(dataclasses.replace(GOOD, **change))
    assert found["Ready"][1] == ready
    assert found["Programmed"][1] == programmed
    assert found["Available"][0] == available
    assert {"Reconciling", "Stalled"} & found.keys() == ({going} if going else set())


def test_refusals_are_shown() -> None:
    """What a proxy said of a resource that it refuses is in the message, with how many keep the last good one."""
    view = dataclasses.replace(GOOD, in_sync=1, rejected=1, errors=("route chat: no such cluster",))
    message = next(c.message for c in status.build_status(view, now=NOW).conditions if c.type == "Programmed")
    assert "1 of 2 proxies" in message
    assert "no such cluster" in message


def test_address_is_the_service() -> None:
    """Where clients call is in the status."""
    assert status.build_status(GOOD, now=NOW).address == "http://edge-gateway.ml.svc:8080"


def test_routes_keep_their_transition_times() -> None:
    """A route whose conditions stay has its old times; a new one has the present."""
    resolved = conditions.make(conditions.ConditionType.RESOLVED_REFS, True, "Resolved", "fine")
    view = dataclasses.replace(GOOD, routes=(api.RouteStatus(name="chat", conditions=(resolved,)),))
    first = status.build_status(view, now=NOW)
    again = dataclasses.replace(
        view,
        gateway=view.gateway.model_copy(update={"status": first}),
        routes=(*view.routes, api.RouteStatus(name="new", conditions=(resolved,))),
    )
    times = {
        r.name: r.conditions[0].last_transition_time for r in status.build_status(again, now="2027-01-15T09:00:00Z").routes
    }
    assert times == {"chat": NOW, "new": "2027-01-15T09:00:00Z"}


COUNTS = st.integers(0, 3)


@given(
    st.builds(
        status.View,
        gateway=st.sampled_from([edge(), edge(0)]),
        routes=st.just(()),
        connected=COUNTS,
        in_sync=COUNTS,
        rejected=COUNTS,
        errors=st.just(("no",)),
        ready_pods=COUNTS,
        problems=st.sampled_from([(), (PROBLEM,)]),
    )
)
def test_kstatus(view: status.View) -> None:
    """Whatever the proxies do, the rules that tools rely on hold, and Ready means that all proxies run the latest."""
    made = status.build_status(view, now=NOW)
    found = {c.type: c.model_dump() for c in made.conditions}
    assert list(statuses.contradictions(found, serves=True)) == []
    if found["Ready"]["status"] == "True" and view.gateway.spec.replicas:
        assert view.ready_pods >= view.gateway.spec.replicas
        assert view.in_sync >= view.connected > 0
        assert not view.rejected
