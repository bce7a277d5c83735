"""`sluice prefetch` as a process of its own: killed and started again, several at once, a full disk, codes and messages."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sluice.workloads import prefetch
from tests.support import hub as fake
from tests.support import prefetching

REPOSITORY = "acme/tiny"
WEIGHTS = random.Random(2).randbytes(8 << 20)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


@pytest.fixture
def server() -> Iterator[fake.FakeHub]:
    with fake.FakeHub() as started:
        yield started


class Pod:
    """One run of the program, as a pod would make it."""

    def __init__(
        self, server: fake.FakeHub, root: pathlib.Path, name: str, *more: str, cache: pathlib.Path | None = None, **env: str
    ) -> None:
        self.links = root / name / "links"
        self.result = root / name / "result"
        self.links.mkdir(parents=True, exist_ok=True)
        self.log = root / name / "log"
        places = [f"--cache={cache or root / 'cache'}", f"--links={self.links}", f"--result={self.result}"]
        command = [sys.executable, *prefetch.COMMAND[1:], *places, f"--item=model=hf://{REPOSITORY}", *more]
        own = {"HF_ENDPOINT": server.url, "PYTHONPATH": "operator", "HOME": str(root)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **own, **env}, stdout=log, stderr=subprocess.STDOUT)

    def wait(self) -> int:
        """The exit code."""
        return self.process.wait(60)

    def message(self) -> str:
        """The termination message."""
        return self.result.read_text()

    def content(self) -> dict[str, bytes]:
        """What the engine would find."""
        return prefetching.content(self.links)


@pytest.fixture
def started() -> Iterator[contextlib.ExitStack]:
    """Kills what still runs at the end."""
    with contextlib.ExitStack() as stack:
        yield stack


def start(stack: contextlib.ExitStack, pod: Pod) -> Pod:
    """Keeps an eye on the pod."""

    def end() -> None:
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait(10)

    stack.callback(end)
    return pod


def test_a_killed_download_goes_on_where_it_was(
    server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """SIGKILL in the middle of a big file loses nothing of what had arrived, and nothing half is served meanwhile."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(hold=True)]
    first = start(started, Pod(server, tmp_path, "first"))
    assert server.holding.wait(60)
    partial = next(iter(tmp_path.glob("cache/hf/*/partial/sha256-*")))
    while partial.stat().st_size < len(WEIGHTS) // 4:
        assert first.process.poll() is None
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    had = partial.stat().st_size
    assert not list(tmp_path.glob("cache/hf/*/manifests/*"))
    server.sent = 0
    second = start(started, Pod(server, tmp_path, "second"))
    assert second.wait() == prefetch.ExitCode.OK
    assert second.content() == FILES
    assert server.sent <= len(WEIGHTS) - had + len(FILES["config.json"])


