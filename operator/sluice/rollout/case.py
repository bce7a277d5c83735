"""One moment of one rollout, as the checks see it: the gathered input and what follows from it directly.

Nothing is decided here.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Final

from sluice.api import rollout_status
from sluice.rollout import capacity, health, model, persisted, plan, times, traffic

_NO_PODS: Final = health.Health(desired=1, ready=0)
"""A revision whose Deployment does not exist yet."""

_RECREATING: Final = frozenset(
    {
        rollout_status.Phase.WARMING_UP,
        rollout_status.Phase.PROGRESSING,
        rollout_status.Phase.AWAITING_APPROVAL,
        rollout_status.Phase.PAUSED,
        rollout_status.Phase.PROMOTING,
    }
)
Pair = tuple[str, str]
"""A gate and one of its metrics or evals."""


@dataclasses.dataclass(frozen=True)
class Case:
    """The input with the state to go on from."""

    inputs: model.Input
    now: float
    state: persisted.State | None
    stable: model.Revision | None

    @classmethod
    def of(cls, inputs: model.Input, now: float) -> Case:
        """The case of an input at `now`."""
        state = model.newest_state(inputs.state, inputs.sent, inputs.last_epoch)
        return cls(inputs, times.at(now), state, model.stable_revision(inputs.revisions))

    @property
    def rollout(self) -> persisted.State:
        """The state where there is one for sure."""
        assert self.state is not None
        return self.state

    @property
    def serving(self) -> str | None:
        """Hash of the stable revision."""
        return self.stable.hash if self.stable is not None else None

    @property
    def baseline(self) -> str | None:
        """Hash of the revision that has the traffic that the one in rollout does not have."""
        return self.serves_beside(self.state)

    def serves_beside(self, state: persisted.State | None) -> str | None:
        """The same for any state. With strategy Recreate nobody does: that revision is leaving or gone."""
        if state is None:
            return self.serving
        if self.inputs.plan is not None and self.inputs.plan.recreate and state.phase in _RECREATING:
            return None
        return state.previous if state.previous is not None else self.serving

    @property
    def base(self) -> model.Revision | None:
        """That revision."""
        return self.inputs.find(self.baseline)

    @property
    def bake(self) -> float:
        """Seconds for which the former revision stays warm."""
        return self.inputs.plan.bake if self.inputs.plan is not None else 0.0

    @property
    def canary(self) -> model.Revision | None:
        """The revision in rollout, unless its object is gone."""
        return self.inputs.find(self.rollout.revision)

    @property
    def health(self) -> health.Health:
        """That of the revision in rollout."""
        return (self.canary.health if self.canary is not None else None) or _NO_PODS

    @property
    def rules(self) -> capacity.Rules:
        """How many pods each side gets."""
        return self.inputs.plan.capacity if self.inputs.plan is not None else capacity.DEFAULT

    def needed(self, share: int) -> int:
        """Pods that the revision in rollout needs for that share of the traffic, in basis points.

        All of them where there is nothing to divide: for the first revision, and where the Service moves at once.
        """
        if self.inputs.load is None:
            return self.health.desired
        first = self.inputs.plan is not None and self.inputs.plan.first
        whole = first or (not self.splits and share > 0)
        rules = dataclasses.replace(self.rules, full=True) if whole else self.rules
        return capacity.needed(rules, self.inputs.load, share)

    @property
    def is_warm(self) -> bool:
        """Whether the revision in rollout has the pods that it is to have by now."""
        asked = self.rollout.replicas or self.needed(self.share)
        if self.inputs.load is not None:
            asked = min(asked, capacity.base(self.rules, self.inputs.load))  # the spec may ask for fewer by now
        return self.health.ready >= max(1, asked) and self.health.desired > 0

    @property
    def share(self) -> int:
        """Of the traffic that the revision in rollout has now, copies included."""
        return min(self.rollout.weight + self.rollout.mirror, traffic.FULL_WEIGHT)

    @property
    def acknowledged(self) -> bool:
        """Whether the state's traffic is what every connected proxy has. Without a gateway there is none to ask."""
        return self.acknowledges(self.rollout.epoch)

    def acknowledges(self, epoch: int) -> bool:
        """Whether every connected proxy has the traffic of that epoch."""
        return self.inputs.split is not model.Split.CONNECTED or self.inputs.acknowledged >= epoch

    @functools.cached_property
    def steps(self) -> tuple[plan.StepPlan, ...]:
        """The steps that this rollout can take: without a split, only those before any traffic."""
        if self.inputs.plan is None:
            return ()
        if self.inputs.plan.first or self.inputs.split is model.Split.NONE:
            return self.inputs.plan.before_traffic()
        return self.inputs.plan.steps

    @property
    def step(self) -> plan.StepPlan | None:
        """The current step, if it is one that can be taken."""
        return next((step for step in self.steps if step.name == self.rollout.step), None)

    @property
    def splits(self) -> bool:
        """Whether this rollout moves traffic by weights."""
        first = self.inputs.plan is not None and self.inputs.plan.first
        return self.inputs.split is not model.Split.NONE and not first and self.base is not None

    def may_be_asked_for(self, state: persisted.State) -> bool:
        """Whether testers may ask for the revision in rollout: from the first step after those that come before any traffic."""
        frozen = self.inputs.plan
        if frozen is None or frozen.rules.override is None or not self.splits:
            return False
        reached = frozen.index(state.step)
        return state.in_step and reached is not None and reached >= len(frozen.before_traffic())

    def is_undone(self, revision: str | None) -> bool:
        """Whether a person went back from that revision."""
        return self.inputs.undone is not None and self.inputs.undone.revision == revision

    @property
    def undone_text(self) -> str:
        """That and who it was, for people."""
        undone = self.inputs.undone
        return f"{undone.by or 'Somebody'} went back to revision {undone.held}." if undone is not None else ""

    @property
    def paused(self) -> bool:
        """Whether a person stopped increases."""
        return self.inputs.paused or (self.state is not None and self.state.paused_by is not None)

    def verdict(self, pair: Pair) -> rollout_status.GateStatus | None:
        """What a metric or eval says; None while it has said nothing."""
        return next((gate for gate in self.inputs.verdicts if (gate.name, gate.metric) == pair), None)

    def watched_evals(self) -> tuple[rollout_status.GateStatus, ...]:
        """The verdicts of the current step's evals."""
        if self.inputs.plan is None or self.step is None:
            return ()
        pairs = self.inputs.plan.evals_of(self.step)
        return tuple(gate for gate in self.inputs.verdicts if (gate.name, gate.metric) in pairs)

    def watched(self) -> tuple[rollout_status.GateStatus, ...]:
        """The verdicts that a rise of the weight depends on: of the analysis, and of the gates of the steps so far."""
        if self.inputs.plan is None:
            return self.inputs.verdicts
        current = self.inputs.plan.index(self.rollout.step)
        reached = self.inputs.plan.steps[: current + 1] if current is not None else ()
        names = {*self.inputs.plan.analysis, *(name for step in reached for name in step.gates)}
        return tuple(gate for gate in self.inputs.verdicts if gate.name in names)
