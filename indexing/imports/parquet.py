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

_WHAT = "Parquet"


def read(path: Path, options: StoreOptions) -> Store:
    """Open a Parquet file, one entry a row.

    Raises:
        SourceError: it is no Parquet file, or has no column that the user named.
    """
    with refusing(path, _WHAT, pa.ArrowException, OSError), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
    require_distinct(schema.names, str(path))
    vector = vector_column(schema, options.vector, str(path))
    others = [name for name in schema.names if name != vector]

    def entries() -> Iterator[StoredEntry]:
        with refusing(path, _WHAT, pa.ArrowException, OSError), pq.ParquetFile(path) as file:
            batches = file.iter_batches(batch_rows(file, others))
            yield from arrow_entries(batches, vector, options, str(path))

    return Store(str(path), path.name, entries, "" if vector else "it has no column of vectors")
