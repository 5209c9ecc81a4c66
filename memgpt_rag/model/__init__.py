"""The language model with memory inside its attention. torch and transformers; never FAISS, never search."""

from memgpt_rag.model.config import MemoryAttentionConfig
from memgpt_rag.model.memgpt import DEFAULT_GENERATOR, MemGPT
from memgpt_rag.model.presets import PRESETS
from memgpt_rag.model.states import AttendedMemory, EntryStates

__all__ = ["DEFAULT_GENERATOR", "PRESETS", "AttendedMemory", "EntryStates", "MemGPT", "MemoryAttentionConfig"]
