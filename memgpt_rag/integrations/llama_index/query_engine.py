"""A query engine of LlamaIndex that answers from a memory, with the entries that the answer rests on as its sources."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.base.response.schema import Response
from llama_index.core.query_engine import CustomQueryEngine
from pydantic import Field, InstanceOf

from memgpt_rag.answering.options import AskOptions
from memgpt_rag.integrations.embedding_function import RUNNING
from memgpt_rag.integrations.llama_index.nodes import scored_node
from memgpt_rag.rag import RAG


class MemGPTQueryEngine(CustomQueryEngine):  # type: ignore[misc]
    """Answers questions from a memory.

    The source nodes of a response are the entries, the one with the largest share of attention first: with the score of the search,
    and with `share` and `spans`, the parts of the answer that rest on the entry, in their metadata. The metadata of the response says
    how the memory was used.

    Attributes:
        rag: the memory and the models; `MemGPTQueryEngine.open` makes one.
        options: how questions are answered.

    Example:
        >>> engine = MemGPTQueryEngine.open("park-memory")
        >>> str(engine.query("How much does it cost to rent a rowing boat?"))
        '40 yuan'
    """

    rag: InstanceOf[RAG] = Field(exclude=True)
    options: InstanceOf[AskOptions] = AskOptions()

    @classmethod
    def open(
        cls,
        memory: str | Path | Sequence[str | Path],
        options: AskOptions = AskOptions(),
        **settings: Any,
    ) -> MemGPTQueryEngine:
        """Open a memory, or several that are searched as one.

        Args:
            settings: of `RAG.open`, such as model, config, encoder and search.

        Raises:
            MemoryFormatError, ModelError, MismatchError: as `RAG.open`.
        """
        return cls(rag=RAG.open(memory, **settings), options=options)

    def custom_query(self, query_str: str) -> Response:
        """Answer a question.

        Raises:
            ValueError: an empty question, or one that is too long.
        """
        with RUNNING:
            answer = self.rag.answer(query_str, self.options)
        nodes = [
            scored_node(one.passage, one.score, {"share": one.share, "spans": [list(span) for span in one.spans]})
            for one in answer.citations
        ]
        metadata = {
            "mode": answer.mode,
            "mass": answer.memory_mass,
            "confidence": answer.confidence,
            "supported": answer.supported,
            "nothing_found": answer.nothing_found,
        }
        return Response(answer.text, source_nodes=nodes, metadata=metadata)

    async def acustom_query(self, query_str: str) -> Response:
        """Answer a question in a thread of its own; otherwise as `custom_query`."""
        return await asyncio.to_thread(self.custom_query, query_str)
