"""Signals of an answer: numbers that come free with its search, its attention and its likelihood. Knows no models."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from memgpt_rag.model.prompt import HAN, detect_language

SCORED_CANDIDATES = 8  # entries whose scores are compared, however few are read
UNKNOWN = math.nan

_WORDS = re.compile(rf"[{HAN}]+|[^\W_]+")
_HAN = re.compile(rf"[{HAN}]")


@dataclass(frozen=True)
class Signals:
    """What tells whether a question needs the memory, and whether the memory supports its answer; NaN where not known.

    Attributes:
        score: normalized retrieval score of the best entry.
        lead: the same, above the mean of the other candidates.
        overlap: share of the question's words that the best entry has, 0 to 1.
        overlap_lead: the same, above the mean of the other candidates.
        question_mass: attention mass of memory when the question was read.
        mass: attention mass of memory while the answer was generated.
        share: the largest share of it that went to one entry.
        entropy: entropy of the entries' shares of it, in nats; 0 where all of it went to one entry.
        log_prob: mean log-probability of the answer's tokens.
        min_log_prob: that of the least likely one.
        first_log_prob: that of the first one.
        rare_overlap: like overlap, of terms of the lexical index weighted by their inverse document frequency.
        cited_overlap: share of the answer's words that stand in the entry cited first, 0 to 1.
        repeated: share of the answer's words that stand in the question, 0 to 1.
        length: number of the answer's words, pairs of characters in Chinese; as a natural logarithm, with one added.
        declining: log-odds, by the reader, that the answer begins as "not in memory"; known with a reader only.
    """

    score: float = UNKNOWN
    lead: float = UNKNOWN
    overlap: float = UNKNOWN
    overlap_lead: float = UNKNOWN
    question_mass: float = UNKNOWN
    mass: float = UNKNOWN
    share: float = UNKNOWN
    log_prob: float = UNKNOWN
    entropy: float = UNKNOWN
    min_log_prob: float = UNKNOWN
    first_log_prob: float = UNKNOWN
    rare_overlap: float = UNKNOWN
    cited_overlap: float = UNKNOWN
    repeated: float = UNKNOWN
    length: float = UNKNOWN
    declining: float = UNKNOWN

    def with_answer(self, mass: Sequence[float], log_probs: Sequence[float]) -> Signals:
        """Add what the generation of an answer tells.

        Args:
            mass: attention mass of each entry that was read, while the answer was generated.
            log_probs: of each token of the answer; empty where they are not known.
        """
        total = sum(mass)
        shares = [entry_mass / total for entry_mass in mass] if total else []
        return replace(
            self,
            mass=total,
            share=max(shares, default=UNKNOWN),
            entropy=-sum(share * math.log(share) for share in shares if share) if shares else UNKNOWN,
            log_prob=_mean(log_probs),
            min_log_prob=min(log_probs, default=UNKNOWN),
            first_log_prob=log_probs[0] if log_probs else UNKNOWN,
        )

    def with_text(self, question: str, answer: str, cited: str) -> Signals:
        """Add what the words of an answer tell.

        Args:
            cited: title and text of the entry cited first.
        """
        words = _words(answer)
        return replace(
            self,
            cited_overlap=_share(words, _words(cited))
            if detect_language(answer) == detect_language(cited)
            else UNKNOWN,
            repeated=_share(words, _words(question)),
            length=math.log1p(len(words)),
        )


# What is known of an answer from memory before its first token.
BEFORE_ANSWER = ("score", "lead", "overlap_lead", "rare_overlap", "declining")
SIGNALS = tuple(field.name for field in fields(Signals))


def search_signals(question: str, scores: Sequence[float], texts: Sequence[str]) -> Signals:
    """Return what a search alone tells.

    Args:
        scores: normalized retrieval scores, best first; those beyond `SCORED_CANDIDATES` do not count.
        texts: of the same entries.
    """
    if not scores:
        return Signals()
    shared = [overlap(question, text) for text in texts[:SCORED_CANDIDATES]]
    return Signals(
        score=scores[0],
        lead=scores[0] - _mean(scores[1:SCORED_CANDIDATES]),
        overlap=shared[0],
        overlap_lead=shared[0] - _mean(shared[1:]),
    )


def says_something(question: str) -> bool:
    """Whether a question has anything but punctuation and white space, such as a letter, a digit or a symbol."""
    return any(unicodedata.category(character)[0] in "LNS" for character in question)


def overlap(question: str, text: str) -> float:
    """Return the share of the question's words that occur in a text, 0 to 1; NaN where the two are in different languages.

    Words of less than four letters say little and are left out, and only the first four count, so that "boat" is in
    "boats". Chinese counts by pairs of characters.
    """
    if detect_language(question) != detect_language(text):
        return UNKNOWN
    return _share(_content(question), _content(text))


def _share(words: set[str], others: set[str]) -> float:
    """Return the share of words that are among others; NaN of none."""
    return len(words & others) / len(words) if words else UNKNOWN


def _words(text: str) -> set[str]:
    """Return all words of a text, and of Chinese the pairs of characters, or single ones that stand alone."""
    words: set[str] = set()
    for word in _WORDS.findall(text.casefold()):
        if _HAN.match(word) and len(word) > 1:
            words.update(word[at : at + 2] for at in range(len(word) - 1))
        else:
            words.add(word)
    return words


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else UNKNOWN


def _content(text: str) -> set[str]:
    content: set[str] = set()
    for word in _WORDS.findall(text.casefold()):
        if _HAN.match(word):
            content.update(word[at : at + 2] for at in range(len(word) - 1))
        elif len(word) > 3 or any(character.isdigit() for character in word):
            content.add(word[:4])
    return content
