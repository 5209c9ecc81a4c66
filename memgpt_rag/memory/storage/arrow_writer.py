"""Writes an Arrow file of a memory batch by batch, and counts its rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from memgpt_rag.memory.storage.files import NewFile, StoredFile


class ArrowFileWriter:
    """Writes an Arrow file; the n-th row written is row n."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.rows = 0
        self._file = NewFile(path)
        self._buffer = pa.PythonFile(self._file, mode="w")
        self._arrow = pa.ipc.new_file(self._buffer, schema)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append the rows of a batch."""
        self._arrow.write_batch(batch)
        self.rows += batch.num_rows

    def close(self) -> StoredFile:
        """Close the file, and return its size and checksum."""
        if not self._file.closed:
            try:
                self._arrow.close()
                self._buffer.close()
            finally:
                self._file.close()
        return self._file.described
