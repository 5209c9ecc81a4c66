"""Haystack: a memory as a document store with a retriever, and answers with citations as a chat generator.

The names below load their module on first use.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.integrations.lazy_names import lazy_names

if TYPE_CHECKING:
    from memgpt_rag.integrations.haystack.chat_generator import MemGPTChatGenerator as MemGPTChatGenerator
    from memgpt_rag.integrations.haystack.document_store import MemGPTDocumentStore as MemGPTDocumentStore
    from memgpt_rag.integrations.haystack.retriever import MemGPTRetriever as MemGPTRetriever

_HOMES = {
    "MemGPTChatGenerator": "chat_generator",
    "MemGPTDocumentStore": "document_store",
    "MemGPTRetriever": "retriever",
}
__all__ = list(_HOMES)

if importlib.util.find_spec("haystack") is None:
    raise MissingPackageError("haystack-ai", "The integration with Haystack", "pip install 'memgpt_rag[haystack]'")

__getattr__ = lazy_names(__name__, _HOMES)
