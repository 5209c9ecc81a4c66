"""Texts that are longer than a model reads, read in windows: nothing of them is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.encoders.sentence_encoder import SentenceTransformersEncoder

# What follows in a longer text is not read: one vector says little of so many pages, and a window takes a tenth of a second.
MOST_CHARACTERS = 1_000_000


class WindowedEncoder(Encoder):
    """An encoder whose vector of a long text is the mean of those of its windows, each by as many tokens as it has.

    Every window has the prompt before it. A text that the model reads as a whole has the vector that the model gives.

    Args:
        encoder: with a limit of tokens, and with a tokenizer that says where each token stands.
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
        vectors = encode([window for of_text in windows for window, _ in of_text])
        if len(vectors) == len(texts):
            return vectors
        means, start = np.empty((len(texts), vectors.shape[1]), np.float32), 0
        for number, of_text in enumerate(windows):
            of_windows, tokens = vectors[start : start + len(of_text)], [count for _, count in of_text]
            means[number] = of_windows[0] if len(of_text) == 1 else self._mean(of_windows, tokens)
            start += len(of_text)
        return means

    def _windows(self, text: str, room: int) -> list[tuple[str, int]]:
        """Parts of a text, with their tokens; cut between tokens, and never within what one character became."""
        if self.count_tokens(text) <= room:
            return [(text, 1)]
        places = self._encoder.token_places(text)
        windows, start = [], 0
        while start < len(places):
            end = min(start + max(1, room - 1), len(places))  # one less, for the mark that begins a word
            while start + 1 < end < len(places) and places[end][0] < places[end - 1][1]:
                end -= 1
            windows.append((text[places[start][0] : places[end - 1][1]], end - start))
            start = end
        return windows

    def _mean(self, vectors: Vectors, tokens: Sequence[int]) -> Float[np.ndarray, " dimension"]:
        mean = np.average(vectors, axis=0, weights=tokens)
        return mean / max(float(np.linalg.norm(mean)), 1e-12) if self.normalized else mean
