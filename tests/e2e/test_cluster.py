"""The embedded cluster does what a cluster does, stands beside another one, survives kill -9, and leaves nothing behind."""

from __future__ import annotations

import errno
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hack.cluster import binaries, embedded, errors, host, kubectl, node, paths, processes, registry
from hack.images import layers, oci, rootfs

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="the embedded cluster needs root"),
    pytest.mark.timeout(1800),  # the first run builds Kubernetes
]

IMAGE = "localhost/sluice/cluster-test:1"
WAIT = "--timeout=90s"


class Lab:
    """A cluster with kubectl at hand."""

    def __init__(self, name: str) -> None:
        self.cluster = embedded.Embedded(name)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of a kubectl that has to succeed."""
        ran = kubectl.run(self.cluster.kubeconfig, *arguments, stdin=stdin)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def run(self, name: str, script: str, *, mount: Path | None = None) -> str:
        """What a Python script printed in a pod of its own, which ended well."""
        self.apply_pod(name, ["python3", "-c", script], mount=mount)
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", WAIT)
        return self.kubectl("logs", name).strip()

    def apply_pod(self, name: str, command: list[str], *, mount: Path | None = None) -> None:
        """Make a pod that is never restarted; `mount` is a directory of the host, seen at the same path."""
        container: dict[str, object] = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": command}
        spec: dict[str, object] = {"restartPolicy": "Never", "containers": [container], "terminationGracePeriodSeconds": 0}
        if mount:
            container["volumeMounts"] = [{"name": "host", "mountPath": str(mount), "readOnly": True}]
            spec["volumes"] = [{"name": "host", "hostPath": {"path": str(mount), "type": "Directory"}}]
        meta = {"name": name, "labels": {"app": name}}
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}))


@pytest.fixture(scope="module")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image with Python in it."""
    path = tmp_path_factory.mktemp("image") / "image.tar"
    oci.write_image(path, IMAGE, [layers.ensure(rootfs.spec())], oci.Config(("python3",)))
    return path


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Lab]]:
    """Makes labs; whatever they brought up is taken down again."""
    made: list[Lab] = []

    def make(name: str) -> Lab:
        made.append(Lab(name))
        return made[-1]

    yield make
    for one in made:
        one.cluster.forget()


@pytest.fixture(scope="module")
def shared(tar: Path) -> Iterator[Lab]:
    """One cluster for the tests that only use it."""
    one = Lab("test-shared")
    one.cluster.up([tar])
    yield one
    one.cluster.forget()


def test_kubectl_reports_the_stamped_version_of_both_sides(shared: Lab) -> None:
    """Clients that parse the version find a released one."""
    version = json.loads(shared.kubectl("version", "--output=json"))
    assert version["clientVersion"]["gitVersion"] == version["serverVersion"]["gitVersion"] == binaries.KUBERNETES_VERSION


def test_kubeconfig_lies_in_build_and_no_other_is_touched(shared: Lab, tmp_path: Path) -> None:
    """The user's ~/.kube stays as it is, even when it does not exist."""
    environment = os.environ | {"HOME": str(tmp_path), "SLUICE_CACHE": str(paths.cache_root())}
    command = [sys.executable, "-m", "hack.cluster", "up", f"--name={shared.cluster.name}"]
    subprocess.run(command, env=environment, cwd=paths.REPOSITORY, check=True, timeout=120)
    assert shared.cluster.kubeconfig == paths.REPOSITORY / "build" / "cluster" / shared.cluster.name / "kubeconfig"
    assert not (tmp_path / ".kube").exists()


def test_pods_resolve_and_reach_services_and_the_host_reaches_them_too(shared: Lab) -> None:
    """Cluster DNS, Services between pods of one node, and the host's routes work."""
    shared.apply_pod("web", ["python3", "-m", "http.server", "8080", "--directory", "/etc"])
    shared.kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
    shared.kubectl("wait", "--for=condition=Ready", "pod/web", WAIT)
    fetch = "from urllib import request; print(request.urlopen('http://{}/passwd', timeout=20).status)"
    assert shared.run("client", _retried(fetch.format("web.default.svc.cluster.local"))) == "200"
    service = shared.kubectl("get", "service", "web", "--output=jsonpath={.spec.clusterIP}")
    pod = shared.kubectl("get", "pod", "web", "--output=jsonpath={.status.podIP}")
    for address in (service, f"{pod}:8080"):
        subprocess.run([sys.executable, "-c", fetch.format(address)], check=True, timeout=60)


