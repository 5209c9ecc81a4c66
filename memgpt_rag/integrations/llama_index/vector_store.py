"""A vector store of LlamaIndex whose nodes are the entries of a memory. Every change is a version of the memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import PrivateAttr

from memgpt_rag.choices import ColumnType
from memgpt_rag.errors import MismatchError
from memgpt_rag.fingerprint import SAME_PROBE
from memgpt_rag.integrations.document_memory import DocumentMemory, Found, id_condition, store_encoder
from memgpt_rag.integrations.embedding_function import RUNNING, unit_vectors
from memgpt_rag.integrations.llama_index.embedding import model_encoder
from memgpt_rag.integrations.llama_index.filters import condition
from memgpt_rag.integrations.llama_index.nodes import REFERENCE, document_node, embedded_text, node_document
from memgpt_rag.io.printable import shortened
from memgpt_rag.memory.filter import parse_where
from memgpt_rag.memory.storage.layout import values_schema

# Least cosine of a query's vector and the one of its question: an index may embed other texts beside it, such as an answer that a
# language model made up (HyDE); vectors of other models have cosines near 0.
_SAME_QUERY = 0.5
_PREFETCH = 4  # times the nodes that are wanted: what MMR chooses from


class MemGPTVectorStore(BasePydanticVectorStore):  # type: ignore[misc]
    """Nodes in a memory's folder, found by the cosine of their vectors and a query's.

    Vectors come from the index, so the store must know the embedding model that computes them: it writes the model's fingerprint into
    a new memory, and embeds one node of every addition, and the first query, itself to compare.

    Args:
        folder: of the memory. The first nodes create it where there is none.
        embed_model: the index's embedding model; None for `MemGPTEmbedding` with the memory's own encoder, or the default one.
        encoder: name or folder of the memory's own encoder; needed where that does not come as a package.
        columns: columns of a new memory that filters can go by, with their types; None to take them from the metadata of the
            first nodes. Other metadata is kept and cannot be filtered by.

    Raises:
        MemoryFormatError: the folder holds a damaged memory.
        MismatchError: the memory was embedded by another encoder.

    Example:
        >>> store = MemGPTVectorStore("notes", embed_model=(model := MemGPTEmbedding()))
        >>> context = StorageContext.from_defaults(vector_store=store)
        >>> index = VectorStoreIndex(nodes, storage_context=context, embed_model=model)
    """

    stores_text: bool = True
    folder: str
    _store: DocumentMemory = PrivateAttr()
    _has_compared_query: bool = PrivateAttr(default=False)

    def __init__(
        self,
        folder: str | Path,
        embed_model: BaseEmbedding | None = None,
        *,
        encoder: str | None = None,
        columns: Mapping[str, ColumnType] | None = None,
        **fields: Any,
    ):
        super().__init__(folder=str(folder), **fields)
        used = store_encoder(folder, encoder) if embed_model is None else model_encoder(embed_model)
        own: Mapping[str, ColumnType] | None = None if columns is None else {**columns, REFERENCE: "string"}
        self._store = DocumentMemory(folder, used, own)

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex knows the store."""
        return "MemGPTVectorStore"

    @property
    def client(self) -> DocumentMemory:
        """The documents of the memory."""
        return self._store

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Add nodes as one version of the memory, and return their ids; a node whose id is taken replaces what has it.

        Raises:
            ValueError: a node without text or without a vector, an id twice, or metadata that does not fit.
            MismatchError: vectors that the embedding model of the store does not compute.
            BusyError: another process is writing there.
        """
        if not nodes:
            return []
        if missing := next((node.node_id for node in nodes if node.embedding is None), None):
            raise ValueError(f"The node {missing!r} has no vector; add nodes through an index, or embed them first.")
        documents = [node_document(node) for node in nodes]
        keys = self._vectors([node.get_embedding() for node in nodes])
        with RUNNING:
            own = self._store.encoder.encode_passages([embedded_text(nodes[0])])[0]
        self._compare(keys[0], own, nodes[0].node_id)
        self._store.put(documents, keys)
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document.

        Raises:
            ValueError: the memory was not written by this store, so that it does not know of which document its entries are.
        """
        memory = self._store.memory()
        if memory is not None and REFERENCE not in memory.manifest.metadata:
            raise ValueError(
                f"The entries of {self.folder} do not say of which document of LlamaIndex they are; delete them by their ids."
            )
        self._store.delete(pc.field(REFERENCE) == pa.scalar(ref_doc_id, pa.string()))

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete the nodes with these ids that match the filters; none of both deletes nothing."""
        where = self._where(node_ids, filters)
        if where is not None:
            self._store.delete(where)

    def clear(self) -> None:
        """Delete all nodes."""
        self._store.delete(None)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the nodes with these ids that match the filters, in the order in which they were put."""
        return [document_node(one) for one in self._store.documents(self._where(node_ids, filters))]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nodes nearest to a query's vector, with their cosines.

        Args:
            kwargs: for the mode MMR, `mmr_threshold` (weight of relevance, 0 to 1) and `mmr_prefetch_factor` (how many times the
                nodes that are wanted to choose from).

        Raises:
            ValueError: no vector, or a mode other than DEFAULT and MMR; use `MemGPTRetriever` to search by words.
            MismatchError: a vector that the embedding model of the store does not compute.
        """
        if query.mode not in (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR):
            raise ValueError(
                f"This store has no mode {query.mode.value}; use MemGPTRetriever to search by words or both."
            )
        if query.query_embedding is None:
            raise ValueError("The query has no vector; ask through an index, or embed it first.")
        (vector,) = self._vectors([query.query_embedding])
        if query.query_str and not self._has_compared_query:
            with RUNNING:
                own = self._store.encoder.encode_queries([query.query_str])[0]
            self._compare(vector, own, query.query_str, least=_SAME_QUERY)
            self._has_compared_query = True
        # An index whose nodes are in the store passes on an empty list of them.
        where, k = self._where(query.node_ids or None, query.filters, query.doc_ids or None), query.similarity_top_k
        if query.mode == VectorStoreQueryMode.MMR:
            pool = self._store.search(vector, max(k, int(k * kwargs.get("mmr_prefetch_factor", _PREFETCH))), where)
            found = _diverse(vector, pool, k, kwargs.get("mmr_threshold", query.mmr_threshold))
        else:
            found = self._store.search(vector, k, where)
        return VectorStoreQueryResult(
            nodes=[document_node(one.document) for one in found],
            similarities=[one.score for one in found],
            ids=[one.document.id for one in found],
        )

    def _where(
        self, ids: Sequence[str] | None, filters: MetadataFilters | None, references: Sequence[str] | None = None
    ) -> pc.Expression | None:
        memory = self._store.memory()
        if memory is None:
            return pc.scalar(False)
        text = condition(filters, memory.manifest.metadata)
        parts = [] if text is None else [parse_where(text, values_schema(memory.manifest.metadata))]
        parts += [] if ids is None else [id_condition(ids)]
        parts += [] if references is None else [pc.field(REFERENCE).isin(pa.array(list(references), pa.string()))]
        joined = parts[0] if parts else None
        for part in parts[1:]:
            joined = joined & part
        return joined

    def _vectors(self, vectors: Sequence[Sequence[float]]) -> Float[np.ndarray, "n dimension"]:
        encoder = self._store.encoder
        return (
            unit_vectors(vectors, len(vectors), encoder.name) if encoder.normalized else np.asarray(vectors, np.float32)
        )

    def _compare(
        self,
        given: Float[np.ndarray, " dimension"],
        own: Float[np.ndarray, " dimension"],
        what: str,
        least: float = SAME_PROBE,
    ) -> None:
        agreement = 0.0
        if given.shape == own.shape:
            agreement = float(given @ own / (np.linalg.norm(given) * np.linalg.norm(own)))
        if agreement < least:
            raise MismatchError(
                f"The vector of {shortened(what)!r} is not what {self._store.encoder.name!r} computes for its text (cosine {agreement:.3f}); "
                "give the index and the store the same embed_model."
            )


def _diverse(
    vector: Float[np.ndarray, " dimension"], pool: Sequence[Found], k: int, threshold: float | None
) -> list[Found]:
    """Return k of the documents that a search found, chosen by maximal marginal relevance."""
    keys = [one.key for one in pool]
    _, chosen = get_top_k_mmr_embeddings(vector, keys, similarity_top_k=k, mmr_threshold=threshold)
    return [pool[place] for place in chosen]
