"""Exports the entries of a memory: to JSON Lines or Parquet, a table of LanceDB, a dataset, or a FAISS index beside an Arrow file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.imports.lancedb import connect
from memgpt_rag.errors import MissingPackageError, SourceError
from memgpt_rag.io.printable import printable_json
from memgpt_rag.io.system_errors import at_path
from memgpt_rag.memory import Memory
from memgpt_rag.memory.dense.faiss_index import write_flat_index
from memgpt_rag.memory.storage.layout import values_schema
from memgpt_rag.memory.storage.values import to_row

_BLOCK = 4096
Blocks = Iterable[np.ndarray]  # rows of a memory


def export_memory(memory: Memory, file: Path, *, where: str | None = None, keys: bool = False) -> int:
    """Write entries with all their fields and metadata to a file, in row order.

    Args:
        file: a new file, whose name ends with .jsonl or .parquet; or with .lance, for a table of that name in the LanceDB
            database that the folder is; or with .dataset, for a folder that the library `datasets` opens, with a flat index of the
            keys in it; or with .faiss, for a flat index whose i-th key is that of the i-th row of the file beside
            it whose name ends with .arrow.
        where: a filter; None for all entries.
        keys: also write the keys to JSON Lines or Parquet, as a column "key". The others hold them in any case.

    Returns:
        The number of entries written.

    Raises:
        SourceError: the file's name has another suffix, or the file exists.
        MissingPackageError: lancedb or datasets is not installed, and a table or dataset of it is to be written.
        ValueError: the filter is invalid.
    """
    if file.suffix not in _FORMS:
        raise SourceError(
            f"{file} ends in none of the suffixes of an export; name a file that ends in one of {', '.join(_FORMS)}."
        )
    if not file.parent.is_dir():
        raise SourceError(f"{file} cannot be written: {file.parent} is no folder; make it, or name another file.")
    written = [file, file.with_suffix(_ARROW)] if file.suffix == _FAISS else [file]
    for path in written:
        if path.exists():
            raise SourceError(f"{path} is there already; name another file, or remove it.")
    rows = memory.rows(where)
    blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
    try:
        with at_path(file):
            _FORMS[file.suffix](file, memory, blocks, keys)
    except BaseException:
        for path in written:  # an incomplete export must not be taken for a complete one
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise
    return len(rows)


def _write_lines(file: Path, memory: Memory, blocks: Blocks, keys: bool) -> None:
    with file.open("w", encoding="utf-8") as lines:
        for block in blocks:
            for row in _rows(memory, block, "key" if keys else None):
                lines.write(printable_json(row, default=str) + "\n")


def _write_parquet(file: Path, memory: Memory, blocks: Blocks, keys: bool) -> None:
    name = "key" if keys else None
    schema = _schema(memory, name)
    with pq.ParquetWriter(file, schema) as table:
        for batch in _batches(memory, blocks, schema, name):
            table.write_batch(batch)


def _write_lance(file: Path, memory: Memory, blocks: Blocks, keys: bool) -> None:
    schema = _schema(memory, "vector")
    batches = pa.RecordBatchReader.from_batches(schema, _batches(memory, blocks, schema, "vector"))
    connect(file.parent).create_table(file.stem, batches)


def _write_faiss(file: Path, memory: Memory, blocks: Blocks, keys: bool) -> None:
    manifest, rows = memory.manifest, list(blocks)
    schema = _schema(memory, None)
    with pa.OSFile(str(file.with_suffix(_ARROW)), "wb") as sink, pa.ipc.new_file(sink, schema) as table:
        for batch in _batches(memory, rows, schema, None):
            table.write_batch(batch)
    write_flat_index(file, (memory.keys(block) for block in rows), manifest.encoder.dimension, manifest.metric)


def _write_dataset(file: Path, memory: Memory, blocks: Blocks, keys: bool) -> None:
    try:
        import datasets
    except ImportError as error:
        raise MissingPackageError("datasets", "A dataset", "pip install 'memgpt_rag[datasets]'") from error
    manifest, rows = memory.manifest, list(blocks)
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=_ARROW) as stream:
        schema = _schema(memory, None)
        with pa.ipc.new_stream(stream, schema) as table:
            for batch in _batches(memory, rows, schema, None):
                table.write_batch(batch)
        stream.flush()
        shown = not datasets.are_progress_bars_disabled()
        datasets.disable_progress_bars()
        try:
            datasets.Dataset.from_file(stream.name).save_to_disk(str(file))
        finally:
            if shown:
                datasets.enable_progress_bars()
    found = (memory.keys(block) for block in rows)
    write_flat_index(file / DATASET_INDEX, found, manifest.encoder.dimension, manifest.metric)


DATASET_INDEX = "key.faiss"  # in the folder of a dataset
_FAISS, _ARROW = ".faiss", ".arrow"
_FORMS: dict[str, Callable[[Path, Memory, Blocks, bool], None]] = {
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
    ".lance": _write_lance,
    ".dataset": _write_dataset,
    _FAISS: _write_faiss,
}


def _schema(memory: Memory, key: str | None) -> pa.Schema:
    """Return the columns of the values, and one for the keys where it has a name."""
    schema = values_schema(memory.manifest.metadata)
    if key is None:
        return schema
    return schema.append(pa.field(key, pa.list_(pa.float32(), memory.manifest.encoder.dimension)))


def _batches(memory: Memory, blocks: Blocks, schema: pa.Schema, key: str | None) -> Iterator[pa.RecordBatch]:
    for block in blocks:
        yield pa.RecordBatch.from_pylist(_rows(memory, block, key), schema)


def _rows(memory: Memory, rows: np.ndarray, key: str | None) -> list[dict[str, object]]:
    written = [to_row(passage) for passage in memory.passages(rows)]
    if key is not None:
        for row, numbers in zip(written, memory.keys(rows).tolist(), strict=True):
            row[key] = numbers
    return written
