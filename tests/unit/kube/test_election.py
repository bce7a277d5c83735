"""The election as a pure function, and as a simulation of replicas that lose messages, requests and time."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.kube import election

TIMING = election.Timing()
ME, OTHER = "me", "other"


def record(holder: str, version: int, duration: float = 9.0) -> election.Record:
    return election.Record(holder=holder, duration=duration, version=str(version))


def leader(at: float = 0.0, version: int = 1) -> election.State:
    return election.hold(election.INITIAL, record(ME, version), at, at, timing=TIMING)


def test_the_first_thing_is_to_look() -> None:
    """Nothing is written before the Lease was read."""
    assert election.plan(election.INITIAL, 0.0, me=ME).action is election.Action.LOOK


def test_a_missing_lease_is_created_at_once_by_who_has_never_seen_a_holder() -> None:
    """The first replica of a new installation leads at once."""
    state = election.observe(election.INITIAL, None, 5.0, me=ME)
    assert election.plan(state, 5.0, me=ME).action is election.Action.CREATE


def test_a_held_lease_is_left_alone_for_its_whole_duration_since_it_was_seen() -> None:
    """The duration is the holder's, the time is ours."""
    state = election.observe(election.INITIAL, record(OTHER, 1, duration=20), 100.0, me=ME)
    assert election.plan(state, 119.9, me=ME) == election.Plan(election.Action.WAIT, 120.0)
    assert election.plan(state, 120.0, me=ME).action is election.Action.TAKE


def test_seeing_the_same_record_again_does_not_prolong_the_wait() -> None:
    """Only a renewal does."""
    state = election.observe(election.INITIAL, record(OTHER, 1), 0.0, me=ME)
    again = election.observe(state, record(OTHER, 1), 8.0, me=ME)
    renewed = election.observe(state, record(OTHER, 2), 8.0, me=ME)
    assert election.plan(again, 9.0, me=ME).action is election.Action.TAKE
    assert election.plan(renewed, 9.0, me=ME) == election.Plan(election.Action.WAIT, 17.0)


def test_a_record_older_than_the_known_one_is_ignored() -> None:
    """A slow read must not undo what the watch has told already."""
    state = election.observe(election.INITIAL, record(OTHER, 7), 0.0, me=ME)
    assert election.observe(state, record("", 6), 1.0, me=ME).record == record(OTHER, 7)


def test_a_released_lease_is_taken_at_once() -> None:
    """An empty holder has no claim."""
    state = election.observe(election.INITIAL, record(OTHER, 1), 0.0, me=ME)
    state = election.observe(state, record("", 2, duration=1), 1.0, me=ME)
    assert election.plan(state, 1.0, me=ME).action is election.Action.TAKE


def test_a_deleted_lease_is_not_made_anew_before_its_last_holder_must_have_given_up() -> None:
    """Whoever held it may still believe that it leads."""
    state = election.observe(election.INITIAL, record(OTHER, 1), 0.0, me=ME)
    state = election.observe(state, None, 1.0, me=ME)
    assert election.plan(state, 1.0, me=ME) == election.Plan(election.Action.WAIT, 9.0)
    assert election.plan(state, 9.0, me=ME).action is election.Action.CREATE


def test_a_leader_makes_its_deleted_lease_anew() -> None:
    """It still leads, and nobody else may take it yet."""
    state = election.observe(leader(), None, 1.0, me=ME)
    assert state.role is election.Role.LEADER
    assert election.plan(state, 2.0, me=ME).action is election.Action.CREATE


def test_a_leader_renews_at_the_retry_period() -> None:
    """Not more often, and from when the last renewal was sent."""
    assert election.plan(leader(), 1.9, me=ME) == election.Plan(election.Action.WAIT, 2.0)
    assert election.plan(leader(), 2.0, me=ME).action is election.Action.RENEW


def test_a_leader_that_sees_another_holder_follows_at_once() -> None:
    """So does one that protects only."""
    for state in (leader(), election.elapse(leader(), 6.0, timing=TIMING)):
        assert election.observe(state, record(OTHER, 2), 6.1, me=ME).role is election.Role.FOLLOWER


def test_a_leader_without_renewal_protects_only_from_the_deadline_on() -> None:
    """The deadline counts from when the last success was sent."""
    state = election.miss(leader(), 2.0, 3.5, timing=TIMING)
    assert election.elapse(state, 5.9, timing=TIMING).role is election.Role.LEADER
    assert election.elapse(state, 6.0, timing=TIMING).role is election.Role.PROTECT_ONLY


