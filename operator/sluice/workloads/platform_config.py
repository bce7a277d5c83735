"""What a platform team says of all ModelDeployments, in the ConfigMap `sluice-config`: defaults, and rules by namespace.

Typed, and strict about what it does not know: a rule that is misspelt must not be a rule that is missing. What follows for one
ModelDeployment is in `platform_rules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

import pydantic

from sluice.api import affinity, base, model_source, pod_fields
from sluice.api import template as template_api
from sluice.api import vllm as vllm_api
from sluice.workloads import quantities

DEFAULTS_KEY: Final = "defaults"
ENFORCED_KEY: Final = "enforced"


class ConfigError(Exception):
    """The configuration cannot be used; the message names the place and the cause."""


class Defaults(base.ApiModel):
    """What templates get that do not say. Recorded in each revision, so that a change starts nothing."""

    engine_image: Annotated[
        str | None, pydantic.Field(max_length=512, pattern=r"^[^\s]+$", description="For spec.template.engine.image.")
    ] = None
    gpu_resource: Annotated[
        str | None,
        pydantic.Field(
            max_length=253,
            pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
            description="For spec.template.resources.gpu.resourceName.",
        ),
    ] = None
    shared_memory: Annotated[base.Quantity | None, pydantic.Field(description="For resources.sharedMemory.")] = None
    cache: Annotated[
        model_source.Cache | None, pydantic.Field(description="For spec.template.model.cache, where something is downloaded.")
    ] = None
    image_pull_secrets: Annotated[
        tuple[pod_fields.LocalObjectRef, ...] | None,
        pydantic.Field(max_length=8, description="For spec.template.imagePullSecrets; they must exist in each namespace."),
    ] = None
    priority_class_name: Annotated[
        pod_fields.ObjectName | None, pydantic.Field(description="For spec.template.scheduling.priorityClassName.")
    ] = None
    profiles: Annotated[
        Mapping[template_api.GpuProfile, vllm_api.VllmArgs],
        pydantic.Field(description="For spec.template.engine.vllm.args, by resources.gpu.profile; before Sluice's own table."),
    ] = {}

    @pydantic.model_validator(mode="after")
    def _usable(self) -> Self:
        if self.shared_memory is not None:
            quantities.parse(self.shared_memory)
        if self.cache is not None:
            claim, folder = self.cache.persistent_volume_claim, self.cache.empty_dir
            if (claim is not None) != (self.cache.type == "PersistentVolumeClaim") or (
                folder is not None and claim is not None
            ):
                raise ValueError("cache needs the member of its type, and no other")
            if folder is not None and folder.size_limit is not None:
                quantities.parse(folder.size_limit)
        return self


class Images(base.ApiModel):
    """Rules for container images: the engine's, those of oci:// sources, and those of image volumes."""

    allowed_prefixes: Annotated[
        tuple[Annotated[str, pydantic.Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")], ...] | None,
        pydantic.Field(
            max_length=64,
            description=(
                "Registries and repositories that images may come from. One matches up to a /, : or @, so that "
                "registry.example does not allow registry.example.org."
            ),
        ),
    ] = None
    require_digest: Annotated[bool, pydantic.Field(description="Whether images must be named by digest.")] = False


class Sources(base.ApiModel):
    """Rules for where models and adapters come from."""

    allowed_schemes: Annotated[
        tuple[Literal["hf", "s3", "gs", "pvc", "oci", "file"], ...] | None,
        pydantic.Field(max_length=6, description="What may stand before ://."),
    ] = None
    require_commit: Annotated[
        bool, pydantic.Field(description="Whether hf:// sources must name a commit, of 40 digits, as their revision.")
    ] = False


class Rule(base.ApiModel):
    """What holds for new revisions in some namespaces."""

    name: base.DnsLabel
    namespace_selector: Annotated[
        affinity.LabelSelector, pydantic.Field(description="Namespaces that the rule holds in, by label. Unset: all.")
    ] = affinity.LabelSelector()
    images: Images = Images()
    sources: Sources = Sources()
    max_gpus_per_replica: Annotated[
        int | None,
        pydantic.Field(
            alias="maxGPUsPerReplica",
            ge=0,
            description="Most GPUs of one pod. Claims of DRA are refused beside it, for their devices cannot be counted.",
        ),
    ] = None
    allow_trust_remote_code: Annotated[
        bool, pydantic.Field(description="Whether Python code of a model's repository may run in the engine.")
    ] = True
    required_gates: Annotated[
        tuple[base.DnsLabel, ...],
        pydantic.Field(max_length=16, description="EvalGates of the namespace that every rollout there passes."),
    ] = ()

    @pydantic.model_validator(mode="after")
    def _selects(self) -> Self:
        for expression in self.namespace_selector.match_expressions or ():
            if (expression.operator in ("In", "NotIn")) != bool(expression.values):
                needs = "needs values" if not expression.values else "takes no values"
                raise ValueError(f"namespaceSelector: operator {expression.operator} of label {expression.key} {needs}")
        return self

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether the rule holds in a namespace with these labels."""
        selector = self.namespace_selector
        return all(labels.get(key) == value for key, value in (selector.match_labels or {}).items()) and all(
            _holds(expression, labels) for expression in selector.match_expressions or ()
        )


def _holds(expression: affinity.LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression.key), expression.values or ()
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[expression.operator]


class Config(base.ApiModel):
    """The whole configuration. An empty one has no defaults and no rules."""

    defaults: Defaults = Defaults()
    enforced: Annotated[tuple[Rule, ...], pydantic.Field(max_length=64)] = ()

    @pydantic.model_validator(mode="after")
    def _unique(self) -> Self:
        names = [rule.name for rule in self.enforced]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two rules of enforced are called {twice}: rename one")
        return self


EMPTY: Final = Config()
"""No defaults and no rules."""


def parse(data: Mapping[str, Any]) -> Config:
    """The configuration in the ConfigMap's data, which is given as what its YAML stands for.

    Raises:
        ConfigError: it has a field that does not exist, or a value that does not fit.
    """
    extra = sorted(data.keys() - {DEFAULTS_KEY, ENFORCED_KEY})
    if extra:
        raise ConfigError(f"key {extra[0]} is none of {DEFAULTS_KEY} and {ENFORCED_KEY}")
    raw = {key: value for key, value in data.items() if value is not None}
    try:
        config = Config.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        words = first["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
        raise ConfigError(f"{_path(first['loc']) or 'it'}: {words}") from error
    unknown = next(_unknown(raw, config.model_dump(mode="json", by_alias=True, exclude_unset=True), ()), None)
    if unknown is not None:
        raise ConfigError(f"{_path(unknown)}: there is no such field")
    return config


def _unknown(given: Any, known: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    """Paths of members that the typed form does not have."""
    if isinstance(given, Mapping) and isinstance(known, Mapping):
        for key, value in given.items():
            if key in known:
                yield from _unknown(value, known[key], (*path, key))
            else:
                yield (*path, str(key))
    elif isinstance(given, list) and isinstance(known, list):
        for index, (value, member) in enumerate(zip(given, known, strict=False)):
            yield from _unknown(value, member, (*path, index))


def _path(parts: tuple[str | int, ...]) -> str:
    """A location as people write it: enforced[0].images."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")
