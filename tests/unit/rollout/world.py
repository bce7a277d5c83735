"""A small world for the rollout: an API server, proxies, pods and gates, and an operator that applies decisions.

It checks, at every action, what must hold whatever happens: see `World.push`, `World.write_label` and `World.decide`.

Longer than other files on purpose: what happens in the world and what must hold of every action are read together.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from sluice.api import commands, rollout_status
from sluice.rollout import capacity, decide, health, model, persisted, plan
from sluice.rollout import traffic as rollout_traffic
from sluice.workloads import revision
from tests.unit.rollout import scenario

Label = revision.OutcomeLabel
Verdict = rollout_status.Verdict
Release = rollout_status.Release
PROXIES = 2
DESIRED = 4
"""Pods that carry all of the traffic."""
BAKE = 20.0
WINDOW = 1
"""Revisions that were promoted lately and come back without steps."""
APPROVAL = plan.ApprovalPlan(1e9, rolls_back=True)
LIVE_NEEDS = {scenario.METRIC: 4, scenario.ANALYSIS: 9}
"""Observations under weight until a live metric has its verdict."""

LEGAL = {
    (None, Label.CANDIDATE),
    (Label.CANDIDATE, Label.STABLE),
    (Label.CANDIDATE, Label.REJECTED),
    (Label.CANDIDATE, Label.SUPERSEDED),
    (Label.STABLE, Label.PREVIOUS),
    (Label.STABLE, Label.REJECTED),
    (Label.STABLE, Label.SUPERSEDED),
    (Label.PREVIOUS, Label.STABLE),
    (Label.PREVIOUS, Label.CANDIDATE),
    (Label.REJECTED, Label.CANDIDATE),
    (Label.SUPERSEDED, Label.CANDIDATE),
}
"""Transitions of the outcome label that a rollout may write."""


class Quality(enum.Enum):
    """What is wrong with a revision."""

    GOOD = enum.auto()
    WRONG_ANSWERS = enum.auto()
    """Its eval fails."""
    FAILS_USERS = enum.auto()
    """Its live metrics fail."""
    CRASHES = enum.auto()
    """Its engine never starts."""


@dataclasses.dataclass
class Stored:
    """One revision in the API server, and its pods."""

    number: int
    quality: Quality
    outcome: Label | None = None
    promoted_at: float | None = None
    """Its latest rollout ended well then."""
    deployed: bool = False
    """Its Deployment exists."""
    ready: int = 0
    size: int = 0
    """Pods that its Deployment asks for."""
    terminating: bool = False
    lost: bool = False
    """The cluster keeps its pods from running."""

    def health(self) -> health.Health | None:
        """What `causes` would find."""
        if not self.deployed:
            return None
        if self.ready >= self.size:
            return health.Health(self.size, self.ready)
        if self.quality is Quality.CRASHES and not self.lost:
            return health.Health(self.size, 0, health.Cause.CRASH_LOOP, health.CauseClass.REVISION, "exit code 1")
        if self.lost:
            return health.Health(self.size, self.ready, health.Cause.UNSCHEDULABLE, health.CauseClass.ENVIRONMENT, "no room")
        return health.Health(self.size, self.ready, health.Cause.STARTING, health.CauseClass.NONE, "loads")


class CrashError(Exception):
    """The operator died in the middle of applying a decision."""


@dataclasses.dataclass
class World:
    """Everything outside the rollout. Fields are what a real one would hold in etcd, in Envoy and in the operator."""

    split: model.Split = model.Split.CONNECTED
    recreate: bool = False
    """Strategy Recreate: nobody judges, and nothing serves in between."""
    now: float = 1_000_000.0
    revisions: dict[str, Stored] = dataclasses.field(default_factory=dict)
    wanted: str | None = None
    # the API server
    api_up: bool = True
    status: rollout_status.RolloutStatus | None = None
    status_epoch: int = 0
    status_version: int = 0
    last: model.Ended | None = None
    frozen: dict[str, Any] | None = None
    """The plan in the evidence ConfigMap."""
    seen: dict[tuple[str, str, str], Verdict] = dataclasses.field(default_factory=dict)
    """Verdicts by revision, gate and metric."""
    counted: dict[str, int] = dataclasses.field(default_factory=dict)
    jobs: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    # the proxies
    target: rollout_traffic.Traffic | None = None
    proxies: list[rollout_traffic.Traffic | None] = dataclasses.field(default_factory=lambda: [None] * PROXIES)
    # the operator
    sent: model.Sent | None = None
    acks: list[int] = dataclasses.field(default_factory=lambda: [-1] * PROXIES)
    cached: tuple[rollout_status.RolloutStatus | None, int, int] = (None, 0, 0)
    source_ok: bool = True
    created: int = 0
    """Pods that were made, of all revisions."""
    # people
    paused: bool = False
    approves: bool = True
    """Whether somebody approves what awaits it, while nothing goes wrong."""
    resumes: bool = False
    """Whether somebody resumes what was paused."""
    order: commands.Command | None = None
    answered: str | None = None
    """The order that the status has an answer to."""
    answers: list[model.Answer] = dataclasses.field(default_factory=list)
    skipped: str | None = None
    """Revision of which a person skipped a step."""
    taken_back: set[str] = dataclasses.field(default_factory=set)
    """Revisions that a person aborted."""
    crash_after: int | None = None
    pushed: list[rollout_traffic.Traffic] = dataclasses.field(default_factory=list)
    ended: list[model.Ended] = dataclasses.field(default_factory=list)

    # What happens in the world.

    def apply_spec(self, name: str, quality: Quality = Quality.GOOD) -> None:
        """The user asks for a revision; the operator stores it when it is new."""
        if name not in self.revisions:
            self.revisions[name] = Stored(len(self.revisions) + 1, quality, Label.CANDIDATE)
            self.revisions[name].number = max(known.number for known in self.revisions.values()) + 1
        self.wanted = name

    def pods_move(self) -> None:
        """Pods of every Deployment become ready if they can; deleted ones go."""
        for known in self.revisions.values():
            known.terminating = False
            if known.deployed and not known.lost and known.quality is not Quality.CRASHES:
                known.ready = known.size

    def lose_pods(self, name: str, left: int) -> None:
        """The cluster takes pods of a revision away."""
        known = self.revisions[name]
        known.lost, known.ready = True, min(known.ready, left)

    def acknowledge(self, proxy: int) -> None:
        """One proxy takes what it was sent last."""
        if self.sent is not None and self.target is not None:
            self.proxies[proxy], self.acks[proxy] = self.target, self.target.epoch

    def observe(self) -> None:
        """A second of traffic: live metrics of the canary come nearer to their verdicts."""
        receiving = {proxy.canary for proxy in self.proxies if proxy is not None and proxy.weight}
        for name in filter(None, receiving):
            self.counted[name] = self.counted.get(name, 0) + 1
            bad = self.revisions[name].quality is Quality.FAILS_USERS
            for pair, needs in LIVE_NEEDS.items():
                if self.counted[name] >= needs:
                    self.seen[name, *pair] = Verdict.FAIL if bad else Verdict.PASS

    def finish_jobs(self) -> None:
        """Evals that were asked for come to their result."""
        state = persisted.from_status(self.status)
        for pair in self.jobs if state is not None else ():
            bad = self.revisions[state.revision].quality is Quality.WRONG_ANSWERS if state is not None else False
            self.seen[state.revision if state else "", *pair] = Verdict.FAIL if bad else Verdict.PASS
        self.jobs = set()

    def command(self, verb: commands.Verb, revision: str | None = None) -> None:
        """A person orders something, by default about the revision that is wanted."""
        name = revision or self.wanted
        assert name is not None
        self.order = commands.Command(verb, name, f"{len(self.answers)}-{self.now}", "alice")

    def sync(self) -> None:
        """The watch catches up."""
        if self.api_up:
            self.cached = (self.status, self.status_epoch, self.status_version)

    def restart(self) -> None:
        """Another process leads: it has read the API server and remembers nothing."""
        self.sent, self.acks, self.jobs, self.crash_after = None, [-1] * PROXIES, set(), None
        if self.api_up:
            self.sync()

    def wipe_status(self) -> None:
        """Somebody replaces the status with none."""
        self.status, self.status_epoch, self.status_version = None, 0, self.status_version + 1
        if self.order is not None and self.order.verb not in (commands.Verb.PAUSE, commands.Verb.ABORT):
            self.answered = self.order.id  # what is there before a status may be an old order

    # What the operator does.

    def gather(self) -> model.Input:
        """The facts as the operator sees them."""
        status, epoch, _ = self.cached
        state = persisted.from_status(status)
        current = model.newest_state(state, self.sent, epoch)
        first = model.stable_revision(self.known()) is None
        frozen = plan.from_json(self.frozen) if self.frozen is not None else None
        return model.Input(
            wanted=self.wanted,
            revisions=self.known(),
            state=state,
            sent=self.sent,
            last_epoch=epoch,
            acknowledged=min(self.acks),
            plan=frozen if current is not None else self.new_plan(first=first),
            verdicts=self.verdicts(current.revision if current is not None else None),
            split=self.split,
            source_ok=self.source_ok,
            protect_only=not self.api_up,
            load=capacity.Load(replicas=DESIRED),
            paused=self.paused,
            order=self.order if self.order is not None and self.order.id != self.answered else None,
        )

    def new_plan(self, *, first: bool) -> plan.Plan:
        """The plan of a rollout that starts now: all steps and a bake, or no steps within the rollback window."""
        serving = model.stable_revision(self.known())
        promoted = sorted(
            (known.promoted_at, name)
            for name, known in self.revisions.items()
            if known.promoted_at is not None and (serving is None or name != serving.hash)
        )
        direct = not first and self.wanted in {name for _, name in promoted[-WINDOW:]}
        whole = scenario.make_plan(first=first, approval=APPROVAL, bake=BAKE, direct=direct)
        if self.recreate:
            return dataclasses.replace(whole, steps=(), recreate=True, direct=False, bake=0.0)
        return dataclasses.replace(whole, steps=()) if direct else whole

    def known(self) -> tuple[model.Revision, ...]:
        """The revisions as facts."""
        return tuple(
            model.Revision(name, known.number, known.outcome, known.health(), known.deployed or known.terminating)
            for name, known in self.revisions.items()
        )

    def verdicts(self, name: str | None) -> tuple[rollout_status.GateStatus, ...]:
        """What gates say of a revision."""
        if name is None:
            return ()
        metrics = [
            rollout_status.GateStatus(
                name=gate,
                metric=metric,
                verdict=self.seen.get((name, gate, metric), Verdict.INCONCLUSIVE)
                if self.source_ok or self.seen.get((name, gate, metric)) is Verdict.FAIL
                else Verdict.ERROR,
            )
            for gate, metric in (scenario.METRIC, scenario.ANALYSIS)
        ]
        evals = [
            rollout_status.GateStatus(name=gate, metric=metric, verdict=verdict)
            for (of, gate, metric), verdict in self.seen.items()
            if of == name and (gate, metric) == scenario.EVAL
        ]
        return (*metrics, *evals)

    def decide(self) -> tuple[model.Input, model.Decision]:
        """One decision, checked for what holds of every one."""
        inputs = self.gather()
        decision = decide.decide(inputs, self.now)
        assert decision == decide.decide(inputs, self.now), "the same facts give the same decision"
        if decision.traffic.canary is not None:
            known = inputs.find(decision.traffic.canary)
            assert known is not None
            assert known.ready > 0, "traffic goes to pods that can answer"
        in_turn = self.recreate and decision.state is not None
        served = {decision.traffic.stable, decision.traffic.canary} - {None}
        assert in_turn or served <= decision.keep, "who has traffic keeps its pods"
        assert not in_turn or len(decision.keep) <= 1, "one set of pods at a time"
        self.check_entered(inputs, decision)
        if self.sent is not None and decision.traffic.stable == self.sent.traffic.stable:
            lowered = decision.traffic.weight < self.sent.traffic.weight
            assert not lowered or decision.order is model.Order.PROXIES_FIRST, "a rollback does not wait for the API server"
        assert decision.state is None or decision.state.phase is not rollout_status.Phase.IDLE
        assert persisted.from_status(persisted.to_status(decision.state)) == decision.state, "the state survives the status"
        if not self.api_up:
            assert not decision.labels
            assert self.sent is None or decision.traffic.weight <= self.sent.traffic.weight, "protect only lowers"
        return inputs, decision

    def check_entered(self, inputs: model.Input, decision: model.Decision) -> None:
        """A step with weight is entered only when every proxy has its weight."""
        before = model.newest_state(inputs.state, inputs.sent, inputs.last_epoch)
        if decision.state is None or decision.state.step_entered_at in (None, before.step_entered_at if before else None):
            return
        if decision.state.weight and self.split is model.Split.CONNECTED:
            assert min(self.acks) == decision.state.epoch, "a step is entered when every proxy has its weight"

    def reconcile(self) -> None:
        """Gather, decide, apply in the order that the decision says; a crash may come between any two actions."""
        inputs, decision = self.decide()
        try:
            if inputs.order is not None and inputs.order.verb is commands.Verb.ABORT:
                self.taken_back.add(inputs.order.revision)
            if decision.order is model.Order.PROXIES_FIRST:
                self.push(inputs, decision)
            if not self.api_up:
                return
            if decision.store_plan:
                self.store_plan(inputs, decision)
            for write in decision.labels:
                self.write_label(inputs, write)
            if self.write_status(decision):
                self.note_answer(inputs, decision)
                if decision.order is model.Order.STATUS_FIRST:
                    self.push(inputs, decision)
                self.jobs |= set(decision.evals)
                self.prune(decision)
        except CrashError:
            self.restart()

    def step(self) -> None:
        """Counts down to the crash."""
        if self.crash_after is not None:
            self.crash_after -= 1
            if self.crash_after < 0:
                raise CrashError

    def push(self, inputs: model.Input, decision: model.Decision) -> None:
        """Sends traffic to the proxies, checked against what was sent before."""
        self.step()
        traffic, before = decision.traffic, self.target
        assert traffic.epoch >= self.status_epoch, "nothing older than what is persisted is sent"
        if self.sent is not None:
            unchanged = traffic == self.sent.traffic
            assert unchanged or traffic.epoch > self.sent.traffic.epoch, "the epoch rises with every change"
        if traffic.canary is not None and traffic.weight > (before.weight if before and before.canary == traffic.canary else 0):
            assert self.status_epoch >= traffic.epoch, "an increase is persisted first"
            self.check_increase(inputs, decision)
        if before is not None and before.canary == traffic.canary is not None and traffic.weight < before.weight:
            raise AssertionError("between two steps the weight never falls")
        self.target = traffic
        self.pushed.append(traffic)
        self.sent = model.Sent(decision.state, traffic)

    def check_increase(self, inputs: model.Input, decision: model.Decision) -> None:
        """Weight rises only on a warm revision whose gates so far have passed, and with none that failed or broke."""
        assert decision.state is not None
        said = {(gate.name, gate.metric): gate.verdict for gate in inputs.verdicts}
        assert Verdict.FAIL not in said.values()
        if decision.state.phase is rollout_status.Phase.BAKING:
            return  # it is promoted, and its pods are back
        if inputs.state is not None and inputs.state.weight >= decision.traffic.weight:
            return  # decided before, by a process that died in between
        assert inputs.wanted == decision.state.revision, "a revision that nobody asks for any more gets no more traffic"
        known = inputs.find(decision.state.revision)
        assert known is not None
        assert known.health is not None
        share = decision.traffic.weight / rollout_traffic.FULL_WEIGHT
        assert known.ready >= DESIRED * share, "who gets traffic can carry it"
        assert inputs.source_ok, "nobody gets users while nobody can watch"
        assert not inputs.paused, "nothing rises while it is paused"
        assert decision.state.paused_by is None, "nor while a person has paused it"
        before = model.newest_state(inputs.state, inputs.sent, inputs.last_epoch)
        step = next((step for step in inputs.plan.steps if before and step.name == before.step), None) if inputs.plan else None
        released = before.released if before is not None else None
        if before is not None and step is not None and before.step_entered_at is not None and released is None:
            assert self.now - before.step_entered_at >= step.hold - 0.01, "the hold is over"
        left = step is not None and decision.state.step != step.name
        if left and step is not None and step.approval is not None and before is not None:
            assert before.approved_by or released is Release.STEP, "a person approved"
        if released is Release.STEP or self.skipped == decision.state.revision:
            self.skipped = decision.state.revision
            assert decision.traffic.weight <= 5000 or said.get(scenario.ANALYSIS) is Verdict.PASS
            return  # a person answers for the rest
        if inputs.plan is not None and inputs.plan.direct:
            return  # it was judged when it was promoted
        assert said.get(scenario.EVAL) is Verdict.PASS
        if decision.traffic.weight > 2500:
            assert said.get(scenario.METRIC) is Verdict.PASS
        if decision.traffic.weight > 5000:
            assert said.get(scenario.ANALYSIS) is Verdict.PASS

    def note_answer(self, inputs: model.Input, decision: model.Decision) -> None:
        """The status says what became of an order, once."""
        if decision.answer is None:
            return
        assert inputs.order is not None
        self.answered = inputs.order.id
        self.answers.append(decision.answer)

    def store_plan(self, inputs: model.Input, decision: model.Decision) -> None:
        """A rollout begins: its plan is frozen and its evidence is empty."""
        self.step()
        assert inputs.plan is not None
        assert decision.state is not None
        self.frozen = inputs.plan.to_json()
        self.counted.pop(decision.state.revision, None)
        self.seen = {key: verdict for key, verdict in self.seen.items() if key[0] != decision.state.revision}

    def write_label(self, inputs: model.Input, write: model.LabelWrite) -> None:
        """Writes an outcome label; the cache has it at once, as a client that keeps what it wrote."""
        self.step()
        known = self.revisions[write.revision]
        assert (known.outcome, write.outcome) in LEGAL, f"{write.revision}: {known.outcome} to {write.outcome}"
        if write.outcome is Label.REJECTED:
            fine = known.quality is Quality.GOOD and write.revision not in self.taken_back
            assert not fine, "a good revision is never rejected, whatever its environment does"
        direct = inputs.plan is not None and (inputs.plan.direct or inputs.plan.recreate)
        if write.outcome is Label.STABLE and known.outcome is Label.CANDIDATE and not direct:
            said = {(gate.name, gate.metric): gate.verdict for gate in inputs.verdicts}
            first = inputs.plan is not None and inputs.plan.first
            assert not any(verdict is Verdict.FAIL for verdict in said.values())
            live = set() if first or inputs.split is model.Split.NONE else {scenario.METRIC, scenario.ANALYSIS}
            required = {scenario.EVAL} | live
            if self.skipped == write.revision:
                required = live & {scenario.ANALYSIS}  # a person answers for the gates of single steps
            assert all(said.get(pair) is Verdict.PASS for pair in required), "promoted by every required gate"
        known.outcome = write.outcome
        if write.result is not None:
            known.promoted_at = self.now if write.outcome is Label.STABLE else None
        if write.number is not None:
            assert write.number > max(each.number for each in self.revisions.values())
            known.number = write.number

    def write_status(self, decision: model.Decision) -> bool:
        """Writes the status unless the cache was late, which the API server answers with a conflict."""
        self.step()
        status, epoch = persisted.to_status(decision.state), decision.traffic.epoch
        if self.cached[2] != self.status_version:
            self.sync()
            return False
        if (status, epoch) != (self.status, self.status_epoch):
            self.status, self.status_epoch, self.status_version = status, epoch, self.status_version + 1
        if decision.ended is not None:
            self.last = decision.ended
            self.ended.append(decision.ended)
        return True

    def prune(self, decision: model.Decision) -> None:
        """Creates and deletes Deployments."""
        self.step()
        for name, known in self.revisions.items():
            if name in decision.keep:
                others = [
                    other for other, each in self.revisions.items() if (each.deployed or each.terminating) and other != name
                ]
                assert known.deployed or len(others) <= 1, f"{name} warms while pods of {others} are there"
                known.deployed = True
                self.resize(name, known, decision)
            elif known.deployed:
                sending = {hop for proxy in self.proxies if proxy is not None for hop in (proxy.stable, proxy.canary)}
                live = self.split is model.Split.CONNECTED and name in sending and self.target is not None
                assert not live or self.target is None, f"pods of {name} leave while a proxy sends to them"
                known.deployed, known.ready, known.size, known.terminating = False, 0, 0, True

    def resize(self, name: str, known: Stored, decision: model.Decision) -> None:
        """As the reconcile sizes Deployments: what the spec says for who serves, what the rollout needs of the other one."""
        size = DESIRED if name == decision.stable else decision.sizes.get(name, known.size)
        before = decision.state.previous if decision.state is not None else None
        rolling = decision.state is not None and name != decision.state.revision
        assert size == DESIRED or not rolling or name not in (before, decision.stable), "who may get it back can carry it"
        under_way = decision.state is not None and decision.state.phase is not rollout_status.Phase.WARMING_UP
        assert size >= known.size or not under_way, "nothing that was loaded is given up in between"
        self.created += max(0, size - known.size)
        known.size, known.ready = size, min(known.ready, size)

    def come_to_rest(self, rounds: int = 60) -> None:
        """Runs until no rollout is under way and nothing changes any more, `rounds` at most."""
        still = 0
        for _ in range(rounds):
            before = (self.status_version, self.target, [dataclasses.astuple(known) for known in self.revisions.values()])
            self.run(1)
            after = (self.status_version, self.target, [dataclasses.astuple(known) for known in self.revisions.values()])
            still = still + 1 if before == after and self.status is None else 0
            if still == 3:
                return

    def run(self, rounds: int) -> None:
        """Time passes and nothing new goes wrong."""
        for _ in range(rounds):
            self.sync()
            self.pods_move()
            self.reconcile()
            for proxy in range(PROXIES):
                self.acknowledge(proxy)
            self.observe()
            self.finish_jobs()
            if self.approves and self.status is not None and self.status.phase is rollout_status.Phase.AWAITING_APPROVAL:
                self.command(commands.Verb.APPROVE, self.status.revision)
            if self.resumes and self.status is not None and self.status.paused_by is not None:
                self.command(commands.Verb.RESUME, self.status.revision)
            self.now += 6
