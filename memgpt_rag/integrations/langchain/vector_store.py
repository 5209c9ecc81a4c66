"""A vector store of LangChain whose documents are the entries of a memory. Every change is a version of the memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from memgpt_rag.choices import ColumnType
from memgpt_rag.integrations import documents
from memgpt_rag.integrations.document_memory import DocumentMemory, Found, id_condition, store_encoder
from memgpt_rag.integrations.embedding_function import RUNNING, FunctionEncoder, object_name, unit_vectors
from memgpt_rag.integrations.langchain.filters import Filter, condition


class MemGPTVectorStore(VectorStore):  # type: ignore[misc]
    """Documents in a memory's folder, found by the cosine of their keys and a query's.

    Searches, additions and deletions go by the folder's current version, whoever wrote it. A memory that memgpt-index built can be
    opened, too: its entries are documents with their title, source and place as metadata.

    Args:
        folder: of the memory. The first documents create it where there is none.
        embedding: embeds documents and queries; None for the memory's own encoder, or the default one for a new memory.
        encoder: name or folder of the memory's own encoder; needed where that does not come as a package.
        columns: columns of a new memory that filters can go by, with their types; None to take them from the metadata of the
            first documents. Other metadata is kept and cannot be filtered by.

    Raises:
        MemoryFormatError: the folder holds a damaged memory.
        MismatchError: the memory was embedded by another encoder.

    Example:
        >>> store = MemGPTVectorStore("boats")
        >>> store.add_texts(["A rowing boat costs 40 yuan an hour."], [{"year": 2024}], ids=["price"])
        ['price']
        >>> [found.id for found in store.similarity_search("What is a boat?", filter={"year": {"$gte": 2020}})]
        ['price']
    """

    def __init__(
        self,
        folder: str | Path,
        embedding: Embeddings | None = None,
        *,
        encoder: str | None = None,
        columns: Mapping[str, ColumnType] | None = None,
    ):
        self._embedding = embedding
        used = store_encoder(folder, encoder) if embedding is None else embedding_encoder(embedding)
        self._store = DocumentMemory(folder, used, columns)

    @property
    def embeddings(self) -> Embeddings | None:
        """The embedding object that was given; None for the memory's own encoder."""
        return self._embedding

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> MemGPTVectorStore:
        """Return a store of texts. `folder`, `encoder` and `columns` are those of the store."""
        store = cls(embedding=embedding, **kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts as one version of the memory, and return their ids; a text whose id is taken replaces what has it.

        Args:
            metadatas: of each text, what JSON can hold.
            ids: of each text; one that is None, or all where none are given, is made.

        Raises:
            ValueError: an empty text, an id twice, lists of different lengths, or metadata that does not fit.
            BusyError: another process is writing there.
        """
        _require_known(kwargs)
        given = list(texts)
        for name, several in (("metadatas", metadatas), ("ids", ids)):
            if several is not None and len(several) != len(given):
                raise ValueError(f"Found {len(given)} texts and {len(several)} {name}; expected one for each text.")
        own = [id or str(uuid.uuid4()) for id in (ids or [None] * len(given))]
        known = metadatas or [{}] * len(given)
        self._store.put([documents.Document(*one) for one in zip(own, given, known, strict=True)])
        return own

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete the documents with these ids, or all; ids that no document has are no error."""
        _require_known(kwargs)
        self._store.delete(None if ids is None else id_condition(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in the order of the ids; fewer where no document has one, or one is given twice."""
        found = {one.id: one for one in self._store.documents(id_condition(ids))}
        return [_document(found[id]) for id in dict.fromkeys(ids) if id in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the k documents nearest to a query; see `similarity_search_with_score`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the k documents nearest to a query's vector; otherwise as `similarity_search`."""
        return [_document(one.document) for one in self._nearest(embedding, k, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Return the k documents nearest to a query with their scores: cosines, or in a Euclidean memory minus distances.

        Args:
            filter: condition on the documents, see `memgpt_rag.integrations.langchain.filters`.
        """
        found = self._nearest(self._query_vector(query), k, filter, **kwargs)
        return [(_document(one.document), one.score) for one in found]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return k of the `fetch_k` documents nearest to a query, chosen by maximal marginal relevance.

        Args:
            lambda_mult: weight of relevance beside diversity, 0 to 1.
        """
        return self.max_marginal_relevance_search_by_vector(
            self._query_vector(query), k, fetch_k, lambda_mult, **kwargs
        )

    def max_marginal_relevance_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return documents as `max_marginal_relevance_search`, for a query's vector."""
        found = self._nearest(embedding, max(k, fetch_k), **kwargs)
        keys = [one.key for one in found]
        chosen = maximal_marginal_relevance(np.asarray(embedding, np.float32), keys, lambda_mult, k) if found else []
        return [_document(found[place].document) for place in chosen]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return the function from a score to a relevance of 0 to 1: of cosines, (1 + s) / 2; of minus distances, 1 / (1 − s)."""
        if self._store.encoder.normalized:
            return lambda score: min(1.0, max(0.0, (1 + score) / 2))
        return lambda score: 1 / (1 - score)

    def _query_vector(self, query: str) -> list[float]:
        with RUNNING:
            vectors: list[list[float]] = self._store.encoder.encode_queries([query]).tolist()
        return vectors[0]

    def _nearest(self, embedding: Sequence[float], k: int, filter: Filter | None = None, **kwargs: Any) -> list[Found]:
        _require_known(kwargs)
        vector = np.asarray(embedding, np.float32)
        if self._store.encoder.normalized:
            (vector,) = unit_vectors([embedding], 1, "The caller")
        return self._store.search(vector, k, condition(filter, self._store.columns))


def embedding_encoder(embedding: Embeddings) -> FunctionEncoder:
    """Return an embedding object of LangChain as the encoder of a memory."""
    return FunctionEncoder(
        object_name(embedding),
        lambda texts: [embedding.embed_query(text) for text in texts],
        embedding.embed_documents,
    )


def _document(found: documents.Document) -> Document:
    return Document(found.text, id=found.id, metadata=dict(found.metadata))


def _require_known(unknown: Mapping[str, Any]) -> None:
    if unknown:
        raise TypeError(f"There is no option {', '.join(sorted(unknown))} of this store; leave it out.")
