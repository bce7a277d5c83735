"""What the platform's configuration comes to for one ModelDeployment: its defaults in a template, and the rules that it breaks.

Rules hold for new revisions and their rollouts. Who asks, and what runs already, is the caller's matter.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sluice.api import template as template_api  # parameters are named template
from sluice.api import vllm as vllm_api
from sluice.workloads import platform_config, pod_template, quantities

_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}$")
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REMOTE_CODE_FLAG: Final = "--trust-remote-code"
_TEMPLATE: Final = "spec.template"


@dataclasses.dataclass(frozen=True)
class Violation:
    """One broken rule."""

    rule: str
    field: str
    """Path in the ModelDeployment."""
    message: str
    """Names the rule, the field, its value and the fix."""


@dataclasses.dataclass(frozen=True)
class Filled:
    """A template with the platform's defaults where it is silent."""

    template: template_api.Template
    defaults: pod_template.Defaults
    record: Mapping[str, str]
    """What was added, for the revision: JSON text by the path below spec.template."""


def fill(template: template_api.Template, given: platform_config.Defaults, defaults: pod_template.Defaults) -> Filled:
    """The template as it is rendered. `defaults` are the operator's own, which the platform's go before."""
    added = {path: value for path, value in _additions(template, given).items() if value is not None}
    wire = template.to_wire()
    for path, value in added.items():
        _put(wire, path.split("."), value)
    own: dict[str, Any] = {
        "engine_image": given.engine_image,
        "gpu_resource": given.gpu_resource,
        "shared_memory": given.shared_memory,
    }
    return Filled(
        template=template_api.Template.model_validate(wire) if added else template,
        defaults=dataclasses.replace(defaults, **{name: value for name, value in own.items() if value is not None}),
        record={path: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for path, value in added.items()},
    )


def _additions(template: template_api.Template, given: platform_config.Defaults) -> dict[str, Any]:
    """Values by path below spec.template; None where there is nothing to add."""
    model, scheduling = template.model, template.scheduling
    sources = (model.source, *(adapter.source for adapter in model.adapters or ()))
    downloads = any(source.startswith(("hf://", "s3://", "gs://")) for source in sources)
    additions: dict[str, Any] = {}
    if given.cache is not None and model.cache is None and downloads:
        additions["model.cache"] = given.cache.to_wire()
    if given.image_pull_secrets is not None and template.image_pull_secrets is None:
        additions["imagePullSecrets"] = [secret.to_wire() for secret in given.image_pull_secrets]
    if scheduling is None or scheduling.priority_class_name is None:
        additions["scheduling.priorityClassName"] = given.priority_class_name
    gpu = template.resources.gpu if template.resources is not None else None
    profile = given.profiles.get(gpu.profile) if gpu is not None and gpu.profile is not None else None
    said = (template.engine.vllm and template.engine.vllm.args) or vllm_api.VllmArgs()
    for name, value in (profile.to_wire() if profile is not None else {}).items():
        if name not in said.to_wire():
            additions[f"engine.vllm.args.{name}"] = value
    return additions


