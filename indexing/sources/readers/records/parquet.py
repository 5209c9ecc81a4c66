"""Parquet: one record a row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from indexing.sources.document import Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.records import (
    RecordReader,
    find_field,
    record_fields,
    require_distinct,
    require_short,
)
from memgpt_rag.errors import SourceError

_BATCH_BYTES, _MOST_ROWS = 2**24, 1024  # of the rows that are in memory at once
_UNKNOWN_ROWS = 16  # as many, where their size is not known


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read a Parquet file with one record a row; blocks are numbered by row, from 1.

    Only the columns with the text, title, id and metadata are decoded.

    Raises:
        SourceError: not a Parquet file, columns with one name, or a row without text; the message gives the row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    to_document = RecordReader(name, "row", options)
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            require_distinct([column.strip() for column in schema.names], name)
            columns = needed_columns(schema, options, name)
        texts = [column for column in columns if _is_text(schema.field(column).type)]
        # A value that occurs in many rows stays in memory once.
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            number = 0
            for batch in file.iter_batches(batch_rows(file, columns), columns=columns):
                for row in range(batch.num_rows):
                    number += 1
                    yield from to_document(partial(record, batch, row, f"{name}, row {number}"), number, number)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(
            f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}; mend it, or leave it out with --exclude."
        ) from error


def needed_columns(schema: Any, options: ReadOptions, name: str) -> list[str]:
    """Return the names of the columns that are read, in order.

    Raises:
        SourceError: no column holds a text, or the one that the user named is not there.
    """
    # Values by which a column of a usual name is passed over where its type cannot be a title or an id.
    record = {field.name: {} if _is_nested(field.type) else "" for field in schema}
    fields: list[str | None] = [*record_fields(record, options.fields, name)]
    fields += [find_field(record, column, name) for column in options.metadata]
    return [column for column in schema.names if column in fields]


def _is_text(type: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(type) or pa.types.is_large_string(type))


def _is_nested(type: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_nested(type)
        or pa.types.is_boolean(type)
        or pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_fixed_size_binary(type)
    )


def batch_rows(file: Any, columns: list[str]) -> int:
    """Return how many rows fit into a batch, by the size of the largest group of rows.

    The sizes of single columns are not asked for: where their description contradicts the schema, pyarrow ends the process.
    """
    metadata = file.metadata
    rows = _MOST_ROWS
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size = group.total_byte_size  # of all columns; not above 0 where the file does not say
        rows = min(rows, group.num_rows * _BATCH_BYTES // size if size > 0 else _UNKNOWN_ROWS)
    nested = any(_is_nested(file.schema_arrow.field(column).type) for column in columns)
    return int(max(1, min(rows, _UNKNOWN_ROWS) if nested else rows))  # the values of lists may repeat, too


def record(batch: Any, row: int, where: str) -> dict[str, Any]:
    """Return a row of an Arrow batch by column; raises SourceError where a cell cannot be converted."""
    cells: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        cells[name] = _value(column, row, f"{where}: its {name}")
    return cells


def _value(column: Any, row: int, what: str) -> Any:
    """Return a cell as a Python object.

    Raises:
        SourceError: it has none, such as a date after 9999, a time in an unknown zone, or a text that is not UTF-8.
    """
    import pyarrow as pa

    try:
        value = column[row]
        if pa.types.is_dictionary(value.type):
            value = value.value
        if _is_text(value.type) and value.is_valid:
            require_short(len(value.as_buffer()) // 4, what)  # at least so many characters
        return value.as_py()
    except SourceError:
        raise
    except (ValueError, OverflowError, LookupError, ImportError, TypeError, pa.ArrowException) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise SourceError(f"{what} cannot be converted ({reason}); mend the value or leave out the row.") from error
