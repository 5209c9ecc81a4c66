"""The memory: a folder of keys and values, and the object that opens it. numpy, pyarrow and FAISS; never torch."""

from memgpt_rag.memory.additions import add_indexes, add_states, add_words
from memgpt_rag.memory.caches.states import StateCache
from memgpt_rag.memory.candidates import Candidates
from memgpt_rag.memory.lexical.bm25 import WordStatistics
from memgpt_rag.memory.memory import Memory, SearchResult
from memgpt_rag.memory.shards import Searchable, Shards
from memgpt_rag.memory.storage.layout import (
    METADATA_TYPES,
    METRICS,
    Manifest,
    Metric,
)
from memgpt_rag.memory.storage.states import STATES_TYPES, StatesType, StoredStates
from memgpt_rag.memory.versions import expire, list_versions, roll_back
from memgpt_rag.memory.writer import MemoryWriter

__all__ = [
    "METADATA_TYPES",
    "METRICS",
    "STATES_TYPES",
    "Candidates",
    "Manifest",
    "Memory",
    "MemoryWriter",
    "Metric",
    "SearchResult",
    "Searchable",
    "Shards",
    "StateCache",
    "StatesType",
    "StoredStates",
    "WordStatistics",
    "add_indexes",
    "add_states",
    "add_words",
    "expire",
    "list_versions",
    "roll_back",
]
