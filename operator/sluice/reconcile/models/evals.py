"""The offline evals of a rollout: which Jobs run, what they came to, and the cache of their counts."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from sluice.api import evalgate, rollout_status
from sluice.engine import clock as clock_
from sluice.evals import registry, request, verdict
from sluice.evals import result as results
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.reconcile import objects as applier_
from sluice.reconcile.models import gather, objects
from sluice.rollout import plan as rollout_plan
from sluice.rollout import times
from sluice.workloads import pod_template, revision

RETRY_SECONDS: Final = 30.0
"""A Job without counts stays so long, for people to look at; then the eval runs again."""
JOB_NAME_LABEL: Final = "batch.kubernetes.io/job-name"

Pair = tuple[str, str]


@dataclasses.dataclass
class Evals:
    """Runs evals as Jobs and remembers their counts in ConfigMaps of the same names."""

    cache: kube_cache.Cache
    image: str
    """The operator's own image."""
    clock: clock_.Clock

    def statuses(
        self, observed: gather.Observed, plan: rollout_plan.Plan, candidate: revision.Revision
    ) -> tuple[rollout_status.GateStatus, ...]:
        """What every eval of the plan says of the candidate; one that was never started says nothing."""
        said = []
        for gate, one in _evals(plan):
            wanted = self._request(observed, plan, candidate, gate, one)
            if self._started(wanted):
                said.append(verdict.status(gate, one, self._outcome(wanted)))
        return tuple(said)

    async def run(
        self,
        applier: applier_.Applier,
        observed: gather.Observed,
        plan: rollout_plan.Plan,
        candidate: revision.Revision,
        pairs: tuple[Pair, ...],
    ) -> float | None:
        """Starts the Jobs that are wanted and keeps the counts of those that ended.

        Returns the seconds after which to look again because a Job ended without counts, or None.
        """
        again = None
        for gate, one in _evals(plan):
            wanted = self._request(observed, plan, candidate, gate, one)
            if self._counts(wanted) is not None:
                continue
            outcome = self._outcome(wanted)
            job = self.cache.get(resources.JOBS, wanted.namespace, wanted.name)
            if isinstance(outcome, results.EvalResult) and job is not None:
                await applier.apply(results.to_config_map(job["metadata"] | {"ownerReferences": [wanted.owner]}, outcome))
            elif isinstance(outcome, results.EvalFailure) and job is not None:
                await self._clear_failed(applier, job)
                again = RETRY_SECONDS
            elif job is None and (gate, one.name) in pairs:
                await applier.apply(registry.runner(one.runner.type).build_job(wanted))
        return again

    async def _clear_failed(self, applier: applier_.Applier, job: dict[str, Any]) -> None:
        """Deletes a Job that ended without counts, after a while: its name is free then, and it runs again."""
        ended = next(
            (c["lastTransitionTime"] for c in job["status"]["conditions"] if c["type"] in ("Complete", "Failed")), None
        )
        if (times.parse_time(ended) or 0.0) + RETRY_SECONDS < self.clock.now():
            await applier.delete(resources.JOBS, job)

    def _request(
        self, observed: gather.Observed, plan: rollout_plan.Plan, candidate: revision.Revision, gate: str, one: evalgate.Eval
    ) -> request.Request:
        metadata = observed.model.metadata
        return request.Request(
            namespace=metadata.namespace,
            deployment=metadata.name,
            revision=candidate.hash,
            served_name=pod_template.served_name(metadata.name, candidate.typed_template),
            spec=one,
            dataset_sha256=plan.digests[f"{gate}/{one.name}"],
            image=self.image,
            owner=objects.owner_of(observed.model),
            port=pod_template.PORT,
        )

    def _started(self, wanted: request.Request) -> bool:
        return self._counts(wanted) is not None or self.cache.get(resources.JOBS, wanted.namespace, wanted.name) is not None

    def _counts(self, wanted: request.Request) -> results.EvalResult | None:
        stored = self.cache.get(resources.CONFIG_MAPS, wanted.namespace, wanted.name)
        if stored is None:
            return None
        try:
            return results.from_config_map(stored)
        except results.ResultError:
            return None  # damaged by hand: the Job, or a new one, says it again

    def _outcome(self, wanted: request.Request) -> results.Outcome | None:
        counts = self._counts(wanted)
        if counts is not None:
            return counts
        job: dict[str, Any] | None = self.cache.get(resources.JOBS, wanted.namespace, wanted.name)
        if job is None:
            return None
        pods = self.cache.list(resources.PODS, wanted.namespace, labels={JOB_NAME_LABEL: wanted.name})
        return registry.runner(wanted.spec.runner.type).parse_job(job, pods)


def _evals(plan: rollout_plan.Plan) -> tuple[tuple[str, evalgate.Eval], ...]:
    """Every eval that some step requires, each once."""
    required = dict.fromkeys(pair for step in plan.steps for pair in plan.evals_of(step))
    return tuple((gate, one) for gate, spec in plan.gates.items() for one in spec.evals if (gate, one.name) in required)
