"""A retriever of Haystack that searches the memory of a document store: by vectors, by words, by both or by sparse vectors."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from memgpt_rag.choices import SearchChoice
from memgpt_rag.encoders.load import load_sparse_encoder
from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder
from memgpt_rag.integrations.documents import to_document
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.integrations.haystack.document_store import Filters, MemGPTDocumentStore, from_stored
from memgpt_rag.retrieval.retriever import Retriever, Search


@component
class MemGPTRetriever:
    """Retrieves the documents of a memory that are nearest to a question, best first, with their scores.

    Args:
        document_store: the memory.
        filters: what documents must match.
        top_k: how many documents are returned.
        search: "dense" by vectors, "bm25" by words, "hybrid" by both, "sparse" by sparse vectors; "auto" for both where the memory has a lexical
            index.
        diversity: weight of diversity in maximal marginal relevance, 0 to 1.
        filter_policy: whether filters of a run replace those above or are joined with them.
        sparse_encoder: name or folder of the sparse encoder of the memory's sparse vectors; None for no search by them.
    """

    def __init__(
        self,
        document_store: MemGPTDocumentStore,
        filters: Filters | None = None,
        top_k: int = 10,
        search: SearchChoice = "auto",
        diversity: float = 0.0,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
        sparse_encoder: str | None = None,
    ):
        if not isinstance(document_store, MemGPTDocumentStore):
            raise TypeError(f"document_store is a {type(document_store).__name__}; expected a MemGPTDocumentStore.")
        if top_k < 1:
            raise ValueError(f"top_k is {top_k}; expected 1 or more.")
        Search(search, diversity=diversity)  # what cannot be is refused at once
        self.document_store, self.filters, self.top_k = document_store, filters, top_k
        self.search, self.diversity, self.filter_policy = search, diversity, filter_policy
        self.sparse_encoder = sparse_encoder

    def to_dict(self) -> dict[str, Any]:
        """Return the settings, with those of the document store."""
        saved: dict[str, Any] = default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            search=self.search,
            diversity=self.diversity,
            filter_policy=self.filter_policy.value,
            sparse_encoder=self.sparse_encoder,
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MemGPTRetriever:
        """Return the retriever that `to_dict` described."""
        settings = dict(data["init_parameters"])
        settings["document_store"] = MemGPTDocumentStore.from_dict(settings["document_store"])
        if "filter_policy" in settings:
            settings["filter_policy"] = FilterPolicy.from_str(settings["filter_policy"])
        retriever: MemGPTRetriever = default_from_dict(cls, {**data, "init_parameters": settings})
        return retriever

    def warm_up(self) -> None:
        """Load the encoders and open the memory."""
        self.document_store.count_documents()
        _ = self._sparse_encoder

    @cached_property
    def _sparse_encoder(self) -> SparseTextEncoder | None:
        return None if self.sparse_encoder is None else load_sparse_encoder(self.sparse_encoder)

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    def run(self, query: str, filters: Filters | None = None, top_k: int | None = None) -> dict[str, list[Document]]:
        """Search for a question.

        Args:
            filters: of this run; see `filter_policy`.
            top_k: of this run.

        Returns:
            {"documents": those found, best first}.

        Raises:
            FilterError: no filter.
            ValueError: an empty question, or top_k below 1.
        """
        store, wanted = self.document_store, apply_filter_policy(self.filter_policy, self.filters, filters)
        memory = store.store.memory()
        if memory is None or not len(memory):
            return {"documents": []}
        search = Search(self.search, diversity=self.diversity, sparse_encoder=self._sparse_encoder)
        where = store.condition(wanted)
        with RUNNING:
            retriever = Retriever(memory, store.store.encoder, search)
            (found,) = retriever.retrieve([query], self.top_k if top_k is None else top_k, where=where)
        return {"documents": [from_stored(to_document(one.passage), float(one.score)) for one in found]}

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]
    async def run_async(
        self, query: str, filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search as `run`, in a thread."""
        return await asyncio.to_thread(self.run, query, filters, top_k)
