"""Runs replicas of the real operator as processes against an API server that a test has."""

from __future__ import annotations

import dataclasses
import time
from typing import Final

import httpx

from tests.support import ports, process

NAMESPACE: Final = process.NAMESPACE


@dataclasses.dataclass
class Operator(process.Process):
    """One replica."""

    command = "operator"
    start_seconds = 40.0

    xds_port: int = dataclasses.field(default_factory=ports.free, kw_only=True)

    def settings(self) -> dict[str, str]:
        """Its name, its port for proxies, and images that nobody pulls."""
        return {
            "SLUICE_POD_NAME": self.name,
            "SLUICE_OPERATOR_IMAGE": "localhost/sluice/operator:test",
            "SLUICE_ENGINE_IMAGE": "localhost/sluice/vllm:test",
            "SLUICE_ENVOY_IMAGE": "localhost/sluice/envoy:test",
            "SLUICE_XDS_PORT": str(self.xds_port),
        }

    def wait_leading(self) -> None:
        """Returns once it leads."""
        self.wait_ready()
        limit = time.monotonic() + self.start_seconds
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
