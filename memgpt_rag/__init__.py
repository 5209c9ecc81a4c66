"""The library: passages, encoders, memories, models that attend to memory, answers. Knows nothing of indexing jobs.

The names below load their module on first use: `import memgpt_rag` alone imports neither torch nor FAISS.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memgpt_rag.answering.answer import Answer as Answer
    from memgpt_rag.answering.options import AskOptions as AskOptions
    from memgpt_rag.encoders.config import EncoderConfig as EncoderConfig
    from memgpt_rag.encoders.load import load_encoder as load_encoder
    from memgpt_rag.memory import Memory as Memory
    from memgpt_rag.model import MemGPT as MemGPT
    from memgpt_rag.model import MemoryAttentionConfig as MemoryAttentionConfig
    from memgpt_rag.model import MemoryDecoder as MemoryDecoder
    from memgpt_rag.passage import Passage as Passage
    from memgpt_rag.rag import RAG as RAG
    from memgpt_rag.retrieval.retriever import Retriever as Retriever
    from memgpt_rag.retrieval.retriever import Search as Search

_HOMES = {
    "RAG": "memgpt_rag.rag",
    "Answer": "memgpt_rag.answering.answer",
    "AskOptions": "memgpt_rag.answering.options",
    "EncoderConfig": "memgpt_rag.encoders.config",
    "Memory": "memgpt_rag.memory",
    "MemGPT": "memgpt_rag.model",
    "MemoryAttentionConfig": "memgpt_rag.model",
    "MemoryDecoder": "memgpt_rag.model",
    "Passage": "memgpt_rag.passage",
    "Retriever": "memgpt_rag.retrieval.retriever",
    "Search": "memgpt_rag.retrieval.retriever",
    "load_encoder": "memgpt_rag.encoders.load",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memgpt_rag' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
