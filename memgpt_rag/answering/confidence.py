"""Confidence: two logistic models over signals, whether a question needs the memory and whether the memory supports an answer.

Knows signals; knows neither language models nor how the weights are fitted to questions.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from memgpt_rag.answering.signals import BEFORE_ANSWER, SIGNALS, Signals
from memgpt_rag.errors import ModelError
from memgpt_rag.io.cache_folder import is_there
from memgpt_rag.io.json_file import number, read_json, replace_json

_MOST = 1e6  # of any weight; its inverse is the least scale
_MAX_BYTES = 2**22  # of a user's file
# A reader may decline where the odds of support are so many times below those of the threshold: about questions that have nothing to do with the
# memory. Of 60 how-to questions over manuals, whose answer 39 times was among the entries, it declined 53 with 1, and answered 1 usably.
_CLEARLY = 50
# Written by `benchmarks/abstention.py fit --save`.
FITTED = Path(__file__).with_name("confidence.json")
GENERAL = "general"
GENERAL_READER = "general, with a reader"


@dataclass(frozen=True)
class FeatureWeight:
    """How one signal counts: `weight` for each `scale` that it is above `typical`."""

    weight: float
    typical: float
    scale: float

    def __call__(self, value: float) -> float:
        return 0.0 if not math.isfinite(value) else self.weight * (value - self.typical) / self.scale


@dataclass(frozen=True)
class LogisticModel:
    """Logistic regression: p = σ(bias + Σ weight · (x − typical) / scale). What is not known counts as typical.

    Attributes:
        threshold: lowest probability that means yes.
    """

    weights: dict[str, FeatureWeight]
    bias: float
    threshold: float

    def __call__(self, signals: Signals) -> float:
        """Return the probability of yes."""
        logit = self.bias + sum(weight(getattr(signals, name)) for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the model as `from_dict` takes it, and as files keep it."""
        return {
            "figures": {name: asdict(weight) for name, weight in self.weights.items()},
            "bias": self.bias,
            "threshold": self.threshold,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LogisticModel:
        """Return a model that `to_dict` described; raises ValueError, TypeError or KeyError where it is none."""
        unknown = sorted(set(values["figures"]) - set(SIGNALS))
        if unknown:
            raise ValueError(f"there is no signal {', '.join(unknown)}")
        weights = {
            name: FeatureWeight(
                number(weight["weight"], f"weight of {name}", -_MOST, _MOST),
                number(weight["typical"], f"typical {name}", -_MOST, _MOST),
                number(weight["scale"], f"scale of {name}", 1 / _MOST, _MOST),
            )
            for name, weight in values["figures"].items()
        }
        return cls(
            weights, number(values["bias"], "bias", -_MOST, _MOST), number(values["threshold"], "threshold", 0, 1)
        )


def fit_logistic_model(
    rows: Sequence[Signals], labels: Sequence[bool], names: Sequence[str], *, threshold: float = 0.5
) -> LogisticModel:
    """Fit how much each of the named signals speaks for yes; those that no row knows are left out.

    Raises:
        ValueError: all labels are the same.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) < 2:
        raise ValueError(f"All {len(labels)} examples have the same label; give some of both.")
    names = [name for name in names if not all(math.isnan(getattr(row, name)) for row in rows)]
    table = np.array([[getattr(row, name) for name in names] for row in rows])
    typical, scale = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    scale[scale == 0] = 1.0
    fitted = LogisticRegression().fit(np.nan_to_num((table - typical) / scale), np.array(labels))
    weights = {
        name: FeatureWeight(*(round(float(number), 4) for number in numbers))
        for name, *numbers in zip(names, fitted.coef_[0], typical, scale, strict=True)
    }
    return LogisticModel(weights, round(float(fitted.intercept_[0]), 4), threshold)


def _odds(probability: float) -> float:
    return probability / (1 - probability) if probability < 1 else math.inf


def precision_recall(given: Sequence[bool], true: Sequence[bool]) -> tuple[float, float]:
    """Of what was said, the share that is true; of what is true, the share that was said."""
    both = sum(said and is_true for said, is_true in zip(given, true, strict=True))
    return both / max(1, sum(given)), both / max(1, sum(true))


def best_threshold(probabilities: Sequence[float], labels: Sequence[bool]) -> float:
    """The threshold below which "no" is said best: the lower one of its precision and its recall is as high as can be.

    F1 has a flat top, on which precision and recall may lie far apart. Yes and no count as if they were equally frequent. Of equal
    thresholds it is the middle one.
    """
    said = sorted(set(probabilities))
    places = [(low + high) / 2 for low, high in pairwise(said)] or said
    yes = sorted(one for one, label in zip(probabilities, labels, strict=True) if label)
    no = sorted(one for one, label in zip(probabilities, labels, strict=True) if not label)

    def score(place: float) -> float:
        wrong, right = bisect_left(yes, place) / max(1, len(yes)), bisect_left(no, place) / max(1, len(no))
        return min(right / (right + wrong), right) if right else 0.0

    scores = [score(place) for place in places]
    best = [place for place, score in zip(places, scores, strict=True) if score == max(scores)]
    return round(best[len(best) // 2], 4)


@dataclass(frozen=True)
class ConfidenceModel:
    """Both models: whether a question needs the memory, and whether the memory supports an answer."""

    needed: LogisticModel
    supported: LogisticModel

    def needs_memory(self, signals: Signals) -> bool:
        """Whether a question needs the memory, by its search and by the attention that memory got when it was read."""
        return self.needed(signals) >= self.needed.threshold

    def may_decline(self, signals: Signals) -> bool:
        """Whether a reader may say "not in memory", by what is known before its first token; true where that was not fitted.

        It may where support is far less likely than the threshold asks for. Between the two, its words and a quote help more, though
        the answer does not count as supported.
        """
        weighed = self.supported.weights.keys()
        if "declining" not in weighed or not weighed <= set(BEFORE_ANSWER):
            return True
        return _odds(self.supported(signals)) * _CLEARLY < _odds(self.supported.threshold)

    def may_need_memory(self, signals: Signals) -> bool:
        """The same by its search alone: false where it cannot need it, whatever attention memory will get."""
        return any(self.needs_memory(replace(signals, question_mass=mass)) for mass in (0.0, 1.0))


def confidence_key(decoder: str, layers: str, encoder: str, search: str = "") -> str:
    """Return the key that a model is kept under: the decoder's key among the presets, the layers that read memory, encoder and search."""
    return f"{decoder} {layers} {encoder} {search}".rstrip()


def load_confidence(key: str, own: Path, *, declines: bool = False) -> ConfidenceModel:
    """Return the model that a user fitted for these models; failing that, the one of this release; failing that, a general one.

    The general ones, with a reader and without, were fitted with Gemma 3 270M in English and Chinese. They leave out signals whose
    meaning depends on the encoder or the layers that read memory: the height of a retrieval score, and attention mass.

    Args:
        own: the user's file.
        declines: whether memory is read with a reader that learned to answer "not in memory".

    Raises:
        ModelError: the file of a user's is damaged.
    """
    released, users = read_confidence(FITTED), read_confidence(own)
    general = released[GENERAL] | (released[GENERAL_READER] if declines else {})
    return ConfidenceModel(**general | released.get(key, {}) | users.get(key, {}))


def read_confidence(file: Path) -> dict[str, dict[str, LogisticModel]]:
    """What each combination was fitted to; empty where there is no file.

    Raises:
        ModelError: the file is damaged.
    """
    if not is_there(file):
        return {}
    try:
        content = read_json(file, max_bytes=_MAX_BYTES)
        read = {
            key: {name: LogisticModel.from_dict(one) for name, one in item.items()} for key, item in content.items()
        }
        unknown = sorted({name for item in read.values() for name in item} - set(ConfidenceModel.__annotations__))
        if unknown:
            raise ValueError(f"there is no model {', '.join(unknown)}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{file} does not hold weights of confidence models ({error}); remove it, or fit them again."
        ) from error
    return read


def save_confidence(file: Path, key: str, **fitted: LogisticModel) -> None:
    """Keep what was fitted for one combination; the file's others stay.

    Raises:
        ModelError: the file there is damaged, or cannot be written.
    """
    kept = read_confidence(file)
    kept[key] = {**kept.get(key, {}), **fitted}
    content = {key: {name: model.to_dict() for name, model in models.items()} for key, models in kept.items()}
    try:
        replace_json(file, content)
    except OSError as error:
        raise ModelError(f"{file} cannot be written: {error.strerror}; make its folder writable.") from error
