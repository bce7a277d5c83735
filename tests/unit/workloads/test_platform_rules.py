"""What the platform's rules find in a template, and what its defaults add to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sluice.api import template as template_api
from sluice.workloads import platform_rules, pod_template, revision
from tests.unit.workloads import platform_yaml

OWN = pod_template.Defaults(engine_image="vllm/vllm-openai:v0.33.0")
COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"
DIGEST = f"@sha256:{'a' * 64}"


def template(**changes: Any) -> dict[str, Any]:
    """A small admitted template."""
    return {"model": {"source": "hf://org/model"}, "engine": {"type": "VLLM"}, **changes}


def found(rule: str, given: Mapping[str, Any], defaults: str = "") -> list[platform_rules.Violation]:
    """What one rule, given as YAML, finds."""
    config = platform_yaml.parse({"enforced": f"- {{name: strict, {rule}}}", "defaults": defaults})
    filled = platform_rules.fill(template_api.Template.model_validate(given), config.defaults, OWN)
    return list(platform_rules.violations(config.enforced, filled))


def engine(**changes: Any) -> dict[str, Any]:
    """A template with this engine."""
    return template(engine={"type": "VLLM", **changes})


VIOLATIONS = [
    ("images: {allowedPrefixes: [registry.example/]}", template(), "engine.image", "vllm/vllm-openai:v0.33.0"),
    ("images: {allowedPrefixes: []}", engine(image="a/b:1"), "engine.image", "none"),
    ("images: {requireDigest: true}", engine(image="a/b:1"), "engine.image", "digest"),
    (
        "images: {allowedPrefixes: [vllm/]}",
        template(model={"source": "oci://ghcr.io/models/one:1"}),
        "model.source",
        "ghcr.io/models/one:1",
    ),
    (
        "images: {requireDigest: true}",
        {**engine(image=f"a/b{DIGEST}"), "volumes": [{"name": "data", "image": {"reference": "data:1"}}]},
        "volumes[data].image.reference",
        "data:1",
    ),
    ("sources: {allowedSchemes: [s3, pvc]}", template(), "model.source", "hf://org/model"),
    (
        "sources: {allowedSchemes: [s3]}",
        template(model={"source": "s3://bucket/one", "adapters": [{"name": "sql", "source": "hf://org/sql"}]}),
        "model.adapters[sql].source",
        "s3://",
    ),
    ("sources: {requireCommit: true}", template(), "model.revision", "unset"),
    (
        "sources: {requireCommit: true}",
        template(model={"source": "hf://org/model", "revision": "main"}),
        "model.revision",
        "main",
    ),
    (
        "sources: {requireCommit: true}",
        template(
            model={"source": "file:///m", "adapters": [{"name": "sql", "source": "hf://org/sql", "revision": COMMIT[:7]}]}
        ),
        "model.adapters[sql].revision",
        COMMIT[:7],
    ),
    ("maxGPUsPerReplica: 2", template(resources={"gpu": {"count": 4}}), "resources.gpu.count", "4"),
    ("maxGPUsPerReplica: 2", template(resources={"limits": {"amd.com/gpu": "3"}}), "resources.limits[amd.com/gpu]", "3"),
    (
        "maxGPUsPerReplica: 2",
        template(resources={"claims": [{"name": "gpus", "resourceClaimTemplateName": "eight"}]}),
        "resources.claims[gpus]",
        "counted",
    ),
    (
        "allowTrustRemoteCode: false",
        engine(vllm={"args": {"trustRemoteCode": True}}),
        "engine.vllm.args.trustRemoteCode",
        "true",
    ),
    (
        "allowTrustRemoteCode: false",
        engine(vllm={"extraArgs": ["--trust_remote_code"]}),
        "engine.vllm.extraArgs",
        "--trust_remote_code",
    ),
]


@pytest.mark.parametrize(
    ("rule", "given", "field", "value"), VIOLATIONS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_violation_names_rule_field_and_value(rule: str, given: dict[str, Any], field: str, value: str) -> None:
    """So that whoever reads it knows what to change."""
    (violation,) = found(rule, given)
    assert violation.field == f"spec.template.{field}"
    for part in ("'strict'", violation.field, value):
        assert part in violation.message


ALLOWED = [
    ("images: {allowedPrefixes: [vllm/]}", template(), "the default image counts"),
    ("images: {requireDigest: true}", engine(image=f"a/b:1{DIGEST}"), "a digest beside a tag"),
    ("sources: {allowedSchemes: [hf], requireCommit: true}", template(model={"source": "hf://a/b", "revision": COMMIT}), ""),
    ("sources: {requireCommit: true}", template(model={"source": "s3://bucket/model"}), "only the hub has commits"),
    ("maxGPUsPerReplica: 2", template(resources={"gpu": {"count": 2}, "limits": {"memory": "64Gi"}}), "memory is no GPU"),
    ("maxGPUsPerReplica: 0", template(), "none asked for"),
    ("allowTrustRemoteCode: false", engine(vllm={"args": {"trustRemoteCode": False}}), "said to be off"),
    ("requiredGates: [golden]", template(), "gates are the plan's"),
]


@pytest.mark.parametrize(("rule", "given", "why"), ALLOWED)
def test_what_keeps_to_the_rules_is_found_nothing_in(rule: str, given: dict[str, Any], why: str) -> None:
    """A rule speaks of its own fields only."""
    assert found(rule, given) == [], why


@pytest.mark.parametrize(
    ("prefix", "image", "allowed"),
    [
        ("registry.example", "registry.example/a:1", True),
        ("registry.example", "registry.example:5000/a:1", True),
        ("registry.example", "registry.example.org/a:1", False),
        ("registry.example/", "registry.example.org/a:1", False),
        ("registry.example/team", "registry.example/team/a", True),
        ("registry.example/team", "registry.example/teams/a", False),
        ("registry.example/a", "registry.example/a:1", True),
        ("registry.example/a", f"registry.example/a{DIGEST}", True),
        ("docker.io/vllm", "vllm/vllm-openai:v0.33.0", True),
        ("vllm", "docker.io/vllm/vllm-openai", True),
        ("vllm/", "index.docker.io/vllm/vllm-openai", True),
        ("vllm", "evil.example/vllm/vllm-openai", False),
        ("registry.example", "registry.example", False),
        ("docker.io/library/", "nginx:1", True),
        ("localhost/", "localhost/sluice/vllm:test", True),
    ],
)
def test_prefixes_end_at_a_boundary_of_the_whole_name(prefix: str, image: str, allowed: bool) -> None:
    """Images are compared as the container runtime completes them, and a registry is not the beginning of another's name."""
    violations = found(f"images: {{allowedPrefixes: ['{prefix}']}}", engine(image=image))
    assert (violations == []) is allowed


