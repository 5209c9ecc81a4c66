"""Maximal marginal relevance (Carbonell and Goldstein 1998): of entries that say the same, one is enough.

    next = argmax over entries not yet chosen of (1 − λ) · relevance(e) + λ · (1 − max similarity(e, chosen))

λ is the share of diversity; the paper writes it the other way round, as the share of relevance.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def mmr_order(
    relevance: Float[np.ndarray, " n"], keys: Float[np.ndarray, "n dimension"], k: int, diversity: float
) -> Int[np.ndarray, " k"]:
    """Places of k entries, in the order in which they are chosen; all of them where there are fewer.

    Args:
        relevance: how relevant each one is, in units in which right and wrong ones are about 1 apart.
        keys: unit-length vectors that tell how similar two entries are.
        diversity: λ, from 0, where relevance alone counts, to 1.

    Raises:
        ValueError: λ is not within 0 and 1.
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity is {diversity}; expected 0 to 1.")
    nearest = np.zeros(len(relevance), np.float32)  # similarity to the chosen one that is most similar
    chosen: list[int] = []
    left = np.ones(len(relevance), bool)
    for _ in range(min(k, len(relevance))):
        gain = (1 - diversity) * relevance + diversity * (1 - nearest)
        best = int(np.flatnonzero(left)[np.argmax(gain[left])])
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, keys @ keys[best])
    return np.array(chosen, np.int64)
