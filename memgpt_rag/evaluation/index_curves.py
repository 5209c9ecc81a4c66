"""Queries per second against recall: how fast each kind of approximate index finds how much of what exact search finds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import Metric
from memgpt_rag.encoders.base import Encoder
from memgpt_rag.evaluation.data.dataset import RetrievalDataset
from memgpt_rag.evaluation.machine import percentiles_ms
from memgpt_rag.memory import Memory
from memgpt_rag.memory.dense.faiss_index import (
    ApproximateIndex,
    Found,
    exact_search,
    one_thread,
)
from memgpt_rag.memory.dense.index_kinds import (
    NEAREST,
    build_indexes,
    kinds_for,
    ways_to_search,
)

EXACT = "exact"
# Fewer are searched in microseconds, and train no index.
_FEWEST = 1000
# Queries that are timed; more of them would tell no more.
_TIMED = 200
_WARM_UP = 5


@dataclass(frozen=True)
class IndexPoint:
    """One way to search an index.

    Attributes:
        parameters: of the search, in FAISS's own language; empty where there are none.
        candidates: how many rows the index proposes for each one that is wanted; the best by their keys are kept.
        recall: share of the ten nearest that it finds.
        queries_per_second: one query after the other, on one thread.
        latency_ms: of one query, by percentile: "p50", "p95", "p99".
    """

    parameters: str
    candidates: int
    recall: float
    queries_per_second: float
    latency_ms: dict[str, float]


@dataclass(frozen=True)
class IndexCurve:
    """An index over all keys of a memory.

    Attributes:
        index: its description in FAISS's own language, or "exact", which looks at every key.
        build_seconds: on one thread; 0 for exact search, which needs nothing beside the keys.
        disk_bytes: beside the keys.
        points: the ways to search it that were measured.
    """

    index: str
    build_seconds: float
    disk_bytes: int
    points: tuple[IndexPoint, ...]

    def frontier(self) -> list[IndexPoint]:
        """Points that no other one of the index beats in both recall and speed, by growing recall."""
        best: list[IndexPoint] = []
        for point in sorted(self.points, key=lambda of: (-of.queries_per_second, -of.recall)):
            if not best or point.recall > best[-1].recall:
                best.append(point)
        return best


def require_enough(keys: int) -> None:
    """Raises ValueError where there are too few keys for an index to be measured over them."""
    if keys < _FEWEST:
        raise ValueError(
            f"There are {keys:,} keys; indexes are measured over {_FEWEST:,} or more; leave out --indexes."
        )


def index_curves(
    keys: Float[np.ndarray, "rows dimension"],
    queries: Float[np.ndarray, "queries dimension"],
    metric: Metric,
    *,
    on_step: Callable[[str], object] = lambda step: None,
) -> list[IndexCurve]:
    """Measure exact search, and every kind of approximate index with every effort that is worth trying, on one thread.

    Queries are vectors already: what is timed is the search alone. Scores are always those of the keys themselves, so that
    an index can overlook a key and never misjudge one.

    Args:
        on_step: hears what is being done.

    Raises:
        ValueError: too few keys for an index to be built over them.
    """
    require_enough(len(keys))
    with one_thread():
        truth = exact_search(keys, queries, NEAREST, metric)[0]
        on_step("searching all keys")
        exact = _timed(lambda query: exact_search(keys, query, NEAREST, metric), queries, truth)
        curves = [IndexCurve(EXACT, 0.0, 0, (IndexPoint("", 1, *exact),))]
        for index, seconds in build_indexes(keys, metric, kinds_for(len(keys)), on_step=on_step):
            points = []
            for settings in ways_to_search(index):
                search = partial(index.with_settings(settings).search, keys, k=NEAREST)
                points.append(IndexPoint(settings.parameters, settings.candidates, *_timed(search, queries, truth)))
            curves.append(IndexCurve(index.settings.factory, seconds, _bytes_of(index), tuple(points)))
    return curves


def measured_indexes(
    judged: RetrievalDataset, memory: Memory, encoder: Encoder, *, on_step: Callable[[str], object] = lambda step: None
) -> dict[str, Any]:
    """Curves over the keys of a memory, for the queries of a set, as a report holds them.

    Each point says whether it is on the frontier of its index. Keys that lie in several segments are put together first.

    Raises:
        ValueError: the memory has too few entries.
    """
    queries = encoder.encode_queries(list(judged.judged.values()))
    curves = index_curves(memory.keys(), queries, memory.manifest.metric, on_step=on_step)
    return {
        "encoder": encoder.name,
        "keys": len(memory),
        "dimension": queries.shape[1],
        "queries": len(queries),
        "curves": [
            {**asdict(curve), "points": [{**asdict(of), "frontier": of in curve.frontier()} for of in curve.points]}
            for curve in curves
        ],
    }


def _timed(
    search: Callable[[np.ndarray], Found], queries: np.ndarray, truth: Int[np.ndarray, "queries k"]
) -> tuple[float, float, dict[str, float]]:
    """Recall over all queries, and how fast the first ones came one by one."""
    found = search(queries)[0]
    recall = float((found[:, :, None] == truth[:, None]).any(axis=1).mean())
    for query in queries[:_WARM_UP]:
        search(query[None])
    seconds = []
    for query in queries[:_TIMED]:
        began = time.perf_counter()
        search(query[None])
        seconds.append(time.perf_counter() - began)
    return recall, len(seconds) / sum(seconds), percentiles_ms(seconds)


class _Counter:
    """A file that only counts."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, block: bytes) -> int:
        self.bytes += len(block)
        return len(block)


def _bytes_of(index: ApproximateIndex) -> int:
    counter = _Counter()
    index.write(counter)
    return counter.bytes