def test_every_rule_is_checked() -> None:
    """Each finding of each rule, so that one change mends them all."""
    rules = "images: {requireDigest: true}, sources: {requireCommit: true}, maxGPUsPerReplica: 1"
    violations = found(rules, {**template(), "resources": {"gpu": {"count": 2}}})
    assert len(violations) == 3


def test_gates_of_all_rules_are_required_once_each() -> None:
    """By the first rule that names them."""
    config = platform_yaml.parse({"enforced": "- {name: a, requiredGates: [x, y]}\n- {name: b, requiredGates: [y, z]}"})
    assert platform_rules.required_gates(config.enforced) == (("x", "a"), ("y", "a"), ("z", "b"))


DEFAULTS = """
engineImage: registry.example/vllm:1
gpuResource: amd.com/gpu
sharedMemory: 8Gi
cache: {type: EmptyDir, emptyDir: {sizeLimit: 100Gi}}
imagePullSecrets: [{name: registry}]
priorityClassName: serving
profiles: {H100: {maxNumSeqs: 64, dtype: half}}
"""


def make(given: dict[str, Any], defaults: str = DEFAULTS) -> revision.Revision:
    """A revision under these defaults."""
    config = platform_yaml.parse({"defaults": defaults})
    timing = pod_template.Timing(startup=60, drain=30)
    return revision.make_revision("chat", given, files={}, known=(), defaults=OWN, platform=config.defaults, timing=timing)


def test_defaults_reach_the_pods_and_are_recorded() -> None:
    """What a template does not say is the platform's, before the operator's own; the template stays as it was admitted."""
    given = template(resources={"gpu": {"count": 1, "profile": "H100"}})
    made = make(given)
    pod = made.pod_template["spec"]
    engine_container = pod["containers"][0]
    assert engine_container["image"] == "registry.example/vllm:1"
    assert engine_container["resources"]["limits"]["amd.com/gpu"] == "1"
    assert {"--max-num-seqs=64", "--dtype=half"} <= set(engine_container["args"])
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["priorityClassName"] == "serving"
    assert {"sizeLimit": "100Gi"} in [volume.get("emptyDir") for volume in pod["volumes"]]
    assert made.template == given
    expected = {
        "engine_image": "registry.example/vllm:1",
        "gpu_resource": "amd.com/gpu",
        "shared_memory": "8Gi",
        "engine.vllm.args.maxNumSeqs": "64",
        "scheduling.priorityClassName": "serving",
        "imagePullSecrets": '[{"name": "registry"}]',
        "model.cache": '{"emptyDir": {"sizeLimit": "100Gi"}, "type": "EmptyDir"}',
    }
    assert expected.items() <= made.defaults.items()


def test_what_a_template_says_goes_before_the_platform() -> None:
    """Defaults are no rules."""
    given = template(
        model={"source": "hf://org/model", "cache": {"type": "EmptyDir", "emptyDir": {"sizeLimit": "1Gi"}}},
        engine={"type": "VLLM", "image": "own:1", "vllm": {"args": {"maxNumSeqs": 3}}},
        resources={"gpu": {"count": 1, "profile": "H100", "resourceName": "nvidia.com/gpu"}, "sharedMemory": "1Gi"},
        scheduling={"priorityClassName": "own"},
        imagePullSecrets=[{"name": "own"}],
    )
    pod = make(given).pod_template["spec"]
    engine_container = pod["containers"][0]
    assert (engine_container["image"], pod["priorityClassName"], pod["imagePullSecrets"]) == ("own:1", "own", [{"name": "own"}])
    assert engine_container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert {"--max-num-seqs=3", "--dtype=half"} <= set(engine_container["args"])
    limits = [volume["emptyDir"].get("sizeLimit") for volume in pod["volumes"] if "emptyDir" in volume]
    assert "1Gi" in limits
    assert not {"8Gi", "100Gi"} & set(limits)


def test_without_defaults_of_the_platform_nothing_changes() -> None:
    """An empty configuration renders what no configuration does."""
    given = template(resources={"gpu": {"count": 1, "profile": "H100"}})
    assert make(given, "") == make(given, "profiles: {L4: {maxNumSeqs: 1}}")


def test_changed_defaults_find_the_same_revision() -> None:
    """They are recorded when a revision is made, and are no part of what makes one."""
    given = template()
    known = make(given, "")
    assert make(given).hash == known.hash
    assert revision.find_same([known], given, {}) == known
