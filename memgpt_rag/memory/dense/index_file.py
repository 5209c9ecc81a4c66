"""Checks a FAISS index file before FAISS reads it: every size, every link and every row number in it.

FAISS trusts its files. One changed byte makes it read beyond its arrays, and some kinds of file name further files to open.
So a file is parsed here first, by the layout in which FAISS writes the few kinds of index that a memory may have; only
numbers that FAISS uses in arithmetic, and never as a size or position, stay unchecked. Nothing here is part of FAISS or
calls it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Float, Int, UInt8

from memgpt_rag.choices import Metric
from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage.files import reading
from memgpt_rag.memory.storage.index_settings import MOST_EFFORT, IndexSettings

METRIC: dict[Metric, int] = {"cosine": 0, "euclidean": 1}
_FLAT = {"cosine": b"IxFI", "euclidean": b"IxF2"}
_BLOCK_ROWS = 32  # rows of codes that FAISS scans together
_FACTORS = 8  # bytes of corrections beside a RaBitQ code


class WrongError(Exception):
    """The file differs from the expected layout."""


class IndexFile:
    """A FAISS index file, checked from its first byte to its last.

    Args:
        rows: number of keys that the index must hold.
        dimension: dimension of a key.
    """

    def __init__(self, path: Path, *, rows: int, dimension: int, metric: Metric):
        with reading(path) as file:
            size = file.seek(0, 2)
            self._bytes: UInt8[np.ndarray, " n"] = np.memmap(file, np.uint8, "r") if size else np.empty(0, np.uint8)
        self.path, self._rows, self._dimension, self._metric = path, rows, dimension, metric
        self._place = 0

    def require_sound(self, settings: IndexSettings, remedy: str) -> None:
        """Check that the file holds an index of these settings over these keys, valid in every size and position.

        Raises:
            MemoryFormatError: it is not such an index; the message ends in `remedy`.
        """
        walks = {"hnsw": self._hnsw, "ivf": self._ivf, "pq": self._pq, "rabitq": self._rabitq, "sq": self._sq_index}
        try:
            walks[settings.form](settings)
            self._end()
        except WrongError as wrong:
            raise self._refused(settings.factory, wrong, remedy) from wrong

    def keys(self, remedy: str) -> Float[np.ndarray, "rows dimension"]:
        """Return the keys of a flat index, in which versions 1 and 2 of a memory stored them.

        Raises:
            MemoryFormatError: the file is not a flat index over `rows` keys.
        """
        try:
            keys = self._flat(self._rows)
            self._end()
        except WrongError as wrong:
            raise self._refused("exact", wrong, remedy) from wrong
        return np.array(keys.reshape(self._rows, self._dimension))

    def _refused(self, kind: str, wrong: WrongError, remedy: str) -> MemoryFormatError:
        return MemoryFormatError(
            f"{self.path} is no sound {kind} index over {self._rows} keys of dimension {self._dimension}, {self._metric} ({wrong}); {remedy}"
        )

    # The parts of a file, in the order in which FAISS writes them.

    def _hnsw(self, settings: IndexSettings) -> None:
        self._header(b"IHNf" if settings.is_flat else b"IHNs", self._rows)
        self._array("<f8")  # probabilities of the levels, for adding keys
        per_level, levels = self._array("<i4"), self._array("<i4")
        starts, links = self._array("<u8"), self._array("<i4")
        entry, highest, _, effort, _ = self._numbers("<5i")
        _require_graph(per_level, levels, starts, links, links_per_node=settings.size)
        if len(levels) != self._rows or not 0 < effort <= MOST_EFFORT:
            _wrong(f"{len(levels)} nodes, efSearch {effort}")
        if self._rows and not (0 <= entry < self._rows and levels[entry] == highest + 1 == levels.max()):
            _wrong(f"a search begins at node {entry} of level {highest}")
        if settings.is_flat:
            self._flat(self._rows)
        else:
            self._sq_index(settings)

    def _ivf(self, settings: IndexSettings) -> None:
        self._header(b"IwFl" if settings.is_flat else b"IwSq", self._rows)
        lists, effort = self._numbers("<QQ")
        if lists != settings.size or not 0 < effort <= MOST_EFFORT:
            _wrong(f"{lists} lists, nprobe {effort}")
        self._finite(self._flat(lists))
        if self._numbers("<BQ") != (0, 0):
            _wrong("a map of rows to lists")
        code_bytes = 4 * self._dimension
        if not settings.is_flat:
            self._scalar_quantizer()
            code_bytes, _ = self._numbers("<QB")
            if code_bytes != self._dimension:
                _wrong(f"codes of {code_bytes} bytes")
        seen = np.zeros(self._rows, bool)
        for rows, _ in self._lists(lists, code_bytes):
            if rows.min() < 0 or rows.max() >= self._rows:
                _wrong("a list holds a row that there is not")
            seen[rows] = True
        if not seen.all():
            _wrong("a row in no list")

    def _lists(
        self, lists: int, code_bytes: int
    ) -> Iterator[tuple[Int[np.ndarray, " n"], UInt8[np.ndarray, " n*code_bytes"]]]:
        """Yield the row numbers and the codes of each list that is not empty."""
        self._fourcc(b"ilar")
        if self._numbers("<QQ") != (lists, code_bytes):
            _wrong("lists of another number or size")
        kind, sizes = bytes(self._take(4)), np.zeros(lists, np.int64)
        said = self._array("<u8")
        if (said > self._rows + lists).any():
            _wrong("lists longer than the index")
        if kind == b"full" and len(said) == lists:
            sizes = said.astype(np.int64)
        elif (
            kind == b"sprs"
            and len(said) % 2 == 0
            and (said[::2] < lists).all()
            and (np.diff(said[::2].astype(np.int64)) > 0).all()
        ):
            sizes[said[::2].astype(np.int64)] = said[1::2]
        else:
            _wrong("lists of an unknown form")
        if sizes.sum() != self._rows:
            _wrong(f"{sizes.sum()} rows in lists")
        for size in sizes[sizes > 0].tolist():
            codes = self._take(size * code_bytes)
            yield self._take(8 * size).view("<i8"), codes

    def _pq(self, settings: IndexSettings) -> None:
        self._header(b"IPfs", self._rows)
        parts = settings.size
        if self._numbers("<QQQ") != (self._dimension, parts, 4) or not parts or self._dimension % parts:
            _wrong("codes of another form")
        if len(self._finite(self._array("<f4"))) != 16 * self._dimension:
            _wrong("centroids are missing")
        way, block, queries_at_once = self._numbers("<3i")
        if (way, queries_at_once) != (0, 0):
            _wrong("a way to search of its own")
        self._codes(block, parts, 0)

    def _rabitq(self, settings: IndexSettings) -> None:
        self._header(b"Irfn", self._rows)
        dimension, code_bytes, metric, bits = self._numbers("<QQiQ")
        expected = -(-self._dimension // 8) + _FACTORS
        if (dimension, code_bytes, metric, bits) != (self._dimension, expected, METRIC[self._metric], 1):
            _wrong("codes of another form")
        if len(self._finite(self._array("<f4"))) != self._dimension:
            _wrong("the centre is missing")
        query_bits, block = self._numbers("<Bi")
        if not 1 <= query_bits <= 8:
            _wrong(f"queries of {query_bits} bits")
        self._codes(block, -(-self._dimension // 4), _FACTORS, code_bytes)

    def _codes(self, block: int, parts: int, factors: int, code_bytes: int | None = None) -> None:
        """Check codes of 4 bits a part, in whole blocks of rows and an even number of parts."""
        rows, even = -(-self._rows // _BLOCK_ROWS) * _BLOCK_ROWS, parts + parts % 2
        if block != _BLOCK_ROWS or self._numbers("<QQ") != (rows, even):
            _wrong("blocks of another size")
        if code_bytes is not None and self._numbers("<Q") != (code_bytes,):
            _wrong("codes of another size")
        if len(self._array("<u1")) != rows * (even // 2 + factors):
            _wrong("codes are missing")

    def _sq_index(self, settings: IndexSettings) -> None:
        self._header(b"IxSQ", self._rows)
        self._scalar_quantizer()
        if len(self._array("<u1")) != self._rows * self._dimension:
            _wrong("codes are missing")

    def _scalar_quantizer(self) -> None:
        kind, _, _, dimension, code_bytes = self._numbers("<iifQQ")
        if (kind, dimension, code_bytes) != (0, self._dimension, self._dimension):
            _wrong("bytes of another form")
        if len(self._finite(self._array("<f4"))) != 2 * self._dimension:
            _wrong("ranges are missing")

    def _flat(self, rows: int) -> Float[np.ndarray, " n"]:
        self._header(_FLAT[self._metric], rows)
        vectors = self._array("<f4")
        if len(vectors) != rows * self._dimension:
            _wrong(f"{len(vectors)} numbers for {rows} vectors")
        return vectors

    def _header(self, kind: bytes, rows: int) -> None:
        self._fourcc(kind)
        dimension, found, _, _, trained, metric = self._numbers("<iqqqBi")
        if (dimension, found, trained, metric) != (self._dimension, rows, 1, METRIC[self._metric]):
            _wrong(f"{kind.decode()} over {found} keys of dimension {dimension}, metric {metric}, trained {trained}")

    def _fourcc(self, expected: bytes) -> None:
        if (found := bytes(self._take(4))) != expected:
            _wrong(f"{found!r} where {expected!r} is expected")

    def _numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(form, self._take(struct.calcsize(form)).tobytes())

    def _array(self, kind: str) -> np.ndarray:
        (count,) = self._numbers("<Q")
        return self._take(count * np.dtype(kind).itemsize).view(kind)

    def _take(self, count: int) -> UInt8[np.ndarray, " n"]:
        if count > len(self._bytes) - self._place:
            _wrong(f"it ends at byte {len(self._bytes)}")
        self._place += count
        return self._bytes[self._place - count : self._place]

    def _end(self) -> None:
        if self._place != len(self._bytes):
            _wrong(f"{len(self._bytes) - self._place} bytes follow")

    def _finite(self, numbers: np.ndarray) -> np.ndarray:
        if not np.isfinite(numbers).all():
            _wrong("numbers that are none")
        return numbers


def _require_graph(
    per_level: Int[np.ndarray, " levels"],
    levels: Int[np.ndarray, " rows"],
    starts: Int[np.ndarray, " rows+1"],
    links: Int[np.ndarray, " n"],
    *,
    links_per_node: int,
) -> None:
    """Check that every node has room for exactly the links of its levels, and that every link leads to a node of that level."""
    expected = links_per_node * np.array([0, *range(2, len(per_level) + 1)])
    if len(per_level) < 2 or (per_level != expected).any():
        _wrong("levels of another size")
    if not len(levels) or levels.min() < 1 or levels.max() >= len(per_level):
        _wrong("a node of a level that there is not")
    room = np.concatenate([[0], np.cumsum(per_level[levels], dtype=np.int64)])
    if len(starts) != len(room) or (starts.astype(np.int64) != room).any() or len(links) != room[-1]:
        _wrong("links that are no node's")
    if links.min() < -1 or links.max() >= len(levels):
        _wrong("a link to a node that there is not")
    for level in range(1, int(levels.max())):
        nodes = np.flatnonzero(levels > level)
        places = room[nodes, None] + np.arange(per_level[level], per_level[level + 1])
        linked = links[places]
        if (levels[linked[linked >= 0]] <= level).any():
            _wrong(f"a link to a node that is not on level {level}")


def _wrong(reason: str) -> NoReturn:
    raise WrongError(reason)
