"""Takes the keys out of FAISS index files that other programs wrote, without FAISS reading them.

Only keys that the file holds as they are can be taken: a flat index, or lists of flat keys, either of them with numbers of its
own in place of rows. The layouts are those of `index_file`, whose checks hold here, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from memgpt_rag.choices import Metric
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.dense.index_file import METRIC, IndexFile, WrongError

_MOST_LISTS = 2**22
_MAPS = (b"IxMp", b"IxM2")
_FLAT: dict[bytes, Metric] = {b"IxFI": "cosine", b"IxF2": "euclidean"}
_IN_LISTS = b"IwFl"


class CompressedKeysError(Exception):
    """The index holds codes of its keys, or a graph over them, so that the keys cannot be taken out."""


class ForeignIndex(IndexFile):
    """An index file of another program.

    Raises:
        MemoryFormatError: it is no FAISS index, or a damaged one.
        CompressedKeysError: it does not hold its keys as they are.
    """

    def __init__(self, path: Path):
        super().__init__(path, rows=0, dimension=0, metric="cosine")
        try:
            self._kind = bytes(self._take(4))
            if self._kind[:1] != b"I":
                raise WrongError(f"it begins with {self._kind!r}")
            self._dimension, self._rows, _, _, _, metric = self._numbers("<iqqqBi")
            if self._dimension < 1 or self._rows < 0 or metric not in METRIC.values():
                raise WrongError(f"{self._rows} keys of dimension {self._dimension}, metric {metric}")
        except WrongError as wrong:
            raise self._foreign(wrong) from wrong
        self._metric = next(name for name, number in METRIC.items() if number == metric)

    def keys_by_number(self) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, "rows dimension"]]:
        """Return the numbers by which the program knows the keys, and the keys."""
        try:
            self._place = 4 + 33 if self._kind in _MAPS else 0
            numbers, keys = self._keys(bytes(self._bytes[self._place : self._place + 4]))
            if self._kind in _MAPS:
                names = self._array("<i8")
                if len(names) != self._rows or (self._rows and not 0 <= numbers.min() <= numbers.max() < self._rows):
                    raise WrongError(f"{len(names)} numbers for {self._rows} keys")
                numbers = names[numbers]
            self._end()
        except WrongError as wrong:
            raise self._foreign(wrong) from wrong
        if len(np.unique(numbers)) != self._rows:
            raise self._foreign(WrongError("two keys with one number"))
        return numbers, keys

    def _keys(self, kind: bytes) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, "rows dimension"]]:
        if kind in _FLAT:
            keys = self._flat(self._rows).reshape(-1, self._dimension)
            return np.arange(len(keys)), keys
        if kind != _IN_LISTS:
            raise CompressedKeysError(f"{self.path} is a FAISS index of the kind {kind.decode('latin-1')}")
        self._header(kind, self._rows)
        lists, _ = self._numbers("<QQ")
        if not 0 < lists <= _MOST_LISTS:
            raise WrongError(f"{lists} lists")
        self._flat(lists)  # their centres
        if self._numbers("<BQ") != (0, 0):
            raise CompressedKeysError(f"{self.path} is a FAISS index with a map of its own")
        parts = [(rows, codes.view("<f4")) for rows, codes in self._lists(lists, 4 * self._dimension)]
        if not parts:
            return np.zeros(0, np.int64), np.zeros((0, self._dimension), np.float32)
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([keys for _, keys in parts]).reshape(
            -1, self._dimension
        )

    def _foreign(self, wrong: WrongError) -> MemoryFormatError:
        return MemoryFormatError(f"{self.path} is no sound FAISS index ({wrong})")
