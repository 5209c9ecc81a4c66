"""Two decisions, each a logistic model over a few figures: does an input need the memory, and does the memory support
the answer? The figures come free with an answer: its search, its attention, its likelihood. Knows figures; knows
neither models nor how the decisions are fitted to questions.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from memgpt_rag.errors import ModelError
from memgpt_rag.io.cache_folder import is_there
from memgpt_rag.io.json_file import number, read_json, replace_json
from memgpt_rag.model.prompt import language_of

NEIGHBOURS = 8  # entries whose scores are looked at, however few are read
UNKNOWN = math.nan
# All that an answer's decisions can look at.
FIGURES = ("score", "lead", "overlap", "overlap_lead", "question_mass", "mass", "share", "log_prob")
_MOST = 1e6  # of any weight; its inverse is the least scale
_MAX_BYTES = 2**22  # of a user's file
# Written by `benchmarks/abstention.py fit --save`.
FITTED = Path(__file__).with_name("confidence.json")
GENERAL = "general"

_WORDS = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+|[^\W_]+")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


def search_figures(question: str, scores: Sequence[float], texts: Sequence[str]) -> dict[str, float]:
    """What a search alone tells: how high the best entry scores and how much of the question's words it has, each also
    beside the other entries' mean.

    Args:
        scores: standardised retrieval scores, best first; those beyond `NEIGHBOURS` do not count.
        texts: of the same entries.
    """
    if not scores:
        return {}
    shared = [overlap(question, text) for text in texts[:NEIGHBOURS]]
    return {
        "score": scores[0],
        "lead": scores[0] - _mean(scores[1:NEIGHBOURS]),
        "overlap": shared[0],
        "overlap_lead": shared[0] - _mean(shared[1:]),
    }


def answer_figures(mass: Sequence[float], log_probs: Sequence[float]) -> dict[str, float]:
    """What the writing of an answer tells.

    Args:
        mass: attention mass of each entry that was read, while the answer was written.
        log_probs: of each token of the answer; empty where they are not known.
    """
    total = sum(mass)
    return {"mass": total, "share": max(mass) / total if total else UNKNOWN, "log_prob": _mean(log_probs)}


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else UNKNOWN


def overlap(question: str, text: str) -> float:
    """Share of the question's words that occur in a text, 0 to 1; unknown where the two are in different languages.

    Words of less than four letters say little and are left out, and only the first four count, so that "boat" is in
    "boats". Chinese counts by pairs of characters.
    """
    asked = _content(question)
    if not asked or language_of(question) != language_of(text):
        return UNKNOWN
    return len(asked & _content(text)) / len(asked)


def _content(text: str) -> set[str]:
    content: set[str] = set()
    for word in _WORDS.findall(text.casefold()):
        if _HAN.match(word):
            content.update(word[at : at + 2] for at in range(len(word) - 1))
        elif len(word) > 3 or any(character.isdigit() for character in word):
            content.add(word[:4])
    return content


@dataclass(frozen=True)
class Figure:
    """How one figure counts: `weight` for each `scale` that it is above `typical`."""

    weight: float
    typical: float
    scale: float

    def __call__(self, value: float) -> float:
        return 0.0 if not math.isfinite(value) else self.weight * (value - self.typical) / self.scale


@dataclass(frozen=True)
class Logistic:
    """Logistic regression: p = σ(bias + Σ weight · (x − typical) / scale). What is not known counts as typical.

    Attributes:
        threshold: lowest probability that means yes.
    """

    figures: dict[str, Figure]
    bias: float
    threshold: float

    def __call__(self, values: Mapping[str, float]) -> float:
        """The probability; figures that the model does not use are left out."""
        logit = self.bias + sum(figure(values.get(name, UNKNOWN)) for name, figure in self.figures.items())
        return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Logistic:
        """A model from what `dataclasses.asdict` made of one; raises ValueError, TypeError or KeyError where it is none."""
        unknown = sorted(set(values["figures"]) - set(FIGURES))
        if unknown:
            raise ValueError(f"there is no figure {', '.join(unknown)}")
        figures = {
            name: Figure(
                number(of["weight"], f"weight of {name}", -_MOST, _MOST),
                number(of["typical"], f"typical {name}", -_MOST, _MOST),
                number(of["scale"], f"scale of {name}", 1 / _MOST, _MOST),
            )
            for name, of in values["figures"].items()
        }
        return cls(
            figures, number(values["bias"], "bias", -_MOST, _MOST), number(values["threshold"], "threshold", 0, 1)
        )


def fit_logistic(
    rows: Sequence[Mapping[str, float]], labels: Sequence[bool], names: Sequence[str], *, threshold: float = 0.5
) -> Logistic:
    """Fit which figures, of those named, speak for yes.

    Raises:
        ValueError: all labels are the same.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) < 2:
        raise ValueError(f"All {len(labels)} examples have the same label; give some of both.")
    table = np.array([[row.get(name, UNKNOWN) for name in names] for row in rows])
    known = ~np.isnan(table).all(axis=0)
    typical, scale = np.zeros(len(names)), np.ones(len(names))
    typical[known], scale[known] = np.nanmean(table[:, known], axis=0), np.nanstd(table[:, known], axis=0)
    scale[scale == 0] = 1.0
    fitted = LogisticRegression().fit(np.nan_to_num((table - typical) / scale), np.array(labels))
    figures = {
        name: Figure(*(round(float(number), 4) for number in numbers))
        for name, *numbers in zip(names, fitted.coef_[0], typical, scale, strict=True)
    }
    return Logistic(figures, round(float(fitted.intercept_[0]), 4), threshold)


