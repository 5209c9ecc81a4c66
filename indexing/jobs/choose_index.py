"""Chooses an index by measurement: exact search while it is fast enough, else the fastest index with enough recall.

Every candidate is built over all keys and compared with exact search: its parameters are chosen on one half of the queries,
and the reported figures are measured on the other half. One that is slower than exact search is never chosen.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import DEFAULT_LATENCY, DEFAULT_RECALL, IndexKind, Metric
from memgpt_rag.memory import Memory, add_indexes
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, exact_search, one_thread
from memgpt_rag.memory.dense.index_kinds import (
    FEWEST_KEYS,
    Kind,
    build_indexes,
    kinds_for,
    ways_to_search,
)
from memgpt_rag.memory.dense.index_kinds import NEAREST as K

Rows = Int[np.ndarray, "queries k"]
QUERIES = 400
# Of fewer keys, a tenth or more would be missing in the training.
_FEWEST_TO_SPARE = 10 * QUERIES
# Tolerance below the requested recall for keeping an index: it was chosen on one half of the queries, and measured on the other.
_NEARLY = 0.01


@dataclass(frozen=True)
class Choice:
    """The index chosen for a set of keys, with its figures.

    Attributes:
        index: the index; None for exact search.
        recall: recall of the k nearest.
        ndcg_loss: 1 − nDCG of its ranking, with gains from the true ranks.
        milliseconds, exact_milliseconds: median latency of one query on one thread, with the index and exactly.
    """

    index: ApproximateIndex | None
    recall: float
    ndcg_loss: float
    milliseconds: float
    exact_milliseconds: float

    def report(self) -> dict[str, Any]:
        """Return the settings and figures that are stored in a manifest."""
        assert self.index is not None
        figures = {name: value for name, value in vars(self).items() if name != "index"}
        return {**asdict(self.index.settings), **{name: round(value, 4) for name, value in figures.items()}}


def choose_index(
    keys: Float[np.ndarray, "rows dimension"],
    metric: Metric,
    *,
    kind: IndexKind = "auto",
    recall: float = DEFAULT_RECALL,
    queries: Float[np.ndarray, "queries dimension"] | None = None,
    fast_enough: float = DEFAULT_LATENCY,
    most_bytes: float = math.inf,
    on_step: Callable[[str], object] = lambda step: None,
) -> Choice:
    """Choose an index for keys by measurement.

    Args:
        kind: "auto" takes the fastest kind; "hnsw", "ivf" and "codes" (compressed codes of all keys, with rescoring of the best
            by the keys themselves) take that kind, if it is faster than exact search.
        recall: mean recall@10 that the index must reach.
        queries: vectors like those of real queries; None for a sample of the keys, whose own row is not counted, and which
            indexes of 4,000 keys or more are not trained on.
        fast_enough: milliseconds of exact search up to which "auto" does not try an index.
        most_bytes: limit of the memory that building may take; kinds that take more are not tried.
        on_step: called with a description of each step.

    Raises:
        ValueError: the recall is not in (0, 1].
    """
    if not 0 < recall <= 1:
        raise ValueError(f"recall is {recall}; expected more than 0 and at most 1.")
    if len(keys) <= FEWEST_KEYS:
        return Choice(None, 1.0, 0.0, 0.0, 0.0)
    own: Int[np.ndarray, " queries"] | None = None
    if queries is None:
        own = np.sort(np.random.default_rng(0).permutation(len(keys))[:QUERIES])
        queries = np.ascontiguousarray(keys[own])
    with one_thread():
        truth = _without_own(exact_search(keys, queries, K + 1, metric)[0], own)
        exact = _milliseconds(lambda query: exact_search(keys, query, K, metric), queries)
        none = Choice(None, 1.0, 0.0, exact, exact)
        if kind == "exact" or (kind == "auto" and exact <= fast_enough):
            return none
        best = none
        half = np.arange(len(queries)) % 2 == 0
        kinds: Sequence[Kind] = kinds_for(len(keys)) if kind == "auto" else (kind,)
        untrained = own if len(keys) >= _FEWEST_TO_SPARE else None
        for built, _ in build_indexes(keys, metric, kinds, most_bytes=most_bytes, untrained=untrained, on_step=on_step):
            for settings in ways_to_search(built):
                found = _found(built.with_settings(settings), keys, queries[half], None if own is None else own[half])
                if _recall(found, truth[half]) < recall:
                    continue
                tuned = built.with_settings(settings)
                taken = _milliseconds(partial(_search, tuned, keys), queries[~half])
                if taken < best.milliseconds:
                    results = _found(tuned, keys, queries[~half], None if own is None else own[~half])
                    figures = _recall(results, truth[~half]), _ndcg_loss(results, truth[~half])
                    best = Choice(tuned, *figures, taken, exact)
                if taken > 2 * best.milliseconds:
                    break  # later settings scan more
    return best


def index_memory(
    folder: Path,
    *,
    kind: IndexKind = "auto",
    recall: float = DEFAULT_RECALL,
    queries: Float[np.ndarray, "queries dimension"] | None = None,
    fast_enough: float = DEFAULT_LATENCY,
    most_bytes: float = math.inf,
    anew: bool = True,
    on_step: Callable[[str], object] = lambda step: None,
) -> dict[str, Choice]:
    """Choose the index of every segment of a memory again, and commit the changes; see `choose_index`.

    Args:
        anew: choose for all segments; otherwise segments keep an index with enough recall.

    Returns:
        Segment name → choice. Nothing is committed if no segment changes.

    Raises:
        MemoryFormatError: the folder holds no memory, or a damaged one.
        BusyError: another job is writing there.
    """
    memory = Memory.open(folder)
    chosen = {
        segment.described.name: choose_index(
            segment.keys,
            memory.manifest.metric,
            kind=kind,
            recall=recall,
            queries=queries,
            fast_enough=fast_enough,
            most_bytes=most_bytes,
            on_step=on_step,
        )
        for segment in memory.segments
        if anew or segment.described.index is None or segment.described.index.get("recall", 0) < recall - _NEARLY
    }
    had = any(segment.described.index and segment.described.name in chosen for segment in memory.segments)
    if had or any(choice.index is not None for choice in chosen.values()):
        indexes = {
            name: None if choice.index is None else (choice.index, choice.report()) for name, choice in chosen.items()
        }
        add_indexes(memory, indexes)
    return chosen


def _search(index: ApproximateIndex, keys: np.ndarray, query: np.ndarray) -> object:
    return index.search(keys, query, K)


def _found(
    index: ApproximateIndex, keys: np.ndarray, queries: np.ndarray, own: Int[np.ndarray, " queries"] | None
) -> Rows:
    return _without_own(index.search(keys, queries, K + 1)[0], own)


def _without_own(rows: Rows, own: Int[np.ndarray, " queries"] | None) -> Rows:
    """Return the first k rows of each query without its own row."""
    k = min(K, rows.shape[1] - (own is not None))
    if own is None:
        return rows[:, :k]
    # A stable sort moves the query's own row to the end, and keeps the order of the others.
    last = np.argsort(rows == own[:, None], axis=1, kind="stable")
    return np.take_along_axis(rows, last, axis=1)[:, :k]


def _recall(found: Rows, truth: Rows) -> float:
    return float((found[:, :, None] == truth[:, None]).any(axis=1).mean())


def _ndcg_loss(found: Rows, truth: Rows) -> float:
    """Return 1 − nDCG, where the nearest key has the gain k, the next one k − 1, and so on (Järvelin and Kekäläinen 2002)."""
    k = truth.shape[1]
    gains, discount = k - np.arange(k), 1 / np.log2(np.arange(k) + 2)
    found_gains = ((found[:, :, None] == truth[:, None]) * gains).sum(axis=2)
    return max(0.0, float(1 - (found_gains @ discount).mean() / (gains @ discount)))


def _milliseconds(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Return the median latency of single queries in milliseconds."""
    times = []
    for query in queries[:50]:
        began = time.perf_counter()
        search(query[None])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
