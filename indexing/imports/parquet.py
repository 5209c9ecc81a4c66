"""Parquet files of vectors and texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.imports.arrow_rows import arrow_entries, vector_column
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, refusing
from indexing.sources.readers.records.parquet import batch_rows
from indexing.sources.readers.records.records import require_distinct
from memgpt_rag.errors import SourceError
from memgpt_rag.fingerprint import MAX_DIMENSION

_WHAT = "Parquet"
_MOST_NUMBERS = 2**24  # of the vectors that are in memory at once


def read(path: Path, options: StoreOptions) -> Store:
    """Open a Parquet file, one entry a row. Columns of lists, but for the vectors, are left out and not decoded.

    Raises:
        SourceError: it is no Parquet file, or has no column that the user named.
    """
    with refusing(path, _WHAT, pa.ArrowException, OSError), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        require_distinct(schema.names, str(path))
        vector = vector_column(schema, options.vector, str(path))
        most_rows = _most_rows(file, vector, path)
    lists = [field.name for field in schema if pa.types.is_nested(field.type) and not pa.types.is_struct(field.type)]
    left_out = [name for name in lists if name != vector]
    columns = [name for name in schema.names if name not in left_out]
    texts = [name for name in columns if pa.types.is_string(schema.field(name).type)]

    def entries() -> Iterator[StoredEntry]:
        # A text that occurs in many rows stays in memory once.
        with refusing(path, _WHAT, pa.ArrowException, OSError), pq.ParquetFile(path, read_dictionary=texts) as file:
            rows = min(most_rows, batch_rows(file, [name for name in columns if name != vector]))
            yield from arrow_entries(file.iter_batches(rows, columns=columns), vector, options, str(path))

    why, notes = "" if vector else "it has no column of vectors", (f"the column {name!r} of lists" for name in left_out)
    return Store(str(path), path.name, entries, why, tuple(notes))


def _most_rows(file: pq.ParquetFile, vector: str | None, path: Path) -> int:
    """Return how many vectors may be in memory at once. A few bytes of a file can stand for billions of equal numbers."""
    most = 1
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.path_in_schema.split(".")[0] == vector and group.num_rows:
                most = max(most, -(-column.num_values // group.num_rows))
    if most > MAX_DIMENSION:
        raise SourceError(
            f"{path}: the column {vector!r} holds {most:,} numbers a row, and a vector has at most {MAX_DIMENSION:,}; name another "
            "--vector-field."
        )
    return max(1, _MOST_NUMBERS // most)
