"""transformers: readers saved, shared and loaded as pretrained models are, answers as a pipeline, and memory reading as a folder for
`generate(custom_generate=…)`.

The names below load their module on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memgpt_rag.integrations.lazy_names import lazy_names

if TYPE_CHECKING:
    from memgpt_rag.integrations.transformers.generation_folder import save_generation as save_generation
    from memgpt_rag.integrations.transformers.pipeline import (
        MemoryQuestionAnsweringPipeline as MemoryQuestionAnsweringPipeline,
    )
    from memgpt_rag.integrations.transformers.pipeline import register_pipeline as register_pipeline
    from memgpt_rag.integrations.transformers.pretrained_reader import PretrainedReader as PretrainedReader

_HOMES = {
    "MemoryQuestionAnsweringPipeline": "pipeline",
    "PretrainedReader": "pretrained_reader",
    "register_pipeline": "pipeline",
    "save_generation": "generation_folder",
}
__all__ = list(_HOMES)

__getattr__ = lazy_names(__name__, _HOMES)
