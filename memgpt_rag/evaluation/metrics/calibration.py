"""How well probabilities say how often they are right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def calibration_error(probabilities: Sequence[float], labels: Sequence[bool], *, bins: int = 10) -> float:
    """Return the expected calibration error: the mean distance of probability and share of yes in bins of equal width.

    Each bin counts by its number of cases (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Args:
        labels: whether each is a yes, or was right.

    Raises:
        ValueError: no probability, or not one for each label.
    """
    if not len(probabilities) or len(probabilities) != len(labels):
        raise ValueError(
            f"{len(probabilities)} probabilities and {len(labels)} labels; expected as many, and at least one."
        )
    said, true = np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    places = np.minimum((said * bins).astype(int), bins - 1)
    gaps = np.bincount(places, said - true, minlength=bins)  # of each bin, its cases times the distance of both means
    return float(np.abs(gaps).sum() / len(said))
