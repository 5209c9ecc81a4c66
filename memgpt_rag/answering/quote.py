"""The quote of an answer: the sentence, or the lines, of a cited entry that attention went to while the answer was written.

Where the quote helps more than the answer, the sentences around it come with it.

Knows texts and weights; knows no models.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from memgpt_rag.answering.answer_match import holds_answer, normalize_answer
from memgpt_rag.answering.attention_trace import EntryTrace, Span
from memgpt_rag.answering.signals import overlap
from memgpt_rag.answering.text_units import completed, text_units, widened
from memgpt_rag.passage import Passage

# Chosen on one half of XQuAD's articles by `benchmarks/quotes.py`, which reports the other half.
_OVERLAP_WEIGHT = 0.5  # of the share of the question's words that a unit has, beside its share of the attention
_ANSWER_WEIGHT = 0.5  # of holding the answer word by word
# Columns of a quote that leads, with the units around it. Of 63 such quotes on XQuAD in two languages and COVID-QA, 28 held the answer without
# these units, 28, 35, 35 and 37 with up to 200, 300, 400 and 600 columns; of 49 for how-to questions, 11, then 14, 15, 15 and 16.
_MOST_WIDENED = 400


@dataclass(frozen=True)
class Quote:
    """Words of a passage as they stand in it.

    Attributes:
        passage: the entry, with its source and place.
        start: of the words in the passage's text, in characters (Unicode code points).
        end: behind the last one.
    """

    passage: Passage
    start: int
    end: int

    @property
    def text(self) -> str:
        """The words."""
        return self.passage.text[self.start : self.end]

    def to_dict(self) -> dict[str, Any]:
        """Return it as commands and servers write it in JSON; `start` and `end` in characters of the passage's text."""
        return {
            "text": self.text,
            "id": self.passage.id,
            "source": self.passage.source,
            "place": self.passage.place,
            "start": self.start,
            "end": self.end,
        }


def quote(
    question: str, answer: str, passage: Passage, trace: EntryTrace | None, *, leads: bool = False
) -> Quote | None:
    """Return the unit of a passage that attention went to most, where two are alike the one with more words of the question.

    Args:
        answer: what was written.
        trace: what the answer's tokens gave to the passage; None where that is not known, and words alone decide.
        leads: the quote helps more than the answer, so that the units around it come with it.

    Returns:
        The quote; None where the passage has no text.
    """
    units = text_units(passage.text)
    if not units:
        return None
    scores = unit_scores(question, answer, passage.text, units, trace)
    span = completed(passage.text, units, int(scores.argmax()))
    return Quote(passage, *(widened(passage.text, units, span, _MOST_WIDENED) if leads else span))


def unit_scores(
    question: str, answer: str, text: str, units: Sequence[Span], trace: EntryTrace | None
) -> Float[np.ndarray, " units"]:
    """Return how well each unit of a text is worth quoting: its share of the attention, and words that it has in common."""
    scores = np.zeros(len(units)) if trace is None else attention_shares(text, units, trace)
    for place, (start, end) in enumerate(units):
        shared = overlap(question, text[start:end])
        scores[place] += _OVERLAP_WEIGHT * (0 if math.isnan(shared) else shared)
        if normalize_answer(answer) and holds_answer(text[start:end], answer):
            scores[place] += _ANSWER_WEIGHT
    return scores


def attention_shares(text: str, units: Sequence[Span], trace: EntryTrace) -> Float[np.ndarray, " units"]:
    """Return each unit's part of the attention to a text's words, 0 to 1.

    Tokens without a letter or a digit do not count: line breaks and punctuation attract attention whatever is asked.
    """
    weights, masses = trace.weights.sum(0), np.zeros(len(units))
    ends = [end for _, end in units]
    for (start, end), weight in zip(trace.spans, weights, strict=True):
        place = bisect_right(ends, start)
        if place < len(units) and units[place][0] < end and any(map(_says_something, text[start:end])):
            masses[place] += weight
    total = masses.sum()
    return masses / total if total else masses


def _says_something(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNS"


def answer_helps(question: str, answer: str, supported: bool | None) -> bool:
    """Whether an answer helps more than a quote: it says something, is no phrase of its question, and may be supported."""
    return bool(answer) and supported is not False and not is_given_back(question, answer)


def is_given_back(question: str, answer: str) -> bool:
    """Whether an answer is nothing but a phrase of its question; one of two that the question offers is an answer."""
    offers = " or " in question.casefold() or "还是" in question or "或" in question
    return bool(normalize_answer(answer)) and not offers and holds_answer(question, answer)