def test_sigterm_ends_it_at_once(server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack) -> None:
    """A pod that is deleted does not wait for its grace period to pass."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(hold=True)]
    pod = start(started, Pod(server, tmp_path, "pod"))
    assert server.holding.wait(60)
    pod.process.terminate()
    assert pod.wait() == 128 + signal.SIGTERM


def test_pods_that_share_a_cache_download_once(
    server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """One fetches, the others wait for it and say so; all end up with the whole model."""
    commit = server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(hold=True)]
    pods = [start(started, Pod(server, tmp_path, f"pod-{number}")) for number in range(3)]
    assert server.holding.wait(60)
    while sum("another pod" in pod.log.read_text() for pod in pods) < len(pods) - 1:
        assert all(pod.process.poll() is None for pod in pods)
    server.release()
    assert [pod.wait() for pod in pods] == [prefetch.ExitCode.OK] * len(pods)
    assert server.sent == sum(map(len, FILES.values()))
    for pod in pods:
        assert pod.content() == FILES
        assert prefetch.parse_resolved(pod.message()) == {"model": commit}


def test_a_waiting_pod_takes_over_from_one_that_died(
    server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """The kernel lets go of a dead process's lock: no stale lock is waited for."""
    server.push(REPOSITORY, FILES)
    server.faults["model.safetensors"] = [fake.Fault(hold=True)]
    first = start(started, Pod(server, tmp_path, "first"))
    assert server.holding.wait(60)
    second = start(started, Pod(server, tmp_path, "second"))
    while "another pod" not in second.log.read_text():
        assert second.process.poll() is None
    first.process.kill()
    assert second.wait() == prefetch.ExitCode.OK
    assert second.content() == FILES


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 6 MiB, which the model does not fit into."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    server: fake.FakeHub, tmp_path: pathlib.Path, small_disk: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """With what is needed and what is there, and without a byte of the model."""
    server.push(REPOSITORY, FILES)
    pod = start(started, Pod(server, tmp_path, "pod", cache=small_disk))
    assert pod.wait() == prefetch.ExitCode.NO_SPACE
    assert "needs 0.01 GiB more" in pod.message()
    assert "room for 0.01 GiB" in pod.message()
    assert server.sent == 0


def test_a_disk_that_fills_up_meanwhile_is_said(
    server: fake.FakeHub, tmp_path: pathlib.Path, small_disk: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """Somebody else writes to the same volume: no crash, no half file that counts as whole."""
    weights = WEIGHTS[: 4 << 20]
    server.push(REPOSITORY, {"model.safetensors": weights})
    server.faults["model.safetensors"] = [fake.Fault(hold=True)]
    pod = start(started, Pod(server, tmp_path, "pod", cache=small_disk))
    assert server.holding.wait(60)
    with contextlib.suppress(OSError), (small_disk / "other").open("wb") as other:
        while other.write(bytes(1 << 20)):
            other.flush()
    server.release()
    assert pod.wait() == prefetch.ExitCode.NO_SPACE
    assert "the cache volume is full" in pod.message()
    assert not list(small_disk.glob("hf/*/blobs/*"))


def test_a_size_limit_is_kept(server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack) -> None:
    """The kubelet would evict the pod in the middle of the download."""
    server.push(REPOSITORY, FILES)
    pod = start(started, Pod(server, tmp_path, "pod", f"--size-limit={4 << 20}"))
    assert pod.wait() == prefetch.ExitCode.NO_SPACE
    assert server.sent == 0


def test_a_token_file_opens_a_private_repository(
    server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """As a Secret's key is mounted; without it the end is a refusal with URL, status and fix."""
    server.push(REPOSITORY, FILES)
    server.repositories[REPOSITORY].token = "hf_secret"
    token = tmp_path / "token"
    token.write_text("hf_secret\n")
    without = start(started, Pod(server, tmp_path, "without"))
    assert without.wait() == prefetch.ExitCode.DENIED
    assert f"{server.url}/api/models/{REPOSITORY}" in without.message()
    assert "answered 401" in without.message()
    assert "credentialsSecretRef" in without.message()
    with_token = start(started, Pod(server, tmp_path, "with", HF_TOKEN_PATH=str(token)))
    assert with_token.wait() == prefetch.ExitCode.OK
    assert "hf_secret" not in with_token.log.read_text()


def test_what_the_first_pod_got_is_taken_from_its_record(
    server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack
) -> None:
    """The file that the record's ConfigMap is mounted as decides, not the branch."""
    first = server.push(REPOSITORY, FILES)
    server.push(REPOSITORY, {**FILES, "config.json": b'{"moved": true}'})
    record = tmp_path / "resolved.json"
    record.write_text(prefetch.resolved_message({"model": first}))
    pod = start(started, Pod(server, tmp_path, "pod", f"--resolved={record}"))
    assert pod.wait() == prefetch.ExitCode.OK
    assert json.loads(pod.message()) == {"resolved": {"model": first}}
    assert pod.content() == FILES


def test_files_are_for_the_group_too(server: fake.FakeHub, tmp_path: pathlib.Path, started: contextlib.ExitStack) -> None:
    """Pods that share a cache share its group, not always the user; everybody may read."""
    server.push(REPOSITORY, FILES)
    assert start(started, Pod(server, tmp_path, "pod")).wait() == prefetch.ExitCode.OK
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert modes == {0o664}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "cache").rglob("*") if path.is_dir()} == {0o775}


@pytest.mark.parametrize("argument", ["--item=model", "--item=model=pvc://claim/x", "--item=model=ftp://x"])
def test_arguments_that_make_no_sense_are_refused(argument: str, tmp_path: pathlib.Path) -> None:
    """With their own exit code, for no retry would help."""
    command = [sys.executable, "-m", "sluice", "prefetch", f"--cache={tmp_path}", f"--links={tmp_path}", argument]
    run = subprocess.run(command, env={**os.environ, "PYTHONPATH": "operator"}, capture_output=True, text=True, check=False)
    assert run.returncode == prefetch.ExitCode.BAD_INPUT
    assert "Cannot" in run.stderr
