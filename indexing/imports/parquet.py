"""Parquet files of vectors and texts."""

from __future__ import annotations

import json
import subprocess
import sys
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
_COUNT = """
import json, sys
asked = json.load(sys.stdin)
sys.path[:] = asked["packages"]
import pyarrow.parquet as pq
most = 1
metadata = pq.read_metadata(asked["path"])
for group in map(metadata.row_group, range(metadata.num_row_groups)):
    for column in map(group.column, range(group.num_columns)):
        if column.path_in_schema.split(".")[0] == asked["vector"] and group.num_rows:
            most = max(most, -(-column.num_values // group.num_rows))
print(most)
"""


def read(path: Path, options: StoreOptions) -> Store:
    """Open a Parquet file, one entry a row. Columns of lists, but for the vectors, are left out and not decoded.

    Raises:
        SourceError: it is no Parquet file, or has no column that the user named.
    """
    with refusing(path, _WHAT, pa.ArrowException, OSError), pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        require_distinct(schema.names, str(path))
        vector = vector_column(schema, options.vector, str(path))
        most_rows = _most_rows(vector, path)
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


def _most_rows(vector: str | None, path: Path) -> int:
    """Return how many vectors may be in memory at once. A few bytes of a file can stand for billions of equal numbers."""
    most = 1 if vector is None else _numbers_per_row(vector, path)
    if most > MAX_DIMENSION:
        raise SourceError(
            f"{path}: the column {vector!r} holds {most:,} numbers a row, and a vector has at most {MAX_DIMENSION:,}; name another "
            "--vector-field."
        )
    return max(1, _MOST_NUMBERS // most)


def _numbers_per_row(vector: str, path: Path) -> int:
    """Return how many numbers a row has on average in the group of rows that has most.

    Asked in a process of its own, which pyarrow ends where the description of a column contradicts the schema.
    """
    asked = json.dumps({"packages": [str(entry) for entry in sys.path if entry], "vector": vector, "path": str(path)})
    command = [sys.executable, "-I", "-c", _COUNT]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)  # noqa: S603  # our own code
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        reason = last.strip().removeprefix("what():").strip()
        raise pa.ArrowInvalid(f"the size of its column {vector!r} is not known ({reason})")
    return int(done.stdout)
