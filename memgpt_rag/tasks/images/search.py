"""Searches a memory of pictures: by words or by a picture, for pictures or for their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.encoders.picture_encoder import PictureEncoder
from memgpt_rag.errors import MismatchError
from memgpt_rag.memory import Memory
from memgpt_rag.passage import Passage


@dataclass(frozen=True)
class FoundPicture:
    """An entry with a picture.

    Attributes:
        row: its row in the memory.
        passage: words and place of the picture.
        text: the words that it was found by, or the first ones of it.
        score: cosine of the vectors.
    """

    row: int
    passage: Passage
    text: str
    score: float

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands write it in JSON."""
        return {"id": self.passage.id, "text": self.text, "place": self.passage.place, "score": self.score}


class PictureSearch:
    """Searches a memory whose keys are of pictures.

    Args:
        memory: made by `add_pictures` with an encoder of pictures.
        encoder: the one that embedded it.

    Raises:
        MismatchError: the keys are of texts, or of another encoder.
    """

    def __init__(self, memory: Memory, encoder: PictureEncoder):
        require_picture_keys(memory)
        memory.manifest.encoder.require_match(encoder.fingerprint)
        self.memory, self.encoder = memory, encoder

    def by_texts(self, texts: Sequence[str], k: int) -> list[list[FoundPicture]]:
        """Return the k pictures nearest to each text, best first."""
        return self._nearest(self.encoder.encode_queries(texts), k)

    def by_pictures(self, pictures: Sequence[bytes], k: int) -> list[list[FoundPicture]]:
        """Return the k pictures nearest to each picture, best first."""
        return self._nearest(self.encoder.encode_pictures(pictures), k)

    def words(self, pictures: Sequence[bytes], k: int) -> list[list[FoundPicture]]:
        """Return the k texts of the memory nearest to each picture, best first: what the texts say counts, not what they stand beside."""
        rows, texts, vectors = self._texts
        scores = self.encoder.encode_pictures(pictures) @ vectors.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [
            [self._found(rows[place], float(own[place]), texts[place]) for place in places]
            for own, places in zip(scores, best, strict=True)
        ]

    @cached_property
    def _texts(self) -> tuple[list[int], list[str], Float[np.ndarray, "texts dimension"]]:
        """Every line of words in the memory, with its row and its vector."""
        rows = self.memory.rows().tolist()
        lines = [
            (row, line)
            for row, passage in zip(rows, self.memory.passages(rows), strict=True)
            for line in passage.text.splitlines()
            if line.strip()
        ]
        texts = [line for _, line in lines]
        return [row for row, _ in lines], texts, self.encoder.encode_passages(texts)

    def _nearest(self, vectors: Float[np.ndarray, "queries dimension"], k: int) -> list[list[FoundPicture]]:
        found = self.memory.search(vectors, k)
        return [
            [self._found(row, score) for row, score in zip(rows, scores, strict=True)]
            for rows, scores in zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        ]

    def _found(self, row: int, score: float, text: str | None = None) -> FoundPicture:
        (passage,) = self.memory.passages([row])
        return FoundPicture(row, passage, passage.text.split("\n", 1)[0] if text is None else text, score)


def require_picture_keys(memory: Memory) -> None:
    """Raises MismatchError: the keys of a memory are of texts."""
    if not memory.manifest.encoder.picture_probe:
        raise MismatchError(
            f"The keys of {memory.path} are of texts, embedded with {memory.manifest.encoder.name!r}; build a memory of pictures with: "
            "memgpt-rag images build"
        )
