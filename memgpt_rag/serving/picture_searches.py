"""Searches in a server's memories of pictures, made when they are first asked for."""

from __future__ import annotations

from typing import cast

from memgpt_rag.encoders.picture_encoder import PictureEncoder
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.tasks.images.search import PictureSearch


class PictureSearches:
    """Searches by the name of their memory; each is made again for a new version, and keeps the vectors of its words."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[ServedMemory, PictureSearch]] = {}

    def get(self, served: ServedMemory) -> PictureSearch:
        """Return the search of a memory.

        Raises:
            MismatchError: its keys are of texts.
        """
        made = self._made.get(served.name)
        if made is None or made[0] is not served:
            encoder = cast(PictureEncoder, served.rag.retriever.encoder)  # keys of texts are refused before it is used
            made = self._made[served.name] = served, PictureSearch(served.memory, encoder)
        return made[1]