def test_protect_only_ends_with_a_renewal_of_our_own_record() -> None:
    """Nobody took the Lease meanwhile: its version is the one we know."""
    state = election.elapse(leader(), 6.0, timing=TIMING)
    assert election.plan(state, 60.0, me=ME).action is election.Action.RENEW
    state = election.hold(state, record(ME, 2), 60.0, 60.1, timing=TIMING)
    assert state.role is election.Role.LEADER
    assert election.elapse(state, 60.2, timing=TIMING).role is election.Role.LEADER


def test_protect_only_ends_after_its_limit() -> None:
    """Without any word from the cluster we do not act on old knowledge for ever."""
    state = election.elapse(leader(), 6.0, timing=TIMING)
    assert election.deadline(state, timing=TIMING) == 606.0
    assert election.elapse(state, 605.9, timing=TIMING).role is election.Role.PROTECT_ONLY
    assert election.elapse(state, 606.0, timing=TIMING).role is election.Role.FOLLOWER


def test_a_success_that_arrives_after_its_own_deadline_does_not_make_a_leader() -> None:
    """By then another may have taken over."""
    state = election.hold(election.INITIAL, record(ME, 1), 0.0, 7.0, timing=TIMING)
    assert state.role is election.Role.PROTECT_ONLY


def test_a_success_that_arrives_after_a_newer_record_was_seen_counts_for_nothing() -> None:
    """The watch was faster than the answer."""
    state = election.observe(election.INITIAL, record(OTHER, 5), 1.0, me=ME)
    assert election.hold(state, record(ME, 4), 0.5, 1.1, timing=TIMING).role is election.Role.FOLLOWER


def test_a_refused_write_is_followed_by_a_look() -> None:
    """A conflict says that we know too little, not that we lost."""
    state = election.doubt(leader(), 2.0)
    assert state.role is election.Role.LEADER
    assert election.plan(state, 2.0, me=ME).action is election.Action.LOOK


def test_a_follower_that_missed_an_outage_leaves_the_leader_time_to_renew() -> None:
    """Its timer has run out meanwhile, but so has everybody's: two attempts, counted from when the API server was back."""
    state = election.observe(election.INITIAL, record(OTHER, 1), 0.0, me=ME)
    state = election.miss(state, 20.0, 21.0, timing=TIMING)
    assert election.plan(state, 22.0, me=ME).action is election.Action.LOOK
    back, grace = 22.1, 2 * (TIMING.retry + TIMING.request_timeout)
    state = election.observe(state, record(OTHER, 1), back, me=ME)
    assert election.plan(state, back, me=ME) == election.Plan(election.Action.WAIT, back + grace)
    state = election.observe(state, record(OTHER, 1), back + 1, me=ME)
    assert election.plan(state, back + 1, me=ME) == election.Plan(election.Action.WAIT, back + grace)


def test_an_outage_shorter_than_the_lease_is_one_too() -> None:
    """The follower asked for nothing meanwhile but to look, and the leader may have missed its renewals."""
    state = election.observe(election.INITIAL, record(OTHER, 1), 0.0, me=ME)
    state = election.lose_sight(state, timing=TIMING)
    assert election.plan(state, 9.0, me=ME).action is election.Action.LOOK
    state = election.observe(state, record(OTHER, 1), 9.5, me=ME)
    assert election.plan(state, 10.5, me=ME).action is election.Action.WAIT


def test_a_leader_that_cannot_look_goes_on_renewing() -> None:
    """Its own requests say when it has to stop."""
    assert election.lose_sight(leader(), timing=TIMING) == leader()


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ({"renew_deadline": 9.0}, "two could lead at once"),
        ({"retry": 6.0}, "no renewal before the deadline"),
        ({"request_timeout": 5.0}, "one hung request costs the lead"),
    ],
)
def test_times_that_break_the_promise_are_refused(times: dict[str, float], reason: str) -> None:
    """Settings cannot make two leaders."""
    with pytest.raises(ValueError, match="Cannot elect"):
        dataclasses.replace(TIMING, **times)


@dataclasses.dataclass
class Replica:
    """A replica in the simulation: its own clock runs at its own rate from its own zero."""

    name: str
    rate: float
    zero: float
    state: election.State = election.INITIAL
    cut: bool = False
    frozen: bool = False
    busy: bool = False

    def clock(self, time: float) -> float:
        return self.zero + self.rate * time

    def role(self, time: float) -> election.Role:
        return election.elapse(self.state, self.clock(time), timing=TIMING).role


