"""Parquet: one record a row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from indexing.sources.document import Document
from indexing.sources.read_options import ReadOptions
from indexing.sources.readers.records import RecordReader
from memgpt_rag.errors import SourceError


def read(path: Path, name: str, options: ReadOptions) -> Iterator[Document]:
    """Read a Parquet file with one record a row; blocks are numbered by row, from 1.

    Raises:
        SourceError: not a Parquet file, or a row without text; the message gives the row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    to_document = RecordReader(name, "row", options)
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist():
                    number += 1
                    yield from to_document(partial(dict, record), number, number)
    except pa.ArrowException as error:
        raise SourceError(
            f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}; mend it, or leave it out with --exclude."
        ) from error
