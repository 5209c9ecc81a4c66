"""The only module that imports FAISS: exact search over the mapped keys, and approximate indexes.

Exact search needs no index: FAISS scans the mapped keys in place. An approximate index proposes candidates; scores are always
computed from the keys themselves, so they are comparable across indexes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from jaxtyping import Bool, Float, Int

from memgpt_rag.choices import Metric
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.dense.index_file import IndexFile
from memgpt_rag.memory.storage.index_settings import IndexSettings

_METRIC_TYPE = {"cosine": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}
# Compressed codes, a few bits or bytes a key, that every search scans in full; they take no search parameters and no filter.
_CODES = (faiss.IndexScalarQuantizer, faiss.IndexPQFastScan, faiss.IndexRaBitQFastScan)
# Rows that are scored at once when candidates are rescored.
_REFINED = 2**16

Found = tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]


def exact_search(
    keys: Float[np.ndarray, "rows dimension"],
    queries: Float[np.ndarray, "queries dimension"],
    k: int,
    metric: Metric,
    allowed: Bool[np.ndarray, " rows"] | None = None,
) -> Found:
    """Return the k nearest of all keys, or of the allowed ones, to each query: rows and scores, best first.

    Scores are cosines, or minus the Euclidean distance: higher is always nearer. At least k keys must be allowed.
    """
    if allowed is not None:
        subset = np.flatnonzero(allowed)
        if 4 * len(subset) <= len(keys):
            rows, scores = exact_search(np.ascontiguousarray(keys[subset]), queries, k, metric)
            return subset[rows], scores
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    scan = faiss.knn_inner_product if metric == "cosine" else faiss.knn_L2sqr
    norms = () if metric == "cosine" else (None,)
    pointers = faiss.swig_ptr(queries), faiss.swig_ptr(keys)
    sizes = keys.shape[1], len(queries), len(keys), k
    scan(*pointers, *sizes, faiss.swig_ptr(scores), faiss.swig_ptr(rows), *norms, _selector(allowed))
    if (rows < 0).any():
        raise MemoryFormatError("Some keys are no numbers; find out which memory is damaged with: memgpt-index verify")
    return rows, scores if metric == "cosine" else -np.sqrt(np.maximum(scores, 0))


def score_rows(
    keys: Float[np.ndarray, "rows dimension"],
    queries: Float[np.ndarray, "queries dimension"],
    rows: Int[np.ndarray, "queries k"],
    metric: Metric,
) -> Float[np.ndarray, "queries k"]:
    """Return the scores of the given rows for each query; minus infinity where a row is negative, which means no row."""
    scores = np.empty(rows.shape, np.float32)
    block = max(1, _REFINED // max(1, rows.shape[1]))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        near = keys[np.maximum(rows[part], 0)]
        if metric == "cosine":
            scores[part] = np.matmul(near, queries[part, :, None])[..., 0]
        else:
            scores[part] = -np.linalg.norm(near - queries[part, None], axis=-1)
    scores[rows < 0] = -np.inf
    return scores


class ApproximateIndex:
    """An approximate index: it scans a part of the keys, or compressed codes of all of them; row i is the i-th key."""

    def __init__(self, index: faiss.Index, settings: IndexSettings, metric: Metric):
        self._index, self.settings, self._metric = index, settings, metric
        if settings.parameters:
            faiss.ParameterSpace().set_index_parameters(index, settings.parameters)
        # Read back here and passed to each search, since another object may change the parameters of the same index.
        self._is_codes = isinstance(index, _CODES)
        self._effort: int = (
            0 if self._is_codes else index.hnsw.efSearch if isinstance(index, faiss.IndexHNSW) else index.nprobe
        )

    @classmethod
    def build(
        cls,
        keys: Float[np.ndarray, "rows dimension"],
        settings: IndexSettings,
        metric: Metric,
        *,
        sample: Int[np.ndarray, " rows"] | None = None,
    ) -> ApproximateIndex:
        """Build an index: train it on a sample of the rows, or on all, and add every key, a block at a time."""
        index = faiss.index_factory(keys.shape[1], settings.factory, _METRIC_TYPE[metric])
        if not index.is_trained:
            index.train(np.ascontiguousarray(keys if sample is None else keys[sample]))
        for start in range(0, len(keys), _REFINED):
            index.add(np.ascontiguousarray(keys[start : start + _REFINED]))
        return cls(index, settings, metric)

    @classmethod
    def read(
        cls, path: Path, settings: IndexSettings, *, rows: int, dimension: int, metric: Metric
    ) -> ApproximateIndex:
        """Read an index that `write` wrote.

        Raises:
            MemoryFormatError: the file is not an index of these settings over `rows` keys of that dimension and metric.
        """
        remedy = "make it again with: memgpt-index rebuild-index"
        IndexFile(path, rows=rows, dimension=dimension, metric=metric).require_sound(settings, remedy)
        try:
            return cls(faiss.read_index(str(path)), settings, metric)
        except (RuntimeError, MemoryError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise MemoryFormatError(f"{path} is not a FAISS index ({reason}); {remedy}") from error

    def write(self, file: Any) -> None:
        """Write the index into any object with a `write` method."""
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))

    def with_settings(self, settings: IndexSettings) -> ApproximateIndex:
        """Return the same index with other search settings."""
        return ApproximateIndex(self._index, settings, self._metric)

    def search(
        self,
        keys: Float[np.ndarray, "rows dimension"],
        queries: Float[np.ndarray, "queries dimension"],
        k: int,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Found:
        """Return what `exact_search` does, approximately; queries with fewer than k results are searched exactly."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        count = len(keys) if allowed is None else int(allowed.sum())
        wanted = min(k * self.settings.candidates, count)
        unfiltered = self._is_codes and allowed is not None
        if unfiltered or 20 * count <= len(keys) or 2 * wanted >= len(keys):
            return exact_search(keys, queries, k, self._metric, allowed)
        parameters = None if self._is_codes else self._parameters(allowed)
        _, candidates = self._index.search(queries, wanted, params=parameters)
        scores = score_rows(keys, queries, candidates, self._metric)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        rows, scores = np.take_along_axis(candidates, best, axis=1), np.take_along_axis(scores, best, axis=1)
        if (few := (rows < 0).any(axis=1)).any():
            rows[few], scores[few] = exact_search(keys, queries[few], k, self._metric, allowed)
        return rows, scores

    def _parameters(self, allowed: Bool[np.ndarray, " rows"] | None) -> faiss.SearchParameters:
        selected = {} if allowed is None else {"sel": _selector(allowed)}
        if isinstance(self._index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(efSearch=self._effort, **selected)
        return faiss.SearchParametersIVF(nprobe=self._effort, **selected)


def write_flat_index(
    path: Path, blocks: Iterable[Float[np.ndarray, "n dimension"]], dimension: int, metric: Metric
) -> None:
    """Write a flat index over blocks of keys, for other programs: the i-th key of all blocks has the number i."""
    index = faiss.IndexFlat(dimension, _METRIC_TYPE[metric])
    for block in blocks:
        index.add(np.ascontiguousarray(block))
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run FAISS on one thread inside the block, so that measurements are comparable between machines."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def codes_for(dimension: int) -> list[str]:
    """Return the FAISS factories of compressed codes: 4 bits for every 4 components (product quantization, André et al.
    2015), a bit for each component (RaBitQ, Gao and Long 2024), a byte for each component.
    """
    bits = [f"PQ{dimension // 4}x4fs"] if dimension % 4 == 0 else []
    return [*bits, "RaBitQfs", "SQ8"]


def _selector(allowed: Bool[np.ndarray, " rows"] | None) -> faiss.IDSelector | None:
    return None if allowed is None else faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
