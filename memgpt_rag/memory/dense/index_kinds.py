"""The kinds of approximate index: their FAISS factories for a number of keys, their sizes, and their search settings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import Metric
from memgpt_rag.memory.dense.faiss_index import ApproximateIndex, codes_for
from memgpt_rag.memory.storage.index_settings import IndexSettings

Kind = Literal["ivf", "hnsw", "codes"]
KINDS: tuple[Kind, ...] = ("ivf", "codes", "hnsw")
# k of the recall@k that an index is judged by.
NEAREST = 10
# Fewer keys are too few to need an index, or to train one.
FEWEST_KEYS = 4 * NEAREST
_TRAINING = 100  # training keys for each list of an IVF
_CANDIDATES = (1, 2, 4, 8)
# Search parameters, from those that scan little of an index to those that scan much.
_EFFORTS = {
    "ivf": ("nprobe", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
    "hnsw": ("efSearch", (16, 32, 64, 128, 256, 512)),
}
# Building a graph takes a hundred times as long as building lists.
_LARGEST_GRAPH = 300_000


def kinds_for(rows: int) -> tuple[Kind, ...]:
    """Return the kinds of index worth trying for a number of keys."""
    return tuple(kind for kind in KINDS if kind != "hnsw" or rows <= _LARGEST_GRAPH)


def build_indexes(
    keys: Float[np.ndarray, "rows dimension"],
    metric: Metric,
    kinds: Sequence[Kind],
    *,
    most_bytes: float = math.inf,
    untrained: Int[np.ndarray, " queries"] | None = None,
    seed: int = 0,
    on_step: Callable[[str], object] = lambda step: None,
) -> Iterator[tuple[ApproximateIndex, float]]:
    """Yield indexes over all keys, each built when it is asked for, with the seconds that building took.

    Args:
        most_bytes: limit of the memory that building may take; kinds that take more are skipped.
        untrained: rows not to train on, since the recall is measured with them; an IVF finds more for keys that it was trained on.
        seed: seed of the sample of keys to train on.
        on_step: called with a description of each step.
    """
    lists = lists_for(len(keys))
    order = np.random.default_rng(seed).permutation(len(keys))
    if untrained is not None:
        order = order[~np.isin(order, untrained)]
    sample = np.sort(order[: training_rows(len(keys))])
    ways = {
        "ivf": ((f"IVF{lists},SQ8", "nprobe=1", 4, f"building {lists} lists"),),
        "codes": tuple((factory, "", 1, f"making {factory} codes") for factory in codes_for(keys.shape[1])),
        "hnsw": (("HNSW32_SQ8", "efSearch=16", 4, "building a graph"),),
    }
    for kind in kinds:
        if building_bytes(kind, *keys.shape) <= most_bytes:
            for factory, parameters, candidates, step in ways[kind]:
                on_step(step)
                settings, began = IndexSettings(factory, parameters, candidates), time.perf_counter()
                index = ApproximateIndex.build(keys, settings, metric, sample=sample)
                yield index, time.perf_counter() - began


def ways_to_search(index: ApproximateIndex) -> Iterator[IndexSettings]:
    """Yield settings to search an index with, those that scan few keys first."""
    factory = index.settings.factory
    if not index.settings.parameters:
        yield from (IndexSettings(factory, "", candidates) for candidates in (*_CANDIDATES, 16))
        return
    name, efforts = _EFFORTS["hnsw" if "HNSW" in factory else "ivf"]
    for effort in efforts:
        for candidates in _CANDIDATES:
            if name == "nprobe" or candidates * NEAREST <= 2 * effort:
                yield IndexSettings(factory, f"{name}={effort}", candidates)


def lists_for(rows: int) -> int:
    """Return the number of lists of an IVF over a number of keys."""
    return int(max(16, min(4 * np.sqrt(rows), rows / 40)))


def training_rows(rows: int) -> int:
    """Return the number of keys that an IVF is trained on."""
    return min(rows, _TRAINING * lists_for(rows))


def index_bytes(kind: Kind, rows: int, dimension: int) -> int:
    """Return the size of an index in bytes: codes of a byte a component, the longest tried, and row numbers or links."""
    return rows * (dimension + {"ivf": 8, "hnsw": 4 * 2 * 32 + 16, "codes": 0}[kind])


def building_bytes(kind: Kind, rows: int, dimension: int) -> int:
    """Return the memory in bytes that building an index takes: the index and its training sample."""
    return index_bytes(kind, rows, dimension) + 4 * dimension * training_rows(rows)
