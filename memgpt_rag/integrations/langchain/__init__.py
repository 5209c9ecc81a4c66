"""LangChain: memories as a retriever and a vector store, and answers with citations as a chat model.

The names below load their module on first use.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from memgpt_rag.errors import MissingPackageError

if TYPE_CHECKING:
    from memgpt_rag.integrations.langchain.chat_model import ChatMemGPT as ChatMemGPT
    from memgpt_rag.integrations.langchain.retriever import MemGPTRetriever as MemGPTRetriever
    from memgpt_rag.integrations.langchain.vector_store import MemGPTVectorStore as MemGPTVectorStore

_HOMES = {"ChatMemGPT": "chat_model", "MemGPTRetriever": "retriever", "MemGPTVectorStore": "vector_store"}
__all__ = list(_HOMES)

if importlib.util.find_spec("langchain_core") is None:
    raise MissingPackageError("langchain-core", "The integration with LangChain", "pip install 'memgpt_rag[langchain]'")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
