"""Groups distinct texts into batches of similar length with about the same number of tokens each.

A Transformer spends as much time on padding as on text, so batches sorted by length are faster; and a bounded number of tokens
keeps the intermediate results of a batch in the processor's cache, for texts of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

# Measured for MiniLM on one core (benchmarks/embedding.py): half and twice this budget are within 4 %.
BUDGET_TOKENS = 2048
# Limit of texts in a batch, since short texts take longer to tokenize than to encode.
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
    """Encode texts in batches, and return their vectors in the order of the texts.

    Args:
        encode: encodes one batch; the sequence of calls depends on the texts only.
        count_tokens: returns the number of tokens of a text.
        max_tokens: length at which the encoder truncates texts; 0 if it does not.
        budget_tokens: limit of a batch's padded tokens (longest text × number of texts); a longer text is a batch by itself.

    Raises:
        ValueError: no texts, so that the dimension is unknown.
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
        batch_vectors = encode([different[number] for number in batch])
        if vectors is None:
            vectors = np.empty((len(different), batch_vectors.shape[1]), np.float32)
        vectors[batch] = batch_vectors
        start += count
    assert vectors is not None
    return vectors if len(different) == len(texts) else vectors[[place[text] for text in texts]]
