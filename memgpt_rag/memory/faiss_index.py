"""The only module that imports FAISS: an exact index over the keys, written, read and searched."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.format import Metric

_METRIC_TYPE = {"cosine": faiss.METRIC_INNER_PRODUCT, "euclidean": faiss.METRIC_L2}


class KeyIndex:
    """Exact nearest-neighbour search over keys; row i is the i-th key that was added."""

    def __init__(self, index: faiss.Index, metric: Metric):
        self._index = index
        self._metric = metric

    @classmethod
    def new(cls, dimension: int, metric: Metric) -> KeyIndex:
        return cls(faiss.IndexFlat(dimension, _METRIC_TYPE[metric]), metric)

    @classmethod
    def read(cls, path: Path, *, entries: int, dimension: int, metric: Metric) -> KeyIndex:
        """Raises MemoryFormatError: the file is not an index of that many keys of that dimension and metric."""
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise MemoryFormatError(f"{path} is not a FAISS index ({reason}); build the memory again.") from error
        found = (index.ntotal, index.d, index.metric_type)
        expected = (entries, dimension, _METRIC_TYPE[metric])
        if found != expected:
            raise MemoryFormatError(
                f"{path} holds {found[0]} keys of dimension {found[1]} (metric type {found[2]}); the manifest says "
                f"{expected[0]} of dimension {expected[1]} (metric type {expected[2]}); build the memory again."
            )
        return cls(index, metric)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, keys: Float[np.ndarray, "n dimension"]) -> None:
        self._index.add(np.ascontiguousarray(keys, dtype=np.float32))

    def write(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    def keys(self) -> Float[np.ndarray, "n dimension"]:
        """Every key, in row order."""
        keys: np.ndarray = self._index.reconstruct_n(0, len(self))
        return keys

    def search(
        self, queries: Float[np.ndarray, "n dimension"], k: int
    ) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """Rows and scores, best first. Scores are cosines, or minus the Euclidean distance: higher is always nearer."""
        found, rows = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        if self._metric == "euclidean":
            found = -np.sqrt(np.maximum(found, 0))
        return rows, found


def first_not_unit(vectors: Float[np.ndarray, "n dimension"]) -> int | None:
    """The first vector whose length is not 1, so that its inner products would not be cosines."""
    wrong = np.flatnonzero(np.abs(np.linalg.norm(vectors, axis=1) - 1) > 1e-3)
    return int(wrong[0]) if wrong.size else None
