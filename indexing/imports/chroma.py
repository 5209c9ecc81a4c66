"""Collections of Chroma: the folder that `PersistentClient` writes, read without Chroma.

Ids, texts and metadata lie in a SQLite database, and so do the vectors of the latest changes; older vectors lie in a graph of
hnswlib beside it (`chroma_graph`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from indexing.imports.chroma_graph import UnknownGraphError, graph_vectors
from indexing.imports.sqlite_file import has_table, open_database
from indexing.imports.stored_entry import Store, StoredEntry, StoreOptions, choose, refusing
from memgpt_rag.errors import SourceError
from memgpt_rag.io.printable import counted

_WHAT = "a store of Chroma"
_TABLES = ["collections", "segments", "embeddings", "embedding_metadata", "embeddings_queue", "max_seq_id"]
_DOCUMENT = "chroma:document"
_DELETE = 3  # of the operations in the queue
_ENTRIES = """
    SELECT e.embedding_id, m.key, m.string_value, m.int_value, m.float_value, m.bool_value
    FROM embeddings e LEFT JOIN embedding_metadata m ON m.id = e.id WHERE e.segment_id = ? ORDER BY e.id, m.key
"""
_LISTS = "SELECT DISTINCT m.key FROM embedding_metadata_array m JOIN embeddings e ON e.id = m.id WHERE e.segment_id = ?"
_QUEUED = "FROM embeddings_queue WHERE topic LIKE '%/' || ?"

Vectors = dict[str, Float[np.ndarray, " dimension"]]


def read(path: Path, options: StoreOptions) -> Store:
    """Open a collection.

    Raises:
        SourceError: there is no such collection, it is damaged, or Chroma has yet to apply changes to it.
    """
    notes: tuple[str, ...] = ()
    with _database(path) as database:
        ids = dict(database.execute("SELECT name, id FROM collections").fetchall())
        name = choose(ids, options.collection, path)
        collection = ids[name]
        segments = dict(
            database.execute("SELECT scope, id FROM segments WHERE collection = ?", (collection,)).fetchall()
        )
        texts, graph = str(segments.get("METADATA")), str(segments.get("VECTOR"))
        _require_applied(database, collection, texts, path)
        if has_table(database, "embedding_metadata_array"):
            lists = [str(key) for (key,) in database.execute(_LISTS, (texts,))]
            notes = tuple(f"the metadata field {key!r}, which holds lists" for key in lists)
    why = ""
    try:
        vectors = graph_vectors(path / graph) if Path(graph).name == graph else {}
    except UnknownGraphError as error:
        vectors, why = {}, str(error)

    def entries() -> Iterator[StoredEntry]:
        with _database(path) as database:
            latest = _latest_changes(database, collection)
            for id, rows in groupby(database.execute(_ENTRIES, (texts,)), key=lambda row: row[0]):
                yield _entry(
                    str(id), list(rows), _queued(database, latest.get(id)) if id in latest else vectors.get(id)
                )

    return Store(f"the collection {name!r} of Chroma in {path}", path.name, entries, why, notes)


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    file = path / "chroma.sqlite3"
    with refusing(file, _WHAT, sqlite3.Error, ValueError), open_database(file, _TABLES) as database:
        yield database


def _require_applied(database: sqlite3.Connection, collection: str, segment: str, path: Path) -> None:
    """Check that texts and metadata are as of the last change in the queue."""
    applied = database.execute("SELECT seq_id FROM max_seq_id WHERE segment_id = ?", (segment,)).fetchone()
    query = f"SELECT count(*) {_QUEUED} AND seq_id > ?"
    (waiting,) = database.execute(query, (collection, 0 if applied is None else int(applied[0]))).fetchone()
    if waiting:
        raise SourceError(
            f"{path} holds {counted(waiting, 'change')} that Chroma has yet to apply; open the collection with Chroma once, and import then."
        )


def _latest_changes(database: sqlite3.Connection, collection: str) -> dict[str, int]:
    """Return the number of the latest change of each id's vector that is in the queue."""
    query = f"SELECT id, max(seq_id) {_QUEUED} AND vector IS NOT NULL AND operation != {_DELETE} GROUP BY id"
    return dict(database.execute(query, (collection,)).fetchall())


def _queued(database: sqlite3.Connection, change: int | None) -> Float[np.ndarray, " dimension"] | None:
    query = "SELECT vector, encoding FROM embeddings_queue WHERE seq_id = ?"
    data, encoding = database.execute(query, (change,)).fetchone()
    if encoding != "FLOAT32" or not isinstance(data, bytes) or len(data) % 4:
        return None
    return np.frombuffer(data, "<f4")


def _entry(id: str, rows: list[Any], vector: Float[np.ndarray, " dimension"] | None) -> StoredEntry:
    fields: dict[str, Any] = {}
    for _, key, text, whole, number, truth in rows:
        if key is not None:
            found = (text, whole, number, None if truth is None else bool(truth))
            fields[str(key)] = next((value for value in found if value is not None), None)
    document = fields.pop(_DOCUMENT, None)
    return StoredEntry(id, document if isinstance(document, str) else None, fields, vector)
