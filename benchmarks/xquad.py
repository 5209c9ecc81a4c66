"""XQuAD as a retrieval and reading task: every paragraph of a language in one memory, questions asked openly.

The data is not part of the project: the folder `xquad` of SQuAD-layout files `xquad.<language>.json` (CC BY-SA 4.0,
github.com/google-deepmind/xquad), and `cmrc2018` (CC BY-SA 4.0, github.com/ymcui/cmrc2018), are looked for in
../shared/data, or where --data says.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LANGUAGES = ("en", "zh")
CMRC = "cmrc"
_FILES = {
    "en": "xquad/xquad.en.json",
    "zh": "xquad/xquad.zh.json",
    CMRC: "cmrc2018/cmrc2018_trial.json",
}


@dataclass(frozen=True)
class Question:
    """A question with its gold answers, the record of its paragraph, its article, and the half that it belongs to."""

    text: str
    answers: tuple[str, ...]
    record: str
    article: int
    half: int


def read_xquad(data: Path, language: str) -> tuple[list[dict[str, str]], list[Question]]:
    """Paragraphs as records for the index job, and questions. Articles take turns between the halves 0 and 1.

    The trial part of CMRC 2018 has the same layout and goes by the name "cmrc".
    """
    articles = json.loads((data / _FILES[language]).read_text(encoding="utf-8"))["data"]
    records, questions = [], []
    for number, article in enumerate(articles):
        for place, paragraph in enumerate(article["paragraphs"]):
            record = f"{number}.{place}"
            records.append({"id": record, "text": paragraph["context"]})
            for asked in paragraph["qas"]:
                answers = tuple(answer["text"] for answer in asked["answers"])
                questions.append(Question(asked["question"].strip(), answers, record, number, number % 2))
    return records, questions


def sample(questions: Sequence[Question], half: int, count: int, seed: int = 0) -> list[Question]:
    """At most `count` questions of one half, spread over its articles."""
    of_half = [question for question in questions if question.half == half]
    order = np.random.default_rng(seed).permutation(len(of_half))[:count]
    return [of_half[place] for place in sorted(order)]


def normalise(text: str) -> str:
    """Answers as SQuAD compares them: no case, punctuation or English articles."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = "".join(
        " " if character in string.punctuation or unicodedata.category(character)[0] == "P" else character
        for character in text
    )
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def units(text: str, language: str) -> list[str]:
    """Words in English; in Chinese, characters."""
    return list(normalise(text).replace(" ", "")) if language == "zh" else normalise(text).split()


def exact_match(answer: str, gold: Sequence[str], language: str) -> float:
    return float(any(units(answer, language) == units(one, language) for one in gold))


def contains_answer(answer: str, gold: Sequence[str], language: str) -> float:
    said = "".join(units(answer, language))
    return float(any("".join(units(one, language)) in said for one in gold))


def f1(answer: str, gold: Sequence[str], language: str) -> float:
    """Best overlap with a gold answer: harmonic mean of precision and recall over words, or characters."""
    return max(_overlap(units(answer, language), units(one, language)) for one in gold)


def _overlap(said: list[str], gold: list[str]) -> float:
    shared = sum((Counter(said) & Counter(gold)).values())
    return 2 * shared / (len(said) + len(gold)) if said or gold else 1.0


def interval(differences: Sequence[float], *, resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Mean of paired differences with its 95 % bootstrap interval."""
    values = np.asarray(differences)
    means = values[np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
