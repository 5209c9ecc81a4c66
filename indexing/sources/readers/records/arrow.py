"""Arrow: one record a row, of a stream (as the library `datasets` writes them) or a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.sources.document import Document, Note
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records.parquet import needed_columns, record
from indexing.sources.readers.records.records import RecordReader, require_distinct
from memgpt_rag.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"ARROW1"  # with which a file begins, and a stream does not


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document | Note]:
    """Read an Arrow file or stream with one record a row; blocks are numbered by row, from 1.

    Raises:
        SourceError: it is neither, columns have one name, or a row has no text; the message gives the row.
    """
    import pyarrow as pa

    to_document = RecordReader(name, "row", options)
    try:
        with _batches(path) as (schema, batches):
            require_distinct([column.strip() for column in schema.names], name)
            columns = needed_columns(schema, options, name)
            number = 0
            for batch in batches:
                # Else Arrow trusts the offsets of texts and lists, and reads beyond its buffers.
                batch.validate(full=True)
                rows = batch.select(columns)
                for row in range(rows.num_rows):
                    number += 1
                    yield from to_document(partial(record, rows, row, f"{name}, row {number}"), number, number)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise SourceError(
            f"{name} cannot be read as Arrow: {str(error).splitlines()[0]}; mend it, or leave it out with --exclude."
        ) from error


@contextmanager
def _batches(path: Path) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Provide the schema and the batches, read one by one, inside the block.

    They are not mapped: a place behind the end of the file is an error then, and does not end the process.
    """
    import pyarrow as pa

    with path.open("rb") as file:
        is_file = file.read(len(_MAGIC)) == _MAGIC
    with pa.OSFile(str(path)) as source:
        if is_file:
            table = pa.ipc.open_file(source)
            yield table.schema, (table.get_batch(at) for at in range(table.num_record_batches))
        else:
            stream = pa.ipc.open_stream(source)
            yield stream.schema, iter(stream)
