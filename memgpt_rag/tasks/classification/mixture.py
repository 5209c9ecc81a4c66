"""Probabilities of labels: what the language model says, interpolated with the vote of the nearest examples.

p(y) ∝ P(y)^a · (V(y) + ε)^b, with P = softmax(ℓ) and V(y) = Σ softmax(s / T)_i [y_i = y]

ℓ are the log-likelihoods of the labels' words, s the scores of the nearest examples and y_i their labels. The vote is that of
nearest-neighbor language models (Khandelwal et al. 2020, arXiv 1911.00172, equation 2), with the retrieval scores of the memory in
place of distances; that examples beyond the prompt help a language model to classify is shown by kNN prompting (Xu et al. 2023, arXiv
2303.13824), which compares distributions over words instead. Both are interpolated log-linearly (Klakow 1998), so that a label that
either finds unlikely is unlikely. ε is half an example of the k that a text has, spread over all labels: a label that no near example has is not
impossible. a, b and T are fitted to labelled texts by log loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax, softmax

from memgpt_rag.io.json_file import number

_TEMPERATURES = 0.05, 50.0
_MOST_WEIGHT = 5.0
_LEAST_LOG = -1e4
_USUAL_WEIGHT = 0.5  # that weights are drawn to where texts are few


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
        language_weight: a, of the language model; 0 leaves it out.
        vote_weight: b, of the vote; 0 leaves it out.
        temperature: T, of the examples' scores.
    """

    language_weight: float = _USUAL_WEIGHT
    vote_weight: float = _USUAL_WEIGHT
    temperature: float = 1.0

    def __call__(self, evidence: Evidence) -> Float[np.ndarray, "texts labels"]:
        """Return the probability of each label."""
        return np.asarray(np.exp(self.log_probabilities(evidence)))

    def log_probabilities(self, evidence: Evidence) -> Float[np.ndarray, "texts labels"]:
        """Return the logarithms of the probabilities."""
        examples = np.isfinite(evidence.scores).sum(axis=1, keepdims=True)
        unseen = 0.5 / (np.maximum(examples, 1) * evidence.log_likelihoods.shape[1])
        vote = np.log(evidence.vote(self.temperature) + unseen)
        said = np.maximum(log_softmax(evidence.log_likelihoods, axis=1), _LEAST_LOG)  # 0 · −∞ is no number
        return np.asarray(log_softmax(self.language_weight * said + self.vote_weight * vote, axis=1))

    def to_dict(self) -> dict[str, float]:
        """Return the numbers as `from_dict` takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Mixture:
        """Return a mixture that `to_dict` described.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        return cls(
            number(values["language_weight"], "language_weight", 0, _MOST_WEIGHT),
            number(values["vote_weight"], "vote_weight", 0, _MOST_WEIGHT),
            number(values["temperature"], "temperature", *_TEMPERATURES),
        )


def fit_mixture(evidence: Evidence, labels: Int[np.ndarray, " texts"]) -> Mixture:
    """Return the mixture with the least log loss on texts with known labels, none of which is among its own examples.

    One text more counts as shown with a wrong label, after Platt 1999: of n texts that are all classified right, each is believed with
    about (n + 1) / (n + 2). The squared distances of a and b from ½ are added once for all texts.
    """
    from scipy.optimize import minimize

    count, classes = evidence.log_likelihoods.shape
    targets = np.full((count, classes), 1 / ((count + 2) * max(1, classes - 1)))
    targets[np.arange(count), labels] = (count + 1) / (count + 2)

    def mixture(numbers: Float[np.ndarray, " 3"]) -> Mixture:
        said, vote, logarithm = (float(one) for one in numbers)
        return Mixture(said, vote, float(np.exp(logarithm)))

    def loss(numbers: Float[np.ndarray, " 3"]) -> float:
        likely = (targets * mixture(numbers).log_probabilities(evidence)).sum()
        return float((((numbers[:2] - _USUAL_WEIGHT) ** 2).sum() - likely) / count)

    bounds = [(0.0, _MOST_WEIGHT)] * 2 + [tuple(np.log(_TEMPERATURES))]
    # The loss has flat places, where one of both parts has no weight, and several valleys along T: the best of several beginnings is taken.
    found = [
        minimize(loss, np.array([said, vote, logarithm]), bounds=bounds, method="L-BFGS-B")
        for said, vote in ((0.1, 1.0), (1.0, 0.3))
        for logarithm in np.log([0.1, 1.0, 10.0])
    ]
    best = min(found, key=lambda one: float(one.fun))
    return mixture(np.round(best.x, 6).clip(*np.transpose(bounds)))
