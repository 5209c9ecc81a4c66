"""The language model with memory inside its attention. torch and transformers; never FAISS, never search."""

from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.decoder import DEFAULT_GENERATOR, MemoryDecoder
from memgpt_rag.model.from_scratch.memgpt import MemGPT
from memgpt_rag.model.states import AttendedMemory, EntryStates

__all__ = [
    "DEFAULT_GENERATOR",
    "AttendedMemory",
    "EntryStates",
    "MemGPT",
    "MemoryAttentionConfig",
    "MemoryDecoder",
]
