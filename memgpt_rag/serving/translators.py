"""The translators of a server's memories, made when they are first asked."""

from __future__ import annotations

from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.tasks.translation.translator import Translator


class Translators:
    """Translators by the name of their memory; each is made again for a new version."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[ServedMemory, Translator]] = {}

    def get(self, served: ServedMemory) -> Translator:
        """Return the translator of a memory. The engine's thread calls this, since it uses the language model.

        Raises:
            MismatchError: the entries of the memory are no sentence pairs.
        """
        made = self._made.get(served.name)
        if made is None or made[0] is not served:
            translator = Translator(served.memory, served.rag.retriever.encoder, served.rag.model)
            made = self._made[served.name] = served, translator
        return made[1]
