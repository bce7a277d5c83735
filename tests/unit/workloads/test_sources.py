"""Sources by scheme: what the engine is told, what its pod mounts, what the download's container gets."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.workloads import prefetch, sources

CLAIM = "pvc://weights/llama/8b"
IMAGE = "oci://ghcr.io/acme/llama:8b"
SECRET = prefetch.Secret("hub", "token")


def request(*items: sources.Item, **more: object) -> prefetch.Request:
    """A pod that is to have these items."""
    return prefetch.Request(items, "sluice:1", "chat-abc-resolved", **more)  # type: ignore[arg-type]


def environment(asked: prefetch.Request) -> dict[str, str | None]:
    """Variables of the download's container."""
    (container,) = prefetch.containers(asked)
    return {entry["name"]: entry.get("value") for entry in container["env"]}


@pytest.mark.parametrize(
    ("source", "model", "adapter"),
    [
        ("hf://org/llama", "/mnt/sluice/downloads/model", "/mnt/sluice/downloads/adapters/sql"),
        ("s3://bucket/llama/", "/mnt/sluice/downloads/model", "/mnt/sluice/downloads/adapters/sql"),
        ("gs://bucket/llama", "/mnt/sluice/downloads/model", "/mnt/sluice/downloads/adapters/sql"),
        (CLAIM, "/mnt/sluice/model/llama/8b", "/mnt/sluice/adapters/sql/llama/8b"),
        ("pvc://weights", "/mnt/sluice/model", "/mnt/sluice/adapters/sql"),
        (IMAGE, "/mnt/sluice/model", "/mnt/sluice/adapters/sql"),
        (f"{IMAGE}#models/8b", "/mnt/sluice/model/models/8b", "/mnt/sluice/adapters/sql/models/8b"),
        ("file:///opt/llama", "/opt/llama", "/opt/llama"),
    ],
)
def test_the_engine_gets_a_local_path(source: str, model: str, adapter: str) -> None:
    """Known when the pod is rendered, whatever commit the download finds."""
    assert sources.model_argument(source) == model
    assert sources.adapter_path("sql", source) == adapter


def test_claims_and_images_are_mounted_read_only() -> None:
    """Each item by a volume of its own, whose name Kubernetes accepts whatever the adapter is called."""
    items = (sources.model_item(IMAGE), sources.adapter_item("My_Adapter.v1", CLAIM), sources.adapter_item("b", "hf://o/b"))
    made = {volume["name"]: volume for volume in sources.volumes(items)}
    mounts = sources.mounts(items)
    assert [made[mount["name"]].keys() - {"name"} for mount in mounts] == [{"image"}, {"persistentVolumeClaim"}]
    assert all(mount["readOnly"] for mount in mounts)
    assert all(name.replace("-", "").isalnum() and name.islower() for name in made)
    assert made["model"]["image"] == {"reference": "ghcr.io/acme/llama:8b", "pullPolicy": "IfNotPresent"}


def test_image_volumes_need_a_cluster_that_has_them() -> None:
    """Also for an adapter; nothing else does."""
    items = (sources.model_item("hf://o/m"), sources.adapter_item("sql", IMAGE))
    assert sources.unsupported(items, image_volumes=True) is None
    assert "1.35" in (sources.unsupported(items, image_volumes=False) or "")
    assert sources.unsupported(items[:1], image_volumes=False) is None


@given(st.text(max_size=40))
def test_any_text_is_a_source_or_an_error_that_names_it(text: str) -> None:
    """What an older CRD let through must not end in anything else."""
    known = text.partition("://")[0] in list(sources.Scheme)
    with contextlib.nullcontext() if known else pytest.raises(ValueError, match=re.escape(repr(text))):
        sources.parse(text)


def test_nothing_is_downloaded_for_what_is_there() -> None:
    """No init container, no volume, no mount, no variable."""
    asked = request(sources.model_item("file:///m"), sources.adapter_item("sql", CLAIM))
    assert prefetch.containers(asked) == prefetch.volumes(asked) == prefetch.engine_mounts(asked) == []
    assert prefetch.engine_environment(asked) == {}


