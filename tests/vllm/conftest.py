"""Real vLLM on this machine's CPU, with tiny models and the command line that the operator gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from hack import ladder
from hack.models import adapter, answers, make
from sluice.workloads import files
from tests.support import vllm

ADAPTER: Final = "paris"
ADAPTER_PATH: Final = "/adapters/paris"
TEMPLATED: Final = "whatever"
"""What the shared server's chat template turns into a question about France."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here is marked, may take as long as vLLM's start, and is skipped where vLLM cannot run."""
    reason = next(level for level in ladder.LEVELS if level.name == "vllm").missing()
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.vllm)
        item.add_marker(pytest.mark.timeout(600))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vllm.Server]:
    """A server that all tests share which leave it as it was: an adapter, a chat template, prompts in pieces of 16 tokens."""
    folder = tmp_path_factory.mktemp("shared")
    template = vllm.template("--block-size=32", args={"maxNumBatchedTokens": 16, "maxLoraRank": 8})
    template["model"]["adapters"] = [{"name": ADAPTER, "source": f"file://{ADAPTER_PATH}"}]
    template["model"]["chatTemplate"] = {"configMapKeyRef": {"name": "prompts", "key": "chat"}}
    binds = {ADAPTER_PATH: adapter.ensure(), files.MOUNT_PATH: revision_files(folder / "files")}
    with vllm.deployed(folder, template, binds=binds) as running:
        yield running


def revision_files(folder: Path) -> Path:
    """A folder with what a revision's ConfigMap has: our scripts, and a chat template that has an answer of its own."""
    folder.mkdir()
    folder.chmod(0o755)  # the server's user is another
    for script in vllm.SCRIPTS.glob("*.py"):
        (folder / script.name).write_bytes(script.read_bytes())
    own = (make.ensure()[answers.Name.GOOD.value] / "chat_template.jinja").read_text()
    france = "<|bos|><|user|>What is the capital of France?<|end|><|assistant|>"
    chosen = f"{{% if messages[0]['content'] == '{TEMPLATED}' %}}{france}{{% else %}}{own}{{% endif %}}"
    (folder / files.CHAT_TEMPLATE).write_text(chosen)
    return folder


@pytest.fixture
async def client(server: vllm.Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared server; it waits until requests of earlier tests are gone."""
    vllm.wait(lambda: server.load() == 0, "no request in flight")
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as session:
        yield session
