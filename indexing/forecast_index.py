"""How fast a memory of some size would be searched: measured among a few keys such as its own, and scaled up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from indexing.choose_index import LARGEST_GRAPH, QUERIES, building_bytes, index_bytes, lists_for
from indexing.choose_index import K as NEAREST
from memgpt_rag.memory import Metric
from memgpt_rag.memory.faiss_index import ApproximateIndex, IndexSettings, exact_search, one_thread

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
    """Lists and graphs over a few keys, and what they would be over all."""
    rows, dimension = scanned.shape
    scale, found = entries / rows, []
    truth = exact_search(scanned, queries, NEAREST, metric)[0]
    kinds: list[Literal["ivf", "hnsw"]] = ["ivf", "hnsw"] if entries <= LARGEST_GRAPH else ["ivf"]
    for kind in kinds:
        lists = lists_for(rows)
        factory, setting, efforts = (
            (f"IVF{lists},SQ8", "nprobe", (1, 2, 4, 8, 16, 32, 64))
            if kind == "ivf"
            else ("HNSW32_SQ8", "efSearch", (16, 32, 64, 128, 256))
        )
        index, seconds = timed(
            partial(ApproximateIndex.build, scanned, IndexSettings(factory, f"{setting}={efforts[0]}", 4), metric)
        )
        for effort in efforts:
            tuned = index.with_settings(IndexSettings(factory, f"{setting}={effort}", 4))
            rows_found = tuned.search(scanned, queries, NEAREST)[0]
            if (rows_found[:, :, None] == truth[:, None]).any(axis=1).mean() >= recall:
                break
        taken = _milliseconds(partial(_search, tuned, scanned), queries)
        # Lists get longer, and more, by the square root of the rows; a walk through a graph by their logarithm.
        longer = math.sqrt(scale) if kind == "ivf" else math.log(entries) / math.log(rows)
        building = seconds * scale * longer
        tuning = _TRIES * _SEARCHES * taken * longer / 1000
        name = f"IVF{lists_for(entries)},SQ8" if kind == "ivf" else "HNSW32_SQ8"
        found.append(
            IndexForecast(
                name,
                taken * longer,
                choosing + building + tuning,
                index_bytes(kind, entries, dimension),
                building_bytes(kind, entries, dimension),
            )
        )
    return found


def _made_keys(keys: Float[np.ndarray, "n dimension"], count: int) -> Float[np.ndarray, "count dimension"]:
    """Keys between pairs of real ones, with a little noise, so that there are enough of them to search among."""
    rng = np.random.default_rng(0)
    one, other = keys[rng.integers(0, len(keys), count)], keys[rng.integers(0, len(keys), count)]
    made = one + rng.uniform(0, 0.7, (count, 1)) * other + rng.normal(0, 0.01, (count, keys.shape[1]))
    lengths = np.linalg.norm(one, axis=1, keepdims=True)
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
