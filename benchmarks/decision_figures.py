"""How well a number tells yes from no: area under the ROC curve, precision and recall, and a reliability curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memgpt_rag.answering.confidence import precision_recall
from memgpt_rag.evaluation.metrics.calibration import calibration_error

BINS = 10


def area(values: Sequence[float], labels: Sequence[bool]) -> float:
    """Area under the ROC curve: how often a yes has the higher value of a pair; ties count half. NaN without both labels."""
    from scipy.stats import rankdata

    yes = np.asarray(labels, bool)
    count, others = int(yes.sum()), int((~yes).sum())
    if not count or not others:
        return float("nan")
    ranks = rankdata(np.asarray(values, float))
    return float((ranks[yes].sum() - count * (count + 1) / 2) / (count * others))


def area_interval(values: Sequence[float], labels: Sequence[bool], groups: Sequence[object]) -> list[float]:
    """Area with its 95 % interval, by bootstrap over groups, such as the answers to one question."""
    rng, values, labels = np.random.default_rng(0), np.asarray(values, float), np.asarray(labels, bool)
    _, group = np.unique([str(one) for one in groups], return_inverse=True)
    rows_by_group = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
    drawn = []
    for _ in range(300):
        rows = np.concatenate(
            [rows_by_group[number] for number in rng.integers(0, len(rows_by_group), len(rows_by_group))]
        )
        drawn.append(area(values[rows], labels[rows]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return [round(number, 3) for number in (area(values, labels), float(low), float(high))]


def decided(values: Sequence[float], labels: Sequence[bool], threshold: float) -> dict[str, float]:
    """Precision and recall of "no" where it is said below a threshold."""
    precision, recall = precision_recall([value < threshold for value in values], [not label for label in labels])
    return {"precision": round(precision, 3), "recall": round(recall, 3)}


def reliability(probabilities: Sequence[float], labels: Sequence[bool]) -> dict[str, Any]:
    """Ten bins of equal width, each with its mean probability, the share of yes and the number of answers; and the calibration error.

    The error is the expected calibration error: the mean distance of probability and share over the bins, by number of answers.
    """
    bins = []
    places = np.minimum((np.asarray(probabilities) * BINS).astype(int), BINS - 1)
    for number in range(BINS):
        here = np.flatnonzero(places == number)
        if len(here):
            said, true = (float(np.mean(np.asarray(item)[here])) for item in (probabilities, labels))
            bins.append({"said": round(said, 3), "true": round(true, 3), "answers": len(here)})
    return {"bins": bins, "error": round(calibration_error(probabilities, labels, bins=BINS), 3)}