class World:
    """One Lease, some replicas, and a network that delays, loses and reorders; all time is simulated."""

    def __init__(self, seed: int, replicas: int) -> None:
        self.chance = random.Random(seed)
        self.time = 0.0
        self.lease: election.Record | None = None
        self.version = 0
        self.replicas = [
            Replica(f"r{n}", self.chance.uniform(0.97, 1.03), self.chance.uniform(0, 1e6)) for n in range(replicas)
        ]
        self.agenda: list[tuple[float, int, str, Replica, Any]] = []
        self.order = itertools.count()
        self.led: list[str] = []

    def at(self, delay: float, what: str, replica: Replica, value: Any = None) -> None:
        heapq.heappush(self.agenda, (self.time + delay, next(self.order), what, replica, value))

    def run(self, until: float) -> None:
        for replica in self.replicas:
            self.at(self.chance.uniform(0, 3), "tick", replica)
            self.at(self.chance.uniform(5, 30), "trouble", replica)
        while self.agenda and self.agenda[0][0] <= until:
            self.time, _, what, replica, value = heapq.heappop(self.agenda)
            if replica.frozen and what != "thaw":
                self.at(0.5, what, replica, value)  # a stopped process handles its mail later
            else:
                getattr(self, what)(replica, value)
            self.check()

    def check(self) -> None:
        leaders = [replica.name for replica in self.replicas if replica.role(self.time) is election.Role.LEADER]
        assert len(leaders) <= 1, f"{leaders} lead at {self.time}"
        self.led += [name for name in leaders if self.led[-1:] != [name]]

    def trouble(self, replica: Replica, _: Any) -> None:
        """The replica loses the network or stands still for a while."""
        for_seconds = self.chance.choice([0.5, 3.0, 8.0, 20.0])
        if self.chance.random() < 0.5:
            replica.cut = True
            self.at(for_seconds, "heal", replica)
        else:
            replica.frozen = True
            self.at(for_seconds, "thaw", replica)
        self.at(for_seconds + self.chance.uniform(5, 40), "trouble", replica)

    def heal(self, replica: Replica, _: Any) -> None:
        replica.cut = False

    def thaw(self, replica: Replica, _: Any) -> None:
        replica.frozen = False

    def tick(self, replica: Replica, _: Any) -> None:
        now = replica.clock(self.time)
        replica.state = election.elapse(replica.state, now, timing=TIMING)
        self.at(0.25, "tick", replica)
        plan = election.plan(replica.state, now, me=replica.name)
        if plan.action is election.Action.WAIT or replica.busy:
            return
        replica.busy = True
        lost = replica.cut or self.chance.random() < 0.1
        request = (plan.action, replica.state.record, now)
        if lost and self.chance.random() < 0.5:
            self.at(TIMING.request_timeout, "lose", replica, now)
        else:
            self.at(self.chance.uniform(0, 1.0), "serve", replica, (request, lost))

    def lose(self, replica: Replica, sent_at: float) -> None:
        replica.busy = False
        replica.state = election.miss(replica.state, sent_at, replica.clock(self.time), timing=TIMING)

    def serve(self, replica: Replica, value: Any) -> None:
        """The API server carries out a request; its answer may be lost."""
        (action, known, sent_at), lost = value
        answer: Any = "refused"
        if action is election.Action.LOOK:
            answer = self.lease
        elif (known is None and self.lease is None) or (known and self.lease and known.version == self.lease.version):
            self.version += 1
            answer = self.lease = record(replica.name, self.version)
            for other in self.replicas:
                if not other.cut:
                    self.at(self.chance.uniform(0, 2.0), "tell", other, self.lease)
        if lost:
            self.at(TIMING.request_timeout, "lose", replica, sent_at)
        else:
            self.at(self.chance.uniform(0, 0.4), "answer", replica, (action, answer, sent_at))

    def answer(self, replica: Replica, value: Any) -> None:
        action, answer, sent_at = value
        replica.busy = False
        now = replica.clock(self.time)
        if answer == "refused":
            replica.state = election.doubt(replica.state, now)
        elif action is election.Action.LOOK:
            replica.state = election.observe(replica.state, answer, now, me=replica.name)
        else:
            replica.state = election.hold(replica.state, answer, sent_at, now, timing=TIMING)

    def tell(self, replica: Replica, lease: election.Record) -> None:
        replica.state = election.observe(replica.state, lease, replica.clock(self.time), me=replica.name)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), replicas=st.integers(2, 4))
def test_never_do_two_lead_whatever_clocks_network_and_pauses_do(seed: int, replicas: int) -> None:
    """Clocks drift by 3 %, requests and answers are lost, watch events come late and out of order, processes stand still."""
    world = World(seed, replicas)
    world.run(until=200.0)
    assert world.led, "in 200 seconds somebody must have led"
