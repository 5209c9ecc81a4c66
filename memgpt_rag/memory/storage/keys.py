"""The keys file: written block by block, mapped for reading. Row i is the i-th key."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float

from memgpt_rag.choices import Metric
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage import tensors
from memgpt_rag.memory.storage.files import NewFile, StoredFile

Keys = Float[np.ndarray, "rows dimension"]


class KeysWriter:
    """Writes a keys file of shape [rows, dimension], whose number of rows is known from the start."""

    def __init__(self, path: Path, rows: int, dimension: int, metric: Metric):
        self.rows, self.dimension, self.metric = rows, dimension, metric
        self.written = 0
        self._file = NewFile(path)
        self._file.write(tensors.header(_regions(rows, dimension))[0])

    def add(self, keys: Float[np.ndarray, "n dimension"]) -> None:
        """Append the keys of the next rows.

        Raises:
            ValueError: a key is not finite, of another dimension, or not of unit length in a cosine memory.
        """
        if keys.shape[1] != self.dimension:
            raise ValueError(f"The keys have dimension {keys.shape[1]}; those of this memory have {self.dimension}.")
        if not np.isfinite(keys).all():
            row = self.written + int(np.flatnonzero(~np.isfinite(keys).all(axis=1))[0])
            raise ValueError(f"The key of row {row} holds NaN or infinity; the encoder failed on that passage.")
        if self.metric == "cosine" and (wrong := first_not_unit(keys)) is not None:
            raise ValueError(
                f"The key of row {self.written + wrong} has length {np.linalg.norm(keys[wrong]):.4g}; a cosine memory takes vectors of length 1."
            )
        self._file.write(np.ascontiguousarray(keys, dtype="<f4"))
        self.written += len(keys)

    def close(self) -> StoredFile:
        """Close the file, and return its size and checksum."""
        self._file.close()
        return self._file.described


def open_keys(path: Path, rows: int, dimension: int) -> Keys:
    """Map a keys file of shape [rows, dimension]; raises MemoryFormatError if the file has another shape."""
    maps = tensors.map_regions(path, _regions(rows, dimension))
    if maps is None:
        raise MemoryFormatError(f"{path} does not hold {rows} keys of dimension {dimension}; build the memory again.")
    return maps["keys"]


def first_not_unit(vectors: Float[np.ndarray, "n dimension"]) -> int | None:
    """Return the first vector whose length is not 1, so that its inner products are not cosines; None if all have it."""
    wrong = np.flatnonzero(np.abs(np.linalg.norm(vectors, axis=1) - 1) > 1e-3)
    return int(wrong[0]) if wrong.size else None


def _regions(rows: int, dimension: int) -> tensors.Regions:
    return {"keys": ("F32", "<f4", (rows, dimension))}
