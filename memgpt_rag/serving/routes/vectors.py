"""/v1/embeddings and /v1/rerank: texts as vectors of a memory's encoder, and documents in the order of their relevance."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field, field_validator

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.limits import MOST_CHARACTERS, MOST_DOCUMENTS
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.rerankers import Reranker
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.chat_request import Strict
from memgpt_rag.serving.service import Service, current_access, current_service

router = APIRouter(tags=["embeddings"])
_BLOCK = 32
Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]


class EmbeddingRequest(Strict):
    """The body of POST /v1/embeddings; `input_type` is an extension: what the texts are for the encoder."""

    model: Annotated[str, Field(max_length=200)]
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    encoding_format: Literal["float", "base64"] | None = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: str | None = None
    input_type: Literal["query", "passage", "search_query", "search_document"] = "passage"


class DocumentText(Strict):
    """A document to rerank."""

    text: str
    title: str = ""


class RerankRequest(Strict):
    """The body of POST /v1/rerank, as Cohere's and Jina's clients send it."""

    model: Annotated[str, Field(max_length=200)]
    query: Text
    documents: Annotated[list[str | DocumentText], Field(min_length=1, max_length=MOST_DOCUMENTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None

    @field_validator("query")
    @classmethod
    def _says_something(cls, query: str) -> str:
        if not query.strip():
            raise ValueError("the query is empty; ask for something")
        return query


@router.post("/v1/embeddings")
async def create_embeddings(request: Request, body: EmbeddingRequest) -> dict[str, Any]:
    """Embed texts with the encoder of a memory, or with the encoder of that name."""
    service = current_service(request)
    encoder = _encoder(request, body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if body.dimensions not in (None, (size := encoder.fingerprint.dimension)):
        raise ApiError(400, f"The encoder gives {size} numbers; leave dimensions out.", param="dimensions")

    def embed() -> tuple[np.ndarray, int]:
        encode = encoder.encode_queries if body.input_type in ("query", "search_query") else encoder.encode_passages
        vectors, tokens = [], 0
        for start in range(0, len(texts), _BLOCK):  # questions to the memories need not wait for all of them
            block = texts[start : start + _BLOCK]
            with service.memories.lock:
                vectors.append(np.asarray(encode(block), np.float32))
                tokens += sum(map(encoder.count_tokens, block))
        return np.concatenate(vectors), tokens

    vectors, tokens = await asyncio.to_thread(embed)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": number, "embedding": _written(vector, body.encoding_format)}
            for number, vector in enumerate(vectors)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


@router.post("/v1/rerank")
@router.post("/v2/rerank", include_in_schema=False)
async def rerank(request: Request, body: RerankRequest) -> dict[str, Any]:
    """Order documents by their relevance to a query: with the server's reranker, or by the cosine of the encoder."""
    service, encoder = current_service(request), _encoder(request, body.model)
    passages = [_passage(one, "") if isinstance(one, str) else _passage(one.text, one.title) for one in body.documents]
    scores = await _scores(service, encoder, body.query, passages)
    best = np.argsort(-scores, kind="stable")[: body.top_n or len(passages)].tolist()
    results = [
        {
            "index": place,
            "relevance_score": float(scores[place]),
            **({"document": {"text": passages[place].text}} if body.return_documents else {}),
        }
        for place in best
    ]
    tokens = await asyncio.to_thread(_counted, service, encoder, [body.query, *(one.titled_text for one in passages)])
    return {
        "id": f"rerank-{secrets.token_hex(12)}",
        "object": "list",
        "model": body.model,
        "results": results,
        "usage": {"total_tokens": tokens},
        "meta": {"billed_units": {"search_units": 1}},
    }


def _counted(service: Service, encoder: Encoder, texts: Sequence[str]) -> int:
    """Return the number of tokens of texts; it waits for who uses the encoder."""
    with service.memories.lock:
        return sum(encoder.count_tokens(text) for text in texts)


async def _scores(service: Service, encoder: Encoder, query: str, passages: list[Passage]) -> np.ndarray:
    """Return relevance scores, 0 to 1 with a reranker, else cosines."""
    reranker: Reranker | None = service.memories.models.search.reranker

    def by_cosine() -> np.ndarray:
        with service.memories.lock:
            asked = encoder.encode_queries([query])[0]
            vectors = encoder.encode_passages([passage.titled_text or " " for passage in passages])
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(asked)
        return np.asarray((vectors @ asked) / np.maximum(lengths, 1e-12))

    if reranker is None:
        return await asyncio.to_thread(by_cosine)
    # A reranker may be the language model, which belongs to the engine's thread.
    rated = await asyncio.wrap_future(service.engine.call(lambda: reranker.scores(query, passages)))
    return np.asarray(1 / (1 + np.exp(-rated.astype(np.float64))))


def _encoder(request: Request, model: str) -> Encoder:
    """Return the encoder of a memory, or the one of that name.

    Raises:
        ApiError: 404 for a name that is neither.
    """
    service, access = current_service(request), current_access(request)
    named = [name for name in service.memories if access.reads(name)]
    if model in (*named, service.model_name):
        return service.memories.get(service.memory_name(model, None, access), access).rag.retriever.encoder
    for name in named:
        opened = service.memories.opened(name)
        if opened is not None and opened.memory.manifest.encoder.name == model:
            return opened.rag.retriever.encoder
    raise ApiError(
        404,
        f"There is no encoder {model[:80]!r} here; expected the name of a memory, or of its encoder.",
        param="model",
        code="model_not_found",
    )


def _written(vector: np.ndarray, form: str | None) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()


def _passage(text: str, title: str) -> Passage:
    return Passage("", text, title, "", "", "line", 1, 1, 0, len(text))