def test_pods_reach_the_host_and_nothing_beyond(shared: Lab) -> None:
    """A program of the host is reachable at host_ip; the world is not, and says so at once."""
    with http.server.ThreadingHTTPServer((shared.cluster.host_ip, 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at_host = f"import socket; socket.create_connection(('{shared.cluster.host_ip}', {server.server_port}), 5)"
        shared.run("to-host", at_host)
        server.shutdown()
    outside = (
        "import socket\ntry:\n  socket.create_connection(('1.1.1.1', 443), 5)\nexcept OSError as error:\n  print(error.errno)"
    )
    assert shared.run("to-world", outside) == str(errno.ENETUNREACH)


def test_pods_mount_directories_of_the_host_at_the_same_path(shared: Lab, tmp_path: Path) -> None:
    """Model files on the host are hostPath volumes of the node."""
    (tmp_path / "weights").write_text("42")
    assert shared.run("mounted", f"print(open('{tmp_path}/weights').read())", mount=tmp_path) == "42"


def test_an_image_is_imported_once_for_all_runs(
    tar: Path, lab: Callable[[str], Lab], capfd: pytest.CaptureFixture[str]
) -> None:
    """Images outlast the cluster, and pods of the next one start from them."""
    one = lab("test-images")
    one.cluster.up([tar])
    one.apply_pod("left-running", ["python3", "-c", "import time; time.sleep(3600)"])
    one.kubectl("wait", "--for=condition=Ready", "pod/left-running", WAIT)
    one.cluster.down()
    capfd.readouterr()
    one.cluster.up([tar])
    assert "imported" not in capfd.readouterr().out
    assert one.kubectl("get", "pods", "--output=name") == ""
    assert one.run("again", "print('started')") == "started"


def test_two_clusters_stand_side_by_side_and_down_leaves_nothing(tar: Path, lab: Callable[[str], Lab]) -> None:
    """Each has its own pods at its own addresses, one goes without harm to the other, and the host is as before."""
    before = _host_state()
    one, other = lab("test-one"), lab("test-other")
    for each in (one, other):
        each.cluster.up([tar])
        each.apply_pod("stays", ["python3", "-c", "import time; time.sleep(3600)"])
        each.kubectl("wait", "--for=condition=Ready", "pod/stays", WAIT)
    assert one.cluster.host_ip != other.cluster.host_ip
    inside = [_processes_in(_namespaces(each)) for each in (one, other)]
    assert all(inside)
    one.cluster.down()
    assert _alive(inside[0]) == []
    assert (
        other.kubectl("get", "pod", "stays", "--output=jsonpath={.status.phase} {.status.containerStatuses[0].restartCount}")
        == "Running 0"
    )
    other.cluster.down()
    assert _alive(inside[1]) == []
    assert _host_state() == before


@pytest.mark.parametrize("victim", ["holder", "init"])
def test_a_cluster_killed_with_its_pods_is_cleared_by_the_next_up(tar: Path, lab: Callable[[str], Lab], victim: str) -> None:
    """kill -9 of what holds the cluster leaves nothing in the way."""
    one = lab("test-killed")
    one.cluster.up([tar])
    one.apply_pod("left-running", ["python3", "-c", "import time; time.sleep(3600)"])
    one.kubectl("wait", "--for=condition=Ready", "pod/left-running", WAIT)
    record = registry.read("test-killed")
    assert record is not None
    process = record.holder if victim == "holder" else record.init
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    one.cluster.up([tar])
    assert one.run("again", "print('started')") == "started"


@pytest.mark.parametrize("moment", ["record", "process", "link", "kubeconfig"])
def test_a_killed_up_is_no_obstacle_to_the_next(lab: Callable[[str], Lab], moment: str) -> None:
    """kill -9 of the command that starts a cluster, at any moment, leaves nothing that the next one cannot clear."""
    before = _host_state()
    one = lab("test-half")
    reached = {
        "record": lambda: registry.read("test-half") is not None,
        "process": lambda: (record := registry.read("test-half")) is not None and record.init is not None,
        "link": lambda: (record := registry.read("test-half")) is not None and record.network.link in _links(),
        "kubeconfig": one.cluster.kubeconfig.exists,
    }
    command = [sys.executable, "-m", "hack.cluster", "up", "--name=test-half"]
    with subprocess.Popen(command, cwd=paths.REPOSITORY, start_new_session=True) as starting:
        _until(reached[moment], starting)
        os.killpg(starting.pid, signal.SIGKILL)
    one.cluster.up()
    assert one.kubectl("get", "nodes", "--output=jsonpath={.items[*].metadata.name}") == "test-half"
    one.cluster.down()
    assert _host_state() == before


def test_a_stale_record_kills_no_foreign_process(lab: Callable[[str], Lab]) -> None:
    """A pid that now belongs to another process is left alone."""
    with subprocess.Popen(["sleep", "600"]) as bystander:
        actual = processes.identify(bystander.pid)
        assert actual is not None
        stale = processes.Process(bystander.pid, actual.started - 1, actual.boot)
        record = registry.allocate("test-stale")
        registry.write(registry.Record("test-stale", record.index, holder=stale, init=stale))
        lab("test-stale").cluster.down()
        assert bystander.poll() is None
        bystander.kill()


def test_an_image_for_a_cluster_that_is_not_up_is_refused(tar: Path) -> None:
    """The error says which cluster is missing."""
    with pytest.raises(errors.ClusterError, match="Cannot reach cluster test-absent: it is not up"):
        embedded.Embedded("test-absent").load_image(tar)


def _retried(script: str) -> str:
    """A script that tries for a while: a new Service takes a second to be known."""
    tried = [f"    {line}" for line in script.split("; ")]
    start, end = (
        ["import time", "for left in reversed(range(60)):", "  try:"],
        ["    break", "  except OSError:", "    time.sleep(0.5)"],
    )
    return "\n".join([*start, *tried, *end, "    if not left: raise"])


def _until(condition: Callable[[], bool], starting: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 900
    while not condition():
        assert starting.poll() is None, "up ended before the moment to kill it"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def _host_state() -> dict[str, object]:
    """What a cluster could leave behind on the host.

    Clusters of other test processes come and go meanwhile: what belongs to one with a record is left out. A record is
    written before anything of its cluster is made and removed after, so one of two readings around the rest has it.
    """
    recorded = _recorded()
    routes = json.loads(subprocess.run(["ip", "-json", "route"], capture_output=True, text=True, check=True).stdout)
    sysctls = {name: Path("/proc/sys", name).read_text() for name in (*node.PRIVATE_SYSCTLS, "net/ipv4/ip_forward")}
    mounts = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "sluice" in line or "containerd" in line
    ]
    cgroups = [path for top in host.cgroup_roots("/") for path in top.glob("sluice-test-*")]
    links = [link for link in _links() if link.startswith(("sluice", "veth"))]
    visible = sorted(
        path.name for top in ("/var/lib", "/var/log", "/run") for path in Path(top).iterdir() if path.name != "sluice"
    )
    recorded |= _recorded()
    foreign_links = {record.network.link for record in recorded}
    foreign_cgroups = {f"sluice-{record.name}" for record in recorded}
    return {
        "routes": [route for route in routes if route.get("dev") not in foreign_links],
        "sysctls": sysctls,
        "mounts": mounts,
        "cgroups": [str(path) for path in cgroups if path.name not in foreign_cgroups],
        "links": sorted(set(links) - foreign_links),
        "files": visible,
    }


def _recorded() -> set[registry.Record]:
    return {record for path in registry.DIRECTORY.glob("*.json") if (record := registry.read(path.stem))}


def _namespaces(one: Lab) -> set[str]:
    record = registry.read(one.cluster.name)
    assert record is not None
    assert record.init is not None
    return {str(Path(f"/proc/{record.init.pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid", "uts", "ipc")}


def _processes_in(namespaces: set[str]) -> list[processes.Process]:
    """Processes in any of the namespaces."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            inside = {str(link.readlink()) for link in (directory / "ns").iterdir()}
        except OSError:
            continue
        process = processes.identify(int(directory.name))
        if inside & namespaces and process is not None:
            found.append(process)
    return found


def _alive(known: list[processes.Process]) -> list[processes.Process]:
    """Those that still run. Looked for one by one: a new namespace of another test process may have an old one's number."""
    return [process for process in known if processes.is_alive(process)]
