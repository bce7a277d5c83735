"""Stands in for vLLM where a test only reads metrics: an HTTP server whose page says what the test sets."""

from __future__ import annotations

import http.server
import threading
from types import TracebackType
from typing import Final, Self

import prometheus_client

BUCKETS: Final = (0.01, 0.1, 0.5, 1.0, 2.5, 5.0)


class Engine:
    """A context manager; serves `/metrics` on a loopback address, with vLLM's names and labels, until its end."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        labels = {"engine": "0", "model_name": "chat"}
        self.running = self._gauge("num_requests_running").labels(**labels)
        self.waiting = self._gauge("num_requests_waiting").labels(**labels)
        self.kv_cache = self._gauge("kv_cache_usage_perc").labels(**labels)
        self.first_token = self._histogram("time_to_first_token_seconds").labels(**labels)
        self.inter_token = self._histogram("inter_token_latency_seconds").labels(**labels)
        self.answers = prometheus_client.Counter(
            "http_requests_total", "", ["handler", "method", "status"], registry=self.registry
        )
        self.broken = False
        """Answer 500 instead of the page."""
        self.reads = 0
        """How often the page was asked for."""
        self._server = http.server.ThreadingHTTPServer((address, port), self._handler())
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def page(self) -> str:
        """The page as it is."""
        return prometheus_client.generate_latest(self.registry).decode()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                engine.reads += 1
                body = engine.page().encode()
                self.send_response(500 if engine.broken else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _gauge(self, name: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(f"vllm:{name}", "", ["engine", "model_name"], registry=self.registry)

    def _histogram(self, name: str) -> prometheus_client.Histogram:
        labels = ["engine", "model_name"]
        return prometheus_client.Histogram(f"vllm:{name}", "", labels, buckets=BUCKETS, registry=self.registry)
