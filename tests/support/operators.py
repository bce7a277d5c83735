"""Runs replicas of the real operator as processes against an API server that a test has."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from tests.support import ports

START_SECONDS: Final = 40.0
NAMESPACE: Final = "sluice-system"


@dataclasses.dataclass
class Operator:
    """One replica. A context manager: it is stopped in order at the end, unless it was killed."""

    kubeconfig: Path
    folder: Path
    name: str = "replica-a"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    http_port: int = dataclasses.field(default_factory=ports.free)
    xds_port: int = dataclasses.field(default_factory=ports.free)

    def __enter__(self) -> Self:
        self._log = self.folder / f"{self.name}.log"
        settings = {
            "SLUICE_NAMESPACE": NAMESPACE,
            "SLUICE_POD_NAME": self.name,
            "SLUICE_KUBECONFIG": str(self.kubeconfig),
            "SLUICE_OPERATOR_IMAGE": "localhost/sluice/operator:test",
            "SLUICE_ENGINE_IMAGE": "localhost/sluice/vllm:test",
            "SLUICE_ENVOY_IMAGE": "localhost/sluice/envoy:test",
            "SLUICE_LISTEN_ADDRESS": "127.0.0.1",
            "SLUICE_HTTP_PORT": str(self.http_port),
            "SLUICE_XDS_PORT": str(self.xds_port),
            **self.environment,
        }
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sluice", "operator"],
                env={**os.environ, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self._log.read_text(errors="replace")

    def wait_ready(self) -> None:
        """Returns once /readyz says so."""
        limit = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=2).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            if self._process.poll() is not None or time.monotonic() > limit:
                raise AssertionError(f"the operator did not become ready:\n{self.log[-4000:]}")
            time.sleep(0.1)

    def wait_leading(self) -> None:
        """Returns once it leads."""
        self.wait_ready()
        limit = time.monotonic() + START_SECONDS
        while self.number("sluice_leader") != 1:
            if time.monotonic() > limit:
                raise AssertionError(f"the operator does not lead:\n{self.log[-4000:]}")
            time.sleep(0.1)

    def metrics(self) -> str:
        """The text of /metrics."""
        return httpx.get(f"http://127.0.0.1:{self.http_port}/metrics", timeout=5).text

    def number(self, metric: str) -> float:
        """The value of a metric without labels."""
        return next(float(line.split()[1]) for line in self.metrics().splitlines() if line.startswith(f"{metric} "))

    def sample(self, series: str) -> float:
        """The value of a series, written with its labels as in /metrics; -1 while there is none."""
        lines = (line for line in self.metrics().splitlines() if line.startswith(f"{series} "))
        return next((float(line.split()[-1]) for line in lines), -1.0)

    def has_seen(self, models: int) -> bool:
        """Whether it has reconciled so many ModelDeployments and nothing is due any more."""
        seen = self.sample('sluice_reconcile_seconds_count{kind="ModelDeployment"}')
        return seen >= models and self.sample("sluice_queue_depth") == 0

    def kill(self) -> None:
        """As a crash would end it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As Kubernetes would end it. Returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the operator did not stop in 30 s:\n{self.log[-4000:]}") from None
        return self._process.returncode
