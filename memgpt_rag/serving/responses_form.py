"""The objects and events of POST /v1/responses: a file search, and a message whose text cites files."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from memgpt_rag.answering.answer_row import Piece
from memgpt_rag.answering.choice import Choice, cited_spans
from memgpt_rag.retrieval.retriever import Retrieved
from memgpt_rag.serving.chat_response import log_probs_json, usage
from memgpt_rag.serving.citations import Links, memory_fields
from memgpt_rag.serving.files import shown_name
from memgpt_rag.serving.responses_request import RESULTS, ResponseRequest
from memgpt_rag.serving.store_search import result
from memgpt_rag.serving.stores import VectorStore
from memgpt_rag.serving.task import Task


@dataclass
class ResponseForm:
    """Makes the response of one request.

    Args:
        store: that the file search names; None without one.
    """

    wanted: ResponseRequest
    task: Task
    links: Links
    store: VectorStore | None
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self._search_id, self._message_id = f"fs_{secrets.token_hex(12)}", f"msg_{secrets.token_hex(12)}"
        self._results: list[Retrieved] = []
        self._number = 0

    def response(self, choice: Choice, found: Sequence[Retrieved]) -> dict[str, Any]:
        """Return the whole response."""
        self._results = list(found)
        whole = choice.row.finish_reason == "stop"
        read = usage([choice])
        return {
            **self._head("completed" if whole else "incomplete"),
            "completed_at": int(time.time()) if whole else None,
            "incomplete_details": None if whole else {"reason": "max_output_tokens"},
            "output": [*self._search_items(), self._message(choice)],
            "usage": {
                "input_tokens": read["prompt_tokens"],
                "input_tokens_details": {**read["prompt_tokens_details"], "cache_write_tokens": 0},
                "output_tokens": read["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": read["total_tokens"],
            },
            "memory": memory_fields(choice, self.task.memory, self.links, trace=self.wanted.memory.trace),
        }

    def opening(self, found: Sequence[Retrieved]) -> Iterator[dict[str, Any]]:
        """Yield the events up to where the text begins."""
        self._results = list(found)
        head = {**self._head("in_progress"), "output": [], "usage": None}
        yield self._event("response.created", response=head)
        yield self._event("response.in_progress", response=head)
        for item in self._search_items():
            at = {"output_index": 0, "item_id": self._search_id}
            begun = {**item, "status": "in_progress", "results": None}
            yield self._event("response.output_item.added", output_index=0, item=begun)
            yield self._event("response.file_search_call.in_progress", **at)
            yield self._event("response.file_search_call.searching", **at)
            yield self._event("response.file_search_call.completed", **at)
            yield self._event("response.output_item.done", output_index=0, item=item)
        message = {"id": self._message_id, "type": "message", "role": "assistant"}
        begun = {**message, "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", output_index=self._place, item=begun)
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        yield self._event("response.content_part.added", **self._part, part=empty)

    def piece(self, piece: Piece) -> dict[str, Any]:
        """Return the event of a piece of text."""
        log_probs = log_probs_json(piece.log_probs)
        return self._event("response.output_text.delta", **self._part, delta=piece.text, logprobs=log_probs)

    def ending(self, choice: Choice) -> Iterator[dict[str, Any]]:
        """Yield the events from the rest of the text to the end."""
        if choice.rest.text or choice.rest.log_probs:
            yield self.piece(choice.rest)
        message = self._message(choice)
        part = message["content"][0]
        for number, annotation in enumerate(part["annotations"]):
            yield self._event(
                "response.output_text.annotation.added", **self._part, annotation_index=number, annotation=annotation
            )
        yield self._event("response.output_text.done", **self._part, text=choice.text, logprobs=part["logprobs"])
        yield self._event("response.content_part.done", **self._part, part=part)
        yield self._event("response.output_item.done", output_index=self._place, item=message)
        whole = self.response(choice, self._results)
        yield self._event(f"response.{whole['status']}", response=whole)

    def failure(self, message: str, code: str | None) -> dict[str, Any]:
        """Return the event of an error in the middle of a stream."""
        error = {"code": "server_error", "message": message}
        head = {**self._head("failed"), "output": [], "error": error}
        return self._event("response.failed", response=head)

    @property
    def _place(self) -> int:
        """Place of the message among the response's items."""
        return 0 if self.store is None else 1

    @property
    def _part(self) -> dict[str, Any]:
        return {"item_id": self._message_id, "output_index": self._place, "content_index": 0}

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _head(self, status: str) -> dict[str, Any]:
        wanted = self.wanted
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": wanted.instructions,
            "max_output_tokens": wanted.max_output_tokens,
            "metadata": {},
            "model": wanted.model,
            "parallel_tool_calls": False,
            "previous_response_id": wanted.previous_response_id,
            "temperature": self.task.sampling.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": wanted.tool_choice,
            "tools": [tool.model_dump() for tool in wanted.tools],
            "top_p": self.task.sampling.top_p,
            "truncation": "disabled",
            "user": None,
        }

    def _search_items(self) -> list[dict[str, Any]]:
        if self.store is None:
            return []
        results = None
        if RESULTS in (self.wanted.include or ()):
            results = [self._result(entry) for entry in self._results]
        return [
            {
                "id": self._search_id,
                "type": "file_search_call",
                "status": "completed",
                "queries": [self.task.query or self.task.question],
                "results": results,
            }
        ]

    def _result(self, entry: Retrieved) -> dict[str, Any]:
        assert self.store is not None
        found = result(self.store, entry)
        return {
            **{name: found[name] for name in ("attributes", "file_id", "filename", "score")},
            "text": entry.passage.text,
        }

    def _message(self, choice: Choice) -> dict[str, Any]:
        text = {
            "type": "output_text",
            "text": choice.text,
            "annotations": self._annotations(choice),
            "logprobs": log_probs_json(choice.row.log_probs),
        }
        status = "completed" if choice.row.finish_reason == "stop" else "incomplete"
        return {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [text],
        }

    def _annotations(self, choice: Choice) -> list[dict[str, Any]]:
        """Return the citations in the order of the text, each as the file and as the place in the document viewer."""
        cited = [(start, end, citation) for citation, spans in cited_spans(choice) for start, end in spans]
        annotations: list[dict[str, Any]] = []
        for start, end, citation in sorted(cited, key=lambda one: one[:2]):
            passage = citation.passage
            if self.store is not None:
                found = result(self.store, Retrieved(0, passage, citation.score, 0.0))
                file = {name: found[name] for name in ("file_id", "filename")}
                annotations.append({"type": "file_citation", **file, "index": end})
            annotations.append(
                {
                    "type": "url_citation",
                    "start_index": start,
                    "end_index": end,
                    "title": passage.title or shown_name(passage.place),
                    "url": self.links.entry(self.task.memory, passage),
                }
            )
        return annotations
