"""The history of a ModelDeployment: a projection of its stored revisions, and what is deleted when they are too many.

Which are too many is decided in `rollout.history`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sluice.api import history as api
from sluice.api import naming, rollout_status
from sluice.kube import resources
from sluice.reconcile import objects as applier_
from sluice.reconcile.models import gather, objects
from sluice.rollout import history
from sluice.rollout import model as rollout
from sluice.workloads import files, outcome, revision

DIGEST_LENGTH: Final = 12
_RESULTS: Final = tuple(rollout_status.Outcome)


def entries(revisions: Iterable[revision.Revision], *, limit: int) -> tuple[api.HistoryEntry, ...]:
    """What is kept of each stored revision, newest first; never more than the limit and those in use."""
    newest = sorted(revisions, key=lambda known: known.number, reverse=True)
    return tuple(_entry(known) for known in newest)[: limit + api.ENTRIES_MAX - api.LIMIT_MAX]


def last_rollout(revisions: Iterable[revision.Revision]) -> rollout_status.LastRollout | None:
    """How the latest rollout ended, as far as the revisions remember it: for a status that was lost."""
    ended = [known for known in revisions if known.result is not None and known.result.outcome in _RESULTS]
    latest = max(ended, key=lambda known: known.result.finished_at if known.result is not None else "", default=None)
    if latest is None or latest.result is None:
        return None
    return rollout_status.LastRollout(
        revision=latest.hash,
        outcome=rollout_status.Outcome(latest.result.outcome),
        reason=latest.result.reason[:64],
        message=latest.result.message,
        started_at=latest.result.started_at,
        finished_at=latest.result.finished_at,
    )


async def prune(
    applier: applier_.Applier, observed: gather.Observed, inputs: rollout.Input, decision: rollout.Decision
) -> None:
    """Deletes the revisions beyond spec.revisionHistoryLimit with all that was kept for them.

    A revision goes last, so that what a crash leaves is found again.
    """
    model = observed.model
    if observed.wanted is None:
        return  # a revision that the spec asks for must not be forgotten because its files cannot be read just now
    needed = in_use(inputs, decision)
    for revision_hash in history.surplus(observed.revisions, limit=model.spec.revision_history_limit, needed=needed):
        labels = {**objects.model_labels(model.metadata.name), naming.LABEL_REVISION: revision_hash}
        for resource in (resources.JOBS, resources.CONFIG_MAPS, resources.CONTROLLER_REVISIONS):
            await applier.prune(resource, model.metadata.namespace, labels, keep=(), owner_uid=model.metadata.uid)


def in_use(inputs: rollout.Input, decision: rollout.Decision) -> frozenset[str]:
    """Hashes of the revisions that serve, may serve, are being judged or asked for, or still have pods."""
    states = (inputs.state, decision.state, inputs.sent.state if inputs.sent is not None else None)
    traffics = (decision.traffic, inputs.sent.traffic if inputs.sent is not None else None)
    named = {
        inputs.wanted,
        inputs.undone.revision if inputs.undone is not None else None,
        decision.stable,
        *decision.keep,
        *(write.revision for write in decision.labels),
        *(state.revision for state in states if state is not None),
        *(side for traffic in traffics if traffic is not None for side in (traffic.stable, traffic.canary)),
        *(known.hash for known in inputs.revisions if known.has_pods),
    }
    return frozenset(name for name in named if name is not None)


def _entry(known: revision.Revision) -> api.HistoryEntry:
    result = known.result if known.outcome is not revision.OutcomeLabel.CANDIDATE else None
    said: dict[str, Any] = {}
    if result is not None and result.outcome in _RESULTS:
        said = {
            "result": result.outcome,
            "reason": result.reason[:64],
            "message": outcome.shorten(result.message, api.MESSAGE_MAX) or None,
            "finished_at": result.finished_at or None,
        }
    digests = sorted(files.of_user(known.files).items())[: api.FILES_MAX]
    return api.HistoryEntry(
        revision=known.hash,
        number=known.number,
        outcome=known.outcome.value if known.outcome is not None else None,
        created_at=known.created_at or None,
        model=_source(known),
        image=known.template.get("engine", {}).get("image") or known.defaults.get("engine_image"),
        files=tuple(api.FileDigest(name=name, digest=digest[:DIGEST_LENGTH]) for name, digest in digests),
        **said,
    )


def _source(known: revision.Revision) -> str:
    model = known.template.get("model", {})
    at = f"@{model['revision']}" if model.get("revision") else ""
    return f"{model.get('source', '')}{at}"
