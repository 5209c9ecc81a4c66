"""What a search by key and a search by words propose together, before it is decided which entries are best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from memgpt_rag.memory.lexical.analysis import terms
from memgpt_rag.memory.lexical.bm25 import TermStatistics, bm25_scores, containing
from memgpt_rag.memory.segment import OpenSegment


@dataclass(frozen=True)
class Candidates:
    """What two searches proposed for a question, by key and by words, each entry with both scores, in row order.

    Attributes:
        rows: row of each entry.
        scores: cosine of question and key; in a Euclidean memory, minus their distance.
        bm25_scores: BM25, 0 where no word is shared.
        word_limit: what no BM25 can reach for this question, also of terms that no entry holds.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    bm25_scores: Float[np.ndarray, " n"]
    word_limit: float

    def best(self, k: int) -> Candidates:
        """Those that are among the best k of either score, first rows first among equals."""
        by_key = np.argsort(-self.scores, kind="stable")[:k]
        by_words = np.argsort(-self.bm25_scores, kind="stable")[:k]
        kept = np.union1d(by_key, by_words[self.bm25_scores[by_words] > 0])
        return Candidates(self.rows[kept], self.scores[kept], self.bm25_scores[kept], self.word_limit)


def statistics_of(segments: Sequence[OpenSegment], questions: Sequence[str]) -> TermStatistics:
    """What the terms of questions weigh by, among the entries of these segments that are not deleted."""
    found = {term: 0 for question in questions for term in terms(question)}
    entries = length = 0
    for segment in segments:
        assert segment.words is not None
        entries += len(segment) - segment.described.deleted
        length += segment.live_length
        for term in found:
            found[term] += containing(segment.words, term, segment.live)
    return TermStatistics(entries, length, found)


def scores_by_words(
    segments: Sequence[OpenSegment],
    masks: Sequence[Bool[np.ndarray, " rows"] | None],
    question: str,
    statistics: TermStatistics,
) -> Float[np.ndarray, " rows"]:
    """BM25 of every row of these segments, 0 for those that a mask leaves out."""
    query, scores = Counter(terms(question)), [np.zeros(0, np.float32)]
    for segment, mask in zip(segments, masks, strict=True):
        assert segment.words is not None
        of_segment = bm25_scores(segment.words, query, statistics)
        scores.append(of_segment if mask is None else of_segment * mask)
    return np.concatenate(scores)


def best_rows(scores: Float[np.ndarray, " rows"], k: int) -> Int[np.ndarray, " n"]:
    """Rows with the k highest scores above 0, and their equals, so that it can still be said which of them come first."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) <= k:
        return rows
    best: Int[np.ndarray, " n"] = rows[scores[rows] >= np.partition(scores[rows], -k)[-k]]
    return best
