"""From a question to entries: search by key, by words or by both, a second look, and what to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import DEFAULT_DEPTH, DEFAULT_LEXICAL_WEIGHT, FUSIONS, SEARCH_KINDS, Fusion, SearchKind
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.limits import (
    MOST_ADJACENT,
    MOST_ENTRIES,
    MOST_RETRIEVED,
    require_between,
)
from memgpt_rag.memory import Candidates, Searchable
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.adjacent_passages import with_adjacent
from memgpt_rag.retrieval.fusion import fuse, lexical_share
from memgpt_rag.retrieval.mmr import mmr_order

if TYPE_CHECKING:
    from memgpt_rag.retrieval.rerankers import Reranker

# How many entries each of two searches proposes, so that the fused ranking knows those that only one of them ranks high.
PROPOSED = 100


@dataclass(frozen=True)
class Search:
    """How entries are looked for.

    Attributes:
        kind: "dense" by the cosine of keys, "bm25" by words, "hybrid" by both.
        fusion: how "hybrid" makes one ranking of two, see `memgpt_rag.retrieval.fusion`.
        lexical_weight: of words against keys in "hybrid" by scores, 0 to 1.
        reranker: takes a second look at the best entries; None for none.
        rerank_weight: of its scores against those of the search, 0 to 1; None for the reranker's own.
        depth: how many of the best entries the reranker, or the search for diversity, looks at.
        diversity: 0 takes entries by relevance alone; above that, up to 1, those that say something new, too.
        adjacent: how many passages before and after an entry to join to it.

    Raises:
        ValueError: one of them is none of the above.
    """

    kind: SearchKind = "dense"
    fusion: Fusion = "scores"
    lexical_weight: float = DEFAULT_LEXICAL_WEIGHT
    reranker: Reranker | None = None
    rerank_weight: float | None = None
    depth: int = DEFAULT_DEPTH
    diversity: float = 0.0
    adjacent: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SEARCH_KINDS:
            raise ValueError(f"There is no search {self.kind!r}; expected one of {', '.join(SEARCH_KINDS)}.")
        if self.fusion not in FUSIONS:
            raise ValueError(f"There is no fusion {self.fusion!r}; expected one of {', '.join(FUSIONS)}.")
        for name in ("lexical_weight", "rerank_weight", "diversity"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; expected 0 to 1.")
        require_between("depth", self.depth, 1, MOST_ENTRIES)
        require_between("adjacent", self.adjacent, 0, MOST_ADJACENT)

    @property
    def weight_of_reranker(self) -> float:
        """`rerank_weight`, or the reranker's own; 0 without one."""
        if self.reranker is None:
            return 0.0
        return self.reranker.weight if self.rerank_weight is None else self.rerank_weight

    @property
    def key(self) -> str:
        """Tells ways of scoring apart, for what is fitted to scores; empty for the plain search by key."""
        fusion = f" {self.fusion} {self.lexical_weight:g}" if self.kind == "hybrid" else ""
        again = "" if self.reranker is None else f" {self.reranker.name} {self.weight_of_reranker:g}"
        return "" if self == Search() else f"{self.kind}{fusion}{again}"


@dataclass(frozen=True)
class Retrieved:
    """An entry found for a question.

    Attributes:
        row: its row in the memory.
        passage: its value, joined with adjacent ones where that was asked for.
        score: what it was ranked by. Of a dense search, the cosine of question and key, or in a Euclidean memory minus
            their distance; of a search by words, BM25; else what `normalized_score` says.
        normalized_score: the score in units in which right and wrong entries are about 1 apart, so that one β fits encoders
            and rerankers of any scale.
        joined: rows of the passages that `passage` is made of, where they are several.
    """

    row: int
    passage: Passage
    score: float
    normalized_score: float
    joined: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Ranked:
    """Entries of one question, best first."""

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    normalized_score: Float[np.ndarray, " n"]

    def taken(self, places: Int[np.ndarray, " k"]) -> _Ranked:
        return _Ranked(self.rows[places], self.scores[places], self.normalized_score[places])


