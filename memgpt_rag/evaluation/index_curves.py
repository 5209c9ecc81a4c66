"""Curves of queries per second against recall for each kind of approximate index, with exact search as ground truth."""

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
# Fewer keys are searched exactly in microseconds, and are too few to train an index.
_FEWEST = 1000
# Number of queries that are timed; more would hardly change the percentiles.
_TIMED = 200
_WARM_UP = 5


@dataclass(frozen=True)
class IndexPoint:
    """An index searched with one setting.

    Attributes:
        parameters: FAISS search parameters; empty where there are none.
        candidates: number of candidates per result wanted; the best by their keys are kept.
        recall: recall@10 against exact search.
        queries_per_second: throughput of single queries, one after the other, on one thread.
        latency_ms: latency of a single query by percentile: "p50", "p95", "p99".
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
        index: FAISS index factory string, or "exact", which scans every key.
        build_seconds: seconds of building on one thread; 0 for exact search, which needs no index.
        disk_bytes: size of the index, without the keys.
        points: the measured search settings.
    """

    index: str
    build_seconds: float
    disk_bytes: int
    points: tuple[IndexPoint, ...]

    def frontier(self) -> list[IndexPoint]:
        """Return the Pareto frontier of recall and speed: points that no other beats in both, by ascending recall."""
        best: list[IndexPoint] = []
        for point in sorted(self.points, key=lambda point: (-point.queries_per_second, -point.recall)):
            if not best or point.recall > best[-1].recall:
                best.append(point)
        return best


def require_enough(keys: int) -> None:
    """Check that there are enough keys to measure an index over; raises ValueError if not."""
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
    """Measure exact search, and every kind of approximate index with all its search settings, on one thread.

    Queries are vectors, so only the search is timed, not the encoder. Scores are always computed from the keys themselves:
    an index can miss a key, but never returns a wrong score.

    Args:
        on_step: called with a description of each step.

    Raises:
        ValueError: too few keys to build an index over.
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
            curves.append(IndexCurve(index.settings.factory, seconds, _index_bytes(index), tuple(points)))
    return curves


def measured_indexes(
    judged: RetrievalDataset, memory: Memory, encoder: Encoder, *, on_step: Callable[[str], object] = lambda step: None
) -> dict[str, Any]:
    """Measure the curves over a memory's keys for the queries of a dataset, and return them as JSON for a report.

    Each point has a flag whether it is on the Pareto frontier of its index. Keys of several segments are concatenated first.

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
            {
                **asdict(curve),
                "points": [{**asdict(point), "frontier": point in curve.frontier()} for point in curve.points],
            }
            for curve in curves
        ],
    }


def _timed(
    search: Callable[[np.ndarray], Found], queries: np.ndarray, truth: Int[np.ndarray, "queries k"]
) -> tuple[float, float, dict[str, float]]:
    """Return the recall over all queries, and the throughput and latencies of the first ones, searched one by one."""
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
    """A file object that only counts the bytes written."""

    def __init__(self) -> None:
        self.bytes = 0

    def write(self, block: bytes) -> int:
        self.bytes += len(block)
        return len(block)


def _index_bytes(index: ApproximateIndex) -> int:
    counter = _Counter()
    index.write(counter)
    return counter.bytes
