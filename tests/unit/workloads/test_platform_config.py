"""The platform's configuration: what is read of it, and that what cannot be is named."""

from __future__ import annotations

import pytest

from sluice.workloads import platform_config
from tests.unit.workloads import platform_yaml

WHOLE = {
    "defaults": """
        engineImage: registry.example/vllm/vllm-openai:v0.33.0
        gpuResource: amd.com/gpu
        sharedMemory: 8Gi
        cache: {type: PersistentVolumeClaim, persistentVolumeClaim: {claimName: models}}
        imagePullSecrets: [{name: registry}]
        priorityClassName: serving
        profiles: {H100: {maxNumSeqs: 256}}
    """,
    "enforced": """
        - name: production
          namespaceSelector: {matchLabels: {env: production}}
          images: {allowedPrefixes: [registry.example/], requireDigest: true}
          sources: {allowedSchemes: [hf, s3], requireCommit: true}
          maxGPUsPerReplica: 8
          allowTrustRemoteCode: false
          requiredGates: [golden]
    """,
}


def test_every_field_is_read() -> None:
    """One of each."""
    config = platform_yaml.parse(WHOLE)
    assert config.defaults.engine_image == "registry.example/vllm/vllm-openai:v0.33.0"
    (rule,) = config.enforced
    assert (rule.max_gpus_per_replica, rule.allow_trust_remote_code, rule.required_gates) == (8, False, ("golden",))
    unset = {*platform_config.Defaults.model_fields} - config.defaults.model_fields_set
    assert (unset, {*platform_config.Rule.model_fields} - rule.model_fields_set) == (set(), set())


@pytest.mark.parametrize("data", [{}, {"defaults": ""}, {"enforced": "[]", "defaults": "{}"}, {"enforced": "# none yet"}])
def test_an_empty_configuration_allows_everything(data: dict[str, str]) -> None:
    """So does a ConfigMap that is not there."""
    config = platform_yaml.parse(data)
    assert (config.enforced, config.defaults) == ((), platform_config.Defaults())


@pytest.mark.parametrize(
    ("data", "place", "cause"),
    [
        ({"enforce": "[]"}, "key enforce", "none of"),
        ({"enforced": "name: a"}, "enforced", "list"),
        ({"enforced": "- {name: a, image: {}}"}, "enforced[0].image", "no such field"),
        (
            {"enforced": "- {name: a, namespaceSelector: {matchLabel: {}}}"},
            "enforced[0].namespaceSelector.matchLabel",
            "no such",
        ),
        ({"enforced": "- {name: a, max_gpus_per_replica: 1}"}, "enforced[0].max_gpus_per_replica", "no such field"),
        ({"enforced": "- {name: a, maxGPUsPerReplica: -1}"}, "enforced[0].maxGPUsPerReplica", "greater"),
        ({"enforced": "- {name: a, sources: {allowedSchemes: [ftp]}}"}, "allowedSchemes[0]", "'hf'"),
        ({"enforced": "- {images: {}}"}, "enforced[0].name", "required"),
        ({"enforced": "- {name: a}\n- {name: a}"}, "enforced", "called a"),
        (
            {"enforced": "- {name: a, namespaceSelector: {matchExpressions: [{key: env, operator: In}]}}"},
            "enforced[0]",
            "label env needs values",
        ),
        ({"defaults": "sharedMemory: lots"}, "defaults", "'lots'"),
        ({"defaults": "cache: {type: PersistentVolumeClaim}"}, "defaults", "member of its type"),
        ({"defaults": "profiles: {H9000: {}}"}, "H9000", "'H100'"),
        ({"defaults": "profiles: {H100: {maxNumSeq: 1}}"}, "defaults.profiles.H100.maxNumSeq", "no such field"),
        ({"defaults": "- engineImage"}, "defaults", "dictionary"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_used_is_named(data: dict[str, str], place: str, cause: str) -> None:
    """A rule that is misspelt must not be a rule that is missing."""
    with pytest.raises(platform_config.ConfigError) as caught:
        platform_yaml.parse(data)
    assert place in str(caught.value)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("{}", {}, True),
        ("{matchLabels: {env: prod}}", {"env": "prod", "team": "a"}, True),
        ("{matchLabels: {env: prod}}", {"env": "dev"}, False),
        ("{matchLabels: {env: prod}}", {}, False),
        ("{matchExpressions: [{key: env, operator: In, values: [prod, stage]}]}", {"env": "stage"}, True),
        ("{matchExpressions: [{key: env, operator: In, values: [prod, stage]}]}", {}, False),
        ("{matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}", {"env": "dev"}, False),
        ("{matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}", {}, True),
        ("{matchExpressions: [{key: env, operator: Exists}]}", {"env": ""}, True),
        ("{matchExpressions: [{key: env, operator: Exists}]}", {}, False),
        ("{matchExpressions: [{key: env, operator: DoesNotExist}]}", {"env": ""}, False),
        ("{matchLabels: {a: b}, matchExpressions: [{key: env, operator: Exists}]}", {"a": "b"}, False),
    ],
)
def test_a_namespaces_labels_decide(selector: str, labels: dict[str, str], selected: bool) -> None:
    """As everywhere in Kubernetes: all conditions hold, and an empty selector selects all."""
    config = platform_yaml.parse({"enforced": f"- {{name: a, namespaceSelector: {selector}}}"})
    assert config.enforced[0].selects(labels) is selected
