"""How fast a memory of some size would be searched: measured among a few keys such as its own, and scaled up."""

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

# Keys among which searches are measured.
_SCANNED = 20_000
# Settings that are tried when an index is chosen, each with so many searches.
_TRIES, _SEARCHES = 20, 250


@dataclass(frozen=True)
class IndexForecast:
    """What a way to search would take; bytes on disk, and in memory while it is built."""

    kind: str
    milliseconds: float
    seconds: float
    disk_bytes: float
    memory_bytes: float


def forecast_indexes(
    keys: Float[np.ndarray, "n dimension"], entries: int, metric: Metric, *, recall: float, fast_enough: float
) -> list[IndexForecast]:
    """Exact search first; others only where that takes longer than is fast enough.

    Args:
        keys: some of the memory's.
        entries: how many the memory will have.
    """
    scanned = _made_keys(keys, _SCANNED)
    scale = entries / len(scanned)
    with one_thread():
        one = _milliseconds(lambda query: exact_search(scanned, query, NEAREST, metric), keys)
        _, of_all = timed(lambda: exact_search(scanned, scanned[:QUERIES], NEAREST + 1, metric))
        exact = IndexForecast("exact", one * scale, of_all * scale, 0, 0)
        if exact.milliseconds <= fast_enough:
            return [exact]
        return [exact, *_approximate(scanned, keys, entries, recall, metric, exact.seconds)]


def _approximate(
    scanned: np.ndarray, queries: np.ndarray, entries: int, recall: float, metric: Metric, choosing: float
) -> list[IndexForecast]:
    """Indexes over a few keys, and what they would be over all; to choose between them, all are built."""
    rows, dimension = scanned.shape
    scale, found, building = entries / rows, [], choosing
    truth = exact_search(scanned, queries, NEAREST, metric)[0]
    # Lists get longer, and more, by the square root of the rows; a walk through a graph by their logarithm.
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
                building += seconds * more[kind]  # it is built, and not taken
                continue
            taken = _milliseconds(partial(_search, tuned, scanned), queries)
            building += seconds * more[kind] + _TRIES * _SEARCHES * taken * longer[kind] / 1000
            name = f"IVF{lists_for(entries)},SQ8" if kind == "ivf" else index.settings.factory
            sizes = index_bytes(kind, entries, dimension), building_bytes(kind, entries, dimension)
            found.append(IndexForecast(name, taken * longer[kind], 0, *sizes))
    return [replace(one, seconds=building) for one in found]


def _work_of_lists(rows: int) -> float:
    """Distances that building an IVF computes: ten rounds of k-means over its sample, and one search for each row's list."""
    return lists_for(rows) * (10 * training_rows(rows) + rows)


def _made_keys(keys: Float[np.ndarray, "n dimension"], count: int) -> Float[np.ndarray, "count dimension"]:
    """Keys that vary in the directions in which real ones do, in clusters of thirty, so that there are enough to search among."""
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
    """Median of single queries."""
    search(queries[:1])
    return 1000 * float(np.median([timed(partial(search, query[None]))[1] for query in queries[:50]]))


def timed(job: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return job(), time.perf_counter() - began
