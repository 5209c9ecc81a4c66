"""SQLite databases of other programs, opened to be read only: plain tables, and nothing that the database itself could run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from memgpt_rag.errors import SourceError

_MOST_BYTES = 2**28  # of one text or blob


@contextmanager
def open_database(path: Path, tables: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """Open a database for reading inside the block; nothing is written, not even a journal.

    Args:
        tables: those that will be read. A view or a virtual table in place of one could run whatever its maker liked.

    Raises:
        SourceError: there is no such file, or one of the tables is missing or is none.
        sqlite3.Error: it is no database, or a damaged one.
    """
    if not path.is_file():
        raise SourceError(f"{path} is missing or no file; name the folder of the store as its program wrote it.")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        if hasattr(database, "setlimit"):  # since Python 3.11
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_BYTES)
        for pragma in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON"):
            database.execute(f"PRAGMA {pragma}")
        for table in tables:
            if not has_table(database, table):
                raise SourceError(f"{path} has no plain table {table!r}; name a store as its program wrote it.")
        yield database


def has_table(database: sqlite3.Connection, name: str) -> bool:
    """Whether a database has a table of that name whose rows are stored and not computed."""
    query = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    found = database.execute(query, (name,)).fetchone()
    return found is not None and str(found[0]).upper().startswith("CREATE TABLE")
