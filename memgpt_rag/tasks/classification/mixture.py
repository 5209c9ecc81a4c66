"""Probabilities of labels: what the language model says, interpolated with the vote of the nearest examples.

p(y) = λ · softmax(ℓ / T)_y + (1 − λ) · Σ softmax(s / T_v)_i [y_i = y]

ℓ are the log-likelihoods of the labels' words, s the scores of the nearest examples and y_i their labels. The vote is that of
nearest-neighbor language models (Khandelwal et al. 2020, arXiv 1911.00172, equations 2 and 3), with the retrieval scores of the
memory in place of distances; that examples beyond the prompt help a language model to classify is shown by kNN prompting (Xu et al.
2023, arXiv 2303.13824), which compares distributions over words instead. λ, T and T_v are fitted to labelled texts by log loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from memgpt_rag.io.json_file import number

_LEAST_WEIGHT = 0.02  # of the language model, so that a label that no near example has is not impossible
_TEMPERATURES = 0.05, 50.0


@dataclass(frozen=True)
class Evidence:
    """What is known of texts that are to be classified.

    Attributes:
        log_likelihoods: of each label's words, from the language model.
        scores: of the nearest examples; −∞ where there are fewer.
        labels: of the nearest examples, as numbers.
    """

    log_likelihoods: Float[np.ndarray, "texts labels"]
    scores: Float[np.ndarray, "texts k"]
    labels: Int[np.ndarray, "texts k"]

    def vote(self, temperature: float) -> Float[np.ndarray, "texts labels"]:
        """Return the share of each label among the nearest examples, each weighted by the softmax of its score.

        Where there is no example, all labels have the same share.
        """
        none = np.isinf(self.scores).all(axis=1)
        weights = softmax(np.where(none[:, None], 0.0, self.scores) / temperature, axis=1)
        shares = np.zeros_like(self.log_likelihoods)
        np.add.at(shares, (np.arange(len(shares))[:, None], self.labels), weights)
        shares[none] = 1 / shares.shape[1]
        return shares


@dataclass(frozen=True)
class Mixture:
    """How both are put together.

    Attributes:
        language_weight: λ, weight of the language model, 0 to 1.
        temperature: T, of its log-likelihoods.
        vote_temperature: T_v, of the examples' scores.
    """

    language_weight: float = 0.5
    temperature: float = 1.0
    vote_temperature: float = 1.0

    def __call__(self, evidence: Evidence) -> Float[np.ndarray, "texts labels"]:
        """Return the probability of each label."""
        said = softmax(evidence.log_likelihoods / self.temperature, axis=1)
        vote = evidence.vote(self.vote_temperature)
        return np.asarray(self.language_weight * said + (1 - self.language_weight) * vote)

    def to_dict(self) -> dict[str, float]:
        """Return the numbers as `from_dict` takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Mixture:
        """Return a mixture that `to_dict` described.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        low, high = _TEMPERATURES
        return cls(
            number(values["language_weight"], "language_weight", 0, 1),
            number(values["temperature"], "temperature", low, high),
            number(values["vote_temperature"], "vote_temperature", low, high),
        )


def fit_mixture(evidence: Evidence, labels: Int[np.ndarray, " texts"]) -> Mixture:
    """Return the mixture with the least log loss on texts with known labels, none of which is among its own examples.

    Each label counts as one text more has shown it, after Platt 1999 (the target of a label that n texts have is not 1, but
    (n + 1) / (n + labels)): temperatures would go to 0 otherwise where a few texts are all classified right.
    """
    from scipy.optimize import minimize

    count, classes = evidence.log_likelihoods.shape
    targets = (count * np.eye(classes)[labels] + 1) / (count + classes)

    def mixture(numbers: Float[np.ndarray, " 3"]) -> Mixture:
        weight, *logarithms = numbers
        return Mixture(float(weight), *(float(np.exp(one)) for one in logarithms))

    def loss(numbers: Float[np.ndarray, " 3"]) -> float:
        return -float((targets * np.log(mixture(numbers)(evidence) + 1e-12)).sum(axis=1).mean())

    bounds = [(_LEAST_WEIGHT, 1.0), *[tuple(np.log(_TEMPERATURES))] * 2]
    # The loss has flat places, where one of both parts has no weight: the best of several beginnings is taken.
    found = [
        minimize(loss, np.array([weight, np.log(temperature), 0.0]), bounds=bounds, method="L-BFGS-B")
        for weight in (0.2, 0.8)
        for temperature in (1.0, 5.0)
    ]
    best = min(found, key=lambda one: float(one.fun))
    return mixture(np.round(best.x, 6).clip(*np.transpose(bounds)))
