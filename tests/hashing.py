"""An encoder small enough to compute by hand, and passages; without torch, so that processes of tests start soon."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memgpt_rag.encoders.base import Encoder
from memgpt_rag.fingerprint import SparseFingerprint
from memgpt_rag.passage import Passage


class HashEncoder(Encoder):
    """Bag of character pairs, hashed into a few dimensions: similar texts get similar vectors, by arithmetic alone."""

    def __init__(
        self, dimension: int = 64, name: str = "hash", normalized: bool = True, query_prompt: str = "", salt: int = 0
    ):
        self.name, self.normalized, self.query_prompt, self.passage_prompt, self.max_tokens = (
            name,
            normalized,
            query_prompt,
            "",
            0,
        )
        self._dimension, self._salt = dimension, salt
        self.calls = 0

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self.encode_passages([self.query_prompt + text for text in texts])

    def encode_passages(self, texts: Sequence[str]) -> np.ndarray:
        self.calls += len(texts)
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for place in range(len(text) - 1):
                vectors[row, zlib.crc32(text[place : place + 2].encode(), self._salt) % self._dimension] += 1
            vectors[row, 0] += 1e-3
        if self.normalized:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + sum("\u4e00" <= character <= "\u9fff" for character in text)


class LetterEncoder:
    """A sparse encoder small enough to compute by hand: a component for each letter, by how often it occurs."""

    name = "letters"
    dimension = 0x110000

    def __init__(self, weight: float = 0.5):
        self._weight = weight

    def encode_passages(self, texts: Sequence[str]) -> list[dict[str, float]]:
        counts = [Counter(text.lower().replace(" ", "")) for text in texts]
        return [{str(ord(letter)): count * self._weight for letter, count in one.items()} for one in counts]

    encode_queries = encode_passages

    @property
    def fingerprint(self) -> SparseFingerprint:
        (probe,) = self.encode_passages(["a probe"])
        return SparseFingerprint(self.name, self.dimension, 0, 1.5, probe, probe)


@dataclass(frozen=True)
class HashRecipe:
    """How a worker in another process makes the encoder, or, where it differs, another one.

    Attributes:
        job: process that is no worker.
        salt: of a worker's encoder; the job's has none.
        fails_at, dies_at: words in a text at which a worker's encoder raises an error, or takes its process with it.
    """

    job: int
    salt: int = 0
    fails_at: str | None = None
    dies_at: str | None = None

    def __call__(self) -> HashEncoder:
        working, recipe = os.getpid() != self.job, self

        class Failing(HashEncoder):
            def encode_passages(self, texts):
                if recipe.fails_at and any(recipe.fails_at in text for text in texts):
                    raise ValueError(f"cannot embed {recipe.fails_at!r}")
                if recipe.dies_at and any(recipe.dies_at in text for text in texts):
                    os._exit(1)
                return super().encode_passages(texts)

        return (Failing if working else HashEncoder)(dimension=96, salt=self.salt if working else 0)


def passage(number: int, text: str | None = None) -> Passage:
    return Passage(
        f"doc#{number}",
        text or f"Fact number {number}.",
        f"Title {number}",
        "doc",
        "",
        "line",
        number,
        number,
        0,
        len(text or f"Fact number {number}."),
    )
