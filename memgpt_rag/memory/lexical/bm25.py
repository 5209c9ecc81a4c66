"""BM25 over the lexical index of a memory (Robertson and Zaragoza 2009, The Probabilistic Relevance Framework).

    score(q, d) = Σ_t times(t in q) · idf(t) · tf / (tf + k₁ · (1 − b + b · |d| / mean |d|))
    idf(t)      = ln(1 + (N − n_t + ½) / (n_t + ½))

This is the form that Lucene and bm25s use by default. N, n_t and the mean length are those of the live entries of the memory,
without deleted ones: results do not depend on the order of additions and deletions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from memgpt_rag.memory.lexical.postings import InvertedIndex

K1 = 1.5
B = 0.75


@dataclass(frozen=True)
class TermStatistics:
    """Collection statistics of BM25: of one memory, or summed over several that are searched together.

    Attributes:
        entries: number of entries, N.
        length: number of terms of all entries.
        containing: document frequency n_t of each term of the queries.
    """

    entries: int
    length: int
    containing: Mapping[str, int]

    def __add__(self, other: TermStatistics) -> TermStatistics:
        both = Counter(self.containing)
        both.update(other.containing)
        return TermStatistics(self.entries + other.entries, self.length + other.length, both)


def word_limit(query: Mapping[str, int], statistics: TermStatistics) -> float:
    """Return an upper bound of BM25 for a query, Σ_t times(t in q) · idf(t): the factor tf / (tf + …) stays below 1."""
    return sum(times * idf(statistics, term) for term, times in query.items())


def weighted_overlap(query: Mapping[str, int], text: Collection[str], statistics: TermStatistics) -> float:
    """Return the share of a query's terms that a text has, each weighted by its idf, 0 to 1; NaN of a query without terms."""
    weights = {term: idf(statistics, term) for term in query}
    return sum(weights[term] for term in query if term in text) / sum(weights.values()) if weights else math.nan


def bm25_scores(
    words: InvertedIndex, query: Mapping[str, int], statistics: TermStatistics
) -> Float[np.ndarray, " rows"]:
    """Return the BM25 score of every row; 0 where no term of the query occurs."""
    scores = np.zeros(len(words.lengths), np.float32)
    mean = max(1, statistics.length) / max(1, statistics.entries)
    for term, times in query.items():
        rows, counts = words.postings(term)
        if not len(rows) or not statistics.containing.get(term, 0):
            continue
        scores[rows] += (
            times * idf(statistics, term) * counts / (counts + K1 * (1 - B + B * words.lengths[rows] / mean))
        )
    return scores


def idf(statistics: TermStatistics, term: str) -> float:
    """Return the inverse document frequency of a term, above 0."""
    holding = statistics.containing.get(term, 0)
    return math.log(1 + (statistics.entries - holding + 0.5) / (holding + 0.5))


def containing(words: InvertedIndex, term: str, live: Bool[np.ndarray, " rows"] | None) -> int:
    """Return the number of live rows that contain a term."""
    rows, _ = words.postings(term)
    return len(rows) if live is None else int(live[rows].sum())
