"""Forecasts the search latency of a memory of a given size: measured on a sample of keys, and scaled up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from indexing.jobs.choose_index import QUERIES
from memgpt_rag.choices import Metric
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, exact_search, one_thread
from memgpt_rag.memory.dense.index_kinds import (
    NEAREST,
    build_indexes,
    building_bytes,
    index_bytes,
    kinds_for,
    lists_for,
    training_rows,
    ways_to_search,
)

# Number of keys that searches are measured on.
_SCANNED = 20_000
# Settings tried in the choice of an index, and searches for each.
_TRIES, _SEARCHES = 20, 250


@dataclass(frozen=True)
class IndexForecast:
    """Forecast of a kind of search: latency, time to build, bytes on disk, and main memory while it is built."""

    kind: str
    milliseconds: float
    seconds: float
    disk_bytes: float
    memory_bytes: float


def forecast_indexes(
    keys: Float[np.ndarray, "n dimension"], entries: int, metric: Metric, *, recall: float, fast_enough: float
) -> list[IndexForecast]:
    """Forecast exact search and, if it is slower than `fast_enough`, approximate indexes, with exact search first.

    Args:
        keys: a sample of the memory's keys.
        entries: number of entries of the memory.
    """
    scanned = _made_keys(keys, _SCANNED)
    scale = entries / len(scanned)
    with one_thread():
        one = _milliseconds(lambda query: exact_search(scanned, query, NEAREST, metric), keys)
        _, batch_seconds = timed(lambda: exact_search(scanned, scanned[:QUERIES], NEAREST + 1, metric))
        exact = IndexForecast("exact", one * scale, batch_seconds * scale, 0, 0)
        if exact.milliseconds <= fast_enough:
            return [exact]
        return [exact, *_approximate(scanned, keys, entries, recall, metric, exact.seconds)]


def _approximate(
    scanned: np.ndarray, queries: np.ndarray, entries: int, recall: float, metric: Metric, choosing: float
) -> list[IndexForecast]:
    """Measure indexes over a sample of keys, and scale to all; building includes all candidates of the choice."""
    rows, dimension = scanned.shape
    scale, found, building = entries / rows, [], choosing
    truth = exact_search(scanned, queries, NEAREST, metric)[0]
    # Length and number of lists grow with the square root of the rows; steps in a graph with their logarithm.
    walk = math.log(entries) / math.log(rows)
    longer = {"ivf": math.sqrt(scale), "codes": scale, "hnsw": walk}
    more = {"ivf": _work_of_lists(entries) / _work_of_lists(rows), "codes": scale, "hnsw": scale * walk}
    for kind in kinds_for(entries):
        for index, seconds in build_indexes(scanned, metric, (kind,)):
            for settings in ways_to_search(index):
                tuned = index.with_settings(settings)
                rows_found = tuned.search(scanned, queries, NEAREST)[0]
                if (rows_found[:, :, None] == truth[:, None]).any(axis=1).mean() >= recall:
                    break
            else:
                building += seconds * more[kind]  # it is built, but not chosen
                continue
            taken = _milliseconds(partial(_search, tuned, scanned), queries)
            building += seconds * more[kind] + _TRIES * _SEARCHES * taken * longer[kind] / 1000
            name = f"IVF{lists_for(entries)},SQ8" if kind == "ivf" else index.settings.factory
            sizes = index_bytes(kind, entries, dimension), building_bytes(kind, entries, dimension)
            found.append(IndexForecast(name, taken * longer[kind], 0, *sizes))
    return [replace(one, seconds=building) for one in found]


def _work_of_lists(rows: int) -> float:
    """Return the distance computations of building an IVF: ten rounds of k-means on its sample, and one list search a row."""
    return lists_for(rows) * (10 * training_rows(rows) + rows)


def _made_keys(keys: Float[np.ndarray, "n dimension"], count: int) -> Float[np.ndarray, "count dimension"]:
    """Generate keys with the covariance of real ones, in clusters of thirty, to have enough for a measurement."""
    rng = np.random.default_rng(0)
    mean, lengths = keys.mean(axis=0), np.linalg.norm(keys, axis=1).mean()

    def vary(number: int) -> np.ndarray:
        varied: np.ndarray = rng.normal(size=(number, len(keys))) @ (keys - mean) / math.sqrt(len(keys))
        return varied

    made = mean + vary(count // 30)[rng.integers(0, count // 30, count)] + 0.8 * vary(count)
    scaled: np.ndarray = (made * lengths / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _search(index: ApproximateIndex, keys: np.ndarray, query: np.ndarray) -> object:
    return index.search(keys, query, NEAREST)


def _milliseconds(search: Callable[[np.ndarray], object], queries: np.ndarray) -> float:
    """Return the median latency of single queries in milliseconds."""
    search(queries[:1])
    return 1000 * float(np.median([timed(partial(search, query[None]))[1] for query in queries[:50]]))


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    """Run a function, and return its result and its duration in seconds."""
    began = time.perf_counter()
    return job(), time.perf_counter() - began
