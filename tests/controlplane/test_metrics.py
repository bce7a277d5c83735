"""`sluice metrics` behind a real API server, asked through its aggregator: by people, by programs, by the real HPA controller.

The controllers have their own accounts: the HPA controller may do what manifests/metrics/rbac.yaml gives it, and no more.
"""

from __future__ import annotations

import json
import pathlib
import ssl
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import yaml

from sluice.workloads import pod_metrics
from tests.support import controlplane, engines, kubelet, metrics, operators

pytestmark = pytest.mark.timeout(300)  # the first test starts everything

ROOT = pathlib.Path(__file__).resolve().parents[2]
REVISION: Final = {
    "app.kubernetes.io/managed-by": "sluice",
    "sluice.dev/model-deployment": "chat",
    "sluice.dev/revision": "abc",
}
ANOTHER: Final = {
    "apiVersion": "apiregistration.k8s.io/v1",
    "kind": "APIService",
    "metadata": {"name": "v1beta1.custom.metrics.k8s.io"},
    "spec": {
        "group": "custom.metrics.k8s.io",
        "version": "v1beta1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"namespace": "monitoring", "name": "prometheus-adapter"},
    },
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[controlplane.ControlPlane]:
    """An API server with our CRDs and roles, and HPAs that are looked at every second."""
    flags = ("--horizontal-pod-autoscaler-sync-period=1s", "--horizontal-pod-autoscaler-downscale-stabilization=3s")
    with controlplane.ControlPlane(controller_manager=True, controller_flags=flags) as running:
        for path in ("crds", "manifests/namespace.yaml", "manifests/rbac.yaml", "manifests/metrics/rbac.yaml"):
            running.kubectl("apply", "--server-side", "-f", str(ROOT / path))
        yield running


@pytest.fixture(scope="module")
def engine(cluster: controlplane.ControlPlane) -> Iterator[engines.Engine]:
    """What all pods of the image `engine` are: reached on loopback, ready at once."""
    with engines.Engine() as running, kubelet.Kubelet(cluster.kubeconfig) as kubelets:
        kubelets.behaviours["engine"] = lambda pod, _: kubelet.ready(pod, "127.0.0.1")
        yield running


@pytest.fixture(scope="module")
def operator(cluster: controlplane.ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[operators.Operator]:
    """An operator that leads, started while the metrics API is registered and nobody serves it."""
    metrics.register(cluster, 1)
    rights = cluster.user(f"system:serviceaccount:{operators.NAMESPACE}:sluice-operator")
    with operators.Operator(rights, tmp_path_factory.mktemp("operator")) as running:
        running.wait_leading()
        yield running


@pytest.fixture(scope="module")
def server(
    cluster: controlplane.ControlPlane,
    operator: operators.Operator,
    engine: engines.Engine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[metrics.Server]:
    """A registered replica that the API server reaches and trusts."""
    folder = tmp_path_factory.mktemp("metrics")
    metrics.mount(cluster, folder / "tls")
    with metrics.Server(cluster.user(metrics.ACCOUNT), folder, folder / "tls") as running:
        running.wait_ready()
        metrics.register(cluster, running.api_port)
        metrics.wait_available(cluster)
        yield running
    metrics.unregister(cluster)


@pytest.fixture(scope="module")
def namespace(cluster: controlplane.ControlPlane, server: metrics.Server, engine: engines.Engine) -> str:
    """One with a Deployment of two engines, `chat`, that can be read."""
    cluster.kubectl("create", "namespace", "models")
    container = {"name": "engine", "image": "engine", "ports": [{"name": "http", "containerPort": engine.port}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "models"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": REVISION},
            "template": {"metadata": {"labels": REVISION}, "spec": {"containers": [container]}},
        },
    }
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(deployment))
    seen: dict[str, Any] = {}

    def both() -> bool:
        seen.update(last=metrics.ask(cluster, "models", pod_metrics.ttft(50)))
        return len(seen["last"]) == 2

    metrics.until(both, lambda: f"not both pods have a value: {seen}\n{server.log[-3000:]}")
    return "models"


@pytest.fixture(autouse=True)
def calm(engine: engines.Engine) -> None:
    """Every test begins with an idle engine."""
    engine.broken = False
    for gauge in (engine.running, engine.waiting, engine.kv_cache):
        gauge.set(0)


def values(cluster: controlplane.ControlPlane, namespace: str, metric: str, query: str = "") -> list[str]:
    """The values of all pods of a selector."""
    found = metrics.ask(cluster, namespace, metric, query=query)
    assert "error" not in found, found
    return list(found.values())


def test_an_operator_starts_while_nobody_serves_the_registered_api(operator: operators.Operator) -> None:
    """An aggregated API that is down fails every look at all groups; the operator looks at none but its own."""
    assert operator.number("sluice_leader") == 1


def test_discovery_lists_every_metric(cluster: controlplane.ControlPlane, server: metrics.Server) -> None:
    """As the aggregator passes it on; the group's preferred version is ours."""
    listed = json.loads(cluster.kubectl("get", "--raw", metrics.ROOT).stdout)
    assert {each["name"] for each in listed["resources"]} == {f"pods/{name}" for name in pod_metrics.ALL}
    group = json.loads(cluster.kubectl("get", "--raw", "/apis/custom.metrics.k8s.io").stdout)
    assert group["preferredVersion"]["version"] == "v1beta2"
    assert cluster.kubectl("api-resources").returncode == 0


def test_values_of_all_pods_of_a_selector(cluster: controlplane.ControlPlane, namespace: str, engine: engines.Engine) -> None:
    """In thousandths, as HPAs compare them."""
    engine.waiting.set(7)
    engine.kv_cache.set(0.8)
    chat = "?labelSelector=sluice.dev%2Frevision%3Dabc"
    expected = [(pod_metrics.REQUESTS_WAITING, "7"), (pod_metrics.KV_CACHE_USAGE, "800m")]
    metrics.until(
        lambda: all(values(cluster, namespace, name, chat) == [value] * 2 for name, value in expected),
        lambda: str([values(cluster, namespace, name, chat) for name, _ in expected]),
    )
    assert values(cluster, namespace, pod_metrics.REQUESTS_WAITING, "?labelSelector=sluice.dev%2Frevision%3Dother") == []
    pod = next(iter(metrics.ask(cluster, namespace, pod_metrics.REQUESTS_WAITING)))
    assert metrics.ask(cluster, namespace, pod_metrics.REQUESTS_WAITING, pod=pod) == {pod: "7"}


def test_percentiles_are_those_of_what_happened(
    cluster: controlplane.ControlPlane, namespace: str, engine: engines.Engine
) -> None:
    """Within the bucket that the observations fell into: from 1 to 2.5 s."""
    for _ in range(100):
        engine.first_token.observe(2.0)

    def seconds() -> list[float]:
        found = values(cluster, namespace, pod_metrics.ttft(95))
        return [float(value.removesuffix("m")) / (1000 if value.endswith("m") else 1) for value in found]

    metrics.until(lambda: [1.0 < value <= 2.5 for value in seconds()] == [True] * 2, lambda: str(seconds()))


@pytest.mark.parametrize(
    ("reason", "pod", "metric", "query", "said"),
    [
        ("no such metric", "*", "sluice_nothing", "", "NotFound"),
        ("no such pod", "nobody", "sluice_requests_waiting", "", "NotFound"),
        ("metrics have no labels", "*", "sluice_requests_waiting", "?metricLabelSelector=a%3Db", "BadRequest"),
        ("no selector", "*", "sluice_requests_waiting", "?labelSelector=a%3D%3D%3Db", "BadRequest"),
    ],
)
def test_what_does_not_exist_is_said_so(
    cluster: controlplane.ControlPlane, namespace: str, reason: str, pod: str, metric: str, query: str, said: str
) -> None:
    """Never an empty answer, which an HPA would take for no pods."""
    assert said in metrics.ask(cluster, namespace, metric, pod, query)["error"], reason


def test_an_hpa_follows_the_queue_and_freezes_when_a_pod_cannot_be_read(
    cluster: controlplane.ControlPlane, namespace: str, engine: engines.Engine
) -> None:
    """It grows by the queue's depth, keeps its size while a ready pod says nothing, and shrinks once all are read and idle."""
    hpa = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
            "minReplicas": 2,
            "maxReplicas": 4,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": pod_metrics.REQUESTS_WAITING},
                        "target": {"type": "AverageValue", "averageValue": "10"},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
    }

    def replicas() -> int:
        return int(cluster.kubectl("get", "deployment", "chat", "-n", namespace, "-o", "jsonpath={.spec.replicas}").stdout)

    def active() -> dict[str, str]:
        found = json.loads(cluster.kubectl("get", "hpa", "chat", "-n", namespace, "-o", "json").stdout)
        conditions = found.get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "ScalingActive"), {"status": "", "message": ""})

    engine.waiting.set(30)
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(hpa))
    metrics.until(lambda: replicas() == 4, lambda: f"the HPA did not grow: {active()}")
    engine.broken = True
    engine.waiting.set(0)
    metrics.until(lambda: active()["status"] == "False", lambda: f"the HPA still acts: {active()}")
    assert "has no fresh value" in active()["message"]
    assert replicas() == 4
    engine.broken = False
    metrics.until(lambda: replicas() == 2, lambda: f"the HPA did not shrink: {active()}")
    cluster.kubectl("delete", "hpa", "chat", "-n", namespace)


