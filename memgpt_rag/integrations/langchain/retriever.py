"""A retriever of LangChain that searches a memory: by vectors, by words or by both, reranked, diverse, or with adjacent passages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import InstanceOf

from memgpt_rag.choices import DEFAULT_K
from memgpt_rag.integrations.documents import to_document
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.integrations.langchain.filters import Filter, condition
from memgpt_rag.retrieval.retriever import Retriever, Search, open_memories


class MemGPTRetriever(BaseRetriever):  # type: ignore[misc]
    """Retrieves the entries of a memory that are nearest to a question, as documents.

    A document's metadata has the entry's title, source, place and columns, or what was put with it, and its `score`.

    Attributes:
        retriever: searches the memory; `MemGPTRetriever.open` makes one.
        k: documents per question; `invoke` takes another number as `k`.
        filter: condition on the entries, as text or as an object; see `memgpt_rag.integrations.langchain.filters`.

    Example:
        >>> retriever = MemGPTRetriever.open("park-memory", k=1)
        >>> retriever.invoke("How much is a rowing boat?")[0].metadata["place"]
        'park.md, lines 14–15'
    """

    retriever: InstanceOf[Retriever]
    k: int = DEFAULT_K
    filter: Filter | None = None

    @classmethod
    def open(
        cls,
        memory: str | Path | Sequence[str | Path],
        *,
        encoder: str | None = None,
        search: Search = Search(),
        **fields: Any,
    ) -> MemGPTRetriever:
        """Open a memory, or several that are searched as one.

        Args:
            encoder: name or folder of the memory's encoder; needed where that does not come as a package.
            search: how entries are searched.
            fields: of the retriever, such as k and filter.

        Raises:
            MemoryFormatError: no memory there, or a damaged one.
            ModelError: the encoder cannot be had.
        """
        return cls(retriever=Retriever(*open_memories(memory, encoder), search), **fields)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Filter | None = None,
    ) -> list[Document]:
        columns = self.retriever.memory.manifest.metadata
        where = condition(self.filter if filter is None else filter, columns)
        with RUNNING:
            (entries,) = self.retriever.retrieve([query], self.k if k is None else k, where=where)
        found = [(to_document(entry.passage), entry.score) for entry in entries]
        return [Document(one.text, id=one.id, metadata={**one.metadata, "score": score}) for one, score in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **given: Any
    ) -> list[Document]:
        found: list[Document] = await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **given
        )
        return found
