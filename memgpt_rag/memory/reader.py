"""Opens a memory and searches it. An opened memory is a snapshot: a later commit does not change it."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, repeat
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int
from typing_extensions import Self

from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.fingerprint import EncoderFingerprint, SparseVector
from memgpt_rag.memory.candidates import Candidates, best_rows, collect_statistics, row_scores
from memgpt_rag.memory.dense.faiss_index import Found, score_rows
from memgpt_rag.memory.filter import matching, parse_where
from memgpt_rag.memory.lexical.analysis import query_terms, require_analysis
from memgpt_rag.memory.lexical.bm25 import TermStatistics, bm25_scores, word_limit
from memgpt_rag.memory.segment import OpenSegment
from memgpt_rag.memory.sparse import SparseQueries, require_sparse_vectors, sparse_scores
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.keys import first_not_unit
from memgpt_rag.memory.storage.manifest import Manifest, read_manifest
from memgpt_rag.memory.storage.plain_files import require_plain
from memgpt_rag.memory.summary import summary_html
from memgpt_rag.passage import Passage
from memgpt_rag.state_codes import Codes

Opened = TypeVar("Opened", bound="MemoryReader")

# For each segment, the rows to search; None for all of them.
Masks = Sequence[Bool[np.ndarray, " rows"] | None]

_TRIES = 5
# Keys and queries have length 1 ± 1e-3, so a cosine above this means damaged keys.
_MOST_COSINE = 1.01


@dataclass(frozen=True)
class SearchResult:
    """The k nearest entries of each query, best first.

    Attributes:
        rows: row of each entry.
        scores: cosine of query and key; in a Euclidean memory, minus their distance.
        passages: the entries' values.
    """

    rows: Int[np.ndarray, "queries k"]
    scores: Float[np.ndarray, "queries k"]
    passages: list[list[Passage]]


def nearest(
    rows: Sequence[Int[np.ndarray, "queries _"]], scores: Sequence[Float[np.ndarray, "queries _"]], k: int
) -> tuple[Int[np.ndarray, "queries k"], Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """Merge the results of several searches into the k best of each query, or all if fewer; ties go to earlier searches.

    Returns:
        Positions in the concatenated results, rows, and scores.
    """
    all_rows, all_scores = np.concatenate(rows, axis=1), np.concatenate(scores, axis=1)
    best = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    return best, np.take_along_axis(all_rows, best, axis=1), np.take_along_axis(all_scores, best, axis=1)


class MemoryReader:
    """An opened memory: a snapshot of one version, its files mapped from disk."""

    def __init__(self, path: Path, manifest: Manifest, segments: list[OpenSegment]):
        self.path = path
        self.manifest = manifest
        self.segments = segments
        self._starts = [0, *accumulate(map(len, segments))]

    @classmethod
    def open(cls, path: str | Path, *, version: int | None = None, encoder: EncoderFingerprint | None = None) -> Self:
        """Open the memory in a folder.

        Args:
            path: folder that `memgpt-index build` wrote.
            version: number of an earlier commit; None for the current one.
            encoder: fingerprint of the encoder of the queries, compared with the memory's at once.

        Raises:
            MemoryFormatError: the folder holds no memory, the version does not exist, or it is damaged.
            MismatchError: the memory was embedded by another encoder, or with another prompt or normalisation.
        """
        path = Path(path)
        for attempt in range(_TRIES):
            manifest = read_manifest(path, version)
            require_plain(path)
            try:
                segments = [OpenSegment(path, manifest, segment) for segment in manifest.segments]
                break
            except (MemoryFormatError, FileNotFoundError):
                # A job may have committed and removed files in between; then the manifest has changed, and opening is retried.
                if attempt == _TRIES - 1 or read_manifest(path, version) == manifest:
                    raise
        if encoder is not None:
            manifest.encoder.require_match(encoder)
        return cls(path, manifest, segments)

    def is_current(self) -> bool:
        """Return whether the folder holds no later version than this one.

        Raises:
            MemoryFormatError: the folder holds no memory any more, or a damaged one.
        """
        return read_manifest(self.path) == self.manifest

    def __len__(self) -> int:
        """Return the number of entries, without deleted ones."""
        return self.manifest.entries

    def _repr_html_(self) -> str:
        """Return what a notebook shows of the memory."""
        return summary_html(f"Memory {self.path}", self.manifest)

    @property
    def num_rows(self) -> int:
        """Return the number of rows, deleted ones included."""
        return self._starts[-1]

    def search(
        self,
        vectors: Float[np.ndarray, "queries dimension"],
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Return the k nearest entries of each vector; all entries if there are fewer than k.

        Args:
            where: filter of the entries to search: an Arrow expression over the values' columns, or a text such as
                'year >= 2020 and source == "manual.txt"', see `memgpt_rag.memory.filter`.
            exact: scan all keys, also where there is an approximate index.

        Raises:
            ValueError: k below 1, vectors that are not two-dimensional or not finite, or an invalid filter.
            MismatchError: vectors of another dimension or length than this memory's encoder computes.
        """
        rows, scores = self._nearest(vectors, k, self._masks(where), exact)
        return SearchResult(rows, scores, [self.passages(query_rows) for query_rows in rows])

    def term_statistics(self, questions: Sequence[str]) -> TermStatistics:
        """Return the BM25 statistics of the questions' terms over the live entries.

        Raises:
            MemoryFormatError: the memory has no lexical index.
        """
        return collect_statistics(self.segments, questions, require_analysis(self.manifest.words, self.path))

    def candidates(
        self,
        vectors: Float[np.ndarray, "questions dimension"] | None,
        questions: Sequence[str] | None,
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
        statistics: TermStatistics | None = None,
        sparse: SparseQueries | None = None,
    ) -> list[Candidates]:
        """Return the candidates of each question: the k nearest entries by its vector, and the k best by BM25 and sparse vector.

        Args:
            vectors, questions, sparse: the questions in each form; None for no search of that kind, and its scores are 0 then.
            where, exact: as for `search`.
            statistics: sum over all memories that are searched together, if this is one of several.

        Raises:
            MemoryFormatError: the memory has no lexical index, or not the sparse vectors of all entries.
            MismatchError: as for `search`; or another sparse encoder computed the memory's vectors.
            ValueError: as for `search`.
        """
        masks = self._masks(where)
        if sparse is not None:
            require_sparse_vectors(self.path, self.manifest, sparse.encoder)
        near = None if vectors is None else self._nearest(vectors, k, masks, exact)[0]
        sparse_vectors = None if sparse is None else sparse.vectors
        count = next(len(asked) for asked in (questions, vectors, sparse_vectors) if asked is not None)
        by_words = repeat((None, 0.0)) if questions is None else self._by_words(questions, masks, statistics)
        proposed = []
        for place, (bm25, limit) in zip(range(count), by_words):
            dots = None if sparse_vectors is None else self._by_sparse_vector(sparse_vectors[place], masks)
            best = [best_rows(scores, k) for scores in (bm25, dots) if scores is not None]
            rows = np.unique(np.concatenate(best if near is None else [near[place], *best]))
            none = np.zeros(len(rows), np.float32)
            cosines = none
            if vectors is not None:
                own = np.arange(len(rows))[None]
                cosines = score_rows(self.keys(rows), vectors[place][None], own, self.manifest.metric)[0]
            lexical, by_sparse = (none if scores is None else scores[rows] for scores in (bm25, dots))
            proposed.append(Candidates(rows, cosines, lexical, limit, by_sparse).best(k))
        return proposed

    def _by_words(
        self, questions: Sequence[str], masks: Masks, statistics: TermStatistics | None
    ) -> Iterator[tuple[Float[np.ndarray, " rows"], float]]:
        """Yield for each question the BM25 score of every row, and an upper bound of BM25."""
        statistics = self.term_statistics(questions) if statistics is None else statistics
        analysis = require_analysis(self.manifest.words, self.path)
        indexes = [segment.words for segment in self.segments]
        for question in questions:
            query = Counter(query_terms(question, analysis))
            score = partial(bm25_scores, query=query, statistics=statistics)
            yield row_scores(indexes, masks, score), word_limit(query, statistics)

    def _by_sparse_vector(self, query: SparseVector, masks: Masks) -> Float[np.ndarray, " rows"]:
        """Return the dot product of a query's sparse vector and that of every row."""
        return row_scores([segment.sparse for segment in self.segments], masks, partial(sparse_scores, query=query))

    def _masks(self, where: str | pc.Expression | None) -> Masks:
        return [segment.live for segment in self.segments] if where is None else [*self._matching(where)]

    def _nearest(
        self,
        vectors: Float[np.ndarray, "queries dimension"],
        k: int,
        masks: Masks,
        exact: bool,
    ) -> Found:
        self._check(vectors, k)
        counts = [len(segment) if mask is None else int(mask.sum()) for segment, mask in zip(self.segments, masks)]
        k = min(k, sum(counts))
        found = [
            (rows + start, scores)
            for segment, start, mask, count in zip(self.segments, self._starts, masks, counts)
            if count and k
            for rows, scores in [segment.search(vectors, min(k, count), mask, exact=exact)]
        ]
        if self.manifest.metric == "cosine" and any((scores > _MOST_COSINE).any() for _, scores in found):
            raise MemoryFormatError(
                f"Some keys of {self.path} are not of length 1, so that scores mean nothing; find out which with: memgpt-index verify"
            )
        if not found:
            return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)
        if len(found) == 1:
            return found[0]
        _, rows, scores = nearest([rows for rows, _ in found], [scores for _, scores in found], k)
        return rows, scores

    def passages(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[Passage]:
        """Return the passages in the given rows, in the order given.

        Raises:
            IndexError: the memory does not have such a row.
        """
        wanted = np.asarray(rows, dtype=np.int64).tolist()
        return [self.segments[number].values.passage(row) for number, row in map(self._place, wanted)]

    def pictures(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[bytes | None]:
        """Return the pictures of the entries in the given rows, PNG or JPEG files; None for an entry without one.

        Raises:
            IndexError: the memory does not have such a row.
            MemoryFormatError: a file of pictures is damaged.
        """
        return [
            None if pictures is None else pictures.picture(row)
            for number, row in map(self._place, np.asarray(rows, dtype=np.int64).tolist())
            for pictures in [self.segments[number].pictures]
        ]

    def has_picture(self, row: int) -> bool:
        """Return whether the entry in a row has a picture; raises as `pictures`."""
        number, place = self._place(row)
        pictures = self.segments[number].pictures
        return pictures is not None and pictures.has(place)

    def rows(self, where: str | pc.Expression | None = None) -> Int[np.ndarray, " n"]:
        """Return the rows of the live entries that a filter matches, or of all, in order."""
        return np.concatenate(
            [
                np.zeros(0, np.int64),
                *(
                    start + (np.arange(len(segment)) if mask is None else np.flatnonzero(mask))
                    for segment, start, mask in zip(self.segments, self._starts, self._masks(where))
                ),
            ]
        )

    def keys(self, rows: Sequence[int] | Int[np.ndarray, " n"] | None = None) -> Float[np.ndarray, "n dimension"]:
        """Return the keys of the given rows, or of every entry in row order, for checks and brute-force search."""
        wanted = self.rows() if rows is None else np.asarray(rows, dtype=np.int64)
        keys = np.empty((len(wanted), self.manifest.encoder.dimension), np.float32)
        for segment, start in zip(self.segments, self._starts):
            inside = (wanted >= start) & (wanted < start + len(segment))
            keys[inside] = segment.keys[wanted[inside] - start]
        return keys

    def states(self, row: int) -> Codes | None:
        """Return the codes and scales of an entry's states, as `StoredStates.entry`; None where none are stored."""
        number, place = self._place(row)
        states = self.segments[number].states
        return None if states is None else states.entry(place)

    def sparse_vector(self, row: int) -> SparseVector | None:
        """Return an entry's sparse vector; None where none is stored."""
        number, place = self._place(row)
        index = self.segments[number].sparse
        return None if index is None else index.entry(place)

    def _place(self, row: int) -> tuple[int, int]:
        """Return the number of the segment that a row is in, and its row there."""
        if not 0 <= row < self.num_rows:
            raise IndexError(f"Row {row} was asked for; this memory has rows 0 to {self.num_rows - 1}.")
        number = bisect_right(self._starts, row) - 1
        return number, row - self._starts[number]

    def _matching(self, where: str | pc.Expression) -> list[Bool[np.ndarray, " rows"]]:
        expression = (
            parse_where(where, layout.values_schema(self.manifest.metadata)) if isinstance(where, str) else where
        )
        masks = [matching(segment.values.table(), expression) for segment in self.segments]
        return [
            mask if segment.live is None else mask & segment.live
            for mask, segment in zip(masks, self.segments, strict=True)
        ]

    def _check(self, vectors: np.ndarray, k: int) -> None:
        encoder = self.manifest.encoder
        if k < 1:
            raise ValueError(f"k is {k}; expected 1 or more.")
        if vectors.ndim != 2:
            raise ValueError(f"Found query vectors of shape {vectors.shape}; expected [queries, dimension].")
        if not np.isfinite(vectors).all():
            raise ValueError("A query vector holds NaN or infinity; encode the query again.")
        if vectors.shape[1] != encoder.dimension:
            raise MismatchError(
                f"The query vectors have dimension {vectors.shape[1]} and this memory, embedded with {encoder.name!r}, has "
                f"dimension {encoder.dimension}; encode the query with {encoder.name!r}."
            )
        if self.manifest.metric == "cosine" and (wrong := first_not_unit(vectors)) is not None:
            raise MismatchError(
                f"Query vector {wrong} has length {np.linalg.norm(vectors[wrong]):.4g} and this memory, embedded with "
                f"{encoder.name!r}, holds unit-length vectors; encode the query with {encoder.name!r}, or normalize it."
            )
