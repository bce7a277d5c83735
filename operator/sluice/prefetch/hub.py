"""The Hugging Face hub, or a mirror of it that HF_ENDPOINT names, through the hub's own library.

The library resolves names, finds the token (HF_TOKEN_PATH, HF_TOKEN), makes requests and reads errors; files are streamed by
ranges, so that a big one goes on where it broke off, and compared with the checksums that the hub keeps of every file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import httpx2
import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub import utils

from sluice.prefetch import errors, model
from sluice.workloads import sources

DEFAULT_REVISION: Final = "main"
TIMEOUT: Final = httpx2.Timeout(connect=10.0, read=60.0, write=60.0, pool=None)
"""Seconds. `read` is between two pieces of data: a big file may take as long as it needs."""
LIST_TIMEOUT: Final = 60.0
WINDOW: Final = 16 << 30
"""Most bytes that one request asks for: the hub's network refuses to send more than 50 GB at once."""
_FIX: Final = (
    "Accept the model's terms on the hub, and name a Secret with a token of that account in "
    "spec.template.model.credentialsSecretRef"
)


class Hub:
    """One repository of the hub at `endpoint` (None: HF_ENDPOINT, else huggingface.co)."""

    def __init__(self, item: sources.Item, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._repository = item.parsed.place
        self._source = item.source
        self._commit = ""

    def list(self, revision: str | None) -> model.Listing:
        """The files as of a revision; None is `main`."""
        with self._explained(f"/api/models/{self._repository}/revision/{revision or DEFAULT_REVISION}"):
            info = huggingface_hub.HfApi(self._endpoint).model_info(
                self._repository, revision=revision or DEFAULT_REVISION, files_metadata=True, timeout=LIST_TIMEOUT
            )
        if not info.sha or info.siblings is None:
            raise errors.MissingError(f"Cannot download {self._source}: the hub named no commit and no files for it")
        self._commit = info.sha
        return model.Listing(info.sha, tuple(_file(sibling) for sibling in info.siblings))

    def digest(self, file: model.File) -> model.Digest | None:
        """Every file of the hub has its checksum in the listing."""
        return file.digest

    def fetch(self, file: model.File, offset: int, sink: model.Sink) -> None:
        """Streams the file from the offset on, up to WINDOW bytes of it."""
        url = huggingface_hub.hf_hub_url(self._repository, file.path, revision=self._commit, endpoint=self._endpoint)
        last = min(file.size, offset + WINDOW) - 1
        # Compressed answers have other lengths than the ranges that were asked for.
        auth = utils.build_hf_headers()  # type: ignore[attr-defined] # documented there
        headers = {**auth, "Accept-Encoding": "identity", "Range": f"bytes={offset}-{last}"}
        with (
            self._explained(url),
            huggingface_hub.get_session().stream("GET", url, headers=headers, timeout=TIMEOUT) as answer,
        ):
            if answer.is_error:
                answer.read()
            utils.hf_raise_for_status(answer)  # type: ignore[attr-defined] # documented there
            if answer.status_code != httpx2.codes.PARTIAL_CONTENT and offset:
                sink.restart()
            for chunk in answer.iter_bytes():  # as it comes: what a larger piece has gathered would be lost with the connection
                sink.write(chunk)

    @contextlib.contextmanager
    def _explained(self, url: str) -> Iterator[None]:
        """Turns the library's errors into ours."""
        try:
            yield
        except hub_errors.HfHubHTTPError as error:
            raise self._of_answer(error) from error
        except (httpx2.TransportError, httpx2.TooManyRedirects) as error:
            asked = str(error.request.url) if getattr(error, "_request", None) is not None else url
            raise errors.unreachable(self._source, asked, str(error) or type(error).__name__) from error
        except hub_errors.HFValidationError as error:
            raise errors.MissingError(f"Cannot download {self._source}: {error}") from error

    def _of_answer(self, error: hub_errors.HfHubHTTPError) -> errors.PrefetchError:
        answer = error.response
        words = answer.headers.get("x-error-message") or answer.reason_phrase
        return errors.answered(
            self._source,
            str(answer.url),
            answer.status_code,
            words,
            fix=_FIX,
            retry_after=_seconds(answer.headers.get("retry-after")),
        )


def _file(sibling: huggingface_hub.hf_api.RepoSibling) -> model.File:
    path, size = sibling.rfilename, sibling.size or 0
    if sibling.lfs is not None:
        sha256 = sibling.lfs.sha256
        return model.File(path, sibling.lfs.size, f"sha256-{sha256}", sha256, model.Digest(model.Algorithm.SHA256, sha256))
    blob = sibling.blob_id or ""
    return model.File(path, size, f"git-{blob}", blob, model.Digest(model.Algorithm.GIT, blob))


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:  # a date
        return None
