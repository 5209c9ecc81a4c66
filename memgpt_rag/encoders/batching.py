"""Texts in batches of about as many tokens each, like length beside like length, none of them twice.

A Transformer computes for padding as for text, so what is sorted by length takes less time; and a batch that is bounded by its
tokens keeps its intermediate results in the processor's cache, however long the texts are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

# Measured for MiniLM on one core (benchmarks/embedding.py): half and twice as many are within 4 %.
BUDGET_TOKENS = 2048
# Short texts take longer to prepare than to compute.
_MOST_TEXTS = 128

Vectors = Float[np.ndarray, "texts dimension"]


def in_batches(
    encode: Callable[[list[str]], Vectors],
    texts: Sequence[str],
    count_tokens: Callable[[str], int],
    *,
    max_tokens: int = 0,
    budget_tokens: int = BUDGET_TOKENS,
) -> Vectors:
    """Vectors of texts, in their order.

    Args:
        encode: gives one batch its vectors; called in the same way whenever the texts are the same.
        count_tokens: how long a text is.
        max_tokens: what is longer is cut there; 0 where nothing is.
        budget_tokens: of a batch, the longest text times how many there are; a longer text is a batch by itself.

    Raises:
        ValueError: no texts, whose vectors would have no dimension.
    """
    if not texts:
        raise ValueError("There are no texts to encode; give at least one.")
    place = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    different, most = list(place), max_tokens or budget_tokens
    lengths = np.array([min(count_tokens(text), most) for text in different])
    order = np.argsort(-lengths, kind="stable").tolist()
    vectors: Vectors | None = None
    start = 0
    while start < len(order):
        count = max(1, min(_MOST_TEXTS, budget_tokens // max(1, int(lengths[order[start]]))))
        batch = order[start : start + count]
        of_batch = encode([different[number] for number in batch])
        if vectors is None:
            vectors = np.empty((len(different), of_batch.shape[1]), np.float32)
        vectors[batch] = of_batch
        start += count
    assert vectors is not None
    return vectors if len(different) == len(texts) else vectors[[place[text] for text in texts]]
