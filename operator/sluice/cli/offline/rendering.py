"""What the operator would create for the first revision of a ModelDeployment: by its own builders, without a cluster. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.api import modeldeployment
from sluice.cli import exits
from sluice.cli.offline import given
from sluice.reconcile.models import autoscaling, guards, objects
from sluice.rollout import model as rollout
from sluice.rollout import traffic
from sluice.workloads import files, platform_config, pod_template, revision

Object = dict[str, Any]


def render(
    item: given.Item[modeldeployment.ModelDeployment],
    content: given.Given,
    *,
    defaults: pod_template.Defaults,
    engine: files.EngineFiles,
    operator_namespace: str,
    now: float,
) -> list[Object]:
    """The objects, without owners, whose UIDs only a cluster gives. `now` decides which schedules are in force.

    Raises:
        exits.Failure: a file that the template takes from a ConfigMap is not among the files given.
    """
    model, template = item.parsed, item.obj["spec"]["template"]
    contents = {**engine.contents(), **_contents(item, content)}
    made = revision.make_revision(
        item.name,
        template,
        files=files.digests(contents),
        known=(),
        defaults=defaults,
        platform=platform_config.Defaults(),
        timing=pod_template.Timing.of(model.spec),
    )
    owner = objects.owner_of(model)
    place: Mapping[str, Any] = {"namespace": item.namespace, "name": item.name, "owner": owner}
    built = [
        revision.build_controller_revision(made, **place),
        files.build_config_map(revision_hash=made.hash, contents=contents, **place),
        *objects.build_revision_objects(
            model,
            [made],
            _promoted(made.hash),
            autoscaling.decide(model.spec, (), None, now),
            _neighbours(item, operator_namespace, openshift=defaults.openshift),
        ),
    ]
    return [_without_owner(obj) for obj in built]


def _promoted(revision_hash: str) -> rollout.Decision:
    """What there is to keep once the first revision serves."""
    return rollout.Decision(
        state=None,
        traffic=traffic.Traffic(stable=revision_hash, canary=None, weight=0),
        order=rollout.Order.STATUS_FIRST,
        stable=revision_hash,
        keep=frozenset({revision_hash}),
    )


def _neighbours(
    item: given.Item[modeldeployment.ModelDeployment], operator_namespace: str, *, openshift: bool
) -> guards.Neighbours:
    """Every Gateway that is named, as if it allowed the namespace."""
    named = {(ref.namespace or item.namespace, ref.name) for ref in item.parsed.spec.gateway_refs}
    return guards.Neighbours(gateways=tuple(sorted(named)), operator_namespace=operator_namespace, openshift=openshift)


def _contents(item: given.Item[modeldeployment.ModelDeployment], content: given.Given) -> dict[str, str]:
    """The user's files, from ConfigMaps that were given too."""
    texts: dict[str, str] = {}
    for reference in files.references(item.obj["spec"]["template"]):
        data = content.config_maps.get((item.namespace, reference.config_map), {}).get("data") or {}
        if reference.key not in data:
            raise exits.Failure(
                exits.Exit.INVALID,
                f"Cannot render {item.title}: {reference.field} takes key {reference.key!r} of ConfigMap "
                f"{item.namespace}/{reference.config_map}, which is not among the files. Give it by -f too",
            )
        texts[reference.file] = str(data[reference.key])
    return texts


def _without_owner(obj: Object) -> Object:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "ownerReferences"}}
