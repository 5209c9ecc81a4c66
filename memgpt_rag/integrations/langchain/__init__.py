"""LangChain: memories as a retriever and a vector store, and answers with citations as a chat model.

The names below load their module on first use.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.integrations.lazy_names import lazy_names

if TYPE_CHECKING:
    from memgpt_rag.integrations.langchain.chat_model import ChatMemGPT as ChatMemGPT
    from memgpt_rag.integrations.langchain.retriever import MemGPTRetriever as MemGPTRetriever
    from memgpt_rag.integrations.langchain.vector_store import MemGPTVectorStore as MemGPTVectorStore

_HOMES = {"ChatMemGPT": "chat_model", "MemGPTRetriever": "retriever", "MemGPTVectorStore": "vector_store"}
__all__ = list(_HOMES)

if importlib.util.find_spec("langchain_core") is None:
    raise MissingPackageError("langchain-core", "The integration with LangChain", "pip install 'memgpt_rag[langchain]'")

__getattr__ = lazy_names(__name__, _HOMES)
