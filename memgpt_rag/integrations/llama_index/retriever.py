"""A retriever of LlamaIndex that searches a memory: by vectors, by words or by both, reranked, diverse, or with adjacent passages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.integrations.llama_index.filters import condition
from memgpt_rag.integrations.llama_index.nodes import scored_node
from memgpt_rag.retrieval.retriever import Retriever, Search, open_memories


class MemGPTRetriever(BaseRetriever):  # type: ignore[misc]
    """Retrieves the entries of a memory that are nearest to a question, as nodes with their scores.

    A node of an entry that no node was put for has the entry's title, source, place and columns as metadata.

    Args:
        retriever: searches the memory; `MemGPTRetriever.open` makes one.
        k: nodes per question.
        filters: conditions on the entries.
        settings: of LlamaIndex's retrievers, such as callback_manager.

    Example:
        >>> retriever = MemGPTRetriever.open("park-memory", k=1)
        >>> retriever.retrieve("How much is a rowing boat?")[0].node.metadata["place"]
        'park.md, lines 14–15'
    """

    def __init__(
        self, retriever: Retriever, k: int = DEFAULT_K, filters: MetadataFilters | None = None, **settings: Any
    ):
        super().__init__(**settings)
        self._retriever, self._k = retriever, k
        self._where = condition(filters, retriever.memory.manifest.metadata)

    @classmethod
    def open(
        cls,
        memory: str | Path | Sequence[str | Path],
        *,
        encoder: str | None = None,
        search: Search = Search(),
        **settings: Any,
    ) -> MemGPTRetriever:
        """Open a memory, or several that are searched as one.

        Args:
            encoder: name or folder of the memory's encoder; needed where that does not come as a package.
            search: how entries are searched.
            settings: of the retriever, such as k and filters.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            ModelError: the encoder cannot be had.
        """
        return cls(Retriever(*open_memories(memory, encoder), search), **settings)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with RUNNING:
            (entries,) = self._retriever.retrieve([query_bundle.query_str], self._k, where=self._where)
        return [scored_node(entry.passage, entry.score) for entry in entries]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)
