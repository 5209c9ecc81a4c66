"""Neighbors of each chunk of a text among the chunks of earlier text. No chunk sees itself or later text, neither in its
neighbors nor in the query that retrieves them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def token_vectors(
    tokens: Int[np.ndarray, " tokens"], chunk_tokens: int, *, dimension: int = 512, seed: int = 0
) -> Float[np.ndarray, "chunks dimension"]:
    """Compute a unit vector for each complete chunk from its tokens, weighted by their rarity so far.

    The weights are √tf · log(n / df), with n and df counted up to the chunk. Every token has a random code of ±1, whose
    weighted sum represents the bag of tokens: inner products are kept up to 1/√dimension (Achlioptas 2003).
    """
    chunks = tokens[: len(tokens) // chunk_tokens * chunk_tokens].reshape(-1, chunk_tokens)
    vocabulary = int(tokens.max(initial=0)) + 1
    codes = np.random.default_rng(seed).integers(0, 2, (vocabulary, dimension)).astype(np.float32) * 2 - 1
    chunks_with = np.zeros(vocabulary)
    vectors = np.empty((len(chunks), dimension), dtype=np.float32)
    for number, chunk in enumerate(chunks):
        present, count = np.unique(chunk, return_counts=True)
        chunks_with[present] += 1
        weights = np.sqrt(count) * np.log((number + 2) / chunks_with[present])
        vectors[number] = weights.astype(np.float32) @ codes[present]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-9)
    return vectors


def earlier_neighbors(
    vectors: Float[np.ndarray, "chunks dim"], k: int, window: int, *, recent: int = 0, block: int = 1024
) -> Int[np.ndarray, "chunks recent_and_k"]:
    """Find the neighbors of each chunk: chunks that end, with their successor, before its window; the latest and the nearest.

    Args:
        vectors: one per chunk, in the order of the text; similarity is their inner product.
        k: number of chunks most similar to the preceding chunk, apart from the latest ones.
        window: number of chunks of a window; the first window begins at chunk 0.
        recent: number of pairs of chunks right before the window, which a longer window would contain.
        block: number of chunks that are compared with all others at once.

    Returns:
        Chunk numbers: the latest first, then the most similar first; −1 where there are too few.
    """
    chunks = len(vectors)
    begins = np.arange(chunks) // window * window
    latest = begins[:, None] - 2 * np.arange(1, recent + 1)[None]
    found = np.full((chunks, recent + k), -1, dtype=np.int64)
    found[:, :recent] = np.where(latest >= 0, latest, -1)
    for start in range(1, chunks, block):
        asking = np.arange(start, min(start + block, chunks))
        scores = vectors[asking - 1] @ vectors.T
        # A neighbor is read with the chunk after it; the latest pairs are already included.
        scores[np.arange(chunks)[None] + 1 >= begins[asking, None] - 2 * recent] = -np.inf
        for place in range(recent, recent + k):
            best = scores.argmax(axis=1)
            missing = np.isneginf(scores[rows := np.arange(len(asking)), best])
            found[asking, place] = np.where(missing, -1, best)
            scores[rows, best] = -np.inf
    return found
