"""Whether an answer is right: exact match, overlap and containment, in words or, in Chinese, in characters.

Rajpurkar et al. 2016, SQuAD, for normalisation, EM and F1; Cui et al. 2019, CMRC 2018, for characters.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence


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
