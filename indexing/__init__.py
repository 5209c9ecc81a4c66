"""The index-building job: documents become a memory. Verbs live here; the nouns are in memgpt_rag.

The names below load their module on first use: `import indexing` alone imports neither torch nor FAISS.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexing.jobs.build import BuildOptions as BuildOptions
    from indexing.jobs.build import build as build
    from indexing.sources.read_options import ReadOptions as ReadOptions
    from indexing.sources.read_options import RecordFields as RecordFields

_HOMES = {
    "BuildOptions": "indexing.jobs.build",
    "ReadOptions": "indexing.sources.read_options",
    "RecordFields": "indexing.sources.read_options",
    "build": "indexing.jobs.build",
}
__all__ = ["BuildOptions", "ReadOptions", "RecordFields", "build"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'indexing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
