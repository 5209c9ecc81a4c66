"""Maximal marginal relevance (Carbonell and Goldstein 1998), which avoids redundant entries.

    next = argmax over entries not yet chosen of (1 − λ) · relevance(e) + λ · (1 − max similarity(e, chosen))

λ is the weight of diversity; in the paper, λ is the weight of relevance.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def mmr_order(
    relevance: Float[np.ndarray, " n"], keys: Float[np.ndarray, "n dimension"], k: int, diversity: float
) -> Int[np.ndarray, " k"]:
    """Select k entries by maximal marginal relevance, and return their positions in order; all of them if there are fewer.

    Args:
        relevance: relevance of each entry, in units in which right and wrong ones differ by about 1.
        keys: unit vectors, whose inner products are the similarities.
        diversity: λ, from 0 (relevance only) to 1.

    Raises:
        ValueError: λ is not in [0, 1].
    """
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity is {diversity}; expected 0 to 1.")
    nearest = np.zeros(len(relevance), np.float32)  # maximum similarity to the entries chosen so far
    chosen: list[int] = []
    left = np.ones(len(relevance), bool)
    for _ in range(min(k, len(relevance))):
        gain = (1 - diversity) * relevance + diversity * (1 - nearest)
        best = int(np.flatnonzero(left)[np.argmax(gain[left])])
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, keys @ keys[best])
    return np.array(chosen, np.int64)
