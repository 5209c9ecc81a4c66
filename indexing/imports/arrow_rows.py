"""Rows of Arrow batches as entries, for stores that are tables: which column holds the vector, and what the others are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.imports.stored_entry import StoredEntry, StoreOptions, record_entry, vector_from
from indexing.sources.readers.records.parquet import record
from memgpt_rag.errors import SourceError

# Usual names of a column of vectors; of those, the first that holds vectors is taken.
_VECTOR = ("vector", "embedding", "embeddings", "key", "vec", "emb")


def vector_column(schema: pa.Schema, named: str | None, where: str) -> str | None:
    """Return the name of the column of vectors; None where no column of a usual name holds vectors.

    Raises:
        SourceError: the column that the user named is not there, or holds something else.
    """
    if named is None:
        return next(
            (name for name in _VECTOR if name in schema.names and _holds_vectors(schema.field(name).type)), None
        )
    if named not in schema.names or not _holds_vectors(schema.field(named).type):
        raise SourceError(f"{where} has no column {named!r} of vectors; found {', '.join(schema.names)[:200]}.")
    return named


def arrow_entries(
    batches: Iterable[pa.RecordBatch], vector: str | None, options: StoreOptions, where: str
) -> Iterator[StoredEntry]:
    """Yield the rows of batches as entries; one without an id is known by its number, from 1.

    Raises:
        SourceError: a row has no text field, or a value that cannot be converted; the message gives the row.
    """
    number = 0
    for batch in batches:
        vectors = None if vector is None else _vectors(batch.column(batch.schema.get_field_index(vector)))
        others = batch.select([name for name in batch.schema.names if name != vector])
        for row in range(batch.num_rows):
            number += 1
            place = f"{where}, row {number:,}"
            entry = record_entry(record(others, row, place), options, place, f"row-{number}", usual_id=True)
            key = None if vectors is None else vectors[row]
            yield replace(entry, vector=key if isinstance(key, np.ndarray) else vector_from(key, place))


def _holds_vectors(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(lists and pa.types.is_floating(kind.value_type))


def _vectors(column: pa.Array) -> Any:
    """Return a column's vectors: as one array where each of them has all its numbers, else row by row."""
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        numbers = column.flatten()
        if not numbers.null_count:
            return numbers.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    return column.to_pylist()