# -- who may ask ---------------------------------------------------------------------------------------------------------


def direct(
    server: metrics.Server, *, headers: dict[str, str] | None = None, certificate: tuple[str, str] | None = None
) -> httpx.Response:
    """A question past the aggregator, straight to the port, as whoever reaches the pod could ask it."""
    context = ssl.create_default_context(cafile=str(server.certificate / "ca.crt"))
    context.check_hostname = False
    if certificate is not None:
        context.load_cert_chain(*certificate)
    with httpx.Client(verify=context, timeout=10) as client:
        path = f"{metrics.ROOT}/namespaces/models/pods/*/{pod_metrics.REQUESTS_WAITING}"
        return client.get(f"https://127.0.0.1:{server.api_port}{path}", headers=headers)


IMPERSONATION: Final = {"X-Remote-User": "sluice-admin", "X-Remote-Group": "system:masters"}


def identity(cluster: controlplane.ControlPlane, name: str, group: str = "") -> tuple[str, str]:
    """Certificate and key of a user of the cluster's CA, which signs front proxies too."""
    cluster.user(name, group)
    stem = str(cluster.pki / ("user-" + name.replace(":", "-")))
    return f"{stem}.crt", f"{stem}.key"


def test_headers_alone_prove_nothing(server: metrics.Server, namespace: str) -> None:
    """Anybody can send X-Remote-User; only the front proxy's certificate makes it count."""
    assert direct(server, headers=IMPERSONATION).status_code == 401


