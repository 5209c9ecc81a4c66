"""/v1/graph/ask: questions are answered by following entities through a memory, with the path shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.choices import DEFAULT_HOPS, DEFAULT_MAX_NEW_TOKENS, DEFAULT_PATHS
from memgpt_rag.limits import MOST_CHARACTERS, MOST_DOCUMENTS, MOST_ENTRIES, MOST_HOPS
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.blocks import answered_in_blocks
from memgpt_rag.serving.chat_request import Strict
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.serving.service import Service, current_access, current_service, viewer_links
from memgpt_rag.tasks.graph.ask import PathAnswer, answer_by_paths
from memgpt_rag.tasks.graph.links import read_links
from memgpt_rag.tasks.graph.paths import PathFinder

router = APIRouter(tags=["knowledge graphs"])
Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class GraphAskRequest(Strict):
    """The body of POST /v1/graph/ask; `model` is the name of a memory of triples, or of texts with a lexical index.

    `k` paths are read, each of at most `hops` entries; of texts, twice as many passages.
    """

    model: Annotated[str, Field(max_length=200)]
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    k: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] = DEFAULT_PATHS
    hops: Annotated[int, Field(ge=1, le=MOST_HOPS)] = DEFAULT_HOPS
    max_tokens: Annotated[int, Field(ge=1)] = DEFAULT_MAX_NEW_TOKENS

    @field_validator("input")
    @classmethod
    def _says_something(cls, given: str | list[str]) -> str | list[str]:
        if not all(text.strip() for text in ([given] if isinstance(given, str) else given)):
            raise ValueError("a question is empty; ask something")
        return given


@router.post("/v1/graph/ask")
async def ask(request: Request, body: GraphAskRequest) -> dict[str, Any]:
    """Answer questions over several hops: the name that the best path leads to, the model's words, and the steps of the path.

    Questions that would begin after the server's deadline are left out; then `complete` is false.
    """
    service, access, links = current_service(request), current_access(request), viewer_links(request)
    served = service.memories.get(service.memory_name(body.model, None, access), access)
    service.require_length("max_tokens", body.max_tokens)
    if served.memory.manifest.words is None:
        raise ApiError(
            400,
            f"The memory {served.name!r} has no lexical index, which paths are found by; memgpt-index lexical adds one.",
            param="model",
        )
    questions, data = [body.input] if isinstance(body.input, str) else body.input, list[dict[str, Any]]()
    for answered in await answered_in_blocks(request, service, questions, 1, partial(_answered, service, served, body)):
        shown = answered.to_dict()
        for step, fields in zip(answered.steps, shown["steps"], strict=True):
            fields["url"] = links.entry(served, step.passage)
        data.append({"object": "graph.answer", "index": len(data), **shown})
    return {"object": "list", "data": data, "complete": len(data) == len(questions), "model": served.name}


def _answered(
    service: Service, served: ServedMemory, body: GraphAskRequest, questions: Sequence[str]
) -> list[PathAnswer]:
    """Answer questions in the engine's thread."""
    with served.named(), service.memories.lock:  # the encoder embeds
        finder = PathFinder(served.rag.retriever, read_links(served.memory), hops=body.hops)
        options = AskOptions(k=body.k, max_new_tokens=body.max_tokens)
        return answer_by_paths(served.rag, finder, questions, options)
