"""A registry and a model hub that have nothing and answer as they are asked to: run in a pod on the node's network.

The repository's owner says what is answered: `refused` 401, `denied` 403, `limited` 429, `broken` 503, anything else 404.
"""

import http.server
import json
import sys

PORT = 5000
ANSWERS = {
    "refused": (401, "UNAUTHORIZED", "authentication required"),
    "denied": (403, "DENIED", "requested access to the resource is denied"),
    "limited": (429, "TOOMANYREQUESTS", "you have reached your pull rate limit"),
    "broken": (503, "UNAVAILABLE", "down for maintenance"),
}
UNKNOWN = (404, "MANIFEST_UNKNOWN", "manifest unknown")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the owner in the path."""

    def do_GET(self) -> None:
        """Also HEAD."""
        parts = self.path.strip("/").split("/")
        if parts == ["v2"]:
            self._answer(200, {}, {})
            return
        owner = next((part for part in parts if part in ANSWERS), "")
        status, code, message = ANSWERS.get(owner, UNKNOWN)
        headers = {"WWW-Authenticate": 'Basic realm="test"'} if status == 401 else {}
        headers["X-Error-Code"] = {403: "GatedRepo", 404: "RepoNotFound"}.get(status, "")
        headers["X-Error-Message"] = message
        self._answer(status, {"errors": [{"code": code, "message": message}], "error": message}, headers)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _answer(self, status: int, body: object, headers: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer((sys.argv[1], PORT), Handler).serve_forever()
