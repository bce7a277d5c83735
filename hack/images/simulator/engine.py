"""What stands in for the model: finds the answer to a prompt, cuts it into tokens and counts what vLLM counts.

It knows nothing of HTTP. A token is a word; real tokenizers make more of them.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

import prometheus_client

TOKEN_SECONDS = 0.005
"""How long one token takes."""
MAX_RUNNING = 256
"""Requests that are answered at once; further ones wait."""
UNKNOWN = "I do not know."
LATENCY_BUCKETS = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
NEXT_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
ITERATION_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
FIRST_TOKEN_BUCKETS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class BusyError(Exception):
    """More requests are in flight than `--max-num-queued-reqs` allows."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """An answer: its tokens in order, how it ended (`stop` or `length`) and the prompt's length in tokens."""

    tokens: tuple[str, ...]
    finish_reason: str
    prompt_tokens: int

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.tokens)

    def usage(self, sent: int | None = None) -> dict[str, int]:
        """Return OpenAI's usage after `sent` tokens, by default after all of them."""
        completion = len(self.tokens) if sent is None else sent
        return {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + completion,
            "completion_tokens": completion,
        }


def split_tokens(text: str) -> tuple[str, ...]:
    """Return the words of a text, each with the white space before it."""
    return tuple(re.findall(r"\s*\S+", text))


class Metrics:
    """The metrics of vLLM that Sluice reads, under vLLM's names and labels."""

    def __init__(self, model: str) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        labels = {"engine": "0", "model_name": model}
        self.running = self._gauge("num_requests_running", "Requests being answered").labels(**labels)
        self.waiting = self._gauge("num_requests_waiting", "Requests that wait").labels(**labels)
        self.cache = self._gauge("kv_cache_usage_perc", "Share of the KV cache in use").labels(**labels)
        self.prompt = self._counter("prompt_tokens", "Tokens of prompts").labels(**labels)
        self.generation = self._counter("generation_tokens", "Tokens of answers").labels(**labels)
        self.first_token = self._histogram("time_to_first_token_seconds", "Time to the first token", FIRST_TOKEN_BUCKETS)
        self.between = self._histogram("inter_token_latency_seconds", "Time between tokens", NEXT_TOKEN_BUCKETS).labels(
            **labels
        )
        self.iteration = self._histogram("iteration_tokens_total", "Tokens of a step", ITERATION_BUCKETS).labels(**labels)
        self._counter("num_preemptions", "Requests put off").labels(**labels)
        prometheus_client.ProcessCollector(registry=self.registry)
        self.latency = self._histogram("e2e_request_latency_seconds", "Time to the last token", LATENCY_BUCKETS)
        success = self._counter("request_success", "Requests that ended", "finished_reason")
        self.success = {
            reason: success.labels(**labels, finished_reason=reason)
            for reason in ("stop", "length", "abort", "error", "repetition")
        }
        self.first, self.last = self.first_token.labels(**labels), self.latency.labels(**labels)

    def _gauge(self, name: str, text: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(f"vllm:{name}", text, ["engine", "model_name"], registry=self.registry)

    def _counter(self, name: str, text: str, *more: str) -> prometheus_client.Counter:
        return prometheus_client.Counter(f"vllm:{name}", text, ["engine", "model_name", *more], registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> prometheus_client.Histogram:
        labels = ["engine", "model_name"]
        return prometheus_client.Histogram(f"vllm:{name}", text, labels, buckets=buckets, registry=self.registry)


class Engine:
    """Answers prompts from a table, one token after another."""

    def __init__(
        self,
        answers: Mapping[str, str],
        served_names: Sequence[str],
        max_queued: int | None = None,
        *,
        max_running: int = MAX_RUNNING,
    ) -> None:
        self._answers = answers
        self._max_queued = max_queued
        self._places = asyncio.Semaphore(max_running)
        self.names = tuple(served_names)
        self.metrics = Metrics(self.names[0])
        self.in_flight = 0

    def complete(self, prompt: str, max_tokens: int | None, *, endless: bool = False) -> Completion:
        """Return the answer to a prompt; `max_tokens` cuts it off. An endless one begins anew until it is cut off."""
        tokens = split_tokens(self._answers.get(prompt.strip(), UNKNOWN))
        if endless and max_tokens is not None:
            return Completion(tuple(itertools.islice(itertools.cycle(tokens), max_tokens)), "length", len(split_tokens(prompt)))
        kept = tokens[:max_tokens]
        return Completion(kept, "stop" if len(kept) == len(tokens) else "length", len(split_tokens(prompt)))

    async def generate(self, completion: Completion) -> AsyncGenerator[str, None]:
        """Yield the answer's tokens as they come about, and count them.

        Raises:
            BusyError: there are too many requests in flight; before the first token.
        """
        started = time.monotonic()
        async with self._counted():
            self.metrics.prompt.inc(completion.prompt_tokens)
            last = started
            for position, token in enumerate(completion.tokens):
                await asyncio.sleep(TOKEN_SECONDS)
                now = time.monotonic()
                if position == 0:
                    self.metrics.first.observe(now - started)
                else:
                    self.metrics.between.observe(now - last)
                last = now
                self.metrics.generation.inc()
                self.metrics.iteration.observe(1)
                yield token
            self.metrics.last.observe(time.monotonic() - started)
            self.metrics.success[completion.finish_reason].inc()

    @contextlib.asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        if self._max_queued is not None and self.in_flight >= self._max_queued:
            raise BusyError
        self.in_flight += 1
        self.metrics.waiting.inc()
        running = False
        try:
            async with self._places:
                running = True
                self.metrics.waiting.dec()
                self.metrics.running.inc()
                yield
        finally:
            self.in_flight -= 1
            (self.metrics.running if running else self.metrics.waiting).dec()
