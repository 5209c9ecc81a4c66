"""LlamaIndex: memories as a retriever, a vector store and a query engine, and encoders as embedding models.

The names below load their module on first use.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.integrations.lazy_names import lazy_names

if TYPE_CHECKING:
    from memgpt_rag.integrations.llama_index.embedding import MemGPTEmbedding as MemGPTEmbedding
    from memgpt_rag.integrations.llama_index.query_engine import MemGPTQueryEngine as MemGPTQueryEngine
    from memgpt_rag.integrations.llama_index.retriever import MemGPTRetriever as MemGPTRetriever
    from memgpt_rag.integrations.llama_index.vector_store import MemGPTVectorStore as MemGPTVectorStore

_HOMES = {
    "MemGPTEmbedding": "embedding",
    "MemGPTQueryEngine": "query_engine",
    "MemGPTRetriever": "retriever",
    "MemGPTVectorStore": "vector_store",
}
__all__ = list(_HOMES)

if importlib.util.find_spec("llama_index") is None or importlib.util.find_spec("llama_index.core") is None:
    raise MissingPackageError(
        "llama-index-core", "The integration with LlamaIndex", "pip install 'memgpt_rag[llama-index]'"
    )

__getattr__ = lazy_names(__name__, _HOMES)
