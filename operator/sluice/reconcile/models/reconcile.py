"""One reconcile of one ModelDeployment: gather, decide, apply in the decision's order, write status once, last.

Traffic goes to the proxies before anything is written when it is a decrease, and after the status when it is an increase.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Final

from sluice.api import commands, durations, naming, rollout_status
from sluice.engine import clock as clock_
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.kube import events as kube_events
from sluice.observability import logs, metrics
from sluice.reconcile import evidence, objects, programmer, traffic
from sluice.reconcile.models import (
    autoscaling,
    beside,
    copies,
    evals,
    faults,
    gather,
    last_words,
    orders,
    pruning,
    resolved,
    sizes,
    status,
    store,
    telling,
    view,
)
from sluice.reconcile.models import objects as model_objects
from sluice.rollout import causes, decide, persisted, planning, times
from sluice.rollout import model as rollout
from sluice.rollout import plan as rollout_plan
from sluice.workloads import pod_template, revision

_log = logs.get(__name__)

_KILLED: Final = 137
"""Exit code of a process that was killed."""
CALM_INTERVAL: Final = 10.0
"""Seconds between status writes while only numbers change."""
PLAN_RETRY: Final = 5.0
"""Seconds after which a plan that could not be made is tried again: data sets are not watched."""
PROXIES_RETRY: Final = 2.0
"""Seconds between looks at proxies that have not acknowledged: they are given up at some time, which is no event."""
PUSH_SECONDS: Final = 2.0


@dataclasses.dataclass
class ModelReconciler:
    """Reconciles ModelDeployments."""

    client: kube_client.Client
    gatherer: gather.Gatherer
    applier: objects.Applier
    table: traffic.TrafficTable
    programmer: programmer.Programmer
    book: evidence.Book
    evals: evals.Evals
    beside: beside.Beside
    recorder: kube_events.Recorder
    clock: clock_.Clock
    numbers: metrics.Metrics
    metrics_api: Callable[[], autoscaling.Trouble | None] = lambda: None
    """What keeps HPAs from reading custom metrics at all, if anything does."""
    crash_after_decrease: pathlib.Path | None = None
    _written: dict[naming.ObjectKey, float] = dataclasses.field(default_factory=dict)
    """When each status was last written, on the monotonic clock."""
    _faults: faults.Faults = dataclasses.field(default_factory=faults.Faults)

    def __post_init__(self) -> None:
        self.resolver = resolved.Resolver(self.applier, self.clock.now)
        self.words = last_words.LastWords(self.client)

    async def reconcile(self, key: naming.ObjectKey) -> float | None:
        """Returns the seconds after which to look again whatever happens, or None."""
        refresh = await self.gatherer.refresh(key.namespace, key.name)
        observed = self.gatherer.observe(key.namespace, key.name)
        if observed is None or observed.model.metadata.deletion_timestamp:
            self.forget(key)
            return None
        decided = await self._decide(observed)
        decision = decided.decision
        if decision.order is rollout.Order.PROXIES_FIRST:
            self._send(observed, decision)
        await self._maybe_crash(observed, decision)
        try:
            retry = await self._apply(observed, decided)
            outcome = await self.resolver.keep(observed)
        except errors.ApiError as error:
            shown = self._faults.shown(observed, decided, self._state(observed), error, self.clock.monotonic())
            if shown is not None:
                await self._write_status(observed, shown)
            raise  # tried again with back-off: a quota, a policy or a name may become free
        self._faults.over(key)
        if self._overtaken(observed, decided):
            return 0.0
        again = await self._write_status(observed, dataclasses.replace(decided, resolved=outcome))
        if self._overtaken(observed, decided):
            return 0.0
        if decision.order is rollout.Order.STATUS_FIRST:
            self._send(observed, decision)
        self._announce(observed, decided)
        if decision.labels:
            return 0.0  # the next decision waits for nothing but these
        if await self.words.refresh(key, self.gatherer.pods(observed)):
            return 0.0
        proxies, schedule = self._proxies_retry(observed, decided), decided.scaling.seconds_to_change(self.clock.now())
        pods = view.recheck_after(decided)
        waits = (refresh, decision.wake_after, retry, again, decided.again, outcome.again, proxies, schedule, pods)
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def protect(self, key: naming.ObjectKey) -> None:
        """Takes traffic away where evidence says so, and gives none: for a leader that may not write, or not yet."""
        observed = self.gatherer.observe(key.namespace, key.name)
        if observed is None:
            return
        plan = self._stored_plan(observed)
        inputs = self._inputs(observed, plan, protect_only=True)
        decision = decide.decide(inputs, self.clock.now())
        if decision.order is rollout.Order.PROXIES_FIRST:
            self._send(observed, decision)
            telling.tell(self.recorder, observed.model, decision.events)
        elif inputs.sent is None:
            # Nothing is decided here but who serves: the reconcile that may write goes on from what is persisted.
            self._send(observed, dataclasses.replace(decision, state=observed.state))

    def is_settling_in(self, key: naming.ObjectKey) -> bool:
        """Whether latencies of the revision in rollout say nothing yet, because its pods were warmed just now."""
        observed = self.gatherer.observe(key.namespace, key.name)
        if observed is None:
            return False
        return beside.is_settling_in(self._state(observed), self._stored_plan(observed), self.clock.now())

    def waits_for_proxies(self, key: naming.ObjectKey) -> bool:
        """Whether something goes on once proxies have acknowledged: a rollout, or pods that stay until nobody sends to them."""
        model = self.gatherer.lookup.model(key.namespace, key.name)
        return model is not None and (model.status.rollout is not None or len(self.gatherer.running(key)) > 1)

    def forget(self, key: naming.ObjectKey) -> None:
        """The ModelDeployment is gone; its objects are collected by their owner references."""
        self.table.forget(key)
        self.book.close(key)
        self._written.pop(key, None)
        self.words.forget(key)
        self._faults.over(key)
        self.resolver.forget(key)
        self.beside.over(key)
        self.gatherer.forget(key.namespace, key.name)
        self.numbers.forget_rollout(key.namespace, key.name)

    def family_of(self, key: naming.ObjectKey) -> evidence.Family | None:
        """The evidence of the rollout under way, opened from what is persisted when this process has not seen it yet."""
        observed = self.gatherer.observe(key.namespace, key.name)
        if observed is None:
            return None
        state = self._state(observed)
        plan = self._stored_plan(observed)
        if state is None or plan is None or self.gatherer.split(observed.model) is not rollout.Split.CONNECTED:
            return None
        return self._open(observed, state, plan)

    # -- gather -------------------------------------------------------------------------------------------------------

    async def _decide(self, observed: gather.Observed) -> view.Decided:
        problems, again = observed.problems, None
        plan = self._stored_plan(observed)
        if plan is None and self._needs_plan(observed):
            try:
                plan = await self._new_plan(observed)
            except planning.PlanError as error:
                problems, again = (*problems, status.plan_problem(error)), PLAN_RETRY
        inputs = self._inputs(observed, plan, protect_only=False)
        now = self.clock.now()
        decision = decide.decide(inputs, now)
        scaling = autoscaling.decide(observed.model.spec, inputs.revisions, decision.stable, now, sizes=decision.sizes)
        mistakes = (status.Problem(status.Reason.INVALID_SCHEDULE, words) for words in scaling.mistakes)
        judged = autoscaling.judge(scaling, self.gatherer.hpas(observed), self.metrics_api())
        return view.Decided(inputs, decision, (*problems, *mistakes), scaling, judged, again)

    def _inputs(self, observed: gather.Observed, plan: rollout_plan.Plan | None, *, protect_only: bool) -> rollout.Input:
        model = observed.model
        state = self._state(observed)
        family = self._open(observed, state, plan) if state is not None and plan is not None else None
        revisions = self._revisions(observed)
        return rollout.Input(
            wanted=observed.target.hash if observed.target is not None else None,
            revisions=revisions,
            state=observed.state,
            sent=self.table.sent(observed.key),
            last_epoch=model.status.epoch,
            acknowledged=self.programmer.acknowledged(model),
            plan=plan,
            verdicts=self._verdicts(observed, state, plan, family),
            split=self.gatherer.split(model),
            source_ok=family is None or family.source_ok,
            cold=self.beside.cold(observed, state, plan, self.gatherer.pods(observed)),
            load=sizes.load(observed.model.spec, revisions, state, self.gatherer.hpas(observed)),
            protect_only=protect_only,
            paused=model.spec.paused,
            left_at=times.parse_time(model.status.last_rollout.finished_at) if model.status.last_rollout is not None else None,
            drain_timeout=durations.seconds(model.spec.drain_timeout),
            keep_failed=model.spec.rollout.on_failure == "KeepPods",
            undone=observed.undone,
            can_rerender=self._rerendered(observed) is not None,
            order=orders.pending(model),
        )

    def _state(self, observed: gather.Observed) -> persisted.State | None:
        return rollout.newest_state(observed.state, self.table.sent(observed.key), observed.model.status.epoch)

    def _stored_plan(self, observed: gather.Observed) -> rollout_plan.Plan | None:
        state = self._state(observed)
        data = self.gatherer.stored_plan(observed.model, state.revision) if state is not None else None
        return store.read_plan(data)

    async def _new_plan(self, observed: gather.Observed) -> rollout_plan.Plan:
        served = rollout.stable_revision(self._revisions(observed))
        direct = observed.target is not None and observed.target.hash in sizes.recent(observed, served)
        return await self.gatherer.new_plan(observed.model, first=served is None, direct=direct, replicas=sizes.size_of(served))

    def _rerendered(self, observed: gather.Observed) -> revision.Revision | None:
        order = orders.pending(observed.model)
        is_asked = order is not None and order.verb is commands.Verb.RERENDER
        return self.gatherer.rerendered(observed) if is_asked else None

    def _needs_plan(self, observed: gather.Observed) -> bool:
        if self._state(observed) is not None:
            return True  # its ConfigMap is gone or damaged: go on by a plan as it would be made now
        if observed.target is None:
            return False
        stable = rollout.stable_revision(observed.revisions)
        is_stable = stable is not None and stable.hash == observed.target.hash
        return not is_stable and observed.target.outcome is not revision.OutcomeLabel.REJECTED

    def _revisions(self, observed: gather.Observed) -> tuple[rollout.Revision, ...]:
        stable = rollout.stable_revision(observed.revisions)
        leaves = self._state(observed) is None
        running = self.gatherer.running(observed.key) if leaves else set()
        return tuple(
            self._revision(observed, known, is_leaving=leaves and known is not stable and known.hash in running)
            for known in observed.revisions
        )

    def _revision(self, observed: gather.Observed, known: revision.Revision, *, is_leaving: bool) -> rollout.Revision:
        metadata, cache = observed.model.metadata, self.gatherer.cache
        deployment = cache.get(resources.DEPLOYMENTS, metadata.namespace, naming.revision_name(metadata.name, known.hash))
        pods = cache.list(resources.PODS, metadata.namespace, labels=pod_template.revision_labels(metadata.name, known.hash))
        is_stored = observed.is_stored or known.hash != observed.wanted_hash
        return rollout.Revision(
            hash=known.hash,
            number=known.number,
            outcome=known.outcome if is_stored else None,
            health=None
            if deployment is None
            else causes.health_of(
                deployment,
                pods,
                startup_timeout=durations.seconds(observed.model.spec.startup_timeout),
                words=self.words.of(observed.key),
                now=self.clock.now(),
            ),
            has_pods=deployment is not None or bool(pods),
            result=known.result,
            in_flight=self.beside.requests_in_flight(observed.key, known.hash) if is_leaving else None,
        )

    def _open(self, observed: gather.Observed, state: persisted.State, plan: rollout_plan.Plan) -> evidence.Family:
        data = self.gatherer.stored_plan(observed.model, state.revision) or {}
        stable = rollout.stable_revision(observed.revisions)
        return self.book.open(
            observed.key,
            revision=state.revision,
            stable=stable.hash if stable is not None and stable.hash != state.revision else None,
            plan=plan,
            persisted=data.get(evidence.EVIDENCE_KEY),
        )

    def _verdicts(
        self,
        observed: gather.Observed,
        state: persisted.State | None,
        plan: rollout_plan.Plan | None,
        family: evidence.Family | None,
    ) -> tuple[rollout_status.GateStatus, ...]:
        candidate = observed.find(state.revision) if state is not None else None
        if plan is None or candidate is None:
            return ()
        baking = state is not None and state.phase is rollout_status.Phase.BAKING
        live = family.statuses(has_baseline=family.stable is not None, baking=baking) if family is not None else ()
        return (*live, *self.evals.statuses(observed, plan, candidate))

    # -- apply --------------------------------------------------------------------------------------------------------

    def _send(self, observed: gather.Observed, decision: rollout.Decision) -> None:
        """Puts the decision's traffic in force at the proxies, if it changes anything."""
        if self.table.put(observed.key, rollout.Sent(decision.state, decision.traffic)):
            self.programmer.program_for(observed.model)
            _log.info("traffic", model=str(observed.key), **dataclasses.asdict(decision.traffic))

    def _proxies_retry(self, observed: gather.Observed, decided: view.Decided) -> float | None:
        """A proxy that acknowledges is heard of, but one that was waited for in vain only by looking again."""
        if decided.inputs.split is not rollout.Split.CONNECTED or not self.waits_for_proxies(observed.key):
            return None
        return PROXIES_RETRY if self.programmer.acknowledged(observed.model) < decided.decision.traffic.epoch else None

    def _overtaken(self, observed: gather.Observed, decided: view.Decided) -> bool:
        """Whether protection sent something since an increase was decided: then it is decided again, not sent."""
        is_increase = decided.decision.order is rollout.Order.STATUS_FIRST
        return is_increase and self.table.sent(observed.key) is not decided.inputs.sent

    async def _maybe_crash(self, observed: gather.Observed, decision: rollout.Decision) -> None:
        """Test hook: ends the process once, when the proxies have a decrease of which nothing is written yet."""
        persisted = observed.state.weight if observed.state is not None else 0
        marker = self.crash_after_decrease
        if marker is None or decision.traffic.weight >= persisted or marker.exists():
            return
        limit = self.clock.monotonic() + PUSH_SECONDS
        while self.programmer.acknowledged(observed.model) < decision.traffic.epoch and self.clock.monotonic() < limit:
            await self.clock.sleep(0.01)
        marker.touch()
        os._exit(_KILLED)  # the first process of a container ignores SIGKILL from within

    async def _apply(self, observed: gather.Observed, decided: view.Decided) -> float | None:
        """Makes the objects as decided; returns seconds after which an eval needs another look."""
        decision, model = decided.decision, observed.model
        await self.applier.apply_all(store.build_revisions(observed, decision))
        fresh = self._rerendered(observed) if decision.rerender else None
        if fresh is not None:
            await self.applier.apply(store.build_revision(observed, fresh))
        plan = decided.plan
        if plan is not None and decision.state is not None:
            stored = self.gatherer.stored_plan(model, decision.state.revision)
            if decision.store_plan:
                self.book.close(observed.key)
            if decision.store_plan or store.read_plan(stored) is None:
                data = store.plan_data(plan)
                await self.applier.apply(model_objects.build_evidence_config_map(model, decision.state.revision, data))
        await copies.keep(self.applier, observed, self.gatherer.files.engine, decision.keep)  # no pod starts without
        # Before the Deployments: an HPA that is no longer wanted must not undo the size that the spec asks for.
        await pruning.autoscalers(self.applier, observed, decided)
        neighbours = self.gatherer.neighbours(model)
        await self.applier.apply_all(
            model_objects.build_revision_objects(model, observed.revisions, decision, decided.scaling, neighbours)
        )
        candidate = observed.find(decision.state.revision) if decision.state is not None else None
        retry = None
        if plan is not None and candidate is not None:
            retry = await self.evals.run(self.applier, observed, plan, candidate, decision.evals)
        await pruning.everything_else(self.applier, observed, decided)
        return retry

    async def _write_status(self, observed: gather.Observed, decided: view.Decided) -> float | None:
        """Writes the status when it changed; returns seconds until a calm change may be written."""
        now = self.clock.now()
        new = status.build_status(view.build_view(observed, decided, now), now=times.time_text(now)[:-5] + "Z")
        old = observed.model.status
        if new == old:
            return None
        since = self.clock.monotonic() - self._written.get(observed.key, float("-inf"))
        if status.is_calm(old, new) and since < CALM_INTERVAL:
            return CALM_INTERVAL - since
        await self._save_evidence(observed, decided)
        metadata = observed.model.metadata
        written = await self.client.apply_status(
            resources.MODEL_DEPLOYMENTS,
            metadata.namespace,
            metadata.name,
            new.to_wire(),
            resource_version=observed.resource_version,
        )
        self.gatherer.cache.put(resources.MODEL_DEPLOYMENTS, written)
        self._written[observed.key] = self.clock.monotonic()
        telling.show(self.numbers, observed.model, decided.decision)
        return None

    async def _save_evidence(self, observed: gather.Observed, decided: view.Decided) -> None:
        state = decided.decision.state
        family = self.book.family(observed.key, state.revision) if state is not None else None
        if state is None or family is None or decided.plan is None:
            return
        data = store.plan_data(decided.plan) | {evidence.EVIDENCE_KEY: store.dumps(family.to_json())}
        await self.applier.apply(model_objects.build_evidence_config_map(observed.model, state.revision, data))

    def _announce(self, observed: gather.Observed, decided: view.Decided) -> None:
        telling.tell(self.recorder, observed.model, decided.decision.events)
        if decided.decision.state is None and decided.decision.ended is not None:
            self.book.close(observed.key)
            self.beside.over(observed.key)
