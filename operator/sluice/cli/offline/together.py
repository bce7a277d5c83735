"""Whether the objects of some files fit together: what one names and another has, or should have. Pure.

What is named and not among the files may be in the cluster: that is a warning. What is there and does not fit is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from sluice.api import evalgate, modeldeployment, ratelimitpolicy
from sluice.cli import view
from sluice.cli.offline import findings, given
from sluice.evals import dataset
from sluice.rollout import planning
from sluice.workloads import files, pod_template, schedules, template_checks

Finding = findings.Finding
Level = findings.Level


def check(content: given.Given, *, engine_image: str) -> Iterator[Finding]:
    """Everything that does not fit. `engine_image` is what templates get that name none."""
    for model in content.models.values():
        yield from _rollout(model, content)
        yield from _gateways(model, content)
        yield from _files(model, content)
        yield from _template(model, engine_image)
    for gate in content.gates.values():
        yield from _datasets(gate, content)
    for policy in content.policies.values():
        yield from _targets(policy, content)
    yield from _names(content)


def gates_of(item: given.Item[modeldeployment.ModelDeployment]) -> set[str]:
    """Names of the EvalGates that a ModelDeployment names."""
    return view.named_gates(item.obj["spec"].get("rollout"))


def gate_specs(item: given.Item[modeldeployment.ModelDeployment], content: given.Given) -> dict[str, evalgate.EvalGateSpec]:
    """Specs of the gates of its namespace by name; an empty one stands for each that is named and not among the files."""
    known = {name: gate.parsed.spec for (namespace, name), gate in content.gates.items() if namespace == item.namespace}
    return {
        **{name: evalgate.EvalGateSpec() for name in gates_of(item)},
        evalgate.BUILTIN_DEFAULT_NAME: evalgate.BUILTIN_DEFAULT,
        **known,
    }


def _rollout(item: given.Item[modeldeployment.ModelDeployment], content: given.Given) -> Iterator[Finding]:
    spec = item.parsed.spec
    for name in sorted(gates_of(item) - {evalgate.BUILTIN_DEFAULT_NAME}):
        if (item.namespace, name) not in content.gates:
            yield _missing(item, "spec.rollout", f"EvalGate {item.namespace}/{name}")
    try:
        made = planning.build_plan(spec, gate_specs(item, content), {}, first=False)
    except planning.PlanError as error:
        yield Finding(Level.ERROR, item.title, error.field, str(error))
        return
    if not spec.gateway_refs and any(step.has_traffic for step in made.steps) and spec.rollout.strategy is not None:
        message = "without a Gateway there is no split: weights, holds and live metrics of the steps say nothing. Add one"
        yield Finding(Level.WARNING, item.title, "spec.gatewayRefs", message)
    if spec.autoscaling is not None:
        for mistake in schedules.mistakes(spec.autoscaling.schedules):
            field = f"spec.autoscaling.schedules[{mistake.schedule}].{mistake.field}"
            yield Finding(Level.ERROR, item.title, field, f"Cannot follow {mistake.value!r}: {mistake.cause}. Correct it")


def _gateways(item: given.Item[modeldeployment.ModelDeployment], content: given.Given) -> Iterator[Finding]:
    for index, reference in enumerate(item.parsed.spec.gateway_refs):
        field, namespace = f"spec.gatewayRefs[{index}]", reference.namespace or item.namespace
        owner = content.gateways.get((namespace, reference.name))
        if owner is None:
            yield _missing(item, field, f"Gateway {namespace}/{reference.name}")
            continue
        allowed = owner.parsed.spec.allowed_models.namespaces
        if allowed.from_ == "Same" and namespace != item.namespace:
            message = (
                f"Gateway {namespace}/{reference.name} allows only its own namespace: set its "
                "spec.allowedModels.namespaces.from to All or Selector, or use another Gateway"
            )
            yield Finding(Level.ERROR, item.title, field, message)
        elif allowed.from_ == "Selector":
            message = f"depends on the labels of Namespace {item.namespace}: see spec.allowedModels of that Gateway"
            yield Finding(Level.WARNING, item.title, field, message)


def _files(item: given.Item[modeldeployment.ModelDeployment], content: given.Given) -> Iterator[Finding]:
    for reference in files.references(item.obj["spec"]["template"]):
        yield from _key(item, reference.field, reference.config_map, reference.key, content)


def _template(item: given.Item[modeldeployment.ModelDeployment], engine_image: str) -> Iterator[Finding]:
    for message in template_checks.problems(item.parsed.spec.template, default_image=engine_image):
        yield Finding(Level.ERROR, item.title, "spec.template", message)


def _datasets(item: given.Item[evalgate.EvalGate], content: given.Given) -> Iterator[Finding]:
    for one in item.parsed.spec.evals:
        reference = one.dataset.config_map
        if reference is None:
            continue
        field = f"spec.evals[{one.name}].dataset.configMap"
        found = list(_key(item, field, reference.name, reference.key, content))
        yield from found
        data = _data(content, item.namespace, reference.name).get(reference.key)
        if found or data is None:
            continue
        try:
            items = dataset.parse(data.encode())
        except dataset.DatasetError as error:
            yield Finding(Level.ERROR, item.title, field, str(error))
            continue
        if one.sample_size is not None and one.sample_size > len(items):
            message = f"asks for {one.sample_size} items, and the dataset has {len(items)}: lower it, or add items"
            yield Finding(Level.WARNING, item.title, f"spec.evals[{one.name}].sampleSize", message)


def _targets(item: given.Item[ratelimitpolicy.RateLimitPolicy], content: given.Given) -> Iterator[Finding]:
    for index, target in enumerate(item.parsed.spec.target_refs):
        if (item.namespace, target.name) not in content.gateways:
            yield _missing(item, f"spec.targetRefs[{index}]", f"Gateway {item.namespace}/{target.name}")


def _names(content: given.Given) -> Iterator[Finding]:
    """Names that two models claim at one Gateway: the older would win."""
    claims: dict[tuple[str, str, str], list[given.Item[modeldeployment.ModelDeployment]]] = {}
    for item in content.models.values():
        served = pod_template.served_name(item.name, item.parsed.spec.template)
        adapters = [adapter.name for adapter in item.parsed.spec.template.model.adapters or ()]
        for reference, name in itertools.product(item.parsed.spec.gateway_refs, (served, *adapters)):
            claims.setdefault((reference.namespace or item.namespace, reference.name, name), []).append(item)
    for (namespace, gateway_name, name), items in claims.items():
        first, *others = items
        for other in others:
            message = (
                f"{name!r} is served through Gateway {namespace}/{gateway_name} by {first.namespace}/{first.name} too, and one "
                "of them would have no route: change servedName or the adapter's name of one, or remove its gatewayRef"
            )
            yield Finding(Level.ERROR, other.title, "spec.template.model", message)


def _key(item: given.AnyItem, field: str, name: str, key: str, content: given.Given) -> Iterator[Finding]:
    """A key of a ConfigMap in the same namespace."""
    if (item.namespace, name) not in content.config_maps:
        yield _missing(item, field, f"ConfigMap {item.namespace}/{name} with key {key!r}")
    elif key not in _data(content, item.namespace, name):
        has = ", ".join(_data(content, item.namespace, name)) or "none"
        yield Finding(
            Level.ERROR, item.title, field, f"ConfigMap {item.namespace}/{name} has no key {key!r}: its keys are {has}"
        )


def _data(content: given.Given, namespace: str, name: str) -> Mapping[str, Any]:
    obj = content.config_maps.get((namespace, name), {})
    return {str(key): str(value) for key, value in (obj.get("data") or {}).items()}


def _missing(item: given.AnyItem, field: str, what: str) -> Finding:
    return Finding(Level.WARNING, item.title, field, f"{what} is not among the files: it has to be in the cluster")
