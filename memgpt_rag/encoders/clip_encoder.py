"""CLIP and other models of sentence-transformers that embed pictures and texts, by hub name or folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memgpt_rag.encoders.base import Vectors, mean_margin
from memgpt_rag.encoders.config import EncoderConfig
from memgpt_rag.encoders.picture_encoder import PictureEncoder, drawn
from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder
from memgpt_rag.errors import ModelError
from memgpt_rag.io.pictures import pixels

_BATCH = 32
# Squares by whose color a picture can be distinguished from the others, in two languages; as for texts, the better one counts.
_COLORS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 70, 220), "yellow": (240, 210, 40)}
_WORDS = {
    "en": ["a red square", "a green square", "a blue square", "a yellow square"],
    "zh": ["一个红色的正方形", "一个绿色的正方形", "一个蓝色的正方形", "一个黄色的正方形"],
}
_SIDE = 64


class ClipEncoder(SentenceTransformersEncoder, PictureEncoder):
    """A model of sentence-transformers that embeds pictures and texts as vectors of one space (Radford et al. 2021, "Learning
    Transferable Visual Models From Natural Language Supervision").

    Args:
        name: hub name or folder.
        device: torch device; None for a GPU if available.

    Raises:
        ModelError: the model does not exist, lacks weights, or embeds texts only.
    """

    fingerprint = PictureEncoder.fingerprint

    def __init__(self, name: str, *, device: str | None = None):
        super().__init__(EncoderConfig(name), device=device)
        if not self._model.supports("image"):
            raise ModelError(
                f"The embedding model {name!r} embeds texts only; name a model of sentence-transformers that embeds pictures, such as "
                "sentence-transformers/clip-ViT-B-32, or train one with: memgpt-rag images train"
            )

    def encode_pictures(self, pictures: Sequence[bytes]) -> Vectors:
        decoded = [pixels(picture) for picture in pictures]
        vectors: Vectors = self._model.encode(
            decoded,
            batch_size=_BATCH,
            normalize_embeddings=self.normalized,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return vectors.astype(np.float32, copy=False)

    def picture_scale(self) -> float:
        squares = [drawn(np.full((_SIDE, _SIDE, 3), color, np.uint8)) for color in _COLORS.values()]
        vectors = self.encode_pictures(squares)
        return max(mean_margin(self.encode_queries(words) @ vectors.T) for words in _WORDS.values())
