"""Retrieval of entries for a question: dense, lexical, sparse or hybrid search, reranking, diversity and adjacent passages."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import (
    DEFAULT_DEPTH,
    DEFAULT_LEXICAL_WEIGHT,
    DEFAULT_SPARSE_WEIGHT,
    FUSIONS,
    SEARCH_CHOICES,
    Fusion,
    SearchChoice,
)
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.encoders.load import load_memory_encoder
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.limits import (
    MOST_ADJACENT,
    MOST_ENTRIES,
    MOST_RETRIEVED,
    require_between,
)
from memgpt_rag.memory import Candidates, Memory, Searchable, Shards, SparseQueries
from memgpt_rag.memory.lexical.analysis import query_terms, terms
from memgpt_rag.memory.lexical.bm25 import weighted_overlap
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.adjacent_passages import with_adjacent
from memgpt_rag.retrieval.fusion import fuse, lexical_share, with_sparse
from memgpt_rag.retrieval.mmr import mmr_order

if TYPE_CHECKING:
    import pyarrow.compute as pc

    from memgpt_rag.encoders.sparse_encoder import SparseTextEncoder
    from memgpt_rag.retrieval.rerankers import Reranker

# Candidates of each search, so that fusion includes entries that only one of them ranks high.
PROPOSED = 100


@dataclass(frozen=True)
class Search:
    """Search settings.

    Attributes:
        kind: "dense" by the cosine of keys, "bm25" by the lexical index, "sparse" by sparse vectors, "hybrid" by keys and lexical
            index, and by sparse vectors where there is a sparse encoder; "auto" is hybrid where there is one, or in a memory with a
            lexical index that this release can use, else dense.
        fusion: fusion of the rankings in "hybrid", see `memgpt_rag.retrieval.fusion`.
        lexical_weight: weight of BM25 relative to cosine in "hybrid" by scores, 0 to 1.
        sparse_encoder: the one that computed the memory's sparse vectors; None for no search by them.
        sparse_weight: weight of the sparse vectors' dot products relative to both in "hybrid" by scores, 0 to 1.
        reranker: rescores the best entries; None for no reranking.
        rerank_weight: weight of its scores relative to those of the search, 0 to 1; None for the reranker's default.
        depth: number of the best entries that are reranked, or selected from for diversity.
        diversity: weight of diversity in maximal marginal relevance, 0 to 1; 0 for relevance only.
        adjacent: number of passages before and after an entry to join with it.

    Raises:
        ValueError: a setting has an invalid value.
    """

    kind: SearchChoice = "auto"
    fusion: Fusion = "scores"
    lexical_weight: float = DEFAULT_LEXICAL_WEIGHT
    sparse_encoder: SparseTextEncoder | None = None
    sparse_weight: float = DEFAULT_SPARSE_WEIGHT
    reranker: Reranker | None = None
    rerank_weight: float | None = None
    depth: int = DEFAULT_DEPTH
    diversity: float = 0.0
    adjacent: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SEARCH_CHOICES:
            raise ValueError(f"There is no search {self.kind!r}; expected one of {', '.join(SEARCH_CHOICES)}.")
        if self.fusion not in FUSIONS:
            raise ValueError(f"There is no fusion {self.fusion!r}; expected one of {', '.join(FUSIONS)}.")
        for name in ("lexical_weight", "sparse_weight", "rerank_weight", "diversity"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; expected 0 to 1.")
        require_between("depth", self.depth, 1, MOST_ENTRIES)
        require_between("adjacent", self.adjacent, 0, MOST_ADJACENT)

    def resolved(self, memory: Searchable) -> Search:
        """Return these settings with the kind that "auto" stands for in a memory.

        Raises:
            MemoryFormatError: a lexical search in a memory without a lexical index, or a sparse search where an entry has no sparse
                vector or no sparse encoder is named.
            MismatchError: another sparse encoder computed the memory's sparse vectors.
        """
        if (sparse := self.sparse_queries([])) is not None:
            memory.candidates(None, None, 1, sparse=sparse)  # raises where they are missing, or of another encoder
        if self.kind in ("dense", "sparse"):
            return self
        try:
            memory.term_statistics([])  # raises where the lexical index is missing or unusable
        except MemoryFormatError:
            if self.kind != "auto" or self.sparse_encoder is not None:
                raise
            return replace(self, kind="dense")
        return replace(self, kind="hybrid") if self.kind == "auto" else self

    def sparse_queries(self, questions: Sequence[str]) -> SparseQueries | None:
        """Return the sparse vectors of questions; None if this search does not go by them."""
        encoder = self.sparse_encoder
        if self.kind != "sparse" and (encoder is None or self.kind in ("dense", "bm25")):
            return None
        if encoder is None:
            return SparseQueries(None, [])
        return SparseQueries(encoder.fingerprint, encoder.encode_queries(questions))

    @property
    def weight_of_reranker(self) -> float:
        """Return `rerank_weight`, or the reranker's default; 0 without a reranker."""
        if self.reranker is None:
            return 0.0
        return self.reranker.weight if self.rerank_weight is None else self.rerank_weight

    @property
    def key(self) -> str:
        """Return a key of the kind of scores, for models that are fitted to them; empty for dense search alone."""
        fusion = f" {self.fusion} {self.lexical_weight:g}" if self.kind == "hybrid" else ""
        if self.sparse_encoder is not None and self.kind in ("hybrid", "sparse"):
            fusion += f" {self.sparse_encoder.name} {self.sparse_weight:g}"
        again = "" if self.reranker is None else f" {self.reranker.name} {self.weight_of_reranker:g}"
        return f"{self.kind}{fusion}{again}" if self.kind != "dense" or again else ""


