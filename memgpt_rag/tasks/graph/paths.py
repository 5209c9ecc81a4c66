"""Finds paths of entries that answer a question together: the first by search, the next by following what an entry names.

A path is scored as the search scores an entry:

    score = (1 − w) · cosine(question, mean of the entries' keys) / score_scale + w · 2 · share of the question's terms − c · entries

The terms, each weighted by its idf, are those that the texts of the path hold together: so a further entry is worth its cost c where
it says what the others do not. Following is a beam search (Asai et al. 2020, Learning to Retrieve Reasoning Paths over Wikipedia
Graph), without training. w and c belong to the kind of links, see there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from memgpt_rag.choices import DEFAULT_HOPS
from memgpt_rag.limits import MOST_HOPS, require_between
from memgpt_rag.memory import TermStatistics
from memgpt_rag.memory.lexical.analysis import query_terms, terms
from memgpt_rag.memory.lexical.bm25 import weighted_overlap
from memgpt_rag.passage import Passage
from memgpt_rag.retrieval.retriever import Retriever

BEAM = 8  # paths that are followed further
FIRST = 20  # entries of the search that paths may begin with


@dataclass(frozen=True)
class Path:
    """Entries in the order in which they were followed.

    Attributes:
        rows: of the entries.
        passages: their texts.
        score: how well they fit the question together, in units in which right and wrong entries differ by about 1.
    """

    rows: tuple[int, ...]
    passages: tuple[Passage, ...]
    score: float


class Links(Protocol):
    """Knows which entries an entry leads to.

    Attributes:
        lexical_weight: w above, 0 to 1.
        cost: c above.
        joins: whether a path is read as one entry, or each of its entries by itself.
    """

    lexical_weight: float
    cost: float
    joins: bool

    def begin(self, question: str) -> Sequence[int]:
        """Return rows that a path may begin with, beside those of the search."""

    def follow(self, question: str, path: Path) -> Sequence[int]:
        """Return rows that a path may go on with."""


class PathFinder:
    """Finds the best paths for a question in a memory with a lexical index.

    Args:
        retriever: its search gives the entries that paths begin with.
        links: which entries lead to which; an attribute, too.
        hops: entries of the longest path.

    Raises:
        MemoryFormatError: the memory has no lexical index.
        ValueError: hops is below 1 or above `MOST_HOPS`.
    """

    def __init__(self, retriever: Retriever, links: Links, *, hops: int = DEFAULT_HOPS):
        require_between("hops", hops, 1, MOST_HOPS)
        memory = retriever.memory
        memory.term_statistics([])  # raises where the lexical index is missing or unusable
        self._analysis = memory.manifest.words or ""
        self._retriever, self._memory, self.links, self._hops = retriever, memory, links, hops

    def paths(self, question: str, count: int) -> list[Path]:
        """Return the best paths for a question, of one entry up to as many as there are hops, best first."""
        first = [entry.row for entry in self._retriever.retrieve([question], FIRST)[0]]
        scoring = _Scoring(self, question)
        # What the question names and what the search finds are followed alike: neither crowds out the other.
        begun = [
            scoring.scored([Path((row,), (), 0.0) for row in rows]) for rows in (self.links.begin(question), first)
        ]
        found = [*begun[0], *begun[1]]
        latest = [path for some in begun for path in some[:BEAM]]
        for _ in range(self._hops - 1):
            longer = [
                replace(path, rows=(*path.rows, row))
                for path in latest
                for row in dict.fromkeys(self.links.follow(question, path))
                if row not in path.rows
            ]
            best = scoring.scored(longer)
            found, latest = found + best, best[: 2 * BEAM]
        return _distinct(sorted(found, key=lambda path: -path.score))[:count]


class _Scoring:
    """Scores paths for one question."""

    def __init__(self, finder: PathFinder, question: str):
        self._memory, self._analysis = finder._memory, finder._analysis
        self._weight, self._cost = finder.links.lexical_weight, finder.links.cost
        self._vector = finder._retriever.encoder.encode_queries([question])[0]
        self._query = Counter(query_terms(question, self._analysis))
        self._statistics: TermStatistics = self._memory.term_statistics([question])
        self._scale = self._memory.manifest.encoder.score_scale
        self._known: dict[int, tuple[Passage, np.ndarray, set[str]]] = {}

    def scored(self, paths: Sequence[Path]) -> list[Path]:
        """Return paths with their texts and scores, best first."""
        self._read({row for path in paths for row in path.rows})
        return sorted(map(self._scored, paths), key=lambda path: -path.score)

    def _scored(self, path: Path) -> Path:
        passages, keys, found = zip(*(self._known[row] for row in path.rows))
        mean = np.mean(keys, axis=0)
        cosine = float(mean @ self._vector / max(float(np.linalg.norm(mean)), 1e-9))
        overlap = weighted_overlap(self._query, set().union(*found), self._statistics) if self._query else 0.0
        score = (1 - self._weight) * cosine / self._scale + self._weight * 2 * overlap - self._cost * len(path.rows)
        return Path(path.rows, passages, score)

    def _read(self, rows: set[int]) -> None:
        new = sorted(rows - self._known.keys())
        for row, passage, key in zip(new, self._memory.passages(new), self._memory.keys(new), strict=True):
            self._known[row] = passage, key, set(terms(passage.titled_text, self._analysis))


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Paths without those that have the same entries as a better one."""
    return list({frozenset(path.rows): path for path in reversed(paths)}.values())[::-1]
