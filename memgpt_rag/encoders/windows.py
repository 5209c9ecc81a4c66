"""Encodes texts beyond a model's maximum length in windows, without truncation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder

# Longer texts are truncated here: one vector represents so many pages poorly, and a window takes a tenth of a second.
MOST_CHARACTERS = 1_000_000


class WindowedEncoder(Encoder):
    """Encodes a long text as the mean of its windows' vectors, weighted by their tokens.

    Every window begins with the prompt. A text within the model's maximum length gets the model's own vector.

    Args:
        encoder: an encoder with a maximum length, whose tokenizer returns the positions of tokens.
    """

    max_tokens = 0

    def __init__(self, encoder: SentenceTransformersEncoder):
        self._encoder = encoder
        self.name, self.normalized = encoder.name, encoder.normalized
        self.query_prompt, self.passage_prompt = encoder.query_prompt, encoder.passage_prompt
        self.backend, self.precision = encoder.backend, encoder.precision

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode(self._encoder.encode_queries, texts, self.query_prompt)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return self._encode(self._encoder.encode_passages, texts, self.passage_prompt)

    def count_tokens(self, text: str) -> int:
        return self._encoder.count_tokens(text)

    def _encode(self, encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str], prompt: str) -> Vectors:
        room = max(1, self._encoder.room - self.count_tokens(prompt))
        windows = [self._windows(text[:MOST_CHARACTERS], room) for text in texts]
        vectors = encode([window for text_windows in windows for window, _ in text_windows])
        if len(vectors) == len(texts):
            return vectors
        means, start = np.empty((len(texts), vectors.shape[1]), np.float32), 0
        for number, text_windows in enumerate(windows):
            window_vectors, tokens = vectors[start : start + len(text_windows)], [count for _, count in text_windows]
            means[number] = window_vectors[0] if len(text_windows) == 1 else self._mean(window_vectors, tokens)
            start += len(text_windows)
        return means

    def _windows(self, text: str, room: int) -> list[tuple[str, int]]:
        """Split a text between tokens, never inside the tokens of one character; returns the windows with their token counts."""
        if self.count_tokens(text) <= room:
            return [(text, 1)]
        places = self._encoder.token_places(text)
        windows, start = [], 0
        while start < len(places):
            end = min(
                start + max(1, room - 1), len(places)
            )  # one less, for a word-begin token at the start of the window
            while start + 1 < end < len(places) and places[end][0] < places[end - 1][1]:
                end -= 1
            windows.append((text[places[start][0] : places[end - 1][1]], end - start))
            start = end
        return windows

    def _mean(self, vectors: Vectors, tokens: Sequence[int]) -> Float[np.ndarray, " dimension"]:
        mean = np.average(vectors, axis=0, weights=tokens)
        return mean / max(float(np.linalg.norm(mean)), 1e-12) if self.normalized else mean
