"""The embedded cluster seen from the host: one command to have it, one to be rid of it, whatever was killed before.

The single steps are in `boot.py`; what happens inside the node is in `node.py`.
"""

import dataclasses
import http
import shutil
import string
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import binaries, boot, errors, host, images, kubectl, node, nodepaths, paths, pki, probe, registry
from hack.images import build

START_SECONDS = 120
LOG_LINES = 5
DNS_MANIFEST = Path(__file__).parent / "manifests" / "coredns.yaml"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """The embedded cluster of a name. Clusters of different names run side by side; one name is one cluster a machine.

    A hostPath volume is the host's directory of the same path (model files, say), except below /run and /var/log, which are
    the node's own, and below /var/lib, where the node's writes are its own. There is no provisioner: PersistentVolumes with a
    hostPath are bound by hand. Pods reach each other, Services and the host (`host_ip`), nothing else.
    """

    name: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, there while the cluster is up."""
        return paths.kubeconfig(self.name)

    @property
    def host_ip(self) -> str:
        """The address at which pods reach programs of the host that listen there or on all addresses."""
        return self._record().network.host_ip

    def up(self, tars: Sequence[Path] = ()) -> Path:
        """Start the cluster unless it runs already, with the images of some tar files; return its kubeconfig.

        Raises:
            ClusterError: something is missing, or does not get ready.
        """
        host.check(self.name)
        self._check_disk(tars)
        host.prepare()
        build_programs()
        with self._locked():
            record = registry.allocate(self.name)
            if not self._works(record):
                boot.clear(record)
                record = self._start(record)
            self._fill(record)
            for tar in tars:
                self._import(record, tar)
        print(f"cluster {self.name}: up; try: KUBECONFIG={self.kubeconfig} {self._kubectl_link} get pods -A", flush=True)
        return self.kubeconfig

    def down(self) -> None:
        """Stop the cluster and remove all of it but its images, which stay in the cache. Nothing happens when it is not up."""
        with self._locked():
            if record := registry.read(self.name):
                boot.clear(record)
                registry.remove(self.name)
            shutil.rmtree(nodepaths.on_host(self.name).run, ignore_errors=True)
            shutil.rmtree(self.kubeconfig.parent, ignore_errors=True)

    def forget(self) -> None:
        """Take the cluster down and remove its images as well: the next `up` imports all of them again."""
        self.down()
        with self._locked():
            shutil.rmtree(nodepaths.on_host(self.name).images, ignore_errors=True)

    def load_image(self, tar: Path) -> None:
        """Import the image of a tar file into the running cluster unless it has exactly this one."""
        self._import(self._record(), tar)

    def tag_image(self, ref: str, new: str) -> None:
        """Give an image of the running cluster one more name: to its users, another image of the same content."""
        self._containerd(self._record()).tag(ref, new)

    def status(self) -> str:
        """Return one line: whether it is up, and where."""
        record = registry.read(self.name)
        if record is None or not record.is_running():
            return f"cluster {self.name}: down"
        state = "up" if self._works(record) else "running, but its API server does not answer"
        network = record.network
        return f"cluster {self.name}: {state}, node {network.node_ip}, pods {network.pod_cidr}, host {network.host_ip}"

    def _check_disk(self, tars: Sequence[Path]) -> None:
        """Check before the long work that it can end: images count until there is a first cluster that keeps them."""
        home = nodepaths.on_host(self.name)
        images_bytes = 0 if home.images.exists() else sum(host.image_bytes(tar.stat().st_size) for tar in tars)
        build_bytes = 0 if binaries.all_built() else host.BUILD_BYTES
        host.check_disk(home.home, host.RUN_BYTES + images_bytes + build_bytes, f"start cluster {self.name}")

    def _start(self, record: registry.Record) -> registry.Record:
        started = time.monotonic()
        described = boot.describe(self.name, record.index)
        host.make_cgroups(described.cgroup_root)
        boot.write_files(described, build.ensure_image("pause").ref)
        record = boot.spawn(described)
        registry.write(record)
        boot.connect(record)
        self._probe(record).wait("/readyz", START_SECONDS, lambda: self._died(record))
        print(f"cluster {self.name}: API server ready after {time.monotonic() - started:.1f} s", flush=True)
        return record

    def _fill(self, record: registry.Record) -> None:
        """Give a running cluster what it lacks (kubeconfig, its own two images, DNS), and wait until the node runs it."""
        authority = pki.load(nodepaths.on_host(self.name).pki)
        assert authority is not None
        authority.write_kubeconfig("admin", boot.server(record.network), self.kubeconfig)
        self._kubectl_link.unlink(missing_ok=True)
        self._kubectl_link.symlink_to(binaries.ensure("kubectl"))
        dns = build.ensure_image("coredns")
        for image in (build.ensure_image("pause"), dns):
            self._import(record, image.tar)
        manifest = string.Template(DNS_MANIFEST.read_text())
        self._kubectl("apply", "-f", "-", stdin=manifest.substitute(IMAGE=dns.ref, DNS_IP=record.network.dns_ip))
        timeout = f"--timeout={START_SECONDS}s"
        self._kubectl("wait", "--for=create", f"node/{self.name}", timeout)
        self._kubectl("wait", "--for=condition=Ready", f"node/{self.name}", timeout)
        self._kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", timeout)

    def _import(self, record: registry.Record, tar: Path) -> None:
        started = time.monotonic()
        home = nodepaths.on_host(self.name).home
        host.check_disk(home, host.image_bytes(tar.stat().st_size), f"import {tar}")
        if self._containerd(record).import_tar(tar):
            taken = time.monotonic() - started
            print(f"cluster {self.name}: imported {images.read_tar(tar).ref} in {taken:.1f} s", flush=True)

    def _containerd(self, record: registry.Record) -> images.Containerd:
        assert record.init is not None
        # The node's own view of the socket: it lies on a mount that only the node has.
        socket = Path(f"/proc/{record.init.pid}/root{nodepaths.CONTAINERD_SOCKET}")
        return images.Containerd(str(binaries.ensure("ctr")), socket)

    def _kubectl(self, *arguments: str, stdin: str = "") -> None:
        ran = kubectl.run(self.kubeconfig, *arguments, stdin=stdin)
        if ran.returncode != 0:
            logs = nodepaths.on_host(self.name).logs
            said = " ".join(ran.stderr.split())
            raise errors.ClusterError(f"Cannot start cluster {self.name}: kubectl {arguments[0]}: {said}; logs are in {logs}")

    @property
    def _kubectl_link(self) -> Path:
        """A kubectl of the cluster's version, beside its kubeconfig, for people."""
        return self.kubeconfig.with_name("kubectl")

    def _works(self, record: registry.Record) -> bool:
        return record.is_running() and self._probe(record).get("/readyz") == http.HTTPStatus.OK

    def _probe(self, record: registry.Record) -> probe.Probe:
        return probe.Probe(record.network.node_ip, node.API_PORT, nodepaths.on_host(self.name).pki)

    def _died(self, record: registry.Record) -> str | None:
        if record.is_running():
            return None
        log = nodepaths.on_host(self.name).logs / "node.log"
        return "the node's first process ended: " + " / ".join(log.read_text().splitlines()[-LOG_LINES:])

    def _record(self) -> registry.Record:
        record = registry.read(self.name)
        if record is None or not record.is_running():
            raise errors.ClusterError(f"Cannot reach cluster {self.name}: it is not up")
        return record

    def _locked(self) -> registry.Lock:
        return registry.locked(nodepaths.on_host(self.name).home / ".lock")


def build_programs() -> None:
    """Build the programs and the two images that every embedded cluster needs, unless the cache has them."""
    for program in ("kubectl", "containerd"):
        binaries.ensure(program)
    for image in ("pause", "coredns"):
        build.ensure_image(image)
    binaries.remove_build_caches()
