"""The values file: one Arrow row an entry. The position in the file defines the row number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from memgpt_rag.errors import MemoryFormatError
from memgpt_rag.memory.storage import layout
from memgpt_rag.memory.storage.arrow_file import require_plain_batches
from memgpt_rag.memory.storage.arrow_writer import ArrowFileWriter
from memgpt_rag.passage import Passage

_COLUMNS = len(layout.VALUES_SCHEMA)


class ValuesWriter(ArrowFileWriter):
    """Writes a values file; the n-th value added is row n."""

    def __init__(self, path: Path, schema: pa.Schema):
        super().__init__(path, schema)
        self._schema = schema

    def add(self, passages: Sequence[Passage]) -> None:
        """Append values; raises ValueError for metadata without a column in the memory, or of another type."""
        rows = [to_row(passage) for passage in passages]
        for passage, row in zip(passages, rows, strict=True):
            if unknown := sorted(set(row) - set(self._schema.names)):
                raise ValueError(
                    f"{passage.id} has metadata {', '.join(unknown)}, which this memory has no column for."
                )
        try:
            batch = pa.RecordBatch.from_pylist(rows, self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"Metadata does not fit its column: {error}") from error
        self.write(batch)


class StoredValues:
    """A mapped values file. Reading a row touches its own batch only, which is validated at the first read."""

    def __init__(self, path: Path, batches: list[pa.RecordBatch], schema: pa.Schema):
        self._path, self._batches, self._schema = path, batches, schema
        self._starts = [0, *accumulate(batch.num_rows for batch in batches)]
        self._checked = [False] * len(batches)
        self._cells: list[list[Callable[[int], Any]] | None] = [None] * len(batches)
        self._metadata = schema.names[_COLUMNS:]

    @classmethod
    def open(cls, path: Path, schema: pa.Schema, rows: int) -> StoredValues:
        """Map a values file; raises MemoryFormatError if it does not hold `rows` rows of that schema."""
        require_plain_batches(path, rows)
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            if (names := file.schema.names) != schema.names or not file.schema.equals(schema):
                raise MemoryFormatError(f"{path} has columns {names}; expected {schema.names}; build the memory again.")
            batches = [file.get_batch(number) for number in range(file.num_record_batches)]
            batches = [batch for batch in batches if batch.num_rows]
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise MemoryFormatError(f"{path} is not an Arrow file ({error}); build the memory again.") from error
        values = cls(path, batches, schema)
        if len(values) != rows:
            raise MemoryFormatError(
                f"{path} holds {len(values)} values; the manifest says {rows}; build the memory again."
            )
        return values

    def __len__(self) -> int:
        return int(self._starts[-1])

    def passage(self, row: int) -> Passage:
        """Return the passage in a row."""
        number = bisect_right(self._starts, row) - 1
        cells, place = self._cells[number], row - self._starts[number]
        if cells is None:
            cells = self._cells[number] = [_cells(column) for column in self._batch(number).columns]
        return self._passage([cell(place) for cell in cells])

    def blocks(self, size: int) -> Iterator[list[Passage]]:
        """Yield all passages in row order, in blocks of at most `size`."""
        for number in range(len(self._batches)):
            columns = [column.to_pylist() for column in self._batch(number).columns]
            rows = [self._passage(row) for row in zip(*columns, strict=True)]
            yield from (rows[start : start + size] for start in range(0, len(rows), size))

    def table(self) -> pa.Table:
        """Return all rows as a table, mapped and not copied."""
        return pa.Table.from_batches([self._batch(number) for number in range(len(self._batches))], self._schema)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of all rows, mapped and not copied."""
        return self.table().column(name)

    def _batch(self, number: int) -> pa.RecordBatch:
        batch = self._batches[number]
        if not self._checked[number]:
            try:
                batch.validate(full=True)
            except pa.ArrowException as error:
                raise MemoryFormatError(f"{self._path} is damaged ({error}); build the memory again.") from error
            self._checked[number] = True
        return batch

    def _passage(self, row: Sequence[Any]) -> Passage:
        known: dict[str, Any] = {}
        if self._metadata:
            known = {name: cell for name, cell in zip(self._metadata, row[_COLUMNS:], strict=True) if cell is not None}
        id, text, title, source, record, unit, first, last, start, end = row[:_COLUMNS]
        return Passage(id, text, title, source, record, unit, first, last, start, end, known)


def _cells(column: pa.Array) -> Callable[[int], Any]:
    """Return a function from a position in a column to its cell, ten times as fast as Arrow's own access to a cell."""
    if column.null_count == 0 and column.type == pa.string():
        _, offsets, data = column.buffers()
        whole = 4 * (column.offset + len(column) + 1)  # a buffer may be longer than its offsets
        ends = memoryview(offsets)[4 * column.offset : whole].cast("i")
        text = memoryview(data) if data is not None else memoryview(b"")
        return lambda place: str(text[ends[place] : ends[place + 1]], "utf-8")
    if column.null_count == 0 and column.type == pa.int64():
        return memoryview(column.to_numpy()).__getitem__
    return lambda place: column[place].as_py()


def to_row(passage: Passage) -> dict[str, Any]:
    """Return a passage's row of the values file, by column."""
    row = dict(vars(passage))
    metadata = row.pop("metadata")
    return {**row, **metadata}
