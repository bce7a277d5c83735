"""A fake Hugging Face hub: repositories with commits, checksums, gates and a content network, and faults on demand.

It speaks as much of the hub's HTTP API as downloads use. Large files are sent after a redirect to another origin, as the real
hub does, which refuses requests that still carry the token.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib
import threading
from collections.abc import Mapping
from typing import Self

from aiohttp import web

from tests.support import ports

LARGE = 64 << 10
"""Bytes from which the fake keeps a file as LFS does."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to one request: a status instead of the content, a cut, or wrong content."""

    status: int = 0
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cut_after: int | None = None
    """Bytes after which the connection is reset."""
    corrupt: bool = False
    hold: bool = False
    """Send half of what was asked for, then nothing until the client goes away or `FakeHub.release` is called."""
    whole: bool = False
    """Ignore the range and send everything."""


@dataclasses.dataclass
class Repository:
    """One repository: files by commit, commits by branch."""

    commits: dict[str, dict[str, bytes]] = dataclasses.field(default_factory=dict)
    branches: dict[str, str] = dataclasses.field(default_factory=dict)
    token: str | None = None
    """Whoever has another one, or none, is refused."""
    gated: bool = False


class FakeHub:
    """One hub in a thread of its own; `address` is its own, `network` that of its content network."""

    def __init__(self, address: str = "127.0.0.1", network: str = "127.0.0.2") -> None:
        self.address = address
        self.network = network
        self.port = ports.free()
        self.repositories: dict[str, Repository] = {}
        self.faults: dict[str, list[Fault]] = collections.defaultdict(list)
        """Faults by the end of a request's path, each for one request, in order."""
        self.requests: list[tuple[str, str | None]] = []
        """Path and range of each request."""
        self.sent = 0
        """Bytes of content that were sent."""
        self.holding = threading.Event()
        """Set once a request with `hold` waits."""
        self._released: asyncio.Event | None = None
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        """What HF_ENDPOINT says."""
        return f"http://{self.address}:{self.port}"

    def push(self, repository: str, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        """Adds a commit that holds exactly these files to the branch; returns it."""
        repo = self.repositories.setdefault(repository, Repository())
        commit = hashlib.sha1(repr((len(repo.commits), sorted(files))).encode()).hexdigest()
        repo.commits[commit] = dict(files)
        repo.branches[branch] = commit
        return commit

    def release(self) -> None:
        """Lets held requests go on."""

        def go() -> None:
            assert self._released is not None
            self._released.set()

        self._loop.call_soon_threadsafe(go)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._released = asyncio.Event()
        app = web.Application()
        app.router.add_get("/api/models/{repo:.+}/revision/{revision}", self._info)
        app.router.add_route("*", "/cdn/{key}", self._content_network)
        app.router.add_route("*", "/{repo:.+}/resolve/{revision}/{path:.+}", self._resolve)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        # Its content network is another origin of the same port.
        for host in {self.address, self.network}:
            self._loop.run_until_complete(web.TCPSite(runner, host, self.port).start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def _next_fault(self, path: str) -> Fault:
        found = next((faults for end, faults in self.faults.items() if path.endswith(end) and faults), None)
        return found.pop(0) if found else Fault()

    async def _info(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, None))
        refused, files, commit = self._files(request)
        if refused is not None:
            return refused
        fault = self._next_fault(request.path)
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers)
        siblings = [_sibling(path, content) for path, content in files.items()]
        return web.json_response({"id": request.match_info["repo"], "sha": commit, "siblings": siblings})

    def _files(self, request: web.Request) -> tuple[web.Response | None, Mapping[str, bytes], str]:
        repo = self.repositories.get(request.match_info["repo"])
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo is None or (repo.token is not None and token != repo.token and not repo.gated):
            return _refusal(404 if token else 401, "RepoNotFound", "Repository not found"), {}, ""
        if repo.token is not None and token != repo.token:
            return _refusal(403 if token else 401, "GatedRepo", "Access to this model is restricted"), {}, ""
        revision = request.match_info["revision"]
        commit = repo.branches.get(revision, revision)
        if commit not in repo.commits:
            return _refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}"), {}, ""
        return None, repo.commits[commit], commit

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        refused, files, commit = self._files(request)
        path = request.match_info["path"]
        if refused is None and path not in files:
            refused = _refusal(404, "EntryNotFound", "Entry not found")
        if refused is not None:
            return refused
        content = files[path]
        if len(content) >= LARGE:
            key = f"{hashlib.sha256(content).hexdigest()}?repo={request.match_info['repo']}&commit={commit}&path={path}"
            raise web.HTTPFound(f"http://{self.network}:{self.port}/cdn/{key}&signature=secret")
        return await self._send(request, request.path, content)

    async def _content_network(self, request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers and self.network != self.address:
            return web.Response(status=400, text="a token was sent to a stranger")
        query = request.query
        content = self.repositories[query["repo"]].commits[query["commit"]][query["path"]]
        return await self._send(request, query["path"], content)

    async def _send(self, request: web.Request, path: str, content: bytes) -> web.StreamResponse:
        self.requests.append((path, request.headers.get("Range")))
        fault = self._next_fault(path)
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers)
        start, end = _range(request, len(content))
        is_part = "Range" in request.headers and not fault.whole
        part = content[start:end] if is_part else content
        if fault.corrupt:
            part = part[:-1] + bytes([part[-1] ^ 1])
        answer = web.StreamResponse(status=206 if is_part else 200)
        answer.content_length = len(part)
        if is_part:
            answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        await answer.prepare(request)
        await self._pass_on(request, answer, part, fault)
        return answer

    async def _pass_on(self, request: web.Request, answer: web.StreamResponse, part: bytes, fault: Fault) -> None:
        stop = len(part) // 2 if fault.hold else fault.cut_after
        head = part if stop is None else part[:stop]
        await answer.write(head)
        self.sent += len(head)
        if fault.hold:
            self.holding.set()
            assert self._released is not None
            await self._released.wait()
            await answer.write(part[len(head) :])
            self.sent += len(part) - len(head)
        elif fault.cut_after is not None:
            assert request.transport is not None
            request.transport.abort()


def _range(request: web.Request, size: int) -> tuple[int, int]:
    wanted = request.http_range
    return wanted.start or 0, min(size, wanted.stop) if wanted.stop is not None else size


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.Response(status=status, headers={"X-Error-Code": code, "X-Error-Message": message})


def _sibling(path: str, content: bytes) -> dict[str, object]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
    if len(content) >= LARGE:
        entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry
