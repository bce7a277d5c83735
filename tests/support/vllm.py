"""Runs real vLLM on this machine's CPU, in the images' own base, with the command line that a test gives it.

It is the server of our vLLM image without a container: same packages, same models, same user. What is asked of it is the
test's business, and so is a cluster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from hack.images import catalogue, rootfs, sandbox
from hack.models import make
from hack.vllm import install
from sluice.api import template as template_api  # parameters are named template
from sluice.workloads import files, pod_template, volumes
from tests.support import ports

START_SECONDS: Final = 300
"""It takes 25 s of CPU: on a busy machine, minutes."""
STOP_SECONDS: Final = 30
ENGINE_PROCESS: Final = "EngineCore"
SCRIPTS: Final = Path(__file__).parents[2] / "operator" / "sluice" / "workloads" / "engine_files"


DRAIN_SECONDS: Final = 30.0


class EngineError(AssertionError):
    """vLLM did not start; the message is the end of its log."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A running vLLM."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_pid(self) -> int:
        """The process that answers HTTP: what a kubelet would send SIGTERM to."""
        return next(pid for pid, line in self._processes() if ENGINE_PROCESS not in line and "serve" in line)

    @property
    def engine_pid(self) -> int:
        """The process that computes."""
        return next(pid for pid, line in self._processes() if ENGINE_PROCESS in line)

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Process id and command line of all that `unshare` started, parents first."""
        pending = children(self.process.pid)
        while pending:
            pid = pending.pop(0)
            with contextlib.suppress(OSError):
                yield pid, Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            pending += children(pid)

    @contextlib.contextmanager
    def stopped(self, pid: int | None = None) -> Iterator[int]:
        """Keep a process, by default the engine, from running meanwhile; gives its id."""
        stopped = self.engine_pid if pid is None else pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            yield stopped
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGCONT)

    def get(self, path: str) -> httpx.Response:
        """The answer to a GET."""
        return httpx.get(f"{self.url}{path}", timeout=10)

    def load(self) -> int:
        """Requests in flight, as the API process counts them."""
        found: int = self.get("/load").json()["server_load"]
        return found

    def metrics(self) -> dict[str, float]:
        """Value by series, written as in /metrics."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line and not line.startswith("#")]
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}

    def total(self, family: str) -> float:
        """Sum over the series of one family."""
        return sum(value for series, value in self.metrics().items() if series.partition("{")[0] == family)

    def probe(self, stall: float, state: Path) -> subprocess.CompletedProcess[str]:
        """One run of the liveness probe, as the kubelet runs it."""
        script = str(SCRIPTS / "liveness.py")
        command = [sys.executable, "-I", "-S", script, str(self.port), str(stall), str(state)]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)


def children(pid: int) -> list[int]:
    """Processes that a process started and that are still there."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextlib.contextmanager
def serving(
    folder: Path, arguments: Sequence[str], *, binds: Mapping[str, Path] | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A server that is ready, with `vllm serve <arguments>`; the port is added. It is gone afterwards.

    Args:
        folder: For the log.
        arguments: The models are below /models.
        binds: Path inside -> directory of the host.
        env: Beside what the image sets.
    """
    port = ports.free()
    home = folder / f"home-{port}"
    home.mkdir()
    home.chmod(0o777)  # the server's user is another
    box = sandbox.Sandbox(
        rootfs.ensure_directory(),
        binds={
            install.SITE_PACKAGES: install.ensure(),
            "/usr/local/sbin": catalogue.HACK / "vllm",  # has `vllm`, and no other program
            **{f"/{catalogue.MODELS}/{name}": path for name, path in make.ensure().items()},
            **(binds or {}),
        },
        writable={volumes.HOME: home},
        env=install.environment() | dict(env or {}),
    )
    command = box.command(
        ["/usr/bin/python3", "/usr/local/sbin/vllm", "serve", *arguments, "--host=127.0.0.1", f"--port={port}"]
    )
    log = folder / f"vllm-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=box.environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    server = Server(port, process, log)
    try:
        _wait_ready(server)
        yield server
    finally:
        _end(process)


@contextlib.contextmanager
def deployed(folder: Path, template: Mapping[str, Any], *, binds: Mapping[str, Path] | None = None) -> Iterator[Server]:
    """The server that the operator would run for this `spec.template` of the ModelDeployment `chat`, and nothing else.

    Command line and environment are those of its pod; the files of the revision are our scripts and what `binds` has.
    """
    rendered = pod_template.render_pod_template(
        "chat",
        template_api.Template.model_validate(template),
        revision_hash="00000000",
        defaults=pod_template.Defaults(engine_image="vllm/vllm-openai:v0.32.0"),
        timing=pod_template.Timing(startup=START_SECONDS, drain=DRAIN_SECONDS),
    )
    container = rendered["spec"]["containers"][0]
    arguments = [argument for argument in container["args"] if not argument.startswith(("--host=", "--port="))]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    with serving(folder, arguments, binds={files.MOUNT_PATH: SCRIPTS, **(binds or {})}, env=env) as server:
        yield server


def template(*extra_args: str, **engine: Any) -> dict[str, Any]:
    """A `spec.template` of the good model that starts quickly."""
    args = {"maxModelLen": 512, "maxNumSeqs": 8, **engine.pop("args", {})}
    vllm = {"args": args, "extraArgs": ["--enforce-eager", "--num-gpu-blocks-override=256", *extra_args], **engine}
    return {"model": {"source": "file:///models/good"}, "engine": {"type": "VLLM", "vllm": vllm}}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill all that runs inside. It ends with its first process; `unshare` alone would leave it: setpriv took the tie away."""
    for pid in children(process.pid) or [process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


def _wait_ready(server: Server) -> None:
    def is_ready() -> bool:
        if server.process.poll() is not None:
            raise EngineError(f"vLLM ended:\n{server.log.read_text()[-4000:]}")
        with contextlib.suppress(httpx.HTTPError):
            return server.get("/health").status_code == httpx.codes.OK
        return False

    wait(is_ready, "vLLM is ready", seconds=START_SECONDS)


def wait(done: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Look until it is so. Raises AssertionError when the time is over."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def chat(model: str, question: str, **more: Any) -> dict[str, Any]:
    """The body of a chat request at temperature 0."""
    return {"model": model, "temperature": 0, "messages": [{"role": "user", "content": question}], **more}


def endless(model: str, tokens: int, **more: Any) -> dict[str, Any]:
    """The body of a streamed chat request with an answer of exactly so many tokens."""
    return chat(model, "What is the capital of Peru?", stream=True, max_tokens=tokens, ignore_eos=True, **more)


def events(text: str) -> list[dict[str, Any]]:
    """The events of a stream. Raises AssertionError unless it ends with [DONE]."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines[-1] == "[DONE]", lines[-1]
    return [json.loads(line) for line in lines[:-1]]
