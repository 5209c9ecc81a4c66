"""Tables of LanceDB (extra `lancedb`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.imports.arrow_rows import arrow_entries, vector_column
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, choose, refusing
from memgpt_rag.errors import MissingPackageError, SourceError

_WHAT = "a database of LanceDB"
_TABLE = ".lance"
_BLOCK = 1024  # rows that are in memory at once


def read(path: Path, options: StoreOptions) -> Store:
    """Open a table: the folder of a database, or that of a table in it, whose name ends in .lance.

    Raises:
        MissingPackageError: lancedb is not installed.
        SourceError: there is no such table, or it is damaged.
    """
    folder, name = (path.parent, path.stem) if path.suffix == _TABLE else (path, options.collection)
    if not path.is_dir():
        raise SourceError(f"{path} is no folder; name the folder of {_WHAT}.")
    name = choose((child.stem for child in folder.glob(f"*{_TABLE}")), name, folder)
    database = connect(folder)
    with refusing(path, _WHAT, RuntimeError, ValueError, OSError, pa.ArrowException):
        table = database.open_table(name)
        schema, version = table.schema, table.version
    vector = vector_column(schema, options.vector, str(path))

    def entries() -> Iterator[StoredEntry]:
        with refusing(path, _WHAT, RuntimeError, ValueError, OSError, pa.ArrowException):
            table.checkout(version)  # the same rows each time, whoever writes meanwhile
            batches = table.search().to_batches(_BLOCK)
            yield from arrow_entries(batches, vector, options, str(path))

    return Store(f"the table {name!r} in {folder}", name, entries, "" if vector else "it has no column of vectors")


def connect(folder: Path) -> Any:
    """Open a database of LanceDB.

    Raises:
        MissingPackageError: lancedb is not installed.
    """
    try:
        import lancedb
    except ImportError as error:
        raise MissingPackageError("lancedb", "LanceDB", "pip install 'memgpt_rag[lancedb]'") from error
    return lancedb.connect(str(folder))
