"""Numbers for Prometheus: requests, the queue, seconds by stage, tokens, and how answers stand to their memory."""

from __future__ import annotations

import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from memgpt_rag.answering.choice import Choice
from memgpt_rag.serving.engine import Engine
from memgpt_rag.serving.memories import Memories
from memgpt_rag.serving.task import Task

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SHARES = tuple(tenth / 10 for tenth in range(1, 11))
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The numbers of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()

        def histogram(
            name: str, about: str, labels: Sequence[str] = (), buckets: Sequence[float] = _SECONDS
        ) -> Histogram:
            return Histogram(f"memgpt_rag_{name}", about, labels, buckets=buckets, registry=registry)

        def counter(name: str, about: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"memgpt_rag_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"memgpt_rag_{name}", about, labels, registry=registry)

        self._requests = counter("requests", "Requests by endpoint and status.", ["method", "path", "status"])
        self._request_seconds = histogram("request_seconds", "Seconds from a request to its end.", ["path"])
        self._stage_seconds = histogram(
            "stage_seconds", "Seconds of an answer's stages: queue, retrieve, states, first_token, generate.", ["stage"]
        )
        self._tokens = counter("tokens", "Tokens that were read, attended to in memory, and written.", ["kind"])
        self._answers = counter("answers", "Answers by memory and by how they came about.", ["memory", "mode"])
        self._mass = histogram("memory_mass", "Attention mass of memory in answers from memory.", buckets=_SHARES)
        self._confidence = histogram("confidence", "Confidence that memory supports an answer.", buckets=_SHARES)
        self._waiting = gauge("queue_waiting", "Requests that wait for their turn.")
        self._running = gauge("answers_running", "Answers that are being generated.")
        self._entries = gauge("memory_entries", "Entries of a memory.", ["memory"])
        self._version = gauge("memory_version", "Version of a memory that is served.", ["memory"])

    def requested(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            path: the pattern of its endpoint, without ids.
        """
        self._requests.labels(method, path, str(status)).inc()
        self._request_seconds.labels(path).observe(seconds)

    def answered(self, task: Task, choices: Sequence[Choice]) -> None:
        """Count the answers of a task."""
        first = choices[0]
        timings, total = first.answer.timings, time.monotonic() - task.arrived
        stages = {
            "queue": max(0.0, total - timings.complete),
            "retrieve": timings.retrieved,
            "states": timings.states_ready - timings.retrieved,
            "first_token": timings.first_token - timings.states_ready,
            "generate": timings.complete - timings.first_token,
        }
        for stage, seconds in stages.items():
            self._stage_seconds.labels(stage).observe(max(0.0, seconds))
        self._tokens.labels("prompt").inc(first.prompt_tokens)
        self._tokens.labels("memory").inc(first.memory_tokens)
        for choice in choices:
            answer = choice.answer
            self._tokens.labels("completion").inc(choice.tokens)
            self._answers.labels(task.memory.name, answer.mode).inc()
            if answer.mode == "memory":
                self._mass.observe(answer.memory_mass)
            if answer.confidence is not None:
                self._confidence.observe(answer.confidence)

    def text(self, engine: Engine, memories: Memories) -> bytes:
        """Return all numbers in Prometheus's text format."""
        self._waiting.set(engine.waiting)
        self._running.set(engine.running)
        self._entries.clear()
        self._version.clear()
        for name in memories:
            if (served := memories.opened(name)) is not None:
                self._entries.labels(name).set(len(served.memory))
                self._version.labels(name).set(served.version)
        text: bytes = generate_latest(self._registry)
        return text
