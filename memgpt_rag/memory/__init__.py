"""The memory: a folder of keys and values, and the object that opens it. numpy, pyarrow and FAISS; never torch."""

from memgpt_rag.memory.additions import add_indexes, add_lexical_index, add_sparse_vectors, add_states
from memgpt_rag.memory.caches.states import StateCache
from memgpt_rag.memory.candidates import Candidates
from memgpt_rag.memory.lexical.bm25 import TermStatistics
from memgpt_rag.memory.memory import Memory
from memgpt_rag.memory.reader import MemoryReader, SearchResult
from memgpt_rag.memory.shards import Searchable, Shards
from memgpt_rag.memory.sparse import SparseQueries
from memgpt_rag.memory.storage.manifest import Manifest
from memgpt_rag.memory.storage.states import StoredStates
from memgpt_rag.memory.versions import expire, list_versions, roll_back
from memgpt_rag.memory.writer import MemoryWriter

__all__ = [
    "Candidates",
    "Manifest",
    "Memory",
    "MemoryReader",
    "MemoryWriter",
    "SearchResult",
    "Searchable",
    "Shards",
    "SparseQueries",
    "StateCache",
    "StoredStates",
    "TermStatistics",
    "add_indexes",
    "add_lexical_index",
    "add_sparse_vectors",
    "add_states",
    "expire",
    "list_versions",
    "roll_back",
]