@dataclass(frozen=True)
class Retrieved:
    """An entry found for a question.

    Attributes:
        row: its row in the memory; below 0 for a passage from elsewhere, such as a turn of a conversation.
        passage: its value, joined with adjacent ones if requested.
        score: the score that it was ranked by. For dense search, the cosine of question and key, or in a Euclidean memory
            minus their distance; for lexical search, BM25; for sparse search, the dot product of the sparse vectors; else
            `normalized_score`.
        normalized_score: the score in units in which right and wrong entries differ by about 1, so that one β fits encoders
            and rerankers of any scale.
        joined: rows of the passages that were joined, if several.
        joined_ids: their ids.
    """

    row: int
    passage: Passage
    score: float
    normalized_score: float
    joined: tuple[int, ...] = ()
    joined_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Ranked:
    """The ranking of one question: entries with their scores, best first."""

    rows: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    normalized_score: Float[np.ndarray, " n"]

    def taken(self, places: Int[np.ndarray, " k"]) -> _Ranked:
        return _Ranked(self.rows[places], self.scores[places], self.normalized_score[places])


def open_memories(folders: str | Path | Sequence[str | Path], encoder: str | None = None) -> tuple[Searchable, Encoder]:
    """Open a memory, or several that are searched as one, and the encoder that embeds their questions.

    Args:
        encoder: its name or folder; needed where it does not come as a package.

    Raises:
        MemoryFormatError: no memory there, or a damaged one.
        ModelError: the encoder cannot be had.
    """
    paths = [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    memory = Memory.open(paths[0]) if len(paths) == 1 else Shards([Memory.open(path) for path in paths])
    return memory, load_memory_encoder(memory.manifest.encoder, encoder, memories=paths)


class Retriever:
    """Retrieves entries for questions.

    Attributes:
        search: search settings; may be changed.

    Raises:
        MismatchError: the memory was embedded by another encoder, or its sparse vectors are of another one.
        MemoryFormatError: a lexical search in a memory without a lexical index, or a sparse one without the vectors of all entries.
    """

    def __init__(self, memory: Searchable, encoder: Encoder, search: Search = Search()):
        memory.manifest.encoder.require_match(encoder.fingerprint)
        self.memory, self.encoder, self.search = memory, encoder, search

    @property
    def search(self) -> Search:
        """Return the search settings."""
        return self._search

    @search.setter
    def search(self, search: Search) -> None:
        self._search = search.resolved(self.memory)

    def retrieve(
        self, questions: Sequence[str], k: int, *, where: str | pc.Expression | None = None
    ) -> list[list[Retrieved]]:
        """Retrieve the k best entries of each question, best first, among those that a filter matches, if given.

        There are fewer if the memory has no more, or a lexical search finds no more.

        Raises:
            ValueError: k below 1 or above `MOST_RETRIEVED`.
        """
        require_between("k", k, 1, MOST_RETRIEVED)
        ranked = self._ranked(questions, k, where)
        if self.search.reranker is not None:
            ranked = [self._reranked(question, ranking) for question, ranking in zip(questions, ranked, strict=True)]
        if self.search.diversity:
            ranked = [self._diversified(ranking, k) for ranking in ranked]
        return [self._entries(ranking, k) for ranking in ranked]

    def rare_overlaps(self, questions: Sequence[str], texts: Sequence[str]) -> list[float]:
        """Return the share of each question's terms that a text has, 0 to 1, each term weighted by how rare it is in the memory.

        NaN in a dense or sparse search, which needs no lexical index.

        Args:
            texts: one for each question.
        """
        if self.search.kind in ("dense", "sparse"):
            return [math.nan for _ in questions]
        analysis = self.memory.manifest.words
        assert analysis is not None, "setting a lexical search requires one"
        statistics = self.memory.term_statistics(questions)
        return [
            weighted_overlap(Counter(query_terms(question, analysis)), set(terms(text, analysis)), statistics)
            for question, text in zip(questions, texts, strict=True)
        ]

    def _ranked(self, questions: Sequence[str], k: int, where: str | pc.Expression | None) -> list[_Ranked]:
        """Search, and return the ranking of each question, as deep as the later stages need."""
        search, score_scale = self.search, self.memory.manifest.encoder.score_scale
        further = search.reranker is not None or search.diversity or search.adjacent
        vectors = None if search.kind in ("bm25", "sparse") else self.encoder.encode_queries(questions)
        if vectors is not None and search.kind == "dense":
            found = self.memory.search(vectors, max(k, search.depth) if further else k, where=where)
            return [
                _Ranked(rows, scores, scores / score_scale)
                for rows, scores in zip(found.rows, found.scores, strict=True)
            ]
        proposed = self.memory.candidates(
            vectors,
            None if search.kind == "sparse" else questions,
            max(k, search.depth, PROPOSED),
            where=where,
            sparse=search.sparse_queries(questions),
        )
        return [self._fused(candidates, score_scale) for candidates in proposed]

    def _fused(self, proposed: Candidates, score_scale: float) -> _Ranked:
        search, sparse = self.search, self.search.sparse_encoder
        if search.kind == "bm25":
            found = np.flatnonzero(proposed.bm25_scores > 0)
            ranked = _Ranked(proposed.rows[found], proposed.bm25_scores[found], lexical_share(proposed)[found])
        elif search.kind == "sparse" and sparse is not None:
            found = np.flatnonzero(proposed.sparse_scores > 0)
            scores = proposed.sparse_scores[found]
            ranked = _Ranked(proposed.rows[found], scores, scores / sparse.fingerprint.score_scale)
        else:
            fused = fuse(proposed, search.fusion, score_scale, search.lexical_weight)
            if sparse is not None:
                sparse_scale = sparse.fingerprint.score_scale
                fused = with_sparse(fused, proposed, search.fusion, sparse_scale, search.sparse_weight)
            ranked = _Ranked(proposed.rows, fused, fused)
        return ranked.taken(np.argsort(-ranked.scores, kind="stable"))

    def _reranked(self, question: str, ranked: _Ranked) -> _Ranked:
        """Reorder the best entries by both scores together; the others follow unchanged."""
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
                    rows, ids, joined = with_adjacent(self.memory, row, passage, self.search.adjacent)
                    taken.update(rows)
                    if len(rows) > 1:
                        entry = replace(entry, passage=joined, joined=rows, joined_ids=ids)
                entries.append(entry)
            if len(entries) == k:
                break
        return entries