def _put(wire: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        wire = wire.setdefault(name, {})
    wire[path[-1]] = value


def violations(rules: Iterable[platform_config.Rule], filled: Filled) -> Iterator[Violation]:
    """What a revision of this template would break, of the rules that hold in its namespace."""
    for rule in rules:
        for check in (_images, _sources, _gpus, _remote_code):
            for field, words in check(rule, filled):
                message = f"Cannot roll out: {_TEMPLATE}.{field} {words} (rule {rule.name!r} of the platform)"
                yield Violation(rule.name, f"{_TEMPLATE}.{field}", message)


_Findings = Iterator[tuple[str, str]]
"""Field below spec.template, and what is wrong with it."""


def _images(rule: platform_config.Rule, filled: Filled) -> _Findings:
    allowed = rule.images.allowed_prefixes
    for field, image in _all_images(filled):
        if allowed is not None and not any(_within(image, prefix) for prefix in allowed):
            listed = ", ".join(allowed) or "none"
            yield field, f"is {image}, and images must come from: {listed}. Use an image from there"
        if rule.images.require_digest and not _DIGEST.search(image):
            yield field, f"is {image}, without a digest. Name the image by its digest, as …@sha256:…"


def _all_images(filled: Filled) -> Iterator[tuple[str, str]]:
    template = filled.template
    yield "engine.image", template.engine.image or filled.defaults.engine_image
    for field, source, _ in _all_sources(template):
        if source.startswith("oci://"):
            yield field, source.removeprefix("oci://").partition("#")[0]
    for volume in template.volumes or ():
        if volume.image is not None:
            yield f"volumes[{volume.name}].image.reference", volume.image.reference


def _within(image: str, prefix: str) -> bool:
    """Whether an image is below a registry or repository; both as the container runtime completes them."""
    whole = _complete(image) if "/" in image else f"docker.io/library/{image}"
    # Without a slash, a registry is told from a user of docker.io by its dot or port.
    start = prefix if "/" not in prefix and _is_host(prefix) else _complete(prefix)
    return whole.startswith(start) and (start.endswith("/") or whole[len(start) : len(start) + 1] in ("", "/", ":", "@"))


def _complete(image: str) -> str:
    """The image with its registry: `vllm/vllm-openai` is on docker.io."""
    host, _, rest = image.partition("/")
    if not _is_host(host):
        return f"docker.io/{image}"
    return f"docker.io/{rest}" if host == "index.docker.io" else image


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"


def _all_sources(template: template_api.Template) -> Iterator[tuple[str, str, str | None]]:
    """Field, source and revision of the model and of each adapter."""
    yield "model.source", template.model.source, template.model.revision
    for adapter in template.model.adapters or ():
        yield f"model.adapters[{adapter.name}].source", adapter.source, adapter.revision


def _sources(rule: platform_config.Rule, filled: Filled) -> _Findings:
    allowed = rule.sources.allowed_schemes
    for field, source, commit in _all_sources(filled.template):
        scheme = source.partition("://")[0]
        if allowed is not None and scheme not in allowed:
            listed = ", ".join(f"{one}://" for one in allowed) or "none"
            yield field, f"is {source}, and sources must begin with: {listed}. Use such a source"
        if rule.sources.require_commit and scheme == "hf" and not _COMMIT.fullmatch(commit or ""):
            where = f"{field.removesuffix('source')}revision"
            yield where, f"is {commit or 'unset'}, and no commit. Name the commit of 40 digits that {source} is at"


def _gpus(rule: platform_config.Rule, filled: Filled) -> _Findings:
    most, resources = rule.max_gpus_per_replica, filled.template.resources
    if most is None or resources is None:
        return
    if resources.gpu is not None and resources.gpu.count > most:
        yield "resources.gpu.count", f"is {resources.gpu.count}, and {most} are the most. Lower it"
    for side, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        for name, amount in (amounts or {}).items():
            is_gpu = name == filled.defaults.gpu_resource or name.endswith("/gpu")
            if is_gpu and quantities.parse(amount) > most:
                yield f"resources.{side}[{name}]", f"is {amount}, and {most} are the most. Lower it"
    if resources.claims:
        words = f"asks for devices that cannot be counted, and {most} GPUs are the most. Use resources.gpu"
        yield f"resources.claims[{resources.claims[0].name}]", words


def _remote_code(rule: platform_config.Rule, filled: Filled) -> _Findings:
    vllm = filled.template.engine.vllm
    if rule.allow_trust_remote_code or vllm is None:
        return
    if vllm.args is not None and vllm.args.trust_remote_code:
        yield "engine.vllm.args.trustRemoteCode", "is true, and code of a model's repository may not run. Remove it"
    for argument in vllm.extra_args or ():
        if argument.replace("_", "-").startswith(_REMOTE_CODE_FLAG):
            yield "engine.vllm.extraArgs", f"holds {argument}, and code of a model's repository may not run. Remove it"


def required_gates(rules: Iterable[platform_config.Rule]) -> tuple[tuple[str, str], ...]:
    """(gate, rule) for each EvalGate that rollouts must pass, once each."""
    found: dict[str, str] = {}
    for rule in rules:
        for gate in rule.required_gates:
            found.setdefault(gate, rule.name)
    return tuple(found.items())
