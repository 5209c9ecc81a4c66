"""Uncertainty of means and of differences: bootstrap intervals, a paired randomisation test, Holm's correction.

Efron & Tibshirani 1993, chapters 13 and 15 (percentile interval; permutation test); Smucker, Allan & Carterette 2007, who
recommend the randomisation test for retrieval; Holm 1979.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

# Up to this number of differences all sign flips are enumerated; for more, flips are drawn at random.
_ENUMERATED = 12
_DRAWN = 10_000
_BLOCK = 500  # resamples at once, so that memory does not grow with their number


def interval(values: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of values, or of paired differences, with its 95 % bootstrap interval: mean, low, high.

    Raises:
        ValueError: no value.
    """
    array = np.asarray(values, np.float64)
    if not len(array):
        raise ValueError("No value to take the mean of; expected at least one.")
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [
            array[rng.integers(0, len(array), (min(_BLOCK, resamples - start), len(array)))].mean(axis=1)
            for start in range(0, resamples, _BLOCK)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return float(array.mean()), float(low), float(high)


@dataclass(frozen=True)
class Comparison:
    """Paired comparison of two systems by one measure.

    Attributes:
        difference: mean difference, mine minus theirs; low and high are its 95 % interval.
        p: two-sided p value of the paired randomisation test.
        p_holm: p value with Holm's correction for all comparisons made together; equal to `p` for a single one.
        better, equal, worse: number of queries.
    """

    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    better: int
    equal: int
    worse: int


def compare(mine: Mapping[str, float], theirs: Mapping[str, float]) -> Comparison:
    """Compare two systems on the queries that both were measured on.

    Raises:
        ValueError: the two have no query in common.
    """
    both = [query for query in mine if query in theirs]
    if not both:
        raise ValueError("The two systems were measured on no query in common; measure both on the same set.")
    differences = np.array([mine[query] - theirs[query] for query in both])
    mean, low, high = interval(differences.tolist())
    p = randomisation_p(differences)
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(mean, low, high, p, p, better, len(both) - better - worse, worse)


def randomisation_p(differences: Float[np.ndarray, " queries"], *, seed: int = 0) -> float:
    """Return the two-sided p value of a zero mean difference: the share of sign flips whose mean is at least as extreme.

    For few queries all flips are enumerated; for more, 10,000 are drawn, and the observed one counts as drawn, so that p
    is never 0 (Phipson & Smyth 2010).
    """
    moved = differences[differences != 0]
    if not len(moved):
        return 1.0
    observed = abs(moved.sum())
    # Sums of the same numbers in another order differ in the last digits.
    least = observed - 1e-9 * np.abs(moved).sum()
    if len(moved) <= _ENUMERATED:
        signs = 1.0 - 2.0 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
        return float((np.abs(signs @ moved) >= least).mean())
    rng = np.random.default_rng(seed)
    as_far = 0
    for _ in range(0, _DRAWN, _BLOCK):
        signs = 1.0 - 2.0 * rng.integers(0, 2, (_BLOCK, len(moved)))
        as_far += int((np.abs(signs @ moved) >= least).sum())
    return (as_far + 1) / (_DRAWN + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Apply Holm's correction (1979) to p values: the smallest times their number, the next times one less, …"""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
