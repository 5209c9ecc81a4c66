"""The response of a chat, whole or as a stream, in the form of the OpenAI API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from memgpt_rag.answering.answer_row import Piece, TokenLogProb
from memgpt_rag.answering.choice import Choice
from memgpt_rag.serving.citations import Links, memory_fields, url_citations
from memgpt_rag.serving.task import Task

DONE = "data: [DONE]\n\n"
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def server_event(value: dict[str, Any], event: str | None = None) -> str:
    """Return a value as one server-sent event."""
    name = "" if event is None else f"event: {event}\n"
    return f"{name}data: {json.dumps(value, ensure_ascii=False)}\n\n"


def usage(choices: Sequence[Choice]) -> dict[str, Any]:
    """Return how many tokens were read and written.

    The entries' tokens count as part of the prompt that came from a cache: their states were computed before.
    """
    first, written = choices[0], sum(choice.tokens for choice in choices)
    read = first.prompt_tokens + first.memory_tokens
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": first.memory_tokens},
    }


@dataclass
class ChatForm:
    """Makes the objects of one response.

    Args:
        model: as the request named it.
        links: addresses of the document viewer.
        trace: whether the request asks what each token of the answer attended to.
    """

    model: str
    task: Task
    links: Links
    include_usage: bool = False
    trace: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def completion(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """Return the whole response."""
        return {
            **self._head("chat.completion"),
            "choices": [
                {
                    "index": number,
                    "message": {
                        "role": "assistant",
                        "content": choice.text,
                        "refusal": None,
                        "annotations": url_citations(choice, self.task.memory, self.links),
                    },
                    "logprobs": self._log_probs(choice.row.log_probs),
                    "finish_reason": choice.row.finish_reason,
                    # Of every choice, since each has attended on its own; that of the first one stands beside it, too.
                    "memory": self._memory(choice),
                }
                for number, choice in enumerate(choices)
            ],
            "usage": usage(choices),
            "memory": self._memory(choices[0]),
        }

    def opening(self) -> list[dict[str, Any]]:
        """Return the first chunks of a stream: who speaks."""
        return [self._chunk(number, {"role": "assistant", "content": ""}) for number in range(self.task.choices)]

    def piece(self, piece: Piece) -> dict[str, Any]:
        """Return the chunk of a piece of text."""
        return self._chunk(piece.choice, {"content": piece.text}, log_probs=piece.log_probs)

    def ending(self, choices: Sequence[Choice]) -> list[dict[str, Any]]:
        """Return the last chunks of a stream: the rest of each text, its citations, its end, and the usage if asked for."""
        chunks = []
        for number, choice in enumerate(choices):
            if choice.rest.text or choice.rest.log_probs:
                chunks.append(self.piece(choice.rest))
            cited = {"annotations": url_citations(choice, self.task.memory, self.links)}
            chunks.append({**self._chunk(number, cited), "memory": self._memory(choice)})
            chunks.append(self._chunk(number, {}, finish_reason=choice.row.finish_reason))
        if self.include_usage:
            chunks.append({**self._head("chat.completion.chunk"), "choices": [], "usage": usage(choices)})
        return chunks

    def _memory(self, choice: Choice) -> dict[str, Any]:
        return memory_fields(choice, self.task.memory, self.links, trace=self.trace)

    def _head(self, kind: str) -> dict[str, Any]:
        fingerprint = f"{self.task.memory.name}-{self.task.memory.version}"
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": fingerprint,
        }

    def _chunk(
        self,
        number: int,
        delta: dict[str, Any],
        *,
        finish_reason: str | None = None,
        log_probs: Sequence[TokenLogProb] = (),
    ) -> dict[str, Any]:
        choice = {
            "index": number,
            "delta": delta,
            "logprobs": self._log_probs(log_probs) if log_probs else None,
            "finish_reason": finish_reason,
        }
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _log_probs(self, tokens: Sequence[TokenLogProb]) -> dict[str, Any] | None:
        if self.task.sampling.top_logprobs is None:
            return None
        return {"content": log_probs_json(tokens), "refusal": None}


def log_probs_json(tokens: Sequence[TokenLogProb]) -> list[dict[str, Any]]:
    """Return log-probabilities as OpenAI's clients read them."""
    return [
        {**_token(token.token, token.log_prob), "top_logprobs": [_token(*one) for one in token.top]} for token in tokens
    ]


def _token(text: str, log_prob: float) -> dict[str, Any]:
    return {"token": text, "logprob": max(log_prob, -9999.0), "bytes": list(text.encode("utf-8", "replace"))}