def precision_recall(given: Sequence[bool], true: Sequence[bool]) -> tuple[float, float]:
    """Of what was said, the share that is true; of what is true, the share that was said."""
    both = sum(said and is_true for said, is_true in zip(given, true, strict=True))
    return both / max(1, sum(given)), both / max(1, sum(true))


def best_threshold(probabilities: Sequence[float], labels: Sequence[bool]) -> float:
    """The threshold below which "no" is said best: the lower one of its precision and its recall is as high as can be.

    F1 has a flat top, on which precision and recall may lie far apart. Of equal thresholds it is the middle one.
    """
    said = sorted(set(probabilities))
    places = [(low + high) / 2 for low, high in pairwise(said)] or said
    scores = [
        min(precision_recall([one < place for one in probabilities], [not label for label in labels]))
        for place in places
    ]
    best = [place for place, score in zip(places, scores, strict=True) if score == max(scores)]
    return round(best[len(best) // 2], 4)


@dataclass(frozen=True)
class Decisions:
    """Both decisions: whether an input needs the memory, and whether the memory supports an answer."""

    needed: Logistic
    supported: Logistic

    def needs(self, figures: Mapping[str, float]) -> bool:
        """Whether an input needs the memory, by `search_figures` and the "question_mass" that memory got when it was read."""
        return self.needed(figures) >= self.needed.threshold

    def may_need(self, figures: Mapping[str, float]) -> bool:
        """The same by `search_figures` alone: false where it cannot need it, whatever attention memory will get."""
        return any(self.needs({**figures, "question_mass": mass}) for mass in (0.0, 1.0))


def decision_key(decoder: str, layers: str, encoder: str, search: str = "") -> str:
    """What decisions are kept under: the decoder's key among the presets, the layers that read memory, encoder and search."""
    return f"{decoder} {layers} {encoder} {search}".rstrip()


def decisions_for(key: str, own: Path) -> Decisions:
    """The decisions as a user fitted them; failing that, as they come with this release, or as they hold for any.

    Those that hold for any were fitted with Gemma 3 270M on English and Chinese, and do without figures that mean
    something with one encoder or one way of reading only: the height of a retrieval score, and attention mass.

    Args:
        own: file of a user's.

    Raises:
        ModelError: the file of a user's is damaged.
    """
    come, users = read_decisions(FITTED), read_decisions(own)
    return Decisions(**{**come[GENERAL], **come.get(key, {}), **users.get(key, {})})


def read_decisions(file: Path) -> dict[str, dict[str, Logistic]]:
    """What each combination was fitted to; empty where there is no file.

    Raises:
        ModelError: the file is damaged.
    """
    if not is_there(file):
        return {}
    try:
        content = read_json(file, max_bytes=_MAX_BYTES)
        read = {key: {name: Logistic.from_dict(one) for name, one in of.items()} for key, of in content.items()}
        unknown = sorted({name for of in read.values() for name in of} - set(Decisions.__annotations__))
        if unknown:
            raise ValueError(f"there is no decision {', '.join(unknown)}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{file} does not hold weights of decisions ({error}); remove it, or fit them again."
        ) from error
    return read


def save_decisions(file: Path, key: str, **fitted: Logistic) -> None:
    """Keep what was fitted for one combination; the file's others stay.

    Raises:
        ModelError: the file there is damaged, or cannot be written.
    """
    kept = read_decisions(file)
    kept[key] = {**kept.get(key, {}), **fitted}
    content = {key: {name: asdict(one) for name, one in of.items()} for key, of in kept.items()}
    try:
        replace_json(file, content)
    except OSError as error:
        raise ModelError(f"{file} cannot be written: {error.strerror}; make its folder writable.") from error