class Retriever:
    """Finds the entries that answer a question.

    Attributes:
        search: how to look for them; may be changed.

    Raises:
        MismatchError: the memory was embedded by another encoder.
        MemoryFormatError: a search by words is asked of a memory that has none.
    """

    def __init__(self, memory: Searchable, encoder: Encoder, search: Search = Search()):
        memory.manifest.encoder.require_match(encoder.fingerprint)
        self.memory, self.encoder, self.search = memory, encoder, search

    @property
    def search(self) -> Search:
        return self._search

    @search.setter
    def search(self, search: Search) -> None:
        if search.kind != "dense":
            self.memory.term_statistics([])  # what is wrong with its words is told now
        self._search = search

    def retrieve(self, questions: Sequence[str], k: int, *, where: str | None = None) -> list[list[Retrieved]]:
        """The k best entries of each question, best first; those that a condition lets through, where there is one.

        Fewer come where the memory has no more, or a search by words finds no more.

        Raises:
            ValueError: k below 1 or above `MOST_RETRIEVED`.
        """
        require_between("k", k, 1, MOST_RETRIEVED)
        ranked = self._ranked(questions, k, where)
        if self.search.reranker is not None:
            ranked = [self._reranked(question, of) for question, of in zip(questions, ranked, strict=True)]
        if self.search.diversity:
            ranked = [self._diversified(of, k) for of in ranked]
        return [self._entries(of, k) for of in ranked]

    def _ranked(self, questions: Sequence[str], k: int, where: str | None) -> list[_Ranked]:
        """What the search finds, best first: as many as are looked at afterwards."""
        search, score_scale = self.search, self.memory.manifest.encoder.score_scale
        further = search.reranker is not None or search.diversity or search.adjacent
        vectors = None if search.kind == "bm25" else self.encoder.encode_queries(questions)
        if vectors is not None and search.kind == "dense":
            found = self.memory.search(vectors, max(k, search.depth) if further else k, where=where)
            return [_Ranked(*of, of[1] / score_scale) for of in zip(found.rows, found.scores, strict=True)]
        proposed = self.memory.candidates(vectors, questions, max(k, search.depth, PROPOSED), where=where)
        return [self._fused(of, score_scale) for of in proposed]

    def _fused(self, proposed: Candidates, score_scale: float) -> _Ranked:
        if self.search.kind == "bm25":
            found = np.flatnonzero(proposed.bm25_scores > 0)
            ranked = _Ranked(proposed.rows[found], proposed.bm25_scores[found], lexical_share(proposed)[found])
        else:
            fused = fuse(proposed, self.search.fusion, score_scale, self.search.lexical_weight)
            ranked = _Ranked(proposed.rows, fused, fused)
        return ranked.taken(np.argsort(-ranked.scores, kind="stable"))

    def _reranked(self, question: str, ranked: _Ranked) -> _Ranked:
        """The best entries in the order of both scores together; the others stay behind them."""
        search, count = self.search, min(self.search.depth, len(ranked.rows))
        assert search.reranker is not None
        if not count:
            return ranked
        again = search.reranker.scores(question, self.memory.passages(ranked.rows[:count]))
        before = ranked.normalized_score
        weight = search.weight_of_reranker
        both = (1 - weight) * before[:count] + weight * again
        order = np.argsort(-both, kind="stable")
        behind = both.min() - (before[:count].min() - before[count:])
        normalized_score = np.concatenate([both[order], behind])
        return _Ranked(
            np.concatenate([ranked.rows[:count][order], ranked.rows[count:]]), normalized_score, normalized_score
        )

    def _diversified(self, ranked: _Ranked, k: int) -> _Ranked:
        pool = ranked.taken(np.arange(min(len(ranked.rows), max(k, self.search.depth))))
        keys = self.memory.keys(pool.rows)
        unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
        return pool.taken(mmr_order(pool.normalized_score, unit, max(k, self.search.depth), self.search.diversity))

    def _entries(self, ranked: _Ranked, k: int) -> list[Retrieved]:
        entries: list[Retrieved] = []
        taken: set[int] = set()
        for start in range(0, len(ranked.rows), k):
            part = ranked.taken(np.arange(start, min(start + k, len(ranked.rows))))
            passages = self.memory.passages(part.rows)
            for row, passage, score, normalized_score in zip(
                part.rows.tolist(), passages, part.scores, part.normalized_score
            ):
                if row in taken or len(entries) == k:
                    continue
                entry = Retrieved(row, passage, float(score), float(normalized_score))
                if self.search.adjacent:
                    rows, joined = with_adjacent(self.memory, row, passage, self.search.adjacent)
                    taken.update(rows)
                    entry = replace(entry, passage=joined, joined=rows if len(rows) > 1 else ())
                entries.append(entry)
            if len(entries) == k:
                break
        return entries
