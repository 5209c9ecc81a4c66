"""MTEB: encoders and ways of searching as models of the Massive Text Embedding Benchmark, and datasets as its tasks.

The names below load their module on first use.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from memgpt_rag.errors import MissingPackageError
from memgpt_rag.integrations.lazy_names import lazy_names

if TYPE_CHECKING:
    from memgpt_rag.integrations.mteb.encoder import MemGPTEncoder as MemGPTEncoder
    from memgpt_rag.integrations.mteb.local_task import dataset_task as dataset_task
    from memgpt_rag.integrations.mteb.search import MemGPTSearch as MemGPTSearch

_HOMES = {"dataset_task": "local_task", "MemGPTEncoder": "encoder", "MemGPTSearch": "search"}
__all__ = list(_HOMES)

if importlib.util.find_spec("mteb") is None:
    raise MissingPackageError("mteb", "The integration with MTEB", "pip install 'memgpt_rag[mteb]'")

__getattr__ = lazy_names(__name__, _HOMES)
