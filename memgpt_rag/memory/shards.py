"""Several memories searched as one: each by a thread of its own, or by the process that holds the shard."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from itertools import accumulate, chain
from operator import add
from typing import Protocol

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Float, Int

from memgpt_rag.errors import MemoryFormatError, MismatchError
from memgpt_rag.memory.candidates import Candidates
from memgpt_rag.memory.lexical.analysis import ANALYSIS
from memgpt_rag.memory.lexical.bm25 import TermStatistics
from memgpt_rag.memory.reader import SearchResult, nearest
from memgpt_rag.memory.sparse import SparseQueries
from memgpt_rag.memory.storage.manifest import Manifest
from memgpt_rag.passage import Passage
from memgpt_rag.state_codes import Codes


class Searchable(Protocol):
    """A searchable collection of entries: a `Memory`, several as shards, or a remote one; the methods are those of `Memory`."""

    manifest: Manifest

    @property
    def num_rows(self) -> int: ...

    def __len__(self) -> int: ...

    def search(
        self,
        vectors: Float[np.ndarray, "queries dimension"],
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
    ) -> SearchResult: ...

    def term_statistics(self, questions: Sequence[str]) -> TermStatistics: ...

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
    ) -> list[Candidates]: ...

    def passages(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[Passage]: ...

    def rows(self, where: str | pc.Expression | None = None) -> Int[np.ndarray, " n"]: ...

    def keys(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n dimension"]: ...

    def states(self, row: int) -> Codes | None: ...


class Shards:
    """Memories of one encoder that are searched together; rows are numbered through them in the order given.

    The results are those of one memory with all their entries.

    Attributes:
        manifest: the first memory's; its `states` is None unless all of them have the same.

    Raises:
        MismatchError: the memories were embedded by different encoders, or have different metrics.
    """

    def __init__(self, shards: Sequence[Searchable]):
        if not shards:
            raise ValueError("There are no memories to search; name one or more.")
        first, *others = [shard.manifest for shard in shards]
        for other in others:
            first.encoder.require_match(other.encoder)
            if other.metric != first.metric:
                raise MismatchError(
                    f"One memory measures {first.metric} and another one {other.metric}; search memories of one metric."
                )
        same = all(other.states == first.states for other in others)
        self.manifest = replace(first, states=first.states if same else None)
        self.shards = list(shards)
        self._starts = [0, *accumulate(shard.num_rows for shard in shards)]
        self._threads = ThreadPoolExecutor(len(shards), thread_name_prefix="shard")

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    @property
    def num_rows(self) -> int:
        """Return the number of rows of all shards, deleted ones included."""
        return self._starts[-1]

    def search(
        self,
        vectors: Float[np.ndarray, "queries dimension"],
        k: int,
        *,
        where: str | pc.Expression | None = None,
        exact: bool = False,
    ) -> SearchResult:
        """Return the k nearest entries of each vector, as `Memory.search`; the shards are searched in parallel."""

        def search(shard: Searchable) -> SearchResult:
            return shard.search(vectors, k, where=where, exact=exact)

        results = list(self._threads.map(search, self.shards))
        rows = [result.rows + start for result, start in zip(results, self._starts)]
        best, found, scores = nearest(rows, [result.scores for result in results], k)
        merged = [list(chain(*by_shard)) for by_shard in zip(*(result.passages for result in results), strict=True)]
        passages = [
            [query_passages[place] for place in places]
            for query_passages, places in zip(merged, best.tolist(), strict=True)
        ]
        return SearchResult(found, scores, passages)

    def term_statistics(self, questions: Sequence[str]) -> TermStatistics:
        """Return the BM25 statistics of the questions' terms, summed over all shards.

        Raises:
            MemoryFormatError: a memory has no lexical index, or the memories' indexes hold the terms of different analyses.
        """
        indexed = [(shard, name) for shard in self.shards if (name := shard.manifest.words) is not None]
        if len({name for _, name in indexed}) > 1:
            old = next(shard for shard, name in indexed if name != ANALYSIS)
            path = getattr(old, "path", "MEMORY")
            raise MemoryFormatError(
                "The lexical indexes of these memories hold the terms of different analyses, and cannot be searched together; "
                f"make that of an earlier release again with: memgpt-index lexical {path}"
            )
        shard_statistics = self._threads.map(lambda shard: shard.term_statistics(questions), self.shards)
        total: TermStatistics = reduce(add, shard_statistics)
        return total

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
        """Return the candidates of each question, as `Memory.candidates`; all shards use the same BM25 statistics."""
        together = self.term_statistics(questions) if statistics is None and questions is not None else statistics

        def propose(shard: Searchable) -> list[Candidates]:
            return shard.candidates(vectors, questions, k, where=where, exact=exact, statistics=together, sparse=sparse)

        proposed = list(self._threads.map(propose, self.shards))
        return [
            Candidates(
                np.concatenate([shard.rows + start for shard, start in zip(question_candidates, self._starts)]),
                np.concatenate([shard.scores for shard in question_candidates]),
                np.concatenate([shard.bm25_scores for shard in question_candidates]),
                question_candidates[0].word_limit,
                np.concatenate([shard.sparse_scores for shard in question_candidates]),
            ).best(k)
            for question_candidates in zip(*proposed, strict=True)
        ]

    def passages(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> list[Passage]:
        """Return the passages in the given rows, in the order given."""
        places = [self._place(int(row)) for row in rows]
        return [self.shards[number].passages([place])[0] for number, place in places]

    def rows(self, where: str | pc.Expression | None = None) -> Int[np.ndarray, " n"]:
        """Return the rows of the live entries that a filter matches, or of all, in order."""
        return np.concatenate([shard.rows(where) + start for shard, start in zip(self.shards, self._starts)])

    def keys(self, rows: Sequence[int] | Int[np.ndarray, " n"]) -> Float[np.ndarray, "n dimension"]:
        """Return the keys of the given rows, in the order given."""
        wanted = np.asarray(rows, dtype=np.int64)
        keys = np.empty((len(wanted), self.manifest.encoder.dimension), np.float32)
        for shard, start in zip(self.shards, self._starts):
            inside = (wanted >= start) & (wanted < start + shard.num_rows)
            if inside.any():
                keys[inside] = shard.keys(wanted[inside] - start)
        return keys

    def states(self, row: int) -> Codes | None:
        """Return the codes and scales of an entry's states; None where none are stored."""
        number, place = self._place(row)
        return self.shards[number].states(place)

    def _place(self, row: int) -> tuple[int, int]:
        """Return the number of the shard that a row is in, and its row there."""
        if not 0 <= row < self.num_rows:
            raise IndexError(f"Row {row} was asked for; these memories have rows 0 to {self.num_rows - 1}.")
        number = bisect_right(self._starts, row) - 1
        return number, row - self._starts[number]
