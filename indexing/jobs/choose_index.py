"""Chooses how keys are searched, by measurement: exactly while that is fast enough, else by the fastest index that finds enough.

Every candidate is built over all keys and judged against brute force: its parameters are chosen on one half of the
queries, and what is reported comes from the other half. One that is slower than looking at all keys is never taken.
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
# How far below what was asked for an index may measure and stay: it was chosen by one half of the queries, measured on the other.
_NEARLY = 0.01


@dataclass(frozen=True)
class Choice:
    """What was chosen for a set of keys.

    Attributes:
        index: the index; None where all keys are looked at.
        recall: of the k nearest, how many it finds.
        ndcg_loss: how much worse its order is, by discounted gain of the true ranks.
        milliseconds, exact_milliseconds: of one query, median, on one thread.
    """

    index: ApproximateIndex | None
    recall: float
    ndcg_loss: float
    milliseconds: float
    exact_milliseconds: float

    def report(self) -> dict[str, Any]:
        """Settings and figures, as they stand in a manifest."""
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
    """Choose an index for keys.

    Args:
        kind: "auto" takes whatever is fastest; "hnsw", "ivf" and "codes", short codes of all keys whose best ones are scored by
            the keys themselves, that kind, if it is faster than exact search at all.
        recall: how many of the 10 nearest it has to find, on average.
        queries: vectors such as will be searched for; None for some of the keys, whose own row does not count.
        fast_enough: milliseconds for which "auto" does not look for anything faster.
        most_bytes: of memory that building may take; what takes more is not tried.
        on_step: hears what is being done.

    Raises:
        ValueError: a recall that is not above 0 and at most 1.
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
        for built, _ in build_indexes(keys, metric, kinds, most_bytes=most_bytes, on_step=on_step):
            for settings in ways_to_search(built):
                found = _found(built.with_settings(settings), keys, queries[half], None if own is None else own[half])
                if _recall(found, truth[half]) < recall:
                    continue
                tuned = built.with_settings(settings)
                taken = _milliseconds(partial(_search, tuned, keys), queries[~half])
                if taken < best.milliseconds:
                    of_others = _found(tuned, keys, queries[~half], None if own is None else own[~half])
                    figures = _recall(of_others, truth[~half]), _ndcg_loss(of_others, truth[~half])
                    best = Choice(tuned, *figures, taken, exact)
                if taken > 2 * best.milliseconds:
                    break  # later ones look at more
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
    """Give every segment of a memory the index that suits it, in place of the one that it had; see `choose_index`.

    Args:
        anew: choose for all segments; else those that have an index which finds enough keep it.

    Returns:
        What was chosen, by the segments' names. Nothing is committed where all stay as they are.

    Raises:
        MemoryFormatError: no memory there, or a damaged one.
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
    """The first k rows of each query, its own left out."""
    k = min(K, rows.shape[1] - (own is not None))
    if own is None:
        return rows[:, :k]
    # Its own goes to the end, wherever it stands, and the order of the others stays.
    last = np.argsort(rows == own[:, None], axis=1, kind="stable")
    return np.take_along_axis(rows, last, axis=1)[:, :k]


def _recall(found: Rows, truth: Rows) -> float:
    return float((found[:, :, None] == truth[:, None]).any(axis=1).mean())


def _ndcg_loss(found: Rows, truth: Rows) -> float:
    """1 − nDCG, where the nearest key gains k, the next one k − 1, and so on (Järvelin and Kekäläinen 2002)."""
    k = truth.shape[1]
    gains, discount = k - np.arange(k), 1 / np.log2(np.arange(k) + 2)
    of_found = ((found[:, :, None] == truth[:, None]) * gains).sum(axis=2)
    return max(0.0, float(1 - (of_found @ discount).mean() / (gains @ discount)))


def _milliseconds(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Median of single queries."""
    times = []
    for query in queries[:50]:
        began = time.perf_counter()
        search(query[None])
        times.append(time.perf_counter() - began)
    return 1000 * float(np.median(times))
