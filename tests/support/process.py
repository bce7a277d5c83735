"""One `sluice` process of a test: started by its sub-command and its environment, ready by /readyz, ended as a pod ends."""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import ClassVar, Final, Self

import httpx

from tests.support import ports

NAMESPACE: Final = "sluice-system"
STOP_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.1
"""Between two looks at /readyz, which tells nobody when it changes."""


@dataclasses.dataclass
class Process(abc.ABC):
    """One replica. A context manager: it is stopped in order at the end, unless it was killed."""

    command: ClassVar[str]
    start_seconds: ClassVar[float]
    """Longest time until it is ready."""

    kubeconfig: pathlib.Path
    """By whose rights it works."""
    folder: pathlib.Path
    """Where its log is written."""
    _: dataclasses.KW_ONLY
    name: str = "replica-a"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Settings beside its own, and over them."""
    http_port: int = dataclasses.field(default_factory=ports.free)

    @abc.abstractmethod
    def settings(self) -> dict[str, str]:
        """The variables that its sub-command needs beside those that all have."""

    def __enter__(self) -> Self:
        self._log = self.folder / f"{self.command}-{self.name}.log"
        settings = {
            "SLUICE_NAMESPACE": NAMESPACE,
            "SLUICE_KUBECONFIG": str(self.kubeconfig),
            "SLUICE_LISTEN_ADDRESS": "127.0.0.1",
            "SLUICE_HTTP_PORT": str(self.http_port),
            **self.settings(),
            **self.environment,
        }
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sluice", self.command],
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

    def ready(self) -> tuple[int, str]:
        """Code and text of /readyz; 0 while nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.http_port}/readyz", timeout=2)
        except httpx.HTTPError as error:
            assert self._process.poll() is None, f"sluice {self.command} ended:\n{self.log[-4000:]}"
            return 0, str(error)
        return answer.status_code, answer.text

    def wait_ready(self) -> None:
        """Returns once /readyz says so."""
        limit = time.monotonic() + self.start_seconds
        while (found := self.ready())[0] != httpx.codes.OK:
            assert time.monotonic() < limit, f"sluice {self.command} is not ready: {found[1]}\n{self.log[-4000:]}"
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """As a crash would end it."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """As Kubernetes would end it. Returns its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"sluice {self.command} did not stop in {STOP_SECONDS:.0f} s:\n{self.log[-4000:]}"
                ) from None
        return self._process.returncode
