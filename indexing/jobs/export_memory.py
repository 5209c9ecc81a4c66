"""Exports the entries of a memory to JSON Lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import printable_json
from memgpt_rag.io.system_errors import at_path
from memgpt_rag.memory import Memory
from memgpt_rag.memory.storage.layout import values_schema
from memgpt_rag.memory.storage.values import to_row

_BLOCK = 4096


def export_memory(memory: Memory, file: Path, *, where: str | None = None, keys: bool = False) -> int:
    """Write entries with all their fields and metadata to a file, in row order.

    Args:
        file: a new file, whose name ends with .jsonl or .parquet.
        where: a filter; None for all entries.
        keys: also write the keys, as a column "key".

    Returns:
        The number of entries written.

    Raises:
        SourceError: the file's name has another suffix, or the file exists.
        ValueError: the filter is invalid.
    """
    if file.suffix not in (".jsonl", ".parquet"):
        raise SourceError(f"{file} is neither .jsonl nor .parquet; name a file that ends in one of these.")
    if not file.parent.is_dir():
        raise SourceError(f"{file} cannot be written: {file.parent} is no folder; make it, or name another file.")
    if file.exists():
        raise SourceError(f"{file} is there already; name another file, or remove it.")
    rows = memory.rows(where)
    blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    try:
        with at_path(file):
            _write(file, memory, blocks, keys)
    except BaseException:
        file.unlink(missing_ok=True)  # an incomplete export must not be taken for a complete one
        raise
    return len(rows)


def _write(file: Path, memory: Memory, blocks: Iterable[np.ndarray], keys: bool) -> None:
    if file.suffix == ".jsonl":
        with file.open("w", encoding="utf-8") as lines:
            for block in blocks:
                for row in _rows(memory, block, keys):
                    lines.write(printable_json(row, default=str) + "\n")
    else:
        schema = values_schema(memory.manifest.metadata)
        if keys:
            schema = schema.append(pa.field("key", pa.list_(pa.float32(), memory.manifest.encoder.dimension)))
        with pq.ParquetWriter(file, schema) as table:
            for block in blocks:
                table.write_batch(pa.RecordBatch.from_pylist(_rows(memory, block, keys), schema))


def _rows(memory: Memory, rows: np.ndarray, keys: bool) -> list[dict[str, object]]:
    written = [to_row(passage) for passage in memory.passages(rows)]
    if keys:
        for row, key in zip(written, memory.keys(rows).tolist(), strict=True):
            row["key"] = key
    return written
