"""Candidates of a dense and a lexical search, before they are fused into one ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from memgpt_rag.memory.lexical.analysis import query_terms
from memgpt_rag.memory.lexical.bm25 import TermStatistics, bm25_scores, containing
from memgpt_rag.memory.segment import OpenSegment


@dataclass(frozen=True)
class Candidates:
    """Candidates of a dense and a lexical search for one question, each with both scores, in row order.

    Attributes:
        rows: row of each entry.
        scores: cosine of question and key; in a Euclidean memory, minus their distance.
        bm25_scores: BM25, 0 where no term is shared.
        word_limit: upper bound of BM25 for this question, over all its terms, also those that no entry contains.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    bm25_scores: Float[np.ndarray, " n"]
    word_limit: float

    def best(self, k: int) -> Candidates:
        """Return the union of the k best candidates by each score; ties go to lower rows."""
        by_key = np.argsort(-self.scores, kind="stable")[:k]
        by_words = np.argsort(-self.bm25_scores, kind="stable")[:k]
        kept = np.union1d(by_key, by_words[self.bm25_scores[by_words] > 0])
        return Candidates(self.rows[kept], self.scores[kept], self.bm25_scores[kept], self.word_limit)


def statistics_of(segments: Sequence[OpenSegment], questions: Sequence[str], analysis: str) -> TermStatistics:
    """Return the BM25 statistics of the questions' terms over the live entries of these segments.

    Args:
        analysis: of the segments' lexical indexes.
    """
    found = {term: 0 for question in questions for term in query_terms(question, analysis)}
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
    query: Mapping[str, int],
    statistics: TermStatistics,
) -> Float[np.ndarray, " rows"]:
    """Return the BM25 score of every row of these segments, 0 for rows that a mask excludes.

    Args:
        query: terms of the question, and how often each occurs.
    """
    scores = [np.zeros(0, np.float32)]
    for segment, mask in zip(segments, masks, strict=True):
        assert segment.words is not None
        segment_scores = bm25_scores(segment.words, query, statistics)
        scores.append(segment_scores if mask is None else segment_scores * mask)
    return np.concatenate(scores)


def best_rows(scores: Float[np.ndarray, " rows"], k: int) -> Int[np.ndarray, " n"]:
    """Return the rows with the k highest scores above 0, in row order, together with all rows that tie with the k-th."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) <= k:
        return rows
    best: Int[np.ndarray, " n"] = rows[scores[rows] >= np.partition(scores[rows], -k)[-k]]
    return best
