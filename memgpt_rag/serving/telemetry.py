"""Spans of answers for OpenTelemetry, by its conventions for generative AI.

An answer is one span, `chat MODEL`, with a child for each stage: queue, retrieval, states, first_token, generate. It belongs to
the trace that the request names in its header `traceparent`. Neither questions nor answers are in it unless that is asked for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider, set_span_in_context

from memgpt_rag.answering.answer import Timings
from memgpt_rag.answering.choice import Choice
from memgpt_rag.serving.api_errors import api_error
from memgpt_rag.serving.task import Task

PROVIDER = "memgpt_rag"


class Telemetry:
    """Makes the spans of a server's answers.

    Args:
        provider: where spans go.
        with_texts: put questions and answers into them.
    """

    def __init__(self, provider: TracerProvider, *, with_texts: bool = False):
        self._provider = provider
        self._tracer: Tracer = provider.get_tracer("memgpt_rag.serving")
        self._with_texts = with_texts

    async def observed(
        self, events: AsyncIterator[Any], task: Task, model: str, headers: Mapping[str, str], request_id: str
    ) -> AsyncIterator[Any]:
        """Yield the events of a task; its span ends with them, or when nobody waits for them any more.

        Args:
            model: name of the language model.
            headers: of the request.
        """
        arrived = time.time_ns() - int((time.monotonic() - task.arrived) * 1e9)
        span = self._tracer.start_span(
            f"chat {model}",
            context=extract(headers),
            kind=SpanKind.SERVER,
            attributes=_request_attributes(task, model, request_id),
            start_time=arrived,
        )
        complete = False
        try:
            async for event in events:
                if isinstance(event, list):
                    complete = True
                    self._answered(span, task, model, event, arrived)
                yield event
        except (GeneratorExit, asyncio.CancelledError):  # nobody waits any more
            if not complete:
                span.set_attribute("error.type", "client_gone")
            raise
        except Exception as error:
            fault = api_error(error, request_id)
            span.set_attribute("error.type", fault.code or str(fault.status))
            span.set_status(Status(StatusCode.ERROR, fault.message))
            raise
        finally:
            span.end()
            await events.aclose()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Send the spans that are still to be sent."""
        shutdown = getattr(self._provider, "shutdown", None)
        if shutdown is not None:
            shutdown()

    def _answered(self, span: Span, task: Task, model: str, choices: Sequence[Choice], arrived: int) -> None:
        first = choices[0]
        answer = first.answer
        span.set_attributes(
            {
                "gen_ai.response.model": model,
                "gen_ai.response.finish_reasons": [choice.row.finish_reason for choice in choices],
                "gen_ai.usage.input_tokens": first.prompt_tokens + first.memory_tokens,
                "gen_ai.usage.cache_read.input_tokens": first.memory_tokens,
                "gen_ai.usage.output_tokens": sum(choice.tokens for choice in choices),
                "memgpt_rag.mode": answer.mode,
                "memgpt_rag.memory_mass": answer.memory_mass,
                "memgpt_rag.abstained": first.abstained,
                "memgpt_rag.entries": [citation.passage.id for citation in answer.citations],
            }
        )
        if answer.confidence is not None:
            span.set_attribute("memgpt_rag.confidence", answer.confidence)
        if self._with_texts:
            span.set_attribute("gen_ai.input.messages", _messages("user", [task.question]))
            span.set_attribute("gen_ai.output.messages", _messages("assistant", [choice.text for choice in choices]))
        self._stages(span, task, answer.timings, arrived)

    def _stages(self, span: Span, task: Task, timings: Timings, arrived: int) -> None:
        """Add a span for each stage of an answer, whose times are known when it is complete."""
        now = time.time_ns()
        began = max(arrived, now - int(timings.complete * 1e9))
        ends = [
            ("queue", {}, began),
            (f"retrieval {task.memory.name}", _retrieval_attributes(task), began + int(timings.retrieved * 1e9)),
            ("states", {}, began + int(timings.states_ready * 1e9)),
            ("first_token", {}, began + int(timings.first_token * 1e9)),
            ("generate", {}, now),
        ]
        context, start = set_span_in_context(span), arrived
        for name, attributes, end in ends:
            stage = self._tracer.start_span(name, context=context, attributes=attributes, start_time=start)
            start = max(start, end)
            stage.end(start)


def from_environment(*, with_texts: bool) -> Telemetry:
    """Return what sends spans over OTLP, set up by OpenTelemetry's variables, such as OTEL_EXPORTER_OTLP_ENDPOINT."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as Provider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()  # with OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": PROVIDER}))
    provider = Provider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Telemetry(provider, with_texts=with_texts)


def _request_attributes(task: Task, model: str, request_id: str) -> dict[str, Any]:
    sampling = task.sampling
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.output.type": "text",
        "gen_ai.request.model": model,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.choice.count": task.choices,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.stop_sequences": list(sampling.stops) or None,
        "memgpt_rag.memory": task.memory.name,
        "memgpt_rag.memory.version": task.memory.version,
        "memgpt_rag.request_id": request_id,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _retrieval_attributes(task: Task) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": task.memory.name,
        "gen_ai.request.top_k": task.options.k,
        "memgpt_rag.search": task.search.kind,
    }


def _messages(role: str, texts: Sequence[str]) -> str:
    messages = [{"role": role, "parts": [{"type": "text", "content": text}]} for text in texts]
    return json.dumps(messages, ensure_ascii=False)