def test_only_the_download_writes_to_the_cache() -> None:
    """The engine sees the cache read-only and asks no hub; credentials are in the download's container alone."""
    asked = request(sources.model_item("hf://org/llama", "main"), credentials=SECRET)
    (container,) = prefetch.containers(asked)
    writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {prefetch.CACHE_PATH, sources.LINKS_PATH}
    assert all(mount["readOnly"] for mount in prefetch.engine_mounts(asked))
    assert prefetch.CREDENTIALS_VOLUME not in {mount["name"] for mount in prefetch.engine_mounts(asked)}
    assert prefetch.engine_environment(asked) == {"HF_HUB_OFFLINE": "1"}


@pytest.mark.parametrize(
    ("source", "variable", "other"),
    [
        ("hf://o/m", "HF_TOKEN_PATH", "HF_TOKEN"),
        ("s3://bucket/m", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ACCESS_KEY_ID"),
        ("gs://bucket/m", "GOOGLE_APPLICATION_CREDENTIALS", None),
    ],
)
def test_the_secret_is_a_file_that_the_library_finds(source: str, variable: str, other: str | None) -> None:
    """And wins over what the engine's environment brings; without a Secret, that counts."""
    env = [{"name": other or "X", "value": "from the engine"}]
    asked = request(sources.model_item(source), credentials=SECRET, env=env)
    assert environment(asked)[variable] == "/mnt/sluice/credentials/credentials"
    assert other not in environment(asked)
    if other is not None:
        assert environment(request(sources.model_item(source), env=env))[other] == "from the engine"


def test_the_engines_ways_to_the_network_are_the_downloads_too() -> None:
    """Endpoints, proxies, certificates; nothing that would break our own program."""
    names = ("HF_ENDPOINT", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE", "GOOGLE_CLOUD_PROJECT")
    others = ("PYTHONPATH", "LD_PRELOAD", "HOME", "HF_HOME", "HF_HUB_OFFLINE", "VLLM_LOGGING_LEVEL", "PATH")
    env = [{"name": name, "value": "x"} for name in (*names, *others)]
    reference = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    asked = request(sources.model_item("hf://o/m"), env=[*env, reference])
    seen = environment(asked)
    assert {name for name, value in seen.items() if value == "x"} == set(names)
    assert reference in prefetch.containers(asked)[0]["env"]


def test_a_users_mounts_are_the_downloads_too() -> None:
    """A bundle of certificates that a variable names may be on one; read-only, for the download owns none of them."""
    asked = request(sources.model_item("hf://o/m"), mounts=[{"name": "ca", "mountPath": "/etc/company"}])
    mounts = prefetch.containers(asked)[0]["volumeMounts"]
    assert {"name": "ca", "mountPath": "/etc/company", "readOnly": True} in mounts


@pytest.mark.parametrize(
    ("cache", "volume", "limited"),
    [
        (prefetch.Cache(), {"emptyDir": {}}, False),
        (prefetch.Cache(size_limit="1Gi"), {"emptyDir": {"sizeLimit": "1Gi"}}, True),
        (prefetch.Cache(claim="models"), {"persistentVolumeClaim": {"claimName": "models"}}, False),
    ],
)
def test_the_cache_is_what_the_template_says(cache: prefetch.Cache, volume: dict[str, object], limited: bool) -> None:
    """A limit is told to the download, for the kubelet would evict the pod in the middle of it."""
    asked = request(sources.model_item("hf://o/m"), cache=cache)
    (made,) = (each for each in prefetch.volumes(asked) if each["name"] == prefetch.CACHE_VOLUME)
    assert made == {"name": prefetch.CACHE_VOLUME, **volume}
    assert (f"--size-limit={1 << 30}" in prefetch.build_args(asked)) is limited


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=17))
def test_a_message_says_what_was_put_in(resolved: dict[str, str]) -> None:
    """And fits what Kubernetes keeps of one, for as many adapters as there may be."""
    assert prefetch.parse_resolved(prefetch.resolved_message(resolved)) == resolved


def test_the_longest_message_fits() -> None:
    """Kubernetes keeps 4096 bytes."""
    most = {"model": "f" * 40, **{f"adapters/{number:063}": "f" * 40 for number in range(16)}}
    assert len(prefetch.resolved_message(most).encode()) < 4000


@pytest.mark.parametrize("text", ["", "Cannot download x", "{}", "[]", '{"resolved": 1}', '{"resolved": {"model": 1}}', "null"])
def test_other_texts_are_no_message(text: str) -> None:
    """A log that took the message's place, for example."""
    assert prefetch.parse_resolved(text) is None
