"""The values that a rollout's decision takes and gives.

`Input` is everything the reconcile gathered, `Decision` everything it has to do, in the order its fields say. What persists
between two decisions is in `persisted`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from sluice.api import commands, rollout_status
from sluice.rollout import capacity, persisted
from sluice.rollout import health as health_  # a field is named health
from sluice.rollout import plan as plan_  # a field is named plan
from sluice.rollout import traffic as traffic_  # fields are named traffic
from sluice.workloads import outcome as outcome_  # a field is named outcome
from sluice.workloads import revision as revision_  # fields are named revision


class Split(enum.Enum):
    """Whether weights reach users."""

    NONE = enum.auto()
    """No gatewayRefs: the Service moves at once."""
    UNAVAILABLE = enum.auto()
    """gatewayRefs are given, but no Gateway accepts them: nothing is raised meanwhile."""
    CONNECTED = enum.auto()
    """A Gateway with an accepted route splits the traffic."""


@dataclasses.dataclass(frozen=True)
class Sent:
    """What this process last gave the proxies. Lost with the process and with leadership."""

    state: persisted.State | None
    traffic: traffic_.Traffic


@dataclasses.dataclass(frozen=True)
class Revision:
    """What is known of one stored revision."""

    hash: str
    number: int
    outcome: revision_.OutcomeLabel | None = None
    health: health_.Health | None = None
    """None when it has no Deployment."""
    has_pods: bool = False
    """Whether its Deployment or any pod of it exists, terminating ones too."""
    in_flight: int | None = None
    """Requests that it is answering, over all proxies; None while that is not known."""
    result: outcome_.Result | None = None
    """How its latest rollout ended, as it was written with the label."""

    @property
    def is_candidate(self) -> bool:
        """Whether it is to be rolled out, or is being."""
        return self.outcome is revision_.OutcomeLabel.CANDIDATE

    @property
    def is_rejected(self) -> bool:
        """Whether it failed and is not tried again."""
        return self.outcome is revision_.OutcomeLabel.REJECTED

    @property
    def ready(self) -> int:
        """Pods that can answer."""
        return self.health.ready if self.health is not None else 0


@dataclasses.dataclass(frozen=True)
class Input:
    """The facts of one ModelDeployment at one moment."""

    wanted: str | None
    """Hash of the revision the spec asks for; it is among `revisions`. None: the spec asks for none that can be made."""
    revisions: tuple[Revision, ...]
    state: persisted.State | None = None
    """As persisted in `status.rollout`."""
    sent: Sent | None = None
    last_epoch: int = 0
    """`status.epoch`: the highest epoch ever written."""
    acknowledged: int = -1
    """The highest epoch whose traffic every connected proxy of every gateway has acknowledged. Unused without a split."""
    plan: plan_.Plan | None = None
    """With a state: the stored plan of its revision. Without: one built now for `wanted`."""
    verdicts: tuple[rollout_status.GateStatus, ...] = ()
    """What metrics and evals say of the revision of `newest_state`."""
    split: Split = Split.CONNECTED
    source_ok: bool = True
    """Whether the gateways' counters can be read at present."""
    left_at: float | None = None
    """When the traffic last left a revision: when the latest rollout ended."""
    drain_timeout: float = 0.0
    """Seconds that a revision without traffic may go on with requests in flight."""
    cold: str = ""
    """Which ready pods of the revision in rollout have not answered their warm-up requests yet. Empty: none."""
    load: capacity.Load | None = None
    """What decides how many pods are needed. None: nobody says, and what Deployments ask for is enough."""
    protect_only: bool = False
    paused: bool = False
    """Whether the spec stops increases."""
    keep_failed: bool = False
    """Whether the pods of a revision that failed stay."""
    undone: rollout_status.Undone | None = None
    """What a person has undone: `wanted` is then what is held in its place."""
    can_rerender: bool = False
    """Whether this version of Sluice would render the wanted revision otherwise. Only known where that is ordered."""
    order: commands.Command | None = None
    """What a person orders, and was not answered yet."""

    def find(self, revision_hash: str | None) -> Revision | None:
        """The revision of that hash."""
        return next((known for known in self.revisions if known.hash == revision_hash), None)


class Order(enum.Enum):
    """Which comes first: telling the proxies, or writing labels and status."""

    PROXIES_FIRST = enum.auto()
    """Weight is taken away: the proxies must not wait for the API server."""
    STATUS_FIRST = enum.auto()
    """Weight is given, or nothing moves: only what is persisted may be sent."""


