"""Encoders whose vectors are truncated to their first components, for which models can be trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memgpt_rag.encoders.base import Encoder, Vectors


class TruncatedEncoder(Encoder):
    """Truncates another encoder's vectors to their first components (Kusupati et al. 2022, "Matryoshka Representation Learning").

    Models that were trained for it lose little; others lose more, which users have to measure.
    """

    def __init__(self, encoder: Encoder, dimension: int):
        self._encoder, self.dimension = encoder, dimension
        self.name, self.normalized, self.max_tokens = encoder.name, encoder.normalized, encoder.max_tokens
        self.query_prompt, self.passage_prompt = encoder.query_prompt, encoder.passage_prompt
        self.backend, self.precision = encoder.backend, encoder.precision

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._first(self._encoder.encode_queries(texts))

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._first(self._encoder.encode_passages(texts))

    def count_tokens(self, text: str) -> int:
        return self._encoder.count_tokens(text)

    def _first(self, vectors: Vectors) -> Vectors:
        first = np.ascontiguousarray(vectors[:, : self.dimension])
        return first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12) if self.normalized else first