def test_nobody_is_refused(server: metrics.Server, namespace: str) -> None:
    """Neither certificate nor token: there is no anonymous access."""
    answer = direct(server)
    assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")


def test_the_front_proxys_certificate_makes_headers_count(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """It speaks for whoever the API server let in."""
    proxy = str(cluster.pki / "front-proxy.crt"), str(cluster.pki / "front-proxy.key")
    assert direct(server, headers=IMPERSONATION, certificate=proxy).status_code == 200
    nobody = direct(server, headers={"X-Remote-User": "nobody"}, certificate=proxy)
    assert (nobody.status_code, nobody.json()["reason"]) == (403, "Forbidden")
    anonymous = {"X-Remote-User": "system:anonymous", "X-Remote-Group": "system:unauthenticated"}
    assert direct(server, headers=anonymous, certificate=proxy).status_code == 401


def test_another_certificate_of_the_front_proxys_ca_is_no_front_proxy(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """Its name is not among the allowed ones: it speaks for itself, whatever its headers say."""
    answer = direct(server, headers=IMPERSONATION, certificate=identity(cluster, "eve"))
    assert answer.status_code == 403
    assert "eve cannot get" in answer.json()["message"]


def test_a_client_certificate_speaks_for_its_owner(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """With the rights that RBAC gives it."""
    assert direct(server, certificate=identity(cluster, "root", "system:masters")).status_code == 200


def test_a_certificate_of_another_ca_ends_the_handshake(server: metrics.Server, namespace: str) -> None:
    """Our own CA signs no users."""
    own = str(server.certificate / "tls.crt"), str(server.certificate / "tls.key")
    with pytest.raises(httpx.TransportError):
        direct(server, certificate=own, headers=IMPERSONATION)


def test_tokens_are_reviewed_by_the_api_server(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """A right is needed beside a valid token; an invalid one is nobody's."""
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    token = cluster.kubectl("create", "token", "reader", "-n", namespace).stdout.strip()
    bearer = {"Authorization": f"Bearer {token}"}
    assert direct(server, headers={"Authorization": "Bearer forged"}).status_code == 401
    assert direct(server, headers=bearer).status_code == 403
    role = (
        "create",
        "clusterrolebinding",
        "reader",
        "--clusterrole=sluice-metrics-reader",
        f"--serviceaccount={namespace}:reader",
    )
    cluster.kubectl(*role)
    metrics.until(lambda: direct(server, headers=bearer).status_code == 200, lambda: direct(server, headers=bearer).text)


def test_users_without_rights_are_refused_through_the_api_server_too(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """RBAC holds for our API as for the API server's own."""
    path = f"{metrics.ROOT}/namespaces/{namespace}/pods/*/{pod_metrics.REQUESTS_WAITING}"
    done = cluster.kubectl("get", "--raw", path, "--as=mallory", check=False)
    assert "Forbidden" in done.stderr


# -- certificates and adapters --------------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_served_without_a_restart(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """The operator issues a new one when the Secret is lost, and the API server goes on trusting it."""
    before = ssl.get_server_certificate(("127.0.0.1", server.api_port))
    cluster.kubectl("delete", "secret", "sluice-metrics-tls", "-n", operators.NAMESPACE)
    metrics.mount(cluster, server.certificate)
    metrics.until(
        lambda: ssl.get_server_certificate(("127.0.0.1", server.api_port)) != before, lambda: f"still the old one\n{server.log}"
    )
    assert values(cluster, namespace, pod_metrics.REQUESTS_WAITING) == ["0", "0"]


def test_it_refuses_to_serve_beside_another_adapter(
    cluster: controlplane.ControlPlane, server: metrics.Server, namespace: str
) -> None:
    """HPAs prefer our version for all metrics: two adapters cannot share the API. It says so, once, and recovers."""
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(ANOTHER))
    metrics.until(lambda: server.ready()[0] == 503, lambda: "still ready")
    assert "v1beta1.custom.metrics.k8s.io → monitoring/prometheus-adapter" in server.ready()[1]
    refused = metrics.ask(cluster, namespace, pod_metrics.REQUESTS_WAITING)["error"]
    assert "another adapter is registered" in refused or "ServiceUnavailable" in refused
    assert server.log.count("two cannot share it") == 1
    cluster.kubectl("delete", "apiservice", "v1beta1.custom.metrics.k8s.io")
    metrics.until(lambda: server.ready()[0] == 200, lambda: server.ready()[1])
