"""The plugin reaches a cluster by the kubeconfigs that kubectl takes: tokens, exec plugins, several files, contexts."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import yaml

from sluice.cli import entry, exits
from tests.support import controlplane, ports

ROOT: Final = pathlib.Path(__file__).resolve().parents[2]
NAMESPACE: Final = "access"


@dataclasses.dataclass(frozen=True)
class Place:
    """A ModelDeployment called chat in a namespace, and a ServiceAccount that may see it."""

    cluster: Mapping[str, Any]
    """Of a kubeconfig."""
    token: str

    def write(self, path: pathlib.Path, user: Mapping[str, Any], *, context: str = "here", namespace: str = NAMESPACE) -> str:
        """A kubeconfig with one context, which is the present one."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": self.cluster}],
            "users": [{"name": context, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": namespace}}],
            "current-context": context,
        }
        path.write_text(yaml.safe_dump(content))
        return str(path)


@pytest.fixture(scope="module")
def place(cluster: controlplane.ControlPlane) -> Iterator[Place]:
    """Made once."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl(
        "create", "rolebinding", "reader", "--clusterrole=sluice-view", f"--serviceaccount={NAMESPACE}:reader", "-n", NAMESPACE
    )
    cluster.kubectl("create", "serviceaccount", "reader", "-n", NAMESPACE)
    obj = yaml.safe_load((ROOT / "tests/crd/accepted/modeldeployment-minimal.yaml").read_text())
    obj["metadata"] = {"name": "chat", "namespace": NAMESPACE}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(obj))
    admin = yaml.safe_load(cluster.kubeconfig.read_text())
    yield Place(admin["clusters"][0]["cluster"], cluster.kubectl("create", "token", "reader", "-n", NAMESPACE).stdout.strip())
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def status(*options: str) -> tuple[int, str]:
    """Exit code and everything said by `status chat`."""
    output, problems = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(problems), pytest.raises(SystemExit) as ended:
        entry.main(["status", "chat", *options])
    return int(ended.value.code or 0), output.getvalue() + problems.getvalue()


def test_a_token_and_the_contexts_namespace_are_used(place: Place, tmp_path: pathlib.Path) -> None:
    """And --namespace goes before it: the account may not look elsewhere."""
    file = place.write(tmp_path / "config", {"token": place.token})
    code, said = status("--kubeconfig", file)
    assert (code, f"{NAMESPACE}/chat" in said) == (exits.Exit.DONE, True)
    assert status("--kubeconfig", file, "-n", "default")[0] == exits.Exit.FORBIDDEN


def test_an_exec_plugin_is_asked_for_the_token(place: Place, tmp_path: pathlib.Path) -> None:
    """As clouds have it; one that fails is told of."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": place.token}}
    script = tmp_path / "credentials.py"
    script.write_text(f"print({json.dumps(answer)!r})")
    command = {"apiVersion": answer["apiVersion"], "command": sys.executable, "args": [str(script)], "interactiveMode": "Never"}
    assert status("--kubeconfig", place.write(tmp_path / "good", {"exec": command}))[0] == exits.Exit.DONE
    broken = place.write(tmp_path / "bad", {"exec": {**command, "args": [str(tmp_path / "missing.py")]}})
    code, said = status("--kubeconfig", broken)
    assert (code, "the exec plugin of user 'here' gave no credentials" in said) == (exits.Exit.USAGE, True)


def test_several_files_are_joined_as_kubectl_joins_them(
    place: Place, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first present context counts, any context of any file can be named, and a file that is missing is none."""
    first = place.write(tmp_path / "first", {"token": "of nobody"}, context="nobody")
    second = place.write(tmp_path / "second", {"token": place.token})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:{tmp_path / 'missing'}")
    code, said = status()
    assert (code, "Log in again" in said) == (exits.Exit.FORBIDDEN, True)
    assert status("--context", "here")[0] == exits.Exit.DONE
    code, said = status("--context", "elsewhere")
    assert (code, "elsewhere" in said) == (exits.Exit.USAGE, True)


@pytest.mark.parametrize("text", ["", "[1]", "contexts: [", "apiVersion: v1\nkind: Config\n"])
def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: pathlib.Path, text: str) -> None:
    """Whatever is wrong with it."""
    file = tmp_path / "config"
    file.write_text(text)
    code, said = status("--kubeconfig", str(file))
    assert code == exits.Exit.USAGE
    assert f"Cannot use kubeconfig {file}" in said


def test_an_api_server_that_does_not_answer_has_its_own_exit_code(place: Place, tmp_path: pathlib.Path) -> None:
    """So that a script can try again later."""
    nowhere = dataclasses.replace(place, cluster={"server": f"https://127.0.0.1:{ports.free()}"})
    assert status("--kubeconfig", nowhere.write(tmp_path / "config", {"token": "x"}))[0] == exits.Exit.UNREACHABLE
