"""What writes summaries of a server's memories, made when they are first asked for."""

from __future__ import annotations

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.tasks.summaries.writer import Writer, summary_model


class Writers:
    """Writers by the name of their memory; each is made again for a new version."""

    def __init__(self) -> None:
        self._model: MemoryDecoder | None = None
        self._made: dict[str, tuple[ServedMemory, Writer]] = {}

    def get(self, served: ServedMemory) -> Writer:
        """Return the writer of a memory. The engine's thread calls this, since it uses the language model."""
        made = self._made.get(served.name)
        if made is None or made[0] is not served:
            self._model = self._model or summary_model(served.rag.model)  # one for all, with one cache of states
            writer = Writer(served.memory, served.rag.retriever.encoder, self._model)
            made = self._made[served.name] = served, writer
        return made[1]
