"""Requests to vector stores, files in them, and searches, checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from memgpt_rag.choices import SearchKind
from memgpt_rag.limits import MOST_ENTRIES
from memgpt_rag.serving.chat_request import Strict

Metadata = Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)]
Attributes = Annotated[
    dict[Annotated[str, Field(max_length=64)], bool | int | float | Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


class ChunkingStrategy(Strict):
    """How files are split: as memgpt-index splits them."""

    type: Literal["auto"]


class CreateStore(Strict):
    """The body of POST /v1/vector_stores."""

    name: Annotated[str, Field(max_length=256)] | None = None
    description: Annotated[str, Field(max_length=512)] | None = None
    file_ids: Annotated[list[str], Field(max_length=500)] | None = None
    metadata: Metadata | None = None
    chunking_strategy: ChunkingStrategy | None = None
    expires_after: None = None


class ChangeStore(Strict):
    """The body of POST /v1/vector_stores/{id}."""

    name: Annotated[str, Field(max_length=256)] | None = None
    metadata: Metadata | None = None
    expires_after: None = None


class AttachFile(Strict):
    """The body of POST /v1/vector_stores/{id}/files."""

    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class ChangeAttributes(Strict):
    """The body of POST /v1/vector_stores/{id}/files/{file_id}."""

    attributes: Attributes | None


class AttachBatch(Strict):
    """The body of POST /v1/vector_stores/{id}/file_batches."""

    file_ids: Annotated[list[str], Field(min_length=1, max_length=500)] | None = None
    files: Annotated[list[AttachFile], Field(min_length=1, max_length=500)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class HybridSearch(Strict):
    """Weights of the search by vectors and of that by words; only their ratio matters."""

    embedding_weight: Annotated[float, Field(ge=0)] = 1.0
    text_weight: Annotated[float, Field(ge=0)] = 1.0


class RankingOptions(Strict):
    """How results are ranked, and which are left out."""

    ranker: str | None = None
    score_threshold: float | None = None
    hybrid_search: HybridSearch | None = None


class SearchStore(Strict):
    """The body of POST /v1/vector_stores/{id}/search; `search` is an extension."""

    query: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1, max_length=16)]
    filters: dict[str, Any] | None = None
    max_num_results: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] = 10
    ranking_options: RankingOptions | None = None
    rewrite_query: bool | None = False
    search: SearchKind | None = None

    @field_validator("query")
    @classmethod
    def _says_something(cls, query: str | list[str]) -> str | list[str]:
        if not all(one.strip() for one in ([query] if isinstance(query, str) else query)):
            raise ValueError("a query is empty; ask for something")
        return query

    @property
    def queries(self) -> list[str]:
        """Return the queries as a list."""
        return [self.query] if isinstance(self.query, str) else self.query