@dataclasses.dataclass(frozen=True)
class LabelWrite:
    """An outcome label to write on a ControllerRevision."""

    revision: str
    outcome: revision_.OutcomeLabel
    number: int | None = None
    """A new revision number, so that an older revision that is tried again counts as the newest."""
    result: outcome_.Result | None = None
    """How its rollout ended, to be written with the label. None: what is known stays, but a candidate has none."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How the rollout ended, for `status.lastRollout`."""

    revision: str
    outcome: rollout_status.Outcome
    reason: str
    message: str
    started_at: float
    gates: tuple[rollout_status.GateStatus, ...] = ()


@dataclasses.dataclass(frozen=True)
class Notice:
    """Something users read: an event that happened, or what a rollout waits for."""

    reason: str
    message: str
    warning: bool = False


class NoteType(enum.StrEnum):
    """Standing remarks about how a rollout is judged."""

    NO_TRAFFIC_SPLIT = "NoTrafficSplit"
    """Without a Gateway all traffic moves at once."""
    NO_LIVE_GATE = "NoLiveGate"
    """No live metric judges the revision."""
    NO_BASELINE = "NoBaseline"
    """Relative limits have no stable revision to compare with."""
    NOTHING_TO_JUDGE = "NothingToJudge"
    """A step names a gate that cannot say anything there."""


@dataclasses.dataclass(frozen=True)
class Note:
    """A standing remark; it stays while it holds."""

    type: NoteType
    message: str


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of an order."""

    accepted: bool
    message: str


@dataclasses.dataclass(frozen=True)
class Decision:
    """What to do now. See `Order` for what comes first."""

    state: persisted.State | None
    """For `status.rollout`. None: no rollout is under way."""
    traffic: traffic_.Traffic
    """What the proxies get."""
    order: Order
    stable: str | None
    """The revision that serves: the Service selects it."""
    labels: tuple[LabelWrite, ...] = ()
    """To write in this order, before the status."""
    ended: Ended | None = None
    """Set when a rollout has just ended; repeated until the status says so."""
    store_plan: bool = False
    """A rollout starts: store `Input.plan` with empty evidence, before the status."""
    evals: tuple[tuple[str, str], ...] = ()
    """The (gate, eval) pairs that should have a result or be running."""
    keep: frozenset[str] = frozenset()
    """Revisions that have pods; every other revision's Deployment is deleted."""
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Fewest pods by revision, for as long as the rollout needs them. A revision that is not in it keeps what it has."""
    wake_after: float | None = None
    """Seconds after which time alone may change the decision."""
    events: tuple[Notice, ...] = ()
    """To emit once the status is written."""
    waiting: Notice | None = None
    """What the rollout waits for; `warning` when a person should look."""
    notes: tuple[Note, ...] = ()
    undone: rollout_status.Undone | None = None
    """For `status.undone`."""
    rerender: bool = False
    """Store the wanted revision as it is rendered now, as a candidate, before the status."""
    answer: Answer | None = None
    """What became of `Input.order`, to be written with the status. None: it still waits."""


def newest_state(state: persisted.State | None, sent: Sent | None, last_epoch: int = 0) -> persisted.State | None:
    """The state to go on from: what was sent counts where the API server did not learn of it, or the cache is late.

    The epoch rises with every change of traffic, and an increase is sent only once it is persisted. So a higher epoch
    that was sent is a decrease that could not be written yet, or newer than the cache.
    """
    written = max(state.epoch if state is not None else 0, last_epoch)
    if sent is None or sent.traffic.epoch <= written:
        return state
    return sent.state if sent.state is None else sent.state.with_orders_of(state)


class Labelled(Protocol):
    """What tells which revision serves."""

    @property
    def number(self) -> int:
        """Its place in the order of revisions."""

    @property
    def outcome(self) -> revision_.OutcomeLabel | None:
        """Its outcome label."""


L = TypeVar("L", bound=Labelled)


def stable_revision(revisions: Iterable[L]) -> L | None:
    """The revision that serves, from the outcome labels alone.

    Two are labelled Stable after a crash in the middle of a promotion: the newer one is it. None is when its object was
    deleted by hand: the one that served before it is.
    """
    ordered = sorted(revisions, key=lambda known: known.number, reverse=True)
    for label in (revision_.OutcomeLabel.STABLE, revision_.OutcomeLabel.PREVIOUS):
        for known in ordered:
            if known.outcome == label:
                return known
    return None


def is_urgent(old: persisted.State | None, new: persisted.State | None) -> bool:
    """Whether the status must be written at once, because more than numbers of a gate changed."""
    return _essence(old) != _essence(new)


def _essence(state: persisted.State | None) -> object:
    if state is None:
        return None
    verdicts = tuple((gate.name, gate.metric, gate.verdict, gate.reason) for gate in state.gates)
    return dataclasses.replace(state, gates=(), message=None), verdicts
