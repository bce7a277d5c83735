"""A real etcd and kube-apiserver, with the controller manager when asked for, as processes on free loopback ports.

For tests of what talks to an API server but needs no node: CRDs, reconciles, elections. No kubelet and no scheduler: no pod
ever runs. RBAC is on. Everything lives in a temporary directory; the programs die with the test process, however that ends.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hack.cluster import binaries, components, kubectl, pki, probe, supervise
from tests.support import ports

START_SECONDS: Final = 60
LOG_LINES: Final = 5

_AUDIT_POLICY: Final = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [get, list, watch]
- level: Metadata
"""
_AUDIT_MEBIBYTES: Final = 10_000
"""After 100 MiB, its default, the API server would go on in another file."""


class _Program:
    """One program under a supervisor that kills it when this process ends."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        self.name = command[0]
        path = str(binaries.ensure(command[0]))
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", supervise.__file__, path, *command[1:]],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests; they stop us
            )

    def died(self) -> str | None:
        """Its last words when it has exited by itself."""
        if self._process.poll() is None:
            return None
        tail = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return f"{self.name} exited with {self._process.returncode}: " + "\n".join(tail)

    def kill(self) -> None:
        """Kill it at once, as a crash would, and wait until it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class ControlPlane:
    """A context manager; inside, `kubeconfig` is that of an administrator.

    Without `controller_manager` nothing collects garbage, makes ServiceAccounts or acts on Deployments, and pods need no
    ServiceAccount. `audit` writes one JSON line for each write into `audit_log`. `flags` are the API server's. With
    `controller_flags` the controllers have their own accounts and rights, and are given these flags.
    """

    def __init__(
        self,
        *,
        controller_manager: bool = False,
        audit: bool = False,
        flags: Sequence[str] = (),
        controller_flags: Sequence[str] = (),
    ) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="sluice-controlplane-")
        self._directory = Path(self._scratch.name)
        self._with_controller_manager = controller_manager
        self._flags = tuple(flags)
        self._controller_flags = tuple(controller_flags)
        self._running: dict[str, _Program] = {}
        self.audit_log: Final = self._directory / "audit.log" if audit else None
        self._layout = components.Layout(
            pki=self._directory / "pki",
            data=self._directory / "etcd",
            bind="127.0.0.1",
            advertise="192.0.2.1",  # refused when it is loopback, used by no one here
            api_port=ports.free(),
            etcd_port=ports.free(),
            etcd_peer_port=ports.free(),
            service_cidr="10.96.0.0/16",
            pod_cidr="10.244.0.0/16",
            kubernetes_ip="10.96.0.1",
        )
        self.pki: Final = self._layout.pki
        """Folder with every certificate that was issued, `front-proxy` among them."""
        self.kubeconfig: Final = self._layout.pki / "admin.kubeconfig"
        self.server: Final = f"https://127.0.0.1:{self._layout.api_port}"
        self._probe = probe.Probe("127.0.0.1", self._layout.api_port, self._layout.pki)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill what runs, latest first, and remove the directory."""
        for program in reversed(list(self._running.values())):
            program.kill()
        self._running.clear()
        self._scratch.cleanup()

    def stop_apiserver(self) -> None:
        """Kill the API server as a crash would: open connections are reset, new ones refused. etcd goes on."""
        self._running.pop("kube-apiserver").kill()

    def start_apiserver(self) -> None:
        """Start the API server again, on the same port with the same data, and wait until it is ready."""
        self._run(self._apiserver_command())
        self._probe.wait("/readyz", START_SECONDS, self._died)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; with `check`, a failure raises CalledProcessError."""
        return kubectl.run(self.kubeconfig, *arguments, stdin=stdin, check=check)

    def user(self, name: str, group: str = "") -> Path:
        """Return the kubeconfig of a user of that name and group: they may do what RBAC allows, at first nothing."""
        authority = pki.load(self._layout.pki)
        assert authority is not None
        file = "user-" + name.replace(":", "-").replace("/", "-")
        authority.issue(pki.Identity(file, name, group), datetime.datetime.now(datetime.UTC))
        path = self._directory / f"{file}.kubeconfig"
        authority.write_kubeconfig(file, self.server, path)
        return path

    def _start(self) -> None:
        authority = pki.create(self._layout.pki, components.identities(self._layout), datetime.datetime.now(datetime.UTC))
        authority.write_kubeconfig("admin", self.server, self.kubeconfig)
        authority.write_kubeconfig("controller-manager", self.server, self._layout.pki / "controller-manager.kubeconfig")
        self._run(components.etcd(self._layout))
        self.start_apiserver()
        self._probe.wait("/api/v1/namespaces/default", START_SECONDS, self._died)
        if self._with_controller_manager:
            address = ["--bind-address=127.0.0.1", f"--secure-port={ports.free()}", f"--cert-dir={self._directory}"]
            command = components.controller_manager(self._layout, one_account=not self._controller_flags)
            self._run([*command, *address, "--horizontal-pod-autoscaler-sync-period=1s", *self._controller_flags])
            self._probe.wait("/api/v1/namespaces/default/serviceaccounts/default", START_SECONDS, self._died)

    def _run(self, command: Sequence[str]) -> None:
        self._running[command[0]] = _Program(command, self._directory / f"{command[0]}.log")

    def _died(self) -> str | None:
        return next((cause for program in self._running.values() if (cause := program.died())), None)

    def _apiserver_command(self) -> list[str]:
        command = components.apiserver(self._layout)
        if not self._with_controller_manager:
            command.append("--disable-admission-plugins=ServiceAccount")
        if self.audit_log:
            policy = self._directory / "audit-policy.yaml"
            policy.write_text(_AUDIT_POLICY)
            command += [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}", "--audit-log-mode=blocking"]
            command.append(f"--audit-log-maxsize={_AUDIT_MEBIBYTES}")
        return [*command, *self._flags]
