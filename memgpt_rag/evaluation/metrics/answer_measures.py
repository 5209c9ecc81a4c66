"""Measures of an answer against gold answers: exact match, F1 and containment, in words or, in Chinese, in characters.

Rajpurkar et al. 2016, SQuAD, for normalisation, EM and F1; Cui et al. 2019, CMRC 2018, for characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from memgpt_rag.answering.answer_match import holds_answer, normalize_answer


def units(text: str, language: str) -> list[str]:
    """Split a text into the units of F1: words in English, characters in Chinese."""
    return list(normalize_answer(text).replace(" ", "")) if language == "zh" else normalize_answer(text).split()


def exact_match(answer: str, gold: Sequence[str], language: str) -> float:
    """Return 1 if the normalized answer equals a gold answer, else 0."""
    return float(any(units(answer, language) == units(one, language) for one in gold))


def holds_any(text: str, gold: Sequence[str]) -> float:
    """Return 1 if a text contains one of the gold answers, else 0; see `memgpt_rag.answering.answer_match.holds_answer`."""
    return float(any(holds_answer(text, answer) for answer in gold))


def f1(answer: str, gold: Sequence[str], language: str) -> float:
    """Return the best F1 with a gold answer: harmonic mean of precision and recall over words, or characters."""
    return max(_overlap(units(answer, language), units(one, language)) for one in gold)


def _overlap(said: list[str], gold: list[str]) -> float:
    shared = sum((Counter(said) & Counter(gold)).values())
    return 2 * shared / (len(said) + len(gold)) if said or gold else 1.0
