"""Candidates of a dense, a lexical and a sparse search, before they are fused into one ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from memgpt_rag.memory.lexical.analysis import query_terms
from memgpt_rag.memory.lexical.bm25 import TermStatistics, containing
from memgpt_rag.memory.lexical.postings import InvertedIndex
from memgpt_rag.memory.segment import OpenSegment


@dataclass(frozen=True)
class Candidates:
    """Candidates of several searches for one question, each with the scores of all of them, in row order.

    Attributes:
        rows: row of each entry.
        scores: cosine of question and key; in a Euclidean memory, minus their distance.
        bm25_scores: BM25, 0 where no term is shared.
        word_limit: upper bound of BM25 for this question, over all its terms, also those that no entry contains.
        sparse_scores: dot product of the sparse vectors of question and entry, 0 where no component is shared.
    """

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    bm25_scores: Float[np.ndarray, " n"]
    word_limit: float
    sparse_scores: Float[np.ndarray, " n"]

    def best(self, k: int) -> Candidates:
        """Return the union of the k best candidates by each score; ties go to lower rows."""
        kept = np.argsort(-self.scores, kind="stable")[:k]
        for scores in (self.bm25_scores, self.sparse_scores):
            best = np.argsort(-scores, kind="stable")[:k]
            kept = np.union1d(kept, best[scores[best] > 0])
        return Candidates(
            self.rows[kept], self.scores[kept], self.bm25_scores[kept], self.word_limit, self.sparse_scores[kept]
        )


def collect_statistics(segments: Sequence[OpenSegment], questions: Sequence[str], analysis: str) -> TermStatistics:
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


def row_scores(
    indexes: Sequence[InvertedIndex | None],
    masks: Sequence[Bool[np.ndarray, " rows"] | None],
    score: Callable[[InvertedIndex], Float[np.ndarray, " rows"]],
) -> Float[np.ndarray, " rows"]:
    """Return the scores of every row by the inverted index of each segment, 0 for rows that a mask excludes."""
    scores = [np.zeros(0, np.float32)]
    for index, mask in zip(indexes, masks, strict=True):
        assert index is not None
        segment_scores = score(index)
        scores.append(segment_scores if mask is None else segment_scores * mask)
    return np.concatenate(scores)


def best_rows(scores: Float[np.ndarray, " rows"], k: int) -> Int[np.ndarray, " n"]:
    """Return the rows with the k highest scores above 0, in row order, together with all rows that tie with the k-th."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) <= k:
        return rows
    best: Int[np.ndarray, " n"] = rows[scores[rows] >= np.partition(scores[rows], -k)[-k]]
    return best
