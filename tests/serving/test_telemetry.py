"""Spans of answers: what they say, whom they belong to, and that a collector gets them over OTLP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from served import Served, free_port, wait_until

from memgpt_rag.serving.telemetry import Telemetry, from_environment

QUESTION = "How much is a rowing boat?"
STAGES = ["queue", "retrieval park", "states", "first_token", "generate"]
TRACE, PARENT = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7


def served_with(folder, *, with_texts: bool):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Served(folder, telemetry=Telemetry(provider, with_texts=with_texts)), exporter


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    server, exporter = served_with(tmp_path_factory.mktemp("served"), with_texts=False)
    with server:
        yield server, exporter


def ask(server, **more):
    messages = [{"role": "user", "content": QUESTION}]
    return server.client().chat.completions.create(model="park", messages=messages, max_tokens=5, **more)


def entry_spans(exporter):
    """The span of the only answer, and its stages in order."""
    wait_until(lambda: any(span.name.startswith("chat ") for span in exporter.get_finished_spans()))
    spans = exporter.get_finished_spans()
    exporter.clear()
    (chat,) = (span for span in spans if span.name.startswith("chat "))
    stages = [span for span in spans if span is not chat]
    assert all(stage.parent.span_id == chat.context.span_id for stage in stages)
    return chat, sorted(stages, key=lambda span: (span.start_time, STAGES.index(span.name)))


def test_a_span_says_what_the_response_says(observed):
    server, exporter = observed
    completion = ask(server, seed=7, stop=["!"], extra_headers={"traceparent": f"00-{TRACE:032x}-{PARENT:016x}-01"})
    chat, stages = entry_spans(exporter)
    assert (chat.context.trace_id, chat.parent.span_id) == (TRACE, PARENT), "it belongs to the client's trace"
    said, usage = dict(chat.attributes), completion.usage
    assert said["gen_ai.usage.input_tokens"] == usage.prompt_tokens
    assert said["gen_ai.usage.cache_read.input_tokens"] == usage.prompt_tokens_details.cached_tokens
    assert said["gen_ai.usage.output_tokens"] == usage.completion_tokens
    assert list(said["gen_ai.response.finish_reasons"]) == [completion.choices[0].finish_reason]
    assert said["memgpt_rag.memory_mass"] == pytest.approx(completion.memory["mass"])
    assert list(said["memgpt_rag.entries"]) == [entry["id"] for entry in completion.memory["entries"]]
    assert (said["gen_ai.request.seed"], said["gen_ai.request.stop_sequences"]) == (7, ("!",))
    assert said["memgpt_rag.memory"] == "park" and said["gen_ai.operation.name"] == "chat"
    assert [stage.name for stage in stages] == STAGES
    ends = [chat.start_time, *(stage.end_time for stage in stages)]
    assert [stage.start_time for stage in stages] == ends[:-1], "each stage begins where the one before it ends"
    assert chat.end_time >= ends[-1] > ends[0]
    texts = json.dumps({name: str(value) for span in (chat, *stages) for name, value in span.attributes.items()})
    assert QUESTION not in texts and completion.choices[0].message.content not in texts


def test_streams_and_responses_have_one_span_each(observed):
    server, exporter = observed
    list(ask(server, stream=True))
    chat, stages = entry_spans(exporter)
    assert "error.type" not in chat.attributes and len(stages) == len(STAGES)
    server.client().responses.create(model="park", input=QUESTION, max_output_tokens=5)
    chat, stages = entry_spans(exporter)
    assert "error.type" not in chat.attributes and len(stages) == len(STAGES)


def test_a_client_that_goes_and_a_request_that_fails_end_their_spans(observed):
    server, exporter = observed
    with server.held():
        with pytest.raises(openai.APITimeoutError):
            ask(server, timeout=1.0)
        chat, stages = entry_spans(exporter)
    assert (chat.attributes["error.type"], stages) == ("client_gone", [])
    with pytest.raises(openai.BadRequestError, match="colour") as failed:
        ask(server, extra_body={"memory": {"filter": "colour == 1"}})
    assert failed.value.status_code == 400
    chat, stages = entry_spans(exporter)
    assert chat.status.status_code is StatusCode.ERROR and "colour" in chat.status.description
    assert stages == []


def test_texts_are_in_a_span_where_that_is_asked_for(tmp_path):
    server, exporter = served_with(tmp_path, with_texts=True)
    with server:
        completion = ask(server)
        chat, _ = entry_spans(exporter)
    (asked,), (answered,) = (json.loads(chat.attributes[f"gen_ai.{way}.messages"]) for way in ("input", "output"))
    assert asked == {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    assert answered["parts"][0]["content"] == completion.choices[0].message.content


class Collector(BaseHTTPRequestHandler):
    """A collector that keeps what it gets."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.got.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *about):
        pass


def test_a_collector_gets_the_spans_when_the_server_ends(tmp_path, monkeypatch):
    port = free_port()
    collector = ThreadingHTTPServer(("127.0.0.1", port), Collector)
    collector.got = []
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    try:
        with Served(tmp_path, telemetry=from_environment(with_texts=False)) as server:
            ask(server)
        spans = [
            (resource.resource, span)
            for path, request in collector.got
            if path == "/v1/traces"
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
    finally:
        collector.shutdown()
        collector.server_close()
    assert len(spans) == 1 + len(STAGES)
    named = {one.key: one.value.string_value for one in spans[0][0].attributes}
    assert named["service.name"] == "memgpt_rag"
