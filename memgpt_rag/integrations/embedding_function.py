"""An encoder made of a framework's embedding object, so that a memory knows by its fingerprint which object wrote its keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.encoders.base import Encoder, Vectors
from memgpt_rag.errors import ModelError

# Held while an encoder or a language model runs: frameworks call from several threads, and tokenizers serve one at a time.
RUNNING = threading.Lock()

EmbeddingFunction = Callable[[list[str]], Sequence[Sequence[float]]]


class FunctionEncoder(Encoder):
    """Embeds with the functions of a framework's embedding object. Vectors are scaled to length 1, so that scores are cosines.

    Args:
        name: of the object, which a memory's manifest keeps.
        embed_queries: returns the vectors of queries.
        embed_passages: returns the vectors of passages.
    """

    normalized = True
    query_prompt = passage_prompt = ""
    max_tokens = 0

    def __init__(self, name: str, embed_queries: EmbeddingFunction, embed_passages: EmbeddingFunction):
        self.name = name
        self._embed_queries, self._embed_passages = embed_queries, embed_passages

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return unit_vectors(self._embed_queries(list(texts)), len(texts), self.name)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        return unit_vectors(self._embed_passages(list(texts)), len(texts), self.name)

    def count_tokens(self, text: str) -> int:
        raise ModelError(f"{self.name} does not say what its tokens are; split texts by the tokens of another model.")


def unit_vectors(vectors: Sequence[Sequence[float]], count: int, name: str) -> Float[np.ndarray, "count dimension"]:
    """Return vectors of an embedding object, scaled to length 1.

    Raises:
        ModelError: it returned another number of vectors, or one that has no direction.
    """
    found = np.asarray(vectors, np.float32)
    if found.ndim != 2 or len(found) != count:
        raise ModelError(f"{name} gave vectors of shape {found.shape} for {count} texts; expected one for each text.")
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ModelError(f"{name} gave a vector of zeros, or one that is not finite; such a text cannot be found.")
    return np.asarray(found / lengths)


def object_name(embedding: Any) -> str:
    """Return a name of an embedding object: its class, and the model that it says it uses."""
    models = (getattr(embedding, attribute, None) for attribute in ("model_name", "model"))
    model = next((one for one in models if isinstance(one, str) and one), "")
    return f"{type(embedding).__name__} {model}".strip()
